/**
 * What lies over the picture: outlines, ghosts, arrows, handles, arrivals; area.mjs draws the rim of the mask.
 *
 * Convention: the context's unit is the CSS px of the stage; `view` maps picture px to them. Every line is drawn twice, a dark one under a
 * bright one, so that it can be seen on any picture.
 */

import { boxed, boxOf } from "../drag/box.mjs";
import { landedOutline, moves, selectedBodies } from "../drag/bend.mjs";
import { centroidOf, landing, PALETTE } from "../drag/model.mjs";
import { angleOf, forwardMatrix, multiply, toCanvas } from "../drag/motion.mjs";
import { toCss, viewMatrix } from "../drag/viewport.mjs";
import { drawArea } from "./area.mjs";
import { blank, context2d } from "./picture.mjs";
import { pathOf } from "./warp.mjs";

/** @import {Matrix, Operation, Outline, Point, Points, Region, Size, State} from "../drag/types.mjs" */
/** @import {View} from "../drag/viewport.mjs" */
/** @import {Area, Resting} from "./area.mjs" */

/** @typedef {{arrived: boolean, off: number, verdict?: string, advice?: string}} Verdict  arrived: and nothing is wrong with what it left; off: px
 * of the picture; verdict: in one word, "unknown" where nothing can be told; advice: what to change */

const HALO = "rgba(0, 0, 0, 0.5)";
const ARRIVED = "#3ddc84";
const MISSED = "#ffb020";

export class Marks {
  /**
   * @param {CanvasRenderingContext2D} context
   * @param {View} view
   * @param {Size} size px of the picture
   * @param {boolean} [plain] the picture is to be seen as it will be
   */
  constructor(context, view, size, plain = false) {
    this.plain = plain;
    this.context = context;
    this.view = view;
    this.size = size;
    this.matrix = viewMatrix(view);
  }

  /** @param {Point} point normalised @returns {Point} */
  at(point) {
    return toCss(this.view, point, this.size);
  }

  /** Where the edit may change the picture. Must come first: it erases what it covers. @param {State} state @param {Area} area @param {Resting} resting */
  area(state, area, resting) {
    drawArea(this.context, state, this.size, this.matrix, area, resting);
  }

  /**
   * @param {readonly Operation[]} operations from below to above @param {Map<string, Verdict[]>} verdicts by operation
   * @param {State | null} [state] where they are the selected ones
   * @param {number | null} [unit] px of the picture per css px, where these have a box to scale and turn them by
   */
  operations(operations, verdicts, state = null, unit = null) {
    const shown = operations.filter(({ visible }) => visible);
    for (const operation of shown) {
      if (operation.kind === "points") this.points(operation, state !== null, state?.pair ?? null);
      else {
        if (unit !== null && boxed(operation)) this.box(operation, unit);
        this.region(operation, state !== null, state?.part === "along");
      }
    }
    for (const operation of shown) this.verdicts(operation, verdicts.get(operation.id) ?? []);
  }

  /** @param {Region} region @param {boolean} selected @param {boolean} [carrying] whether what goes along with it is drawn */
  region(region, selected, carrying = false) {
    const colour = colourOf(region);
    const start = this.at(centroidOf(region, this.size));
    const end = region.task === "pin" ? start : this.at(landing(region, this.size));
    const far = Math.hypot(end[0] - start[0], end[1] - start[1]) > 2;
    const elsewhere = far || Boolean(region.scale || region.angle);
    if (region.along) {
      this.along(region.along, this.matrix, colour, this.plain && elsewhere && !carrying ? 0 : 0.7, elsewhere ? 1 : 1.5);
      if (elsewhere) this.along(region.along, multiply(this.matrix, forwardMatrix(region, this.size)), colour, 0, 1.5);
    }
    // Where it was is dashed, where it is going drawn through; in the preview nothing tints the picture.
    const tint = this.plain ? (elsewhere ? 0 : 0.1) : 0.18;
    const width = selected ? 2 : 1.5;
    const dash = elsewhere && !region.copy ? [4, 4] : [];
    this.outline(region.region, this.matrix, colour, selected ? tint * 1.3 : tint, elsewhere ? 1.25 : width, dash);
    if (elsewhere) this.outline(region.region, multiply(this.matrix, forwardMatrix(region, this.size)), colour, 0, width);
    if (region.task === "pin") {
      this.pin(start, colour, Boolean(region.front));
      return;
    }
    if (region.task === "rotation" && region.anchor) {
      const anchor = this.at(region.anchor);
      this.arc(anchor, start, angleOf(region, this.size), colour);
      this.anchor(anchor, colour, selected);
      if (selected) this.knob(end, colour, true);
      else this.dot(end, colour, 4);
      if (selected || far) this.label(beyond(anchor, end, 26), `${angleOf(region, this.size).toFixed(0)}°`, colour);
      return;
    }
    if (region.anchor) this.anchor(this.at(region.anchor), colour, selected);
    if (far) this.arrow(start, end, colour, selected ? 10 : 7);
    if (selected) this.knob(end, colour, far);
    else this.dot(far ? end : start, colour, 4);
  }

  /** What a region is scaled and turned by. @param {Region} region @param {number} unit */
  box(region, unit) {
    const { ring, grips, turn } = boxOf(region, this.size, unit);
    const corners = ring.map((point) => this.at(point));
    const path = new Path2D();
    corners.forEach(([x, y]) => path.lineTo(x, y));
    path.closePath();
    if (turn) {
      const [x, y] = this.at(turn);
      const [above, below] = [0, 2].map((i) => [0, 1].map((axis) => (corners[i][axis] + corners[i + 1][axis]) / 2));
      const [fx, fy] = Math.hypot(above[0] - x, above[1] - y) < Math.hypot(below[0] - x, below[1] - y) ? above : below;
      path.moveTo(fx, fy);
      path.lineTo(x, y);
    }
    this.line(path, "rgba(255, 255, 255, 0.9)", 1);
    for (const { at } of grips) this.grip(this.at(at));
    if (turn) this.dot(this.at(turn), "#fff", 3);
  }

  /** @param {Point} point */
  grip([x, y]) {
    const { context } = this;
    context.fillStyle = HALO;
    context.fillRect(x - 5, y - 5, 10, 10);
    context.fillStyle = "#fff";
    context.fillRect(x - 4, y - 4, 8, 8);
  }

  /** @param {Points} operation @param {boolean} selected @param {number | null} current */
  points(operation, selected, current) {
    const colour = colourOf(operation);
    const { size } = this;
    if (operation.selected) this.along(operation.selected, this.matrix, colour, this.plain && operation.pairs.some(moves) ? 0 : 0.7, 1.5);
    for (const body of selectedBodies(operation)) this.along(landedOutline(body, size), this.matrix, colour, 0, 1.5);
    operation.pairs.forEach(([handle, target], i) => {
      const [from, to] = [this.at(handle), this.at(target)];
      const active = selected && (current === null || current === i);
      if (!moves([handle, target])) {
        this.pin(to, colour, false, active ? 8 : 6.5);
        return;
      }
      if (Math.hypot(to[0] - from[0], to[1] - from[1]) > 3) this.arrow(from, to, colour, 5);
      this.ring(from, colour, active ? 6 : 5);
      this.dot(to, colour, active ? 5 : 4);
    });
  }

  /** @param {Operation} operation @param {Verdict[]} verdicts */
  verdicts(operation, verdicts) {
    const places = operation.kind === "points" ? operation.pairs.map(([, target]) => target) : [landing(operation, this.size)];
    verdicts.forEach(({ arrived, off, verdict }, i) => {
      if (verdict === "unknown") return;
      if (!places[i]) return;
      const [x, y] = this.at(places[i]);
      this.badge([x + 13, y - 13], arrived);
      if (!arrived && verdict !== "arrived") this.label([x + 26, y - 13], `${off.toFixed(0)} px`, MISSED, "left");
    });
  }

  /** What goes along is hatched and dotted. @param {Outline} outline @param {Matrix} matrix @param {string} colour @param {number} alpha @param {number} width */
  along(outline, matrix, colour, alpha, width) {
    this.outline(outline, matrix, colour, alpha, width, [1.5, 3.5], hatching(this.context, colour));
  }

  /**
   * @param {Outline} outline @param {Matrix} matrix @param {string} colour @param {number} alpha @param {number} width @param {number[]} [dash]
   * @param {string | CanvasPattern} [fill]
   */
  outline(outline, matrix, colour, alpha, width, dash = [], fill = colour) {
    const { context } = this;
    const path = new Path2D();
    path.addPath(pathOf(outline, this.size), new DOMMatrix(toCanvas(matrix)));
    context.save();
    if (alpha) {
      context.globalAlpha = alpha;
      context.fillStyle = fill;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
    }
    context.lineJoin = "bevel";
    context.strokeStyle = HALO;
    context.lineWidth = width + 1.5;
    context.stroke(path);
    context.setLineDash(dash);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(path);
    context.restore();
  }

  /** @param {Path2D} path @param {string} colour @param {number} width */
  line(path, colour, width) {
    const { context } = this;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = HALO;
    context.lineWidth = width + 2;
    context.stroke(path);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(path);
  }

  /** @param {Point} from @param {Point} to @param {string} colour @param {number} short how far before `to` it ends */
  arrow(from, to, colour, short) {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
    if (length < short + 8) return;
    const [ux, uy] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
    const [x, y] = [to[0] - ux * short, to[1] - uy * short];
    const path = new Path2D();
    path.moveTo(from[0] + ux * 6, from[1] + uy * 6);
    path.lineTo(x, y);
    path.moveTo(x - 7 * ux + 4.5 * uy, y - 7 * uy - 4.5 * ux);
    path.lineTo(x, y);
    path.lineTo(x - 7 * ux - 4.5 * uy, y - 7 * uy + 4.5 * ux);
    this.line(path, colour, 2);
  }

  /** @param {Point} anchor @param {Point} start @param {number} angle degrees, clockwise @param {string} colour */
  arc(anchor, start, angle, colour) {
    const radius = Math.hypot(start[0] - anchor[0], start[1] - anchor[1]);
    const from = Math.atan2(start[1] - anchor[1], start[0] - anchor[0]);
    const to = from + (angle * Math.PI) / 180;
    const path = new Path2D();
    path.moveTo(anchor[0], anchor[1]);
    path.lineTo(start[0], start[1]);
    path.arc(anchor[0], anchor[1], radius, from, to, angle < 0);
    path.lineTo(anchor[0], anchor[1]);
    this.context.save();
    this.context.setLineDash([4, 5]);
    this.line(path, colour, 1.5);
    this.context.restore();
  }

  /** @param {Point} point @param {string} colour @param {boolean} selected */
  anchor([x, y], colour, selected) {
    const reach = selected ? 9 : 6;
    const path = new Path2D();
    path.moveTo(x - reach, y);
    path.lineTo(x + reach, y);
    path.moveTo(x, y - reach);
    path.lineTo(x, y + reach);
    path.moveTo(x + 4.5, y);
    path.arc(x, y, 4.5, 0, Math.PI * 2);
    this.line(path, colour, 1.5);
  }

  /** What can be grabbed. @param {Point} point @param {string} colour @param {boolean} moved */
  knob([x, y], colour, moved) {
    const { context } = this;
    this.disc([x, y], 8, HALO);
    this.disc([x, y], 7, "#fff");
    this.disc([x, y], 5, colour);
    if (moved) return;
    // Not moved yet: four small arrows invite to.
    const path = new Path2D();
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      path.moveTo(x + dx * 12 - dy * 3.5, y + dy * 12 - dx * 3.5);
      path.lineTo(x + dx * 15.5, y + dy * 15.5);
      path.lineTo(x + dx * 12 + dy * 3.5, y + dy * 12 + dx * 3.5);
    }
    context.save();
    this.line(path, "#fff", 1.75);
    context.restore();
  }

  /** @param {Point} point @param {string} colour @param {number} radius */
  dot(point, colour, radius) {
    this.disc(point, radius + 2.5, HALO);
    this.disc(point, radius + 1.5, "#fff");
    this.disc(point, radius, colour);
  }

  /** @param {Point} point @param {string} colour @param {number} radius */
  ring([x, y], colour, radius) {
    const path = new Path2D();
    path.arc(x, y, radius, 0, Math.PI * 2);
    this.context.fillStyle = "rgba(255, 255, 255, 0.85)";
    this.context.fill(path);
    this.line(path, colour, 2.5);
  }

  /** @param {Point} point @param {number} radius @param {string} colour */
  disc([x, y], radius, colour) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, Math.PI * 2);
    context.fillStyle = colour;
    context.fill();
  }

  /** @param {Point} point @param {string} colour @param {boolean} front @param {number} [radius] */
  pin([x, y], colour, front, radius = 8) {
    this.dot([x, y], colour, radius);
    const path = new Path2D(front ? "M-1.500 1.500h-2.500v-5h5.500v2M-.8 -.8h5v4.600h-5z" : "M-2.5 -4h5M-1.8 -4v2.800L-3.5 .8h7L1.8 -1.2V-4M0 .8v3.6");
    const { context } = this;
    context.save();
    context.translate(x, y);
    context.strokeStyle = "#fff";
    context.lineWidth = 1.25;
    context.lineCap = context.lineJoin = "round";
    context.stroke(path);
    context.restore();
  }

  /** @param {Point} point @param {boolean} arrived */
  badge([x, y], arrived) {
    const { context } = this;
    this.disc([x, y], 10, HALO);
    this.disc([x, y], 8.5, arrived ? ARRIVED : MISSED);
    const path = new Path2D(arrived ? "M-3.7 .3l2.6 2.6 4.7-5.2" : "M-2.7 -2.700l5.4 5.400M2.7 -2.700l-5.4 5.4");
    context.save();
    context.translate(x, y);
    context.strokeStyle = "#10231a";
    context.lineWidth = 2;
    context.lineCap = context.lineJoin = "round";
    context.stroke(path);
    context.restore();
  }

  /** @param {Point} point @param {string} text @param {string} colour @param {"center" | "left"} [align] */
  label([x, y], text, colour, align = "center") {
    const { context } = this;
    context.font = "600 11px system-ui, sans-serif";
    context.textBaseline = "middle";
    const width = context.measureText(text).width + 12;
    const left = align === "left" ? x - 6 : x - width / 2;
    context.fillStyle = "rgba(16, 18, 24, 0.82)";
    context.beginPath();
    context.roundRect(left, y - 9, width, 18, 9);
    context.fill();
    context.fillStyle = colour;
    context.textAlign = "left";
    context.fillText(text, left + 6, y + 0.5);
  }
}

/** @type {Map<string, CanvasPattern>} */
const hatchings = new Map();

/** Slanted lines. @param {CanvasRenderingContext2D} context @param {string} colour @returns {CanvasPattern} */
function hatching(context, colour) {
  let pattern = hatchings.get(colour);
  if (!pattern) {
    const tile = blank(8, 8);
    const pen = context2d(tile);
    pen.strokeStyle = colour;
    pen.lineWidth = 1.2;
    for (const x of [-8, 0, 8]) {
      pen.moveTo(x - 1, 9);
      pen.lineTo(x + 9, -1);
    }
    pen.stroke();
    pattern = /** @type {CanvasPattern} */ (context.createPattern(tile, "repeat"));
    hatchings.set(colour, pattern);
  }
  return pattern;
}

/** @param {Operation} operation */
export function colourOf(operation) {
  return PALETTE[operation.colour % PALETTE.length].hex;
}

/** @param {Point} from @param {Point} to @param {number} length px past `to` @returns {Point} */
function beyond(from, to, length) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const away = Math.hypot(dx, dy) || 1;
  return [to[0] + (dx / away) * length, to[1] + (dy / away) * length];
}
