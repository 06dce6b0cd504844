/**
 * Where an edit by points alone may change the picture: what the auto soft mask leaves open at all (`point_masks` of core/optimise/soft_mask.py).
 * It fades out along the way of each handle and is cut off at two standard deviations, in a square.
 *
 * Convention: as core, it is drawn in cells of two px.
 *
 * @import {Point, Ring, Size, State} from "./types.mjs"
 */

import { convexHull } from "./hull.mjs";
import { frameOf } from "./model.mjs";
import { scaled } from "./motion.mjs";
import { cutToPicture } from "./rings.mjs";

/** One standard deviation, of the picture's shorter side. */
export const WIDTH = 60 / 512;
const CELL = 2;

/**
 * A ring for each visible pair of points, cut to the picture. Their union is the mask, less pins and what is not editable.
 * @param {State} state @param {Size} size @param {number} width  one standard deviation, of the shorter side @returns {Ring[]} normalised
 */
export function softOutlines(state, size = frameOf(state), width = WIDTH) {
  const sigma = (width * Math.min(...size)) / CELL;
  // OpenCV's kernel is int(4 sigma) | 1 cells wide; bit operations would cut very wide ones off.
  const reach = Math.floor(Math.floor(4 * sigma) / 2);
  // Of an odd side, the cells are stretched over the px that is left.
  const [wide, high] = size.map((side) => side / Math.max(1, Math.floor(side / CELL)));
  const pairs = state.operations.flatMap((operation) => (operation.kind === "points" && operation.visible ? operation.pairs : []));
  return pairs.map((pair) => {
    const corners = pair.flatMap((point) => {
      const [c, r] = scaled(point, size).map((value) => Math.floor(value / CELL));
      const [x0, x1] = [c - reach, c + reach + 1].map((cell) => cell * wide);
      const [y0, y1] = [r - reach, r + reach + 1].map((cell) => cell * high);
      return /** @type {Point[]} */ ([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]); // prettier-ignore
    });
    return cutToPicture(convexHull(corners).map(([x, y]) => [x / size[0], y / size[1]]));
  });
}
