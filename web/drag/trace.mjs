/**
 * Masks to outlines: marching squares on coverage from 0 to 255.
 *
 * The outline runs between cell centres, where the coverage would cross the threshold, so that a soft edge gives a smooth
 * line and a hard one is cut half way. Filled again at the mask's own size, the outline of a hard mask gives back the very
 * same cells (core/instruction/outline.py has the same property with another line).
 *
 * Convention: `mask` is [height * width] over the whole picture, the centre of cell (c, r) at (c + 0.5, r + 0.5); outlines
 * are normalised, outsides clockwise on the screen, holes the other way. Diagonal neighbours do not touch.
 *
 * @import {Outline, Point, Ring, Size} from "./types.mjs"
 */

import { clamp, contains, ringArea } from "./rings.mjs";
import { fitOutline, simplifyOutline } from "./simplify.mjs";

const [TOP, RIGHT, BOTTOM, LEFT] = [0, 1, 2, 3];
/** Of a square of four cells with the corners TL = 1, TR = 2, BR = 4, BL = 8 inside: [from side, to side, ...], the
 * inside to the right of the way. */
const CROSSINGS = [
  [], [TOP, LEFT], [RIGHT, TOP], [RIGHT, LEFT], [BOTTOM, RIGHT], [TOP, LEFT, BOTTOM, RIGHT], [BOTTOM, TOP], [BOTTOM, LEFT],
  [LEFT, BOTTOM], [TOP, BOTTOM], [RIGHT, TOP, LEFT, BOTTOM], [RIGHT, BOTTOM], [LEFT, RIGHT], [TOP, RIGHT], [LEFT, TOP], [],
];

/**
 * @param {Uint8Array | Uint8ClampedArray} mask @param {number} width @param {number} height
 * @param {number} threshold  a cell above it is inside
 * @returns {Outline}  empty if no cell is
 */
export function traceMask(mask, width, height, threshold = 127.5) {
  const box = insideBox(mask, width, height, threshold);
  if (!box) return [];
  const [x0, y0, w, h] = box;
  // The box with one cell around it; beyond the picture there is nothing.
  const across = w + 2;
  const cells = new Uint8Array(across * (h + 2));
  for (let r = Math.max(0, y0 - 1); r < Math.min(height, y0 + h + 1); r++) {
    const left = Math.max(0, x0 - 1);
    cells.set(mask.subarray(r * width + left, r * width + Math.min(width, x0 + w + 1)), (r - y0 + 1) * across + left - x0 + 1);
  }
  // A side between two cells is named by the first of them: 2 i for the one to the right, 2 i + 1 for the one below.
  const next = new Int32Array(2 * cells.length).fill(-1);
  /** @type {number[]} */
  const starts = [];
  for (let r = 0; r <= h; r++) {
    let code = 0;
    for (let i = r * across; i < (r + 1) * across - 1; i++) {
      // The right half of the square before is the left half of this one.
      code = (code & 2 ? 1 : 0) | (code & 4 ? 8 : 0) | (cells[i + 1] > threshold ? 2 : 0) | (cells[i + 1 + across] > threshold ? 4 : 0);
      if (code === 0 || code === 15) continue;
      const sides = [2 * i, 2 * (i + 1) + 1, 2 * (i + across), 2 * i + 1];
      const crossings = CROSSINGS[code];
      for (let k = 0; k < crossings.length; k += 2) {
        next[sides[crossings[k]]] = sides[crossings[k + 1]];
        starts.push(sides[crossings[k]]);
      }
    }
  }
  /** @param {number} name @returns {Point} in cells */
  const place = (name) => {
    const i = name >> 1;
    const down = name & 1;
    const before = cells[i];
    const t = (threshold - before) / (cells[i + (down ? across : 1)] - before);
    const x = (i % across) + x0 - 0.5;
    const y = Math.floor(i / across) + y0 - 0.5;
    return down ? [x, y + t] : [x + t, y];
  };
  /** @type {Ring[]} */
  const rings = [];
  for (const start of starts) {
    if (next[start] < 0) continue;
    /** @type {Ring} */
    const ring = [];
    for (let name = start; next[name] >= 0; ) {
      const following = next[name];
      next[name] = -1;
      append(ring, place(name));
      name = following;
    }
    if (ring.length >= 3) rings.push(ring.map(([x, y]) => [clamp(x / width), clamp(y / height)]));
  }
  return nested(rings);
}

/**
 * The outline of a mask for a region: without specks, simplified to about a pixel, at most `bytes` long as JSON.
 * @param {Uint8Array | Uint8ClampedArray} mask  0..255, of any size over the whole picture
 * @param {number} width @param {number} height @param {Size} size  px of the picture
 * @param {number} [bytes]
 * @returns {Outline | null}  null if nothing is left
 */
export function outlineFromMask(mask, width, height, size, bytes = 8192) {
  const cell = (size[0] / width) * (size[1] / height);
  const speck = Math.max(4, cell) / (size[0] * size[1]);
  const outline = withoutSpecks(traceMask(mask, width, height), speck);
  // Half a cell of a coarse mask is no more than its own uncertainty; a pixel is what the picture can show.
  const found = simplifyOutline(outline, size, Math.max(0.35, 0.35 * Math.sqrt(cell)));
  return found.length === 0 ? null : fitOutline(found, size, bytes);
}

/** Polygons and holes below an area are dropped, relative to the picture; and what is dust beside the largest polygon.
 * @param {Outline} outline @param {number} least @returns {Outline} */
export function withoutSpecks(outline, least) {
  const area = (/** @type {Ring} */ ring) => Math.abs(ringArea(ring));
  const largest = Math.max(0, ...outline.map(([outside]) => area(outside)));
  const limit = Math.max(Math.min(least, largest), largest / 2000);
  return outline.filter(([outside]) => area(outside) >= limit).map((rings) => rings.filter((ring) => area(ring) >= limit));
}

/** @param {Uint8Array | Uint8ClampedArray} mask @param {number} width @param {number} height @param {number} threshold
 * @returns {[number, number, number, number] | null} x, y, width and height of the box around the cells inside */
function insideBox(mask, width, height, threshold) {
  let [x0, y0, x1, y1] = [width, height, -1, -1];
  for (let r = 0; r < height; r++) {
    const row = r * width;
    for (let c = 0; c < width; c++) {
      if (mask[row + c] > threshold) {
        if (c < x0) x0 = c;
        if (c > x1) x1 = c;
        if (y0 > r) y0 = r;
        y1 = r;
      }
    }
  }
  return x1 < 0 ? null : [x0, y0, x1 - x0 + 1, y1 - y0 + 1];
}

/** Add a point, dropping the one before if it lies on the way. @param {Ring} ring @param {Point} point */
function append(ring, point) {
  const n = ring.length;
  if (n >= 2) {
    const [p, q] = [ring[n - 2], ring[n - 1]];
    const cross = (q[0] - p[0]) * (point[1] - q[1]) - (q[1] - p[1]) * (point[0] - q[0]);
    if (Math.abs(cross) < 1e-9) ring.pop();
  }
  ring.push(point);
}

/** Holes into the smallest outside around them. @param {Ring[]} rings @returns {Outline} */
function nested(rings) {
  const areas = new Map(rings.map((ring) => [ring, ringArea(ring)]));
  const size = (/** @type {Ring} */ ring) => areas.get(ring) ?? 0;
  /** @type {Outline} */
  const outline = rings.filter((ring) => size(ring) > 0).map((ring) => [ring]);
  const bySize = [...outline].sort((p, q) => size(p[0]) - size(q[0]));
  for (const hole of rings.filter((ring) => size(ring) < 0)) {
    // The middle of a hole's side is never a corner of another ring.
    /** @type {Point} */
    const point = [(hole[0][0] + hole[1][0]) / 2, (hole[0][1] + hole[1][1]) / 2];
    const around = bySize.find(([outside]) => size(outside) > -size(hole) && contains([[outside]], point));
    around?.push(hole);
  }
  return outline;
}
