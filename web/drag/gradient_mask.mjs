/**
 * Where the edit may change the picture: one rotated rectangle around each region and its moved self, or that alone of a copy, around each pair of
 * points the one around two discs (DragFlow D.2, Eq. 25-27; `adaptive_gradient_mask` of core/field/masks.py).
 *
 * The rectangles are core's to a pixel, and cost what the outline costs, not what the picture does: of every column of a
 * region only its first and last pixel can be corners of the hull, and the outline's runs tell them.
 *
 * Convention: corners are whole pixel *indices*, as published; in px the pixel (c, r) has its centre at (c + 0.5, r + 0.5).
 *
 * @import {Operation, Outline, Point, Region, Ring, Size, State} from "./types.mjs"
 */

import { cutToPicture } from "./rings.mjs";
import { convexHull, grownRing, smallestRectangle } from "./hull.mjs";
import { bodyOf, frameOf } from "./model.mjs";
import { apply, centroid, forwardMatrix, scaled } from "./motion.mjs";
import { fillMask, spansOf } from "./spans.mjs";

/** Of the picture's shorter side: what the nodes add around the rectangles. */
export const MARGIN = 0.08;

/** @typedef {[Point, Point, Point, Point]} Corners */

/**
 * One rectangle per visible operation that moves, and per pair of points.
 * @param {State} state @param {Size} size @returns {{id: string, corners: Corners}[]}
 */
export function gradientRectangles(state, size = frameOf(state)) {
  return state.operations.flatMap((operation) => {
    if (!operation.visible) return [];
    const known = remembered.get(operation);
    if (known && known.size[0] === size[0] && known.size[1] === size[1]) return known.found;
    const found = hullsOf(operation, size).map((hull) => ({
      id: operation.id,
      corners: /** @type {Corners} */ (smallestRectangle(hull).map(([x, y]) => [truncated(x), truncated(y)])),
    }));
    remembered.set(operation, { size, found });
    return found;
  });
}

/**
 * What to draw: the rectangles grown by the margin, with round corners, cut to the picture. Their union is the mask, less
 * pins and what is not editable.
 * @param {State} state @param {Size} size @param {number} margin  of the shorter side
 * @returns {{id: string, ring: Ring}[]} normalised
 */
export function gradientOutlines(state, size = frameOf(state), margin = MARGIN) {
  // A pixel reaches half a pixel beyond its centre.
  const radius = margin * Math.min(...size) + 0.5;
  return gradientRectangles(state, size).map(({ id, corners }) => {
    const grown = grownRing(convexHull(corners.map(([x, y]) => [x + 0.5, y + 0.5])), radius);
    return { id, ring: cutToPicture(grown.map(([x, y]) => [x / size[0], y / size[1]])) };
  });
}

/**
 * The mask itself, pins and what is not editable taken out.
 * @param {State} state @param {Size} size @param {number} margin  of the shorter side @returns {Uint8Array} [h * w] of 0 and 1
 */
export function gradientMask(state, size = frameOf(state), margin = 0) {
  const [width, height] = size;
  const mask = new Uint8Array(width * height);
  const radius = margin * Math.min(width, height);
  for (const { corners } of gradientRectangles(state, size)) {
    const ring = convexHull(corners);
    for (let r = 0; r < height; r++) {
      for (let c = 0; c < width; c++) {
        if (within(ring, c, r, radius)) mask[r * width + c] = 1;
      }
    }
  }
  for (const operation of state.operations) {
    if (!operation.visible || operation.kind !== "region" || operation.task !== "pin") continue;
    fillMask(operation.region, size).forEach((pinned, i) => pinned && (mask[i] = 0));
  }
  if (state.editable) fillMask(state.editable, size).forEach((free, i) => free || (mask[i] = 0));
  return mask;
}

/** Pixels around a handle that belong to it: 1/16 of the shorter side, at least 4. @param {Size} size */
export function pointRadius(size) {
  return Math.max(4, Math.min(...size) / 16);
}

/** @type {WeakMap<Operation, {size: Size, found: {id: string, corners: Corners}[]}>} */
const remembered = new WeakMap();

/** @param {Operation} operation @param {Size} size @returns {Ring[]} in pixel indices */
function hullsOf(operation, size) {
  if (operation.kind === "points") {
    const discs = operation.pairs.map((pair) => pair.flatMap((p) => circle(placed(p, size), pointRadius(size))));
    const { selected } = operation;
    if (!selected) return discs.map(convexHull);
    const shifts = operation.pairs.map((pair) => pair.map((p) => placed(p, size)));
    const shown = shifts.flatMap(([h, t]) => extremes(selected, size, [halfEven(t[0] - h[0]), halfEven(t[1] - h[1])]));
    return [convexHull([...discs.flat(), ...extremes(selected, size, [0, 0]), ...shown])];
  }
  if (operation.task === "pin" || !operation.target) return [];
  const source = extremes(bodyOf(operation), size, [0, 0]);
  if (source.length === 0) return [];
  const landed = moved(operation, size, source);
  const both = operation.copy ? landed : [...source, ...landed];
  return both.length > 0 ? [convexHull(both)] : [];
}

/** The first and last pixel of each column of an outline that is shifted by whole pixels and cut at the picture's border.
 * @param {Outline} outline @param {Size} size @param {Point} shift @returns {Point[]} */
function extremes(outline, size, [dx, dy]) {
  const [width, height] = size;
  const { first, columns } = spansOf(outline, size);
  /** @type {Point[]} */
  const found = [];
  columns.forEach((runs, i) => {
    const c = first + i + dx;
    if (c < 0 || c >= width) return;
    let [top, end] = [Infinity, -Infinity];
    for (let k = 0; k < runs.length; k += 2) {
      const [from, to] = [Math.max(0, runs[k] + dy), Math.min(height, runs[k + 1] + dy)];
      if (from < to) [top, end] = [Math.min(top, from), to];
    }
    if (top < end) found.push([c, top], [c, end - 1]);
  });
  return found;
}

/** Where the region lands, moved the published way, or exactly where it scales or turns on its way. @param {Region} region @param {Size} size @param {Point[]} source
 * @returns {Point[]} */
function moved(region, size, source) {
  if (region.task === "rotation" || region.scale || region.angle) {
    // A turned pixel is set when the place it came from lies in a pixel of the region: whole pixels are turned, not centres.
    const matrix = forwardMatrix(region, size);
    const squares = convexHull(source).flatMap(([c, r]) => [[c, r], [c + 1, r], [c + 1, r + 1], [c, r + 1]]);
    return wholePixels(convexHull(squares.map(([x, y]) => apply(matrix, [x, y]))), size);
  }
  const [x, y] = centroid(region, size);
  const [tx, ty] = placed(region.target ?? [0, 0], size);
  return extremes(bodyOf(region), size, [halfEven(tx - 0.5 - truncated(x - 0.5)), halfEven(ty - 0.5 - truncated(y - 0.5))]);
}

/** The first and last pixel of each row whose centre lies in a convex ring, on the picture. @param {Ring} ring  px @param {Size} size
 * @returns {Point[]} */
function wholePixels(ring, [width, height]) {
  const ys = ring.map(([, y]) => y);
  /** @type {Point[]} */
  const found = [];
  const last = Math.min(height - 1, Math.floor(Math.max(...ys) - 0.5));
  for (let row = Math.max(0, Math.ceil(Math.min(...ys) - 0.5)); row <= last; row++) {
    const y = row + 0.5;
    let [left, right] = [Infinity, -Infinity];
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      const [[px, py], [qx, qy]] = [ring[j], ring[i]];
      if (py <= y === qy <= y) continue;
      const x = px + ((y - py) / (qy - py)) * (qx - px);
      [left, right] = [Math.min(left, x), Math.max(right, x)];
    }
    const [first, end] = [Math.max(0, Math.ceil(left - 0.5)), Math.min(width - 1, Math.floor(right - 0.5))];
    if (first <= end) found.push([first, row], [end, row]);
  }
  return found;
}

/** A point in px; on the far border a millionth inside, as core has it. @param {Point} point @param {Size} size @returns {Point} */
function placed(point, size) {
  const [x, y] = scaled(point, size);
  return [Math.min(x, size[0] * (1 - 1e-6)), Math.min(y, size[1] * (1 - 1e-6))];
}

/** @param {Point} centre  px @param {number} radius @returns {Point[]} indices */
function circle([x, y], radius) {
  return Array.from({ length: 32 }, (_, i) => {
    const turn = (2 * Math.PI * i) / 32;
    return [x - 0.5 + radius * Math.cos(turn), y - 0.5 + radius * Math.sin(turn)];
  });
}

/** Whether a pixel is filled: on or in the ring, drawn with lines a pixel wide, or within `radius` of it.
 * @param {Ring} ring  convex, clockwise, whole numbers @param {number} c @param {number} r @param {number} radius */
function within(ring, c, r, radius) {
  let inside = ring.length > 2;
  let nearest = Infinity;
  let onLine = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [dx, dy] = [ring[i][0] - ring[j][0], ring[i][1] - ring[j][1]];
    const [x, y] = [c - ring[j][0], r - ring[j][1]];
    const beside = dx * y - dy * x;
    if (beside < 0) inside = false;
    const t = Math.min(1, Math.max(0, (x * dx + y * dy) / (dx * dx + dy * dy || 1)));
    nearest = Math.min(nearest, Math.hypot(x - t * dx, y - t * dy));
    const steep = Math.max(Math.abs(dx), Math.abs(dy)) || 1;
    if (Math.abs(beside) / steep <= 0.5 && t > 0 && t < 1) onLine = true;
  }
  return inside || onLine || nearest <= radius;
}

/** Towards zero, as an integer cast does; a hair more, since the published float32 corners are whole where ours are.
 * @param {number} value */
function truncated(value) {
  const whole = Math.round(value);
  return Math.abs(value - whole) < 1e-4 ? whole : Math.trunc(value);
}

/** Half to even, as Python and numpy round. @param {number} value */
function halfEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}
