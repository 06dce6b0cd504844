/**
 * The preview on plain bytes, pixel by pixel: what a view that draws `previewPlan` should look like. Slow; for tests.
 *
 * @import {Matrix, Outline, Point, Size, State} from "./types.mjs"
 */

import { cellsIn } from "./covered.mjs";
import { barredMask, holeMask, uncovered } from "./fill.mjs";
import { fillGround } from "./ground.mjs";
import { apply, invert } from "./motion.mjs";
import { previewPlan } from "./preview.mjs";
import { rasterised, spanMask } from "./spans.mjs";

/**
 * @param {Uint8ClampedArray} rgba @param {number} width @param {number} height @param {State} state @param {number} progress
 * @param {import("./selection.mjs").Cells | null} cells  as of `previewPlan`
 * @returns {Uint8ClampedArray} a new picture
 */
export function renderPreview(rgba, width, height, state, progress = 1, cells = null) {
  /** @type {Size} */
  const size = [width, height];
  const plan = previewPlan(state, size, progress, cells);
  const result = Uint8ClampedArray.from(rgba);
  const hole = holeMask(plan, size, size);
  copy(result, fillGround(rgba, width, height, hole, barredMask(plan, size)), hole);
  const seen = (/** @type {Outline | undefined} */ body, /** @type {Outline[]} */ fronts = []) =>
    body && fronts.length > 0 ? uncovered(rgba, size, body, fronts) : rgba;
  for (const { triangles, withheld, within, body, fronts } of plan.meshes) {
    const source = seen(body, fronts);
    const away = joined(withheld, size);
    const shown = within && masked(within, size);
    for (let i = 0; i < triangles.length; i += 12) drawTriangle(result, source, size, triangles.subarray(i, i + 12), away, shown);
  }
  for (const { outline, matrix, withheld, body, fronts } of plan.regions) {
    drawRegion(result, seen(body, fronts), size, masked(outline, size), matrix, joined(withheld, size));
  }
  for (const { outline } of plan.pins) copy(result, rgba, masked(outline, size));
  if (plan.editable) {
    const free = masked(plan.editable, size);
    copy(result, rgba, free.map((inside) => 1 - inside));
  }
  return result;
}

/** @param {Outline[]} outlines @param {Size} size */
function joined(outlines, size) {
  const mask = new Uint8Array(size[0] * size[1]);
  for (const outline of outlines) masked(outline, size).forEach((inside, i) => inside && (mask[i] = 1));
  return mask;
}

/** @param {Outline} outline @param {Size} size */
function masked(outline, size) {
  return spanMask(rasterised(outline, size));
}

/** @param {Uint8ClampedArray} into @param {Uint8ClampedArray} from @param {Uint8Array} mask */
function copy(into, from, mask) {
  mask.forEach((inside, i) => inside && into.set(from.subarray(4 * i, 4 * i + 4), 4 * i));
}

/** Pixels whose source lies in the region: its soft mask there is above one half, as core has it; where it shrinks, on the mean of all that a
 * pixel takes in, whose colour it is.
 * @param {Uint8ClampedArray} into @param {Uint8ClampedArray} from @param {Size} size @param {Uint8Array} mask @param {Matrix} matrix
 * @param {Uint8Array} away  what is not carried */
function drawRegion(into, from, size, mask, matrix, away) {
  const back = invert(matrix);
  const soft = Float32Array.from(mask);
  const [columns, rows] = [Math.hypot(matrix[0], matrix[3]), Math.hypot(matrix[1], matrix[4])].map((factor) => Math.max(1, Math.ceil(1 / factor - 1e-9)));
  const beside = Array.from({ length: columns * rows }, (_, i) => [((i % columns) + 0.5) / columns, (Math.floor(i / columns) + 0.5) / rows]);
  for (let r = 0; r < size[1]; r++) {
    for (let c = 0; c < size[0]; c++) {
      const places = beside.map(([x, y]) => apply(back, [c + x, r + y]));
      const shares = places.map((at) => read(soft, size, 1, 0, at, false));
      const share = shares.reduce((a, b) => a + b);
      if (share / places.length <= 0.5 + 1e-6 || away[cellOf(apply(back, [c + 0.5, r + 0.5]), size)]) continue;
      for (let k = 0; k < 4; k++) {
        const sum = places.reduce((total, at, i) => total + shares[i] * read(from, size, 4, k, at, true), 0);
        into[4 * (r * size[0] + c) + k] = Math.round(sum / share);
      }
    }
  }
}

/** @param {Uint8ClampedArray} into @param {Uint8ClampedArray} from @param {Size} size @param {Float32Array} t
 * @param {Uint8Array} away @param {Uint8Array} [shown]  where alone it is drawn */
function drawTriangle(into, from, size, t, away, shown) {
  cellsIn(t, size, (i, u, v) => {
    const at = /** @type {Point} */ ([6, 7].map((k) => t[k] + u * (t[k + 2] - t[k]) + v * (t[k + 4] - t[k])));
    if ((!shown || shown[i]) && !away[cellOf(at, size)]) paint(into, i, from, size, at);
  });
}

/** @param {Uint8ClampedArray} into @param {number} i @param {Uint8ClampedArray} from @param {Size} size @param {Point} at */
function paint(into, i, from, size, at) {
  for (let k = 0; k < 4; k++) into[4 * i + k] = Math.round(read(from, size, 4, k, at, true));
}

/** @param {Point} at @param {Size} size */
function cellOf([x, y], [width, height]) {
  return Math.min(height - 1, Math.max(0, Math.floor(y))) * width + Math.min(width - 1, Math.max(0, Math.floor(x)));
}

/** Bilinear. @param {ArrayLike<number>} values @param {Size} size @param {number} channels @param {number} k @param {Point} at
 * @param {boolean} border  repeat the border, or read 0 beyond it */
function read(values, [width, height], channels, k, [x, y], border) {
  let [u, v] = [x - 0.5, y - 0.5];
  if (border) [u, v] = [Math.min(width - 1, Math.max(0, u)), Math.min(height - 1, Math.max(0, v))];
  const [c, r] = [Math.floor(u), Math.floor(v)];
  let sum = 0;
  for (const [dc, dr, share] of [
    [0, 0, (1 - u + c) * (1 - v + r)], [1, 0, (u - c) * (1 - v + r)], [0, 1, (1 - u + c) * (v - r)], [1, 1, (u - c) * (v - r)],
  ]) {
    if (c + dc >= 0 && c + dc < width && r + dr >= 0 && r + dr < height) sum += share * values[channels * ((r + dr) * width + c + dc) + k];
  }
  return sum;
}
