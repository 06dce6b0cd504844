/**
 * What may lie behind a thing that moves away: its surroundings, averaged ever more coarsely until the hole is full
 * (push-pull, as core/picture/preview.py). Meant for a copy of the picture of at most `FILL_SIDE` px; drawn larger, it is soft.
 *
 * What is lifted leaves the same hole wherever it goes: while a target is dragged its fill stays the same.
 *
 * @import {Outline, Size} from "./types.mjs"
 * @import {Hole, Plan} from "./preview.mjs"
 */

import { covered } from "./covered.mjs";
import { rasterised, spanMask } from "./spans.mjs";

export const FILL_SIDE = 256;

/** Changes when the fill has to be made anew (or when the picture does, which only the view knows). @param {Hole[]} holes */
export function fillKey(holes) {
  return holes.map(({ outline, lifted }) => `${numberOf(outline)}${lifted ? "" : "?"}`).join(" ");
}

/**
 * What is to be filled: all that is lifted, a cell wider than drawn, so that no seam of what was there shines into the fill; of the other
 * holes what nothing covers again.
 * @param {Plan} plan @param {Size} size  that the plan is for @param {Size} copy @returns {Uint8Array} [h * w] of 0 and 1
 */
export function holeMask(plan, size, copy) {
  const [width, height] = copy;
  const mask = new Uint8Array(width * height);
  for (const { outline } of plan.holes.filter(({ lifted }) => lifted)) {
    spanMask(rasterised(outline, copy)).forEach((inside, i) => {
      if (!inside) return;
      const c = i % width;
      for (const at of [i, i - width, i + width]) if (at >= 0 && at < mask.length) mask[at] = 1;
      if (c > 0) mask[i - 1] = 1;
      if (c < width - 1) mask[i + 1] = 1;
    });
  }
  const left = plan.holes.filter(({ lifted }) => !lifted);
  if (left.length > 0) {
    const laid = covered(plan, size, copy);
    for (const { outline } of left) spanMask(rasterised(outline, copy)).forEach((inside, i) => inside && !laid[i] && (mask[i] = 1));
  }
  barredMask(plan, copy)?.forEach((inside, i) => inside && (mask[i] = 0));
  return mask;
}

/** What stands in front: no ground, neither to be filled nor to fill with. @param {Plan} plan @param {Size} copy
 * @returns {Uint8Array | null} [h * w] of 0 and 1; null: nothing does */
export function barredMask({ pins }, copy) {
  const fronts = pins.filter(({ front }) => front);
  if (fronts.length === 0) return null;
  const mask = new Uint8Array(copy[0] * copy[1]);
  for (const { outline } of fronts) spanMask(rasterised(outline, copy)).forEach((inside, i) => inside && (mask[i] = 1));
  return mask;
}

/**
 * @param {Uint8ClampedArray} rgba @param {number} width @param {number} height @param {Uint8Array} mask  1 where to fill
 * @param {Uint8Array | null} [barred]  1 where nothing may be taken from, though it is not filled
 * @returns {Uint8ClampedArray} a copy; without anything known the holes get the picture's mean
 */
export function fillHoles(rgba, width, height, mask, barred = null) {
  /** @type {Level} */
  const finest = { width, height, sums: new Float32Array(width * height * 3), share: new Float32Array(width * height) };
  const known = mask.some((inside, i) => !inside && !barred?.[i]);
  for (let i = 0; i < mask.length; i++) {
    if (known && (mask[i] || barred?.[i])) continue;
    finest.share[i] = 1;
    for (let k = 0; k < 3; k++) finest.sums[3 * i + k] = rgba[4 * i + k];
  }
  const colours = spread(finest, !known);
  if (!known) {
    const mean = Uint8ClampedArray.from(rgba);
    for (let i = 0; i < mask.length; i++) if (mask[i]) mean.set(colours, 4 * i);
    return mean;
  }
  const filled = Uint8ClampedArray.from(rgba);
  for (let i = 0; i < mask.length; i++) {
    if (mask[i]) filled.set(colours.subarray(3 * i, 3 * i + 3), 4 * i);
  }
  return filled;
}

/**
 * What is known, spread smoothly over the rest.
 *
 * @param {Level} finest @param {boolean} [meanOnly]  only its mean, three numbers
 * @returns {Float32Array} [h * w * 3], or [3]
 */
export function spread(finest, meanOnly = false) {
  const levels = [finest];
  while (Math.max(levels[0].width, levels[0].height) > 1) levels.unshift(halved(levels[0]));
  /** @type {Float32Array} */
  let colours = levels[0].sums.map((sum, i) => sum / Math.max(levels[0].share[Math.floor(i / 3)], 1e-12));
  if (meanOnly) return colours;
  for (let i = 1; i < levels.length; i++) colours = refined(levels[i], levels[i - 1], colours);
  return colours;
}

/** @typedef {{width: number, height: number, sums: Float32Array, share: Float32Array}} Level
 *   sums: [h * w * 3] known colour times how much of a cell is known, its share [h * w] */

/** Every two by two cells become one. @param {Level} fine @returns {Level} */
function halved({ width, height, sums, share }) {
  const [w, h] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  /** @type {Level} */
  const coarse = { width: w, height: h, sums: new Float32Array(w * h * 3), share: new Float32Array(w * h) };
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      const [from, to] = [r * width + c, (r >> 1) * w + (c >> 1)];
      coarse.share[to] += share[from] / 4;
      for (let k = 0; k < 3; k++) coarse.sums[3 * to + k] += sums[3 * from + k] / 4;
    }
  }
  return coarse;
}

/** What a level lacks comes from the coarser one, bilinear. @param {Level} level @param {Level} coarse @param {Float32Array} colours
 * @returns {Float32Array} [h * w * 3] */
function refined({ width, height, sums, share }, coarse, colours) {
  const out = new Float32Array(width * height * 3);
  for (let r = 0; r < height; r++) {
    const [r0, r1, fr] = between(r, coarse.height);
    for (let c = 0; c < width; c++) {
      const i = r * width + c;
      const rest = 1 - share[i];
      if (rest <= 0) {
        out.set(sums.subarray(3 * i, 3 * i + 3), 3 * i);
        continue;
      }
      const [c0, c1, fc] = between(c, coarse.width);
      const [a, b, d, e] = [r0 * coarse.width + c0, r0 * coarse.width + c1, r1 * coarse.width + c0, r1 * coarse.width + c1];
      for (let k = 0; k < 3; k++) {
        const upper = colours[3 * a + k] * (1 - fc) + colours[3 * b + k] * fc;
        const lower = colours[3 * d + k] * (1 - fc) + colours[3 * e + k] * fc;
        out[3 * i + k] = sums[3 * i + k] + (upper * (1 - fr) + lower * fr) * rest;
      }
    }
  }
  return out;
}

/** The two coarse cells around a fine one, and the share of the second. @param {number} fine @param {number} length
 * @returns {[number, number, number]} */
function between(fine, length) {
  const at = (fine + 0.5) / 2 - 0.5;
  const low = Math.floor(at);
  return [Math.max(0, low), Math.min(length - 1, low + 1), at - low];
}

/**
 * What something in front hides of a thing, filled smoothly from the rest of that, and the rim of what hides it with it (core's `uncovered`).
 * @param {Uint8ClampedArray} rgba @param {Size} size of the copy @param {Outline} body @param {Outline[]} fronts
 * @returns {Uint8ClampedArray} a copy; the picture itself where nothing is hidden, or all
 */
export function uncovered(rgba, size, body, fronts) {
  const [width, height] = size;
  const own = spanMask(rasterised(body, size));
  const hides = new Uint8Array(width * height);
  for (const outline of fronts) spanMask(rasterised(outline, size)).forEach((inside, i) => inside && (hides[i] = 1));
  const near = hides.map((inside, i) => {
    const c = i % width;
    return inside || hides[i - width] || hides[i + width] || (c > 0 && hides[i - 1]) || (c < width - 1 && hides[i + 1]) ? 1 : 0;
  });
  const unknown = own.map((inside, i) => (inside && !near[i] ? 0 : 1));
  if (!unknown.includes(0)) return rgba;
  const filled = fillHoles(rgba, width, height, unknown);
  const result = Uint8ClampedArray.from(rgba);
  own.forEach((inside, i) => inside && near[i] && result.set(filled.subarray(4 * i, 4 * i + 3), 4 * i));
  return result;
}

/** @type {WeakMap<Outline, number>} */
const numbers = new WeakMap();
let last = 0;

/** @param {Outline} outline @returns {number} the same for the same object */
export function numberOf(outline) {
  const known = numbers.get(outline) ?? ++last;
  numbers.set(outline, known);
  return known;
}
