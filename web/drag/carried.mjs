/**
 * What handle points take along on a picture, as triangles: what is around a handle moves as one body, what is joined to it
 * gives, the rest stays (core/field/carried.py).
 *
 * Convention: `size` in px; of each triangle 12 numbers: its corners on the target, then in the source. Shares are in cells
 * (selection.mjs) over the whole picture.
 *
 * @import {Outline, Point, Size} from "./types.mjs"
 * @import {Cells} from "./selection.mjs"
 *
 * @typedef {[Point, Point]} Pair  handle and target, normalised
 * @typedef {object} Body  what moves as one
 * @property {Float64Array} alpha  [h * w], the share of the way that each cell goes
 * @property {number} width @property {number} height @property {Pair[]} pairs
 */

import { pointRadius } from "./gradient_mask.mjs";
import { joined, travelled } from "./joined.mjs";
import { contains } from "./rings.mjs";
import { indexOf, selectCells } from "./selection.mjs";

const STEPS = 24;
const TORN = 6;
const GIVING = 1.5;
const NEAREST = 1e-4;
const STILL = 1e-6;
const BORDER = 0.25;
/** Of the shorter side: how fine the mesh is. */
const MESH = 1 / 96;

/** Remembered for the last picture and handles: while a target is dragged they stay. @type {{cells: Cells | null, key: string, soft: Float64Array}} */
const last = { cells: null, key: "", soft: new Float64Array() };

/**
 * @param {Cells} cells  the picture @param {Pair[]} pairs @param {Size} size of the picture @param {Outline | null} editable
 * @returns {Body[]}
 */
export function bodiesOf(cells, pairs, size, editable) {
  const { width, height } = cells;
  const distance = (/** @type {Pair} */ [h, t]) => Math.hypot((t[0] - h[0]) * size[0], (t[1] - h[1]) * size[1]);
  const moving = pairs.filter((pair) => distance(pair) > STILL);
  if (moving.length === 0) return [];
  /** @type {Point[]} */
  const seeds = moving.map(([h]) => [h[0] * width, h[1] * height]);
  const key = String(seeds);
  if (last.cells !== cells || last.key !== key) Object.assign(last, { cells, key, soft: selectCells(cells, seeds) });
  const scale = Math.min(width / size[0], height / size[1]);
  const length = Math.max(1, (GIVING * Math.max(...moving.map(distance)) + pointRadius(size)) * scale);
  let alpha = joined(cells, last.soft, seeds, length);
  if (editable) {
    const stays = Uint8Array.from(alpha, (_, i) => {
      const place = /** @type {Point} */ ([((i % width) + 0.5) / width, (Math.floor(i / width) + 0.5) / height]);
      return contains(editable, place) ? 0 : 1;
    });
    const rest = Math.max(1, length * BORDER);
    const far = travelled(stays, new Float64Array(alpha.length).fill(1), width, height, rest);
    alpha = alpha.map((a, i) => a * Math.min(1, far[i] / rest));
  }
  const piece = pieces(alpha, width, height);
  const at = (/** @type {Pair} */ [h]) => piece[indexOf([h[0] * width, h[1] * height], width, height)];
  const numbers = new Set(moving.map(at).filter((number) => number > 0));
  return [...numbers].map((number) => ({
    width, height, alpha: alpha.map((a, i) => (piece[i] === number ? a : 0)), pairs: pairs.filter((pair) => at(pair) === number),
  }));
}

/**
 * Where a place's content comes from, and how far that went along: 0 where nothing of a body shows.
 * @param {Body} body @param {Point} place  px @param {Size} size @param {number} progress
 * @returns {{source: Point, went: number, torn: boolean}}
 */
export function sourceOf(body, place, size, progress = 1) {
  let [vx, vy, total] = [0, 0, 0];
  for (const [h, t] of body.pairs) {
    const [dx, dy] = [(t[0] - h[0]) * size[0] * progress, (t[1] - h[1]) * size[1] * progress];
    const share = 1 / ((place[0] - h[0] * size[0] - dx) ** 2 + (place[1] - h[1] * size[1] - dy) ** 2 + NEAREST);
    [vx, vy, total] = [vx - share * dx, vy - share * dy, total + share];
  }
  [vx, vy] = [vx / total, vy / total];
  let before = 0;
  for (let step = STEPS; step >= 0; step--) {
    const s = step / STEPS;
    const over = read(body, [place[0] + s * vx, place[1] + s * vy], size) - s;
    if (over >= 0) {
      const lack = Math.max(over - before, 1e-6);
      const went = step === STEPS ? 1 : s + Math.min(1, over / lack) / STEPS;
      const source = /** @type {Point} */ ([
        Math.min(size[0], Math.max(0, place[0] + went * vx)), Math.min(size[1], Math.max(0, place[1] + went * vy)),
      ]);
      return { source, went, torn: step < STEPS && went > 0 && lack * STEPS > TORN };
    }
    before = over;
  }
  return { source: place, went: 0, torn: false };
}

/**
 * @param {Body[]} bodies @param {Size} size @param {Outline | null} editable @param {number} progress @returns {number[]} triangles
 */
export function carriedTriangles(bodies, size, editable, progress = 1) {
  const step = Math.max(2, Math.min(...size) * MESH);
  const [columns, rows] = size.map((side) => Math.ceil(side / step));
  const boxed = bodies.map((body) => ({ body, box: boxOf(body, size) }));
  /** @type {number[]} */
  const triangles = [];
  const corners = Array.from({ length: (columns + 1) * (rows + 1) }, (_, n) => {
    const place = /** @type {Point} */ ([
      Math.min(size[0], (n % (columns + 1)) * step), Math.min(size[1], Math.floor(n / (columns + 1)) * step),
    ]);
    /** @type {{source: Point, went: number, torn: boolean}} */
    let best = { source: place, went: 0, torn: false };
    for (const { body, box } of boxed) {
      if (place[0] < box[0] || place[1] < box[1] || place[0] > box[2] || place[1] > box[3]) continue;
      const found = sourceOf(body, place, size, progress);
      if (found.went > best.went && !found.torn) best = found;
    }
    return { place, ...best };
  });
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      const n = j * (columns + 1) + i;
      const [a, b, c, d] = [corners[n], corners[n + 1], corners[n + columns + 2], corners[n + columns + 1]];
      if (a.went + b.went + c.went + d.went === 0) continue;
      const middle = /** @type {Point} */ ([(a.place[0] + c.place[0]) / 2 / size[0], (a.place[1] + c.place[1]) / 2 / size[1]]);
      if (editable && !contains(editable, middle)) continue;
      for (const three of [[a, b, c], [a, c, d]]) {
        triangles.push(...three.flatMap((corner) => corner.place), ...three.flatMap((corner) => corner.source));
      }
    }
  }
  return triangles;
}

/** What can show something of a body: its cells, farther by its longest way. @param {Body} body @param {Size} size px
 * @returns {[number, number, number, number]} */
function boxOf({ alpha, width, height, pairs }, size) {
  const longest = Math.max(...pairs.map(([h, t]) => Math.hypot((t[0] - h[0]) * size[0], (t[1] - h[1]) * size[1])));
  let [x0, y0, x1, y1] = [width, height, 0, 0];
  for (let i = 0; i < alpha.length; i++) {
    if (alpha[i] <= 0) continue;
    const [c, r] = [i % width, Math.floor(i / width)];
    [x0, y0, x1, y1] = [Math.min(x0, c), Math.min(y0, r), Math.max(x1, c), Math.max(y1, r)];
  }
  const [sx, sy] = [size[0] / width, size[1] / height];
  return [(x0 - 1) * sx - longest, (y0 - 1) * sy - longest, (x1 + 2) * sx + longest, (y1 + 2) * sy + longest];
}

/** The share at a place, bilinear between cells; beyond the border as at it. @param {Body} body @param {Point} place px @param {Size} size */
function read({ alpha, width, height }, [x, y], size) {
  const u = Math.min(width - 1, Math.max(0, (x * width) / size[0] - 0.5));
  const v = Math.min(height - 1, Math.max(0, (y * height) / size[1] - 0.5));
  const [c, r] = [Math.floor(u), Math.floor(v)];
  const [e, s] = [Math.min(width - 1, c + 1), Math.min(height - 1, r + 1)];
  const top = alpha[r * width + c] * (1 - u + c) + alpha[r * width + e] * (u - c);
  const low = alpha[s * width + c] * (1 - u + c) + alpha[s * width + e] * (u - c);
  return top * (1 - v + r) + low * (v - r);
}

/** Which piece (8-connected) of what goes anywhere each cell is in, from 1; 0 for none. @param {Float64Array} alpha
 * @param {number} width @param {number} height */
function pieces(alpha, width, height) {
  const piece = new Int32Array(alpha.length);
  let count = 0;
  for (let first = 0; first < alpha.length; first++) {
    if (alpha[first] <= 0 || piece[first]) continue;
    piece[first] = ++count;
    for (const ahead = [first]; ahead.length > 0; ) {
      const i = /** @type {number} */ (ahead.pop());
      const [c, r] = [i % width, Math.floor(i / width)];
      for (let y = Math.max(0, r - 1); y <= Math.min(height - 1, r + 1); y++) {
        for (let x = Math.max(0, c - 1); x <= Math.min(width - 1, c + 1); x++) {
          const j = y * width + x;
          if (alpha[j] <= 0 || piece[j]) continue;
          piece[j] = count;
          ahead.push(j);
        }
      }
    }
  }
  return piece;
}
