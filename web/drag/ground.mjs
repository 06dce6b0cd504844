/**
 * What was behind a thing that moves away: ground that the picture shows elsewhere, moved there as it is (core/picture/ground_fill.py, whose
 * words, numbers and steps these are). What finds no place is filled smoothly, as fill.mjs does.
 *
 * Convention: pictures are RGBA of width x height px, masks Uint8Array [h * w] of 0 and 1, shifts [x, y] px.
 *
 * @import {Level} from "./fill.mjs"
 */

import { fillHoles, spread } from "./fill.mjs";

export const RING = 6;
export const SIDE = 160;
export const CANDIDATES = 6;
export const SHARE = 0.8;
const HALVINGS = 4;
const SMALLEST = 16;

/**
 * @param {Uint8ClampedArray} rgba @param {number} width @param {number} height @param {Uint8Array} hole  1 where to fill
 * @param {Uint8Array | null} [barred]  1 where nothing may be taken from, though it is no hole
 * @returns {Uint8ClampedArray} a copy; only the hole differs
 */
export function fillGround(rgba, width, height, hole, barred = null) {
  const smooth = fillHoles(rgba, width, height, hole, barred);
  const known = Uint8Array.from(hole, (inside, i) => (inside || barred?.[i] ? 0 : 1));
  if (!hole.includes(1) || !known.includes(1)) return smooth;
  /** @type {Work} */
  const work = { rgba, width, height, known, ground: Uint8Array.from(known), result: Float32Array.from(smooth) };
  // The largest first: what is copied into it is ground for those beside it.
  for (const piece of pieces(hole, width, height)) if (piece.length >= SMALLEST) fill(work, piece, HALVINGS);
  for (let i = 0; i < hole.length; i++) {
    if (!hole[i]) continue;
    for (let k = 4 * i; k < 4 * i + 3; k++) smooth[k] = smooth[k] + SHARE * (work.result[k] - smooth[k]);
  }
  return smooth;
}

/** @typedef {{rgba: Uint8ClampedArray, width: number, height: number, known: Uint8Array, ground: Uint8Array, result: Float32Array}} Work
 *   known: may be copied; ground: a ring may be compared with it; result: RGBA so far */

/** Connected parts, corners count, the largest first. @param {Uint8Array} hole @param {number} width @param {number} height
 * @returns {number[][]} pixel numbers each, in reading order */
function pieces(hole, width, height) {
  const left = Uint8Array.from(hole);
  const found = [];
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    const piece = [start];
    left[start] = 0;
    for (let i = 0; i < piece.length; i++) {
      const [r, c] = [Math.floor(piece[i] / width), piece[i] % width];
      for (let y = Math.max(0, r - 1); y <= Math.min(height - 1, r + 1); y++) {
        for (let x = Math.max(0, c - 1); x <= Math.min(width - 1, c + 1); x++) {
          if (!left[y * width + x]) continue;
          left[y * width + x] = 0;
          piece.push(y * width + x);
        }
      }
    }
    found.push(piece.sort((a, b) => a - b));
  }
  return found.sort((a, b) => b.length - a.length);
}

/** @param {Work} work @param {number[]} piece @param {number} halvings */
function fill(work, piece, halvings) {
  const { rgba, width, result, ground } = work;
  const ring = ringOf(work, piece);
  if (ring.length === 0) return;
  const shift = bestShift(work, piece, ring);
  if (shift === null) {
    if (halvings > 0) for (const half of halves(piece, width)) if (half.length > 0) fill(work, half, halvings - 1);
    return;
  }
  const by = shift[1] * width + shift[0];
  const box = boxOf([...piece, ...ring], width);
  /** @type {Level} */
  const level = { width: box.width, height: box.height, sums: new Float32Array(box.width * box.height * 3), share: new Float32Array(box.width * box.height) };
  for (const i of ring) {
    const at = box.at(i);
    level.share[at] = 1;
    for (let k = 0; k < 3; k++) level.sums[3 * at + k] = result[4 * i + k] - rgba[4 * (i + by) + k];
  }
  const off = spread(level);
  for (const i of piece) {
    for (let k = 0; k < 3; k++) result[4 * i + k] = Math.min(255, Math.max(0, rgba[4 * (i + by) + k] + off[3 * box.at(i) + k]));
    ground[i] = 1;
  }
}

/** Known ground within RING px of a piece, to every side. @param {Work} work @param {number[]} piece @returns {number[]} */
function ringOf({ width, height, ground }, piece) {
  const inside = new Set(piece);
  /** @type {Set<number>} */
  const ring = new Set();
  for (const i of piece) {
    const [r, c] = [Math.floor(i / width), i % width];
    // Only from the piece's edge does anything new come.
    if (c > 0 && c < width - 1 && r > 0 && r < height - 1 && inside.has(i - 1) && inside.has(i + 1) && inside.has(i - width) && inside.has(i + width)) continue;
    for (let y = Math.max(0, r - RING); y <= Math.min(height - 1, r + RING); y++) {
      for (let x = Math.max(0, c - RING); x <= Math.min(width - 1, c + RING); x++) {
        const at = y * width + x;
        if (ground[at] && !inside.has(at)) ring.add(at);
      }
    }
  }
  return [...ring].sort((a, b) => a - b);
}

/** The shift to the place where the ring fits best and all under the piece is known. @param {Work} work @param {number[]} piece
 * @param {number[]} ring @returns {[number, number] | null} */
export function bestShift(work, piece, ring) {
  const { rgba, width, height, known, result } = work;
  const step = Math.max(1, Math.ceil(Math.max(width, height) / SIDE));
  const box = boxOf([...piece, ...ring], width);
  let least = Infinity;
  /** @type {[number, number] | null} */
  let best = null;
  for (const [dx, dy] of coarse(work, piece, ring, step)) {
    for (let y = dy - step; y <= dy + step; y++) {
      if (box.top + y < 0 || box.top + box.height - 1 + y >= height) continue;
      for (let x = dx - step; x <= dx + step; x++) {
        if (box.left + x < 0 || box.left + box.width - 1 + x >= width) continue;
        const by = y * width + x;
        if (!ring.every((i) => known[i + by]) || !piece.every((i) => known[i + by])) continue;
        let cost = 0;
        for (const i of ring) for (let k = 0; k < 3; k++) cost += (rgba[4 * (i + by) + k] - result[4 * i + k]) ** 2;
        if (cost < least) [least, best] = [cost, [x, y]];
      }
    }
  }
  return best;
}

/** Shifts worth looking at, best first, multiples of `step`. @param {Work} work @param {number[]} piece @param {number[]} ring
 * @param {number} step @returns {[number, number][]} */
function coarse({ rgba, width, height, known, result }, piece, ring, step) {
  const [w, h] = [Math.ceil(width / step), Math.ceil(height / step)];
  const all = Array.from(known.keys()).filter((i) => known[i]);
  const source = blocks(rgba, all, width, w, h, step);
  const target = blocks(result, ring, width, w, h, step);
  const needed = new Uint8Array(w * h);
  for (const i of [...piece, ...ring]) needed[Math.floor(Math.floor(i / width) / step) * w + Math.floor((i % width) / step)] = 1;
  const cells = Array.from(needed.keys()).filter((i) => needed[i]);
  const compared = cells.filter((i) => target.share[i] > 0);
  const box = boxOf(cells, w);
  const found = [];
  for (let y = -box.top; y <= h - box.height - box.top; y++) {
    for (let x = -box.left; x <= w - box.width - box.left; x++) {
      const by = y * w + x;
      // Blocks that are half unknown may do: the pixels decide.
      if (!cells.every((i) => source.share[i + by] > 0.5)) continue;
      let cost = 0;
      for (const i of compared) {
        for (let k = 0; k < 3; k++) cost += target.share[i] * (source.means[3 * (i + by) + k] - target.means[3 * i + k]) ** 2;
      }
      found.push({ cost, x, y });
    }
  }
  found.sort((a, b) => a.cost - b.cost);
  return found.slice(0, CANDIDATES).map(({ x, y }) => [x * step, y * step]);
}

/** Means of the counted pixels of each block, and their share. @param {ArrayLike<number>} rgba @param {number[]} counted
 * @param {number} width @param {number} w @param {number} h @param {number} step */
function blocks(rgba, counted, width, w, h, step) {
  const [means, share] = [new Float32Array(w * h * 3), new Float32Array(w * h)];
  for (const i of counted) {
    const at = Math.floor(Math.floor(i / width) / step) * w + Math.floor((i % width) / step);
    share[at] += 1;
    for (let k = 0; k < 3; k++) means[3 * at + k] += rgba[4 * i + k];
  }
  for (let at = 0; at < share.length; at++) {
    for (let k = 0; k < 3; k++) means[3 * at + k] /= Math.max(share[at], 1);
    share[at] /= step * step;
  }
  return { means, share };
}

/** A piece cut across the longer side of its box. @param {number[]} piece @param {number} width @returns {[number[], number[]]} */
function halves(piece, width) {
  const box = boxOf(piece, width);
  const tall = box.height >= box.width;
  const middle = tall ? Math.floor(box.top + box.height / 2) : Math.floor(box.left + box.width / 2);
  const first = (/** @type {number} */ i) => (tall ? Math.floor(i / width) : i % width) < middle;
  return [piece.filter(first), piece.filter((i) => !first(i))];
}

/** @param {number[]} pixels @param {number} width */
function boxOf(pixels, width) {
  let [left, top, right, low] = [Infinity, Infinity, -1, -1];
  for (const i of pixels) {
    const [r, c] = [Math.floor(i / width), i % width];
    [left, top, right, low] = [Math.min(left, c), Math.min(top, r), Math.max(right, c), Math.max(low, r)];
  }
  const across = right - left + 1;
  return {
    left, top, width: across, height: low - top + 1,
    at: (/** @type {number} */ i) => (Math.floor(i / width) - top) * across + (i % width) - left,
  };
}
