/**
 * The dashed rim of where the edit may change the picture. It runs outside of the mask, and along the pins and the editable area where
 * these cut it.
 *
 * One thing differs from core's masks: those grow "around" from what is free to change, this from all that moves. They are the same unless
 * something moves under a pin or out of the editable area.
 *
 * Convention: the context's unit is the CSS px of the stage; `matrix` maps picture px to them.
 */

import { aroundParts } from "../drag/around_mask.mjs";
import { gradientOutlines, MARGIN } from "../drag/gradient_mask.mjs";
import { multiply, toCanvas } from "../drag/motion.mjs";
import { softOutlines } from "../drag/soft_mask.mjs";
import { blank, context2d } from "./picture.mjs";
import { pathOf } from "./warp.mjs";

/** @import {Matrix, Outline, Ring, Size, State} from "../drag/types.mjs" */

/**
 * @typedef {object} Area
 * @property {"rectangles" | "around" | "soft" | "none"} shape  of the Gradient Mask, the Auto Soft Mask; none: not known before a run
 * @property {number} margin  of the picture's shorter side; of "soft" its standard deviation
 */

/** @type {Area} */
export const AREA = { shape: "rectangles", margin: MARGIN };

const DARK = "rgba(0, 0, 0, 0.45)";
const BRIGHT = "rgba(255, 255, 255, 0.9)";
/** px of a dash, and of the gap after it. */
const DASHES = [6, 5];
/** px of the rim, and of the dark one under it. */
const [RIM, UNDER] = [1.5, 2.25];

/** What of the mask stands still while something is dragged: drawn once, laid into every frame. */
export class Resting {
  constructor() {
    this.rim = blank(1, 1);
    this.inside = blank(1, 1);
    /** @type {unknown[]} */
    this.key = [];
  }

  /** @param {CanvasRenderingContext2D} context @param {State} state @param {Size} size @param {Matrix} matrix @param {Area} area */
  draw(context, state, size, matrix, area) {
    const { width, height } = context.canvas;
    const key = [width, height, ...matrix, ...size, area.shape, area.margin, state.editable, ...state.operations];
    if (key.length === this.key.length && key.every((part, i) => part === this.key[i])) return;
    this.key = key;
    const shape = shapeOf(state, size, matrix, area);
    for (const canvas of [this.rim, this.inside]) {
      Object.assign(canvas, { width, height });
      const pen = context2d(canvas);
      pen.setTransform(context.getTransform());
      if (canvas === this.rim) {
        drawRim(pen, shape);
        pen.globalCompositeOperation = "destination-out";
      }
      fillShape(pen, shape);
    }
  }
}

/**
 * To be drawn first: it erases what it covers.
 * @param {CanvasRenderingContext2D} context @param {State} state @param {Size} size @param {Matrix} matrix @param {Area} area
 * @param {Resting} resting
 */
export function drawArea(context, state, size, matrix, area, resting) {
  const chosen = state.operations.find(({ id }) => id === state.selection);
  // Points act together: where one of them is dragged, all may change.
  const dragged = state.operations.filter((one) => one === chosen || (chosen?.kind === "points" && one.kind === "points"));
  const shape = shapeOf({ ...state, operations: dragged }, size, matrix, area);
  resting.draw(context, { ...state, operations: state.operations.filter((one) => !dragged.includes(one)) }, size, matrix, area);
  const picture = new Path2D();
  picture.rect(matrix[2], matrix[5], size[0] * matrix[0], size[1] * matrix[4]);
  const cuts = cutsOf(state, size, matrix, picture);
  context.save();
  // Lines as wide as a margin go on beyond the picture.
  if (shape.width > 0) context.clip(picture);
  drawRim(context, shape);
  lay(context, resting.rim);
  context.globalCompositeOperation = "destination-out";
  fillShape(context, shape);
  lay(context, resting.inside);
  for (const { closed } of cuts) context.fill(closed, "evenodd");
  context.restore();
  if (cuts.length) drawCuts(context, shape, cuts, resting);
}

/** px by px. @param {CanvasRenderingContext2D} context @param {HTMLCanvasElement} canvas */
function lay(context, canvas) {
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.drawImage(canvas, 0, 0);
  context.restore();
}

/** @typedef {{paths: Path2D[], width: number}} Shape  what is filled, and how wide a line around it belongs to it */

/** @param {State} state @param {Size} size @param {Matrix} matrix @param {Area} area @returns {Shape} */
function shapeOf(state, size, matrix, { shape, margin }) {
  if (shape === "around") {
    const paths = aroundParts(state, size).map((part) => placed(part.outline, size, multiply(matrix, part.matrix)));
    return { paths, width: 2 * margin * Math.min(...size) * matrix[0] };
  }
  /** @type {Ring[]} */
  const rings = [];
  if (shape === "rectangles") rings.push(...gradientOutlines(state, size, margin).map(({ ring }) => ring));
  if (shape === "soft") rings.push(...softOutlines(state, size, margin));
  return { paths: rings.filter((ring) => ring.length > 2).map((ring) => placed([[ring]], size, matrix)), width: 0 };
}

/** @typedef {{edge: Path2D, closed: Path2D}} Cut  what is closed, and where that ends on the picture */

/** What closes the mask. @param {State} state @param {Size} size @param {Matrix} matrix @param {Path2D} picture @returns {Cut[]} */
function cutsOf(state, size, matrix, picture) {
  /** @type {Cut[]} */
  const cuts = [];
  for (const operation of state.operations) {
    if (!operation.visible || operation.kind !== "region" || operation.task !== "pin") continue;
    const edge = placed(operation.region, size, matrix);
    cuts.push({ edge, closed: edge });
  }
  if (state.editable) {
    const edge = placed(state.editable, size, matrix);
    cuts.push({ edge, closed: joined([picture, edge]) });
  }
  return cuts;
}

/**
 * The rims along what closes the mask, as far as they are in it.
 * @param {CanvasRenderingContext2D} context @param {Shape} shape @param {Cut[]} cuts @param {Resting} resting
 */
function drawCuts(context, shape, cuts, resting) {
  const edges = joined(cuts.map(({ edge }) => edge));
  const canvas = blank(context.canvas.width, context.canvas.height);
  for (const [rim, style, dash] of /** @type {[number, string, number[]][]} */ ([[UNDER, DARK, []], [RIM, BRIGHT, DASHES]])) {
    const pen = context2d(canvas);
    pen.reset();
    pen.setTransform(context.getTransform());
    fillShape(pen, shape);
    lay(pen, resting.inside);
    pen.globalCompositeOperation = "source-in";
    pen.strokeStyle = style;
    pen.lineWidth = 2 * rim;
    pen.setLineDash(dash);
    pen.stroke(edges);
    pen.globalCompositeOperation = "destination-out";
    for (const { closed } of cuts) pen.fill(closed, "evenodd");
    lay(context, canvas);
  }
}

/** @param {CanvasRenderingContext2D} context @param {Shape} shape */
function drawRim(context, { paths, width }) {
  const all = joined(paths);
  context.lineJoin = "round";
  context.lineWidth = width + 2 * UNDER;
  context.strokeStyle = DARK;
  context.stroke(all);
  // A line that is wider than its dashes would show stripes across; it is filled with stripes instead.
  if (width > 0) context.strokeStyle = stripes(context);
  else {
    context.strokeStyle = BRIGHT;
    context.setLineDash(DASHES);
  }
  context.lineWidth = width + 2 * RIM;
  context.stroke(all);
  context.setLineDash([]);
}

/** @param {CanvasRenderingContext2D} context @param {Shape} shape */
function fillShape(context, { paths, width }) {
  context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = "#000";
  context.lineWidth = width;
  if (width > 0) context.stroke(joined(paths));
  for (const path of paths) context.fill(path, "evenodd");
}

/** @param {Outline} outline @param {Size} size @param {Matrix} matrix */
function placed(outline, size, matrix) {
  const path = new Path2D();
  path.addPath(pathOf(outline, size), new DOMMatrix(toCanvas(matrix)));
  return path;
}

/** @param {Path2D[]} paths */
function joined(paths) {
  const all = new Path2D();
  for (const path of paths) all.addPath(path);
  return all;
}

/** White stripes: the rim of what is filled with them is dashed. @param {CanvasRenderingContext2D} context */
function stripes(context) {
  const [on, off] = DASHES;
  const tile = blank(on + off, on + off);
  const pen = context2d(tile);
  pen.fillStyle = BRIGHT;
  for (let y = 0; y < tile.height; y++) for (let x = 0; x < tile.width; x++) if ((x + y) % tile.width < on) pen.fillRect(x, y, 1, 1);
  return /** @type {CanvasPattern} */ (context.createPattern(tile, "repeat"));
}
