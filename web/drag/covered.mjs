/**
 * Which cells of a copy of the picture a preview plan lays something down on.
 *
 * Convention: triangles are 12 numbers in px, as in preview.mjs; a cell is covered when its centre is.
 *
 * @import {Size} from "./types.mjs"
 * @import {Plan} from "./preview.mjs"
 */

import { apply } from "./motion.mjs";
import { mapOutline } from "./rings.mjs";
import { rasterised, spanMask } from "./spans.mjs";

/**
 * @param {Pick<Plan, "meshes" | "regions">} plan @param {Size} size of the picture that the plan is for @param {Size} copy
 * @returns {Uint8Array} [h * w] of 0 and 1
 */
export function covered({ meshes, regions }, size, copy) {
  const mask = new Uint8Array(copy[0] * copy[1]);
  const [sx, sy] = [copy[0] / size[0], copy[1] / size[1]];
  for (const { triangles, within } of meshes) {
    if (within) {
      spanMask(rasterised(within, copy)).forEach((inside, i) => inside && (mask[i] = 1));
      continue;
    }
    const scaled = triangles.map((value, i) => value * (i % 2 ? sy : sx));
    for (let i = 0; i < scaled.length; i += 12) cellsIn(scaled.subarray(i, i + 6), copy, (at) => (mask[at] = 1));
  }
  for (const { outline, matrix } of regions) {
    const moved = mapOutline(outline, ([x, y]) => {
      const [px, py] = apply(matrix, [x * size[0], y * size[1]]);
      return [px / size[0], py / size[1]];
    });
    spanMask(rasterised(moved, copy)).forEach((inside, i) => inside && (mask[i] = 1));
  }
  return mask;
}

/**
 * Every cell in a triangle, and its place there: corner a, plus u of the way to b, plus v of the way to c.
 * @param {ArrayLike<number>} corners  x and y of three @param {Size} size @param {(at: number, u: number, v: number) => void} visit
 */
export function cellsIn(corners, size, visit) {
  const [ax, ay, bx, by, cx, cy] = Array.from(corners);
  const twice = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
  if (Math.abs(twice) < 1e-9) return;
  const rows = [Math.max(0, Math.floor(Math.min(ay, by, cy))), Math.min(size[1], Math.ceil(Math.max(ay, by, cy)))];
  const columns = [Math.max(0, Math.floor(Math.min(ax, bx, cx))), Math.min(size[0], Math.ceil(Math.max(ax, bx, cx)))];
  for (let r = rows[0]; r < rows[1]; r++) {
    for (let c = columns[0]; c < columns[1]; c++) {
      const [x, y] = [c + 0.5 - ax, r + 0.5 - ay];
      const u = (x * (cy - ay) - y * (cx - ax)) / twice;
      const v = (y * (bx - ax) - x * (by - ay)) / twice;
      if (u >= 0 && v >= 0 && u + v <= 1) visit(r * size[0] + c, u, v);
    }
  }
}
