/**
 * Painting a region: the outline becomes coverage on a grid, strokes are joined to it or taken off, and what is there at
 * the end is traced again. A raster union never fails, where the union of polygons has a hundred special cases.
 *
 * Convention: positions are normalised; the grid covers the whole picture with at most `GRID` cells on a side, coverage
 * from 0 to 255. Where an outline is not touched it comes back within half a cell of where it was.
 *
 * @import {Bounds, Outline, Point, Size} from "./types.mjs"
 *
 * @typedef {object} Stroke
 * @property {Size} size  px of the picture
 * @property {number} width  of the grid
 * @property {number} height
 * @property {Uint8Array} cells  coverage [height * width], for the view to draw while painting
 * @property {number} radius  in cells
 * @property {boolean} erase
 * @property {Point | null} last  where the brush was, in cells
 */

import { bounds, clamp } from "./rings.mjs";
import { fitOutline, simplifyOutline } from "./simplify.mjs";
import { crossings } from "./spans.mjs";
import { traceMask, withoutSpecks } from "./trace.mjs";

export const GRID = 1024;
/** Columns per cell on which the coverage of an outline is measured; along the columns it is exact. */
const FINE = 4;

/**
 * @param {Outline | null} outline  what is there already
 * @param {Size} size @param {number} radius  as a fraction of the shorter side @param {boolean} erase
 * @returns {Stroke}
 */
export function startStroke(outline, size, radius, erase) {
  const shrink = Math.min(1, GRID / Math.max(...size));
  const [width, height] = size.map((side) => Math.max(1, Math.round(side * shrink)));
  // A thinner brush would cover no cell by more than half and leave nothing.
  const cells = Math.max(0.75, radius * Math.min(width, height));
  return { size, width, height, cells: coverage(outline ?? [], [width, height]), radius: cells, erase, last: null };
}

/** Two outlines as one, in cells of the grid. @param {Outline} one @param {Outline} other @param {Size} size @returns {Outline} */
export function united(one, other, size) {
  const stroke = startStroke(one, size, 0, false);
  const more = startStroke(other, size, 0, false).cells;
  more.forEach((value, i) => (stroke.cells[i] = Math.max(value, stroke.cells[i])));
  return strokeOutline(stroke) ?? one;
}

/** Paint from where the brush was to a point. @param {Stroke} stroke @param {Point} point
 * @returns {Bounds} the normalised box that may have changed */
export function extendStroke(stroke, point) {
  const { width, height, radius, cells, erase } = stroke;
  /** @type {Point} */
  const to = [point[0] * width, point[1] * height];
  const [fx, fy] = stroke.last ?? to;
  stroke.last = to;
  const reach = radius + 0.5;
  const dx = to[0] - fx;
  const dy = to[1] - fy;
  const scale = 1 / (dx * dx + dy * dy || 1);
  const y0 = Math.max(0, Math.floor(Math.min(fy, to[1]) - reach));
  const y1 = Math.min(height, Math.ceil(Math.max(fy, to[1]) + reach));
  let x0 = width;
  let x1 = 0;
  for (let r = y0; r < y1; r++) {
    // Only the part of the way that is near enough to this row: a long stroke is thin beside the box around it.
    const near = dy === 0 ? 0 : clamp((r + 0.5 - Math.sign(dy) * reach - fy) / dy);
    const far = dy === 0 ? 1 : clamp((r + 0.5 + Math.sign(dy) * reach - fy) / dy);
    const left = Math.max(0, Math.floor(fx + Math.min(near * dx, far * dx) - reach));
    const right = Math.min(width, Math.ceil(fx + Math.max(near * dx, far * dx) + reach));
    x0 = Math.min(x0, left);
    x1 = Math.max(x1, right);
    const y = r + 0.5 - fy;
    for (let c = left; c < right; c++) {
      const x = c + 0.5 - fx;
      const t = Math.min(1, Math.max(0, (x * dx + y * dy) * scale));
      const covered = reach - Math.sqrt((x - t * dx) ** 2 + (y - t * dy) ** 2);
      if (covered <= 0) continue;
      const value = covered >= 1 ? 255 : Math.round(covered * 255);
      const i = r * width + c;
      cells[i] = erase ? Math.min(cells[i], 255 - value) : Math.max(cells[i], value);
    }
  }
  return { x0: Math.min(x0, x1) / width, y0: Math.min(y0, y1) / height, x1: x1 / width, y1: y1 / height };
}

/** What is painted now, simplified. @param {Stroke} stroke @returns {Outline | null} null if nothing is left */
export function strokeOutline({ cells, width, height, size }) {
  const outline = withoutSpecks(traceMask(cells, width, height), Math.max(1 / (width * height), 4 / (size[0] * size[1])));
  const found = simplifyOutline(outline, size, Math.max(0.3, (0.3 * size[0]) / width));
  return found.length === 0 ? null : fitOutline(found, size);
}

/** How much of each cell an outline covers. @param {Outline} outline @param {Size} grid @returns {Uint8Array} 0..255 */
export function coverage(outline, [width, height]) {
  const cells = new Uint8Array(width * height);
  if (outline.length === 0) return cells;
  const sums = new Float32Array(width * height);
  for (const polygon of outline) {
    const { first, columns } = crossings(polygon, [width * FINE, height]);
    columns.forEach((ys, i) => {
      const column = Math.min(width - 1, Math.floor((first + i) / FINE));
      for (let k = 0; k + 1 < ys.length; k += 2) addRun(sums, width, height, column, ys[k], ys[k + 1]);
    });
  }
  const box = bounds(outline);
  for (let r = Math.floor(box.y0 * height); r < Math.min(height, Math.ceil(box.y1 * height)); r++) {
    for (let i = r * width + Math.floor(box.x0 * width); i < r * width + Math.min(width, Math.ceil(box.x1 * width)); i++) {
      cells[i] = Math.min(255, Math.round((sums[i] * 255) / FINE));
    }
  }
  return cells;
}

/** @param {Float32Array} sums @param {number} width @param {number} height
 * @param {number} column @param {number} top @param {number} end */
function addRun(sums, width, height, column, top, end) {
  const last = Math.min(height, Math.ceil(end));
  for (let row = Math.max(0, Math.floor(top)); row < last; row++) {
    sums[row * width + column] += Math.min(end, row + 1) - Math.max(top, row);
  }
}
