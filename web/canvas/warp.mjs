/**
 * The instant preview: what an edit starts from, the picture with each region at its target and ground where it was, drawn by a 2D canvas.
 *
 * A moved region is not clipped: it is its outline, filled with the picture as a pattern under the region's own matrix, which a canvas does in
 * one pass and with smooth edges. What is withheld from it is erased in the pattern.
 *
 * Convention: the context's transform maps picture px to the px of its canvas.
 */

import { barredMask, fillHoles, fillKey, holeMask, numberOf, uncovered } from "../drag/fill.mjs";
import { fillGround } from "../drag/ground.mjs";
import { toCanvas } from "../drag/motion.mjs";
import { previewPlan } from "../drag/preview.mjs";
import { svgPath } from "../drag/rings.mjs";
import { cellsOf, shrunk } from "../drag/selection.mjs";
import { blank, context2d } from "./picture.mjs";

/** @import {Outline, Size, State} from "../drag/types.mjs" */
/** @import {Plan} from "../drag/preview.mjs" */
/** @import {Picture, Level} from "./picture.mjs" */

/** @typedef {{withheld: Outline[], body?: Outline, fronts?: Outline[]}} Taken  a region or mesh of the plan, as far as it says what is taken of the picture */

/** Longest side of the copy that is filled at once, smoothly. */
const FILL_SIDE = 256;
/** And of the one in which ground is looked for, once nothing has been drawn for a while. */
const GROUND_SIDE = 512;
const QUIET_MS = 160;
/** px of the picture that ground is laid beyond what is lifted, as core's RIM. */
const RIM = 1;
/** How many pictures without something are kept. */
const ERASED = 8;
/** Longest side of the copy that is averaged to cells. */
const LOOKED_AT = 384;
/** Twice its area by its longest side squared, below which a triangle is a splinter. */
const THIN = 0.3;

/** @type {WeakMap<Outline, {size: string, path: Path2D}>} */
const paths = new WeakMap();

/**
 * @param {Outline} outline normalised
 * @param {Size} size
 * @returns {Path2D} in picture px; the same object for the same outline
 */
export function pathOf(outline, size) {
  const key = size.join("x");
  let kept = paths.get(outline);
  if (kept?.size !== key) {
    kept = { size: key, path: new Path2D(svgPath(outline, [size[0], 0, 0, 0, size[1], 0])) };
    paths.set(outline, kept);
  }
  return kept.path;
}

export class Warp {
  /** @param {() => void} [better]  told when what was filled smoothly at first has ground from elsewhere, and can be drawn again */
  constructor(better = () => {}) {
    this.better = better;
    /** What was filled, and with what: smoothly for these holes, with ground for the plan as it was when the hand was still. */
    this.filled = { smooth: "", ground: "" };
    /** @type {{smooth: HTMLCanvasElement | null, ground: HTMLCanvasElement | null}} */
    this.fill = { smooth: null, ground: null };
    /** @type {Map<string, CanvasPattern>} pictures without what is withheld */
    this.erased = new Map();
    /** @type {import("../drag/selection.mjs").Cells & {url: string} | null} */
    this.cells = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.waiting = undefined;
  }

  /** Nothing is looked for any more. */
  stop() {
    clearTimeout(this.waiting);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Picture} picture
   * @param {Level} level the copy to draw from
   * @param {State} state
   * @param {number} progress how far things have moved, in [0, 1]
   */
  draw(context, picture, level, state, progress) {
    const { size } = picture;
    const plan = previewPlan(state, size, progress, this.seen(picture, state));
    const pattern = patternOf(context, level.source, size);
    const sourceOf = (/** @type {Taken} */ taken, seen = level) => {
      if (taken.withheld.length || taken.fronts?.length) return this.changed(context, picture, seen, taken);
      return seen === level ? pattern : patternOf(context, seen.source, size);
    };
    context.save();
    clipToPixels(context, size);
    if (plan.editable) context.clip(pathOf(plan.editable, size), "evenodd");
    const ground = plan.holes.length && progress > 0 ? this.ground(picture, plan) : null;
    if (ground) {
      context.fillStyle = context.strokeStyle = patternOf(context, ground, size);
      context.lineWidth = 2 * RIM;
      context.lineJoin = "round";
      for (const { outline, lifted } of plan.holes) {
        context.fill(pathOf(outline, size), "evenodd");
        if (lifted) context.stroke(pathOf(outline, size));
      }
    }
    for (const mesh of plan.meshes) {
      const { triangles, within } = mesh;
      context.save();
      if (within) context.clip(pathOf(within, size), "evenodd");
      context.fillStyle = sourceOf(mesh);
      drawTriangles(context, triangles);
      context.restore();
    }
    for (const region of plan.regions) {
      const { outline, matrix } = region;
      context.save();
      // What shrinks is drawn from a smaller copy, or fine patterns would turn into coarse ones.
      const factor = Math.max(Math.hypot(matrix[0], matrix[3]), Math.hypot(matrix[1], matrix[4]));
      const seen = factor <= 0.5 ? picture.level(level.scale * factor) : level;
      context.fillStyle = sourceOf(region, seen);
      context.transform(...toCanvas(matrix));
      context.fill(pathOf(outline, size), "evenodd");
      context.restore();
    }
    context.fillStyle = pattern;
    for (const pin of plan.pins) context.fill(pathOf(pin.outline, size), "evenodd");
    context.restore();
  }

  /**
   * The picture in cells, for what points belong to; null where nothing is looked for.
   *
   * @param {Picture} picture
   * @param {State} state
   */
  seen(picture, state) {
    const looked = state.operations.some((operation) => operation.kind === "points" && operation.visible && !operation.selected);
    return looked ? this.cellsOf(picture) : null;
  }

  /** @param {Picture} picture */
  cellsOf(picture) {
    if (this.cells?.url !== picture.url) {
      const pixels = picture.pixels(LOOKED_AT);
      this.cells = { url: picture.url, ...shrunk(pixels.data, [pixels.width, pixels.height], cellsOf(picture.size)) };
    }
    return this.cells;
  }

  /**
   * The picture with what moves away taken out: smoothly at once, and with ground from elsewhere in the picture, as an edit starts, when the
   * hand is still. That takes a tenth of a second. Of what is lifted both stay while it is dragged.
   *
   * @param {Picture} picture
   * @param {Plan} plan
   */
  ground(picture, plan) {
    const fronts = plan.pins.filter(({ front }) => front).map(({ outline }) => numberOf(outline));
    const holes = `${picture.url}|${fillKey(plan.holes)}|${fronts}`;
    const open = plan.holes.some(({ lifted }) => !lifted);
    const wanted = open ? `${holes}|${laidKey(plan)}` : holes;
    if (holes !== this.filled.smooth) {
      this.filled.smooth = holes;
      // Whatever comes to lie in it: that changes with every move of the hand.
      this.fill.smooth = filledBy(fillHoles, picture, FILL_SIDE, { ...plan, meshes: [], regions: [] });
    }
    if (wanted !== this.filled.ground) {
      this.filled.ground = wanted;
      this.fill.ground = null;
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => {
        this.fill.ground = filledBy(fillGround, picture, GROUND_SIDE, plan);
        this.better();
      }, QUIET_MS);
    }
    return this.fill.ground ?? this.fill.smooth;
  }

  /**
   * The picture without what is withheld, and with what is behind something in front filled.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {Picture} picture
   * @param {Level} level
   * @param {Taken} taken
   */
  changed(context, picture, level, { withheld, body, fronts = [] }) {
    const key = [picture.url, level.scale, ...withheld.map(numberOf), "|", ...(body && fronts.length ? [body, ...fronts].map(numberOf) : [])].join();
    let pattern = this.erased.get(key);
    if (!pattern) {
      // Where an outline is dragged, a copy is of no use a frame later.
      if (this.erased.size >= ERASED) this.erased.clear();
      const { size } = picture;
      const copy = blank(Math.round(size[0] * level.scale), Math.round(size[1] * level.scale));
      const pen = context2d(copy);
      pen.drawImage(level.source, 0, 0, copy.width, copy.height);
      pen.scale(copy.width / size[0], copy.height / size[1]);
      if (body && fronts.length) fillBehind(pen, picture, body, fronts);
      pen.globalCompositeOperation = "destination-out";
      for (const outline of withheld) pen.fill(pathOf(outline, size), "evenodd");
      pattern = patternOf(context, copy, size);
      this.erased.set(key, pattern);
    }
    return pattern;
  }
}

/**
 * What is behind the fronts, and a px of their rim, filled from the rest of the body.
 * @param {CanvasRenderingContext2D} pen in picture px @param {Picture} picture @param {Outline} body @param {Outline[]} fronts
 */
function fillBehind(pen, picture, body, fronts) {
  const pixels = picture.pixels(FILL_SIDE);
  const { width, height } = pixels;
  const canvas = blank(width, height);
  const rgba = uncovered(pixels.data, [width, height], body, fronts);
  context2d(canvas).putImageData(new ImageData(new Uint8ClampedArray(rgba), width, height), 0, 0);
  pen.fillStyle = pen.strokeStyle = patternOf(pen, canvas, picture.size);
  pen.lineWidth = 2 * RIM;
  pen.lineJoin = "round";
  for (const outline of fronts) {
    pen.fill(pathOf(outline, picture.size), "evenodd");
    pen.stroke(pathOf(outline, picture.size));
  }
}

/** Changes with where things are laid down. @param {Plan} plan */
function laidKey({ meshes, regions }) {
  return [...meshes.map(({ triangles }) => triangles.reduce((sum, value, i) => sum + value * (1 + (i % 7)), 0)), ...regions.map(({ matrix }) => matrix)].join();
}

/** @param {typeof fillHoles} fill @param {Picture} picture @param {number} side @param {Plan} plan @returns {HTMLCanvasElement} */
function filledBy(fill, picture, side, plan) {
  const pixels = picture.pixels(side);
  const { width, height } = pixels;
  const copy = /** @type {Size} */ ([width, height]);
  const rgba = fill(pixels.data, width, height, holeMask(plan, picture.size, copy), barredMask(plan, copy));
  const canvas = blank(width, height);
  context2d(canvas).putImageData(new ImageData(new Uint8ClampedArray(rgba), width, height), 0, 0);
  return canvas;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {CanvasImageSource & {width: number, height: number}} source
 * @param {Size} size px of the picture that it is a copy of
 * @returns {CanvasPattern} in picture px
 */
function patternOf(context, source, size) {
  const pattern = /** @type {CanvasPattern} */ (context.createPattern(source, "no-repeat"));
  const width = source instanceof HTMLImageElement ? source.naturalWidth : source.width;
  const height = source instanceof HTMLImageElement ? source.naturalHeight : source.height;
  pattern.setTransform(new DOMMatrix([size[0] / width, 0, 0, size[1] / height, 0, 0]));
  return pattern;
}

/**
 * Nothing is drawn beyond the picture, nor on pixels that are only partly its own: what is drawn there again and again adds up to a rim.
 *
 * @param {CanvasRenderingContext2D} context scaled and shifted only @param {Size} size
 */
function clipToPixels(context, [width, height]) {
  const base = context.getTransform();
  const [left, top] = [Math.ceil(base.e - 0.01), Math.ceil(base.f - 0.01)];
  const [right, low] = [Math.floor(base.e + width * base.a + 0.01), Math.floor(base.f + height * base.d + 0.01)];
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.beginPath();
  context.rect(left, top, Math.max(0, right - left), Math.max(0, low - top));
  context.clip();
  context.setTransform(base);
}

/** The square of the longest side. @param {number[]} corners x and y of three */
function longest([x0, y0, x1, y1, x2, y2]) {
  return Math.max((x1 - x0) ** 2 + (y1 - y0) ** 2, (x2 - x1) ** 2 + (y2 - y1) ** 2, (x0 - x2) ** 2 + (y0 - y2) ** 2);
}

/**
 * @param {CanvasRenderingContext2D} context its fill is the picture
 * @param {Float32Array} triangles 12 numbers each: the target's three points, then the source's
 */
function drawTriangles(context, triangles) {
  const base = context.getTransform();
  const unit = 1 / Math.hypot(base.a, base.b);
  context.strokeStyle = context.fillStyle;
  context.lineWidth = 1.2 * unit;
  context.lineJoin = "bevel";
  for (let i = 0; i + 12 <= triangles.length; i += 12) {
    const [tx0, ty0, tx1, ty1, tx2, ty2, x0, y0, x1, y1, x2, y2] = triangles.subarray(i, i + 12);
    const area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0);
    if (Math.abs(area) < 1e-9) continue;
    const a = ((tx1 - tx0) * (y2 - y0) - (tx2 - tx0) * (y1 - y0)) / area;
    const c = ((tx2 - tx0) * (x1 - x0) - (tx1 - tx0) * (x2 - x0)) / area;
    const b = ((ty1 - ty0) * (y2 - y0) - (ty2 - ty0) * (y1 - y0)) / area;
    const d = ((ty2 - ty0) * (x1 - x0) - (ty1 - ty0) * (x2 - x0)) / area;
    context.setTransform(base);
    context.transform(a, b, c, d, tx0 - a * x0 - c * y0, ty0 - b * x0 - d * y0);
    if (Math.abs(area) < THIN * longest([x0, y0, x1, y1, x2, y2])) {
      // Growing from the middle hardly widens a splinter: its rim does.
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.lineTo(x2, y2);
      context.closePath();
      context.fill();
      context.stroke();
      continue;
    }
    // Grown by a little, so that no seam of the background shows between neighbours.
    const [mx, my] = [(x0 + x1 + x2) / 3, (y0 + y1 + y2) / 3];
    const grow = 1 + (2.2 * unit) / Math.sqrt(Math.abs(area));
    context.beginPath();
    context.moveTo(mx + (x0 - mx) * grow, my + (y0 - my) * grow);
    context.lineTo(mx + (x1 - mx) * grow, my + (y1 - my) * grow);
    context.lineTo(mx + (x2 - mx) * grow, my + (y2 - my) * grow);
    context.fill();
  }
  context.setTransform(base);
}
