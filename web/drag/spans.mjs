/**
 * Which pixels an outline covers, as runs down each column: core's fill rule, without a bitmap of the picture.
 *
 * A region of a 4096 x 4096 picture is a few thousand runs, found in about a millisecond and remembered per outline, so
 * that centroid, area and overlap never cost a full raster while something is dragged.
 *
 * Convention: as core/instruction/outline.py: a pixel belongs to the outline when its centre lies inside one polygon,
 * even-odd between the rings of a polygon; a centre exactly on an edge belongs to the side of larger x or y.
 *
 * @import {Outline, Point, Polygon, Size} from "./types.mjs"
 *
 * @typedef {object} Spans
 * @property {Size} size
 * @property {number} first  the leftmost column
 * @property {Int32Array[]} columns  from `first` on; of each the runs [top, end, top, end, ...], sorted, end exclusive
 */

/** @type {WeakMap<Outline, Spans>} */
const remembered = new WeakMap();
/** @type {WeakMap<Spans, Point | null>} */
const centroids = new WeakMap();

/** The runs of an outline on a picture of `size` px. @param {Outline} outline @param {Size} size @returns {Spans} */
export function spansOf(outline, size) {
  const known = remembered.get(outline);
  if (known && known.size[0] === size[0] && known.size[1] === size[1]) return known;
  const spans = rasterised(outline, size);
  remembered.set(outline, spans);
  return spans;
}

/** The same for a size that is asked for once, without remembering it. @param {Outline} outline @param {Size} size @returns {Spans} */
export function rasterised(outline, size) {
  const parts = outline.map((polygon) => polygonSpans(polygon, size));
  return parts.length === 1 ? parts[0] : parts.reduce(union, { size, first: 0, columns: [] });
}

/** @param {Spans} spans @returns {number} pixels */
export function spanArea(spans) {
  let area = 0;
  for (const runs of spans.columns) {
    for (let i = 0; i < runs.length; i += 2) area += runs[i + 1] - runs[i];
  }
  return area;
}

/** Mean of the pixel centres, as core's `centroid`. @param {Spans} spans @returns {Point | null} px; null if empty */
export function spanCentroid(spans) {
  const known = centroids.get(spans);
  if (known !== undefined) return known;
  let area = 0;
  let x = 0;
  let y = 0;
  spans.columns.forEach((runs, i) => {
    for (let k = 0; k < runs.length; k += 2) {
      const count = runs[k + 1] - runs[k];
      area += count;
      x += count * (spans.first + i + 0.5);
      y += (count * (runs[k] + runs[k + 1])) / 2;
    }
  });
  /** @type {Point | null} */
  const found = area === 0 ? null : [x / area, y / area];
  centroids.set(spans, found);
  return found;
}

/** How many pixels both cover. @param {Spans} a @param {Spans} b @returns {number} */
export function sharedPixels(a, b) {
  let shared = 0;
  const first = Math.max(a.first, b.first);
  const end = Math.min(a.first + a.columns.length, b.first + b.columns.length);
  for (let column = first; column < end; column++) {
    const p = a.columns[column - a.first];
    const q = b.columns[column - b.first];
    for (let i = 0, j = 0; i < p.length && j < q.length; ) {
      shared += Math.max(0, Math.min(p[i + 1], q[j + 1]) - Math.max(p[i], q[j]));
      if (p[i + 1] < q[j + 1]) i += 2;
      else j += 2;
    }
  }
  return shared;
}

/** What either covers. @param {Spans} a @param {Spans} b @returns {Spans} */
export function union(a, b) {
  if (a.columns.length === 0) return b;
  if (b.columns.length === 0) return a;
  const first = Math.min(a.first, b.first);
  const end = Math.max(a.first + a.columns.length, b.first + b.columns.length);
  const columns = [];
  for (let column = first; column < end; column++) {
    columns.push(joined(a.columns[column - a.first] ?? NONE, b.columns[column - b.first] ?? NONE));
  }
  return { size: a.size, first, columns };
}

/** As a bitmap [h * w] of 0 and 1. @param {Spans} spans @returns {Uint8Array} */
export function spanMask(spans) {
  const [width, height] = spans.size;
  const mask = new Uint8Array(width * height);
  spans.columns.forEach((runs, i) => {
    for (let k = 0; k < runs.length; k += 2) {
      for (let row = runs[k]; row < runs[k + 1]; row++) mask[row * width + spans.first + i] = 1;
    }
  });
  return mask;
}

/** @param {Outline} outline @param {Size} size @returns {Uint8Array} [h * w] of 0 and 1 */
export function fillMask(outline, size) {
  return spanMask(spansOf(outline, size));
}

const NONE = new Int32Array(0);

/**
 * Where the edges of a polygon cross the middle of each column of cells, sorted and in px: between an odd crossing and
 * the next, the column is inside. An edge is always walked from left to right, so that the two polygons beside it find
 * the same crossings.
 * @param {Polygon} polygon @param {Size} size @returns {{first: number, columns: number[][]}}
 */
export function crossings(polygon, [width, height]) {
  let low = Infinity;
  let high = -Infinity;
  for (const ring of polygon) {
    for (const [x] of ring) {
      low = Math.min(low, x);
      high = Math.max(high, x);
    }
  }
  const first = Math.ceil(low * width - 0.5);
  const end = Math.max(first, Math.ceil(high * width - 0.5));
  /** @type {number[][]} */
  const columns = Array.from({ length: end - first }, () => []);
  for (const ring of polygon) {
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      const [p, q] = ring[j][0] * width > ring[i][0] * width ? [ring[i], ring[j]] : [ring[j], ring[i]];
      const [x0, y0, x1, y1] = [p[0] * width, p[1] * height, q[0] * width, q[1] * height];
      const until = Math.ceil(x1 - 0.5);
      const slope = (y1 - y0) / (x1 - x0);
      for (let c = Math.ceil(x0 - 0.5); c < until; c++) columns[c - first].push(y0 + (c + 0.5 - x0) * slope);
    }
  }
  for (const column of columns) column.sort((a, b) => a - b);
  return { first, columns };
}

/** @param {Polygon} polygon @param {Size} size @returns {Spans} */
function polygonSpans(polygon, size) {
  const { first, columns } = crossings(polygon, size);
  return {
    size,
    first,
    columns: columns.map((ys) => {
      const runs = [];
      for (let i = 0; i + 1 < ys.length; i += 2) {
        const [top, end] = [Math.ceil(ys[i] - 0.5), Math.ceil(ys[i + 1] - 0.5)];
        if (end > top) runs.push(top, end);
      }
      return Int32Array.from(runs);
    }),
  };
}

/** @param {Int32Array} p @param {Int32Array} q @returns {Int32Array} */
function joined(p, q) {
  if (p.length === 0) return q;
  if (q.length === 0) return p;
  /** @type {number[]} */
  const runs = [];
  for (let i = 0, j = 0; i < p.length || j < q.length; ) {
    const next = j >= q.length || (i < p.length && p[i] <= q[j]) ? p.subarray(i, (i += 2)) : q.subarray(j, (j += 2));
    if (runs.length > 0 && next[0] <= runs[runs.length - 1]) runs.push(Math.max(Number(runs.pop()), next[1]));
    else runs.push(next[0], next[1]);
  }
  return Int32Array.from(runs);
}
