/**
 * The box around a selected region where it lands: grips at its corners and sides scale it, the one above turns it.
 *
 * As in drawing programs: a corner keeps the proportions unless Shift is held, a side scales one axis, what lies opposite stays where it is, or
 * with Alt the middle does. Pulled through to the other side, a region is mirrored. A rotation scales about its middle alone, which its anchor
 * and target place.
 *
 * Convention: grips are numbered clockwise from the top left corner of the region as it is drawn; corners are even, sides odd. Points are
 * normalised, `unit` is px of the picture per px of the screen.
 *
 * @import {Point, Region, Size} from "./types.mjs"
 *
 * @typedef {{ring: Point[], grips: {grip: number, at: Point}[], turn: Point | null}} Box  ring: its four corners on the picture; turn: of a
 *   relocation, what turns it
 * @typedef {{scale: Point, target?: Point}} Rescaled
 */

import { MAX_SCALE, MIN_SCALE } from "./form.mjs";
import { apply, centroid, forwardMatrix } from "./motion.mjs";
import { bounds, clamp } from "./rings.mjs";

/** Where each grip is on the box, from -1 to 1. @type {readonly Point[]} */
const GRIPS = [[-1, -1], [0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0]];
/** How far outside of the region the box runs, px of the screen: inside, it is the region that is taken hold of. */
const ROOM = 8;
/** How far above the box what turns it is. */
const STALK = 22;
/** A side shorter than this has no grips of its own. */
const SHORT = 36;

/** Whether a region has a box at all. @param {Region} region */
export function boxed({ task, target, visible }) {
  return visible && target !== null && (task === "relocation" || task === "rotation");
}

/** @param {Region} region @param {Size} size @param {number} unit @returns {Box} */
export function boxOf(region, size, unit) {
  const matrix = forwardMatrix(region, size);
  const { middle, half } = sourceBox(region, size);
  const [sx, sy] = stretches(matrix);
  // The room around it does not scale with the region.
  const room = [(ROOM * unit) / sx, (ROOM * unit) / sy];
  const at = (/** @type {number} */ x, /** @type {number} */ y, beyond = 0) => {
    const [px, py] = apply(matrix, [
      middle[0] + x * (half[0] + room[0]),
      middle[1] + y * (half[1] + room[1] + (beyond * unit) / sy),
    ]);
    return /** @type {Point} */ ([px / size[0], py / size[1]]);
  };
  const long = [2 * half[0] * sx, 2 * half[1] * sy].map((side) => side >= SHORT * unit);
  const grips = GRIPS.flatMap(([x, y], grip) => ((x === 0 && !long[0]) || (y === 0 && !long[1]) ? [] : [{ grip, at: at(x, y) }]));
  // On the side of the picture that has room for it, seen upright whether mirrored or not.
  const stalks = [at(0, -1, STALK), at(0, 1, STALK)];
  if (matrix[4] < 0) stalks.reverse();
  const turn = region.task === "relocation" ? (stalks.find(onPicture) ?? stalks[0]) : null;
  return { ring: [0, 2, 4, 6].map((grip) => at(...GRIPS[grip])), grips, turn };
}

/**
 * What a region becomes when one of its grips is pulled by `by` on the picture.
 * @param {Region} region  as it was when the grip was taken @param {number} grip @param {Point} by @param {Size} size
 * @param {{free: boolean, middle: boolean}} how  free: proportions need not stay; middle: the middle stays, not what lies opposite
 * @returns {Rescaled}
 */
export function pulled(region, grip, by, size, { free, middle }) {
  const matrix = forwardMatrix(region, size);
  const before = /** @type {Point} */ (region.scale ?? [1, 1]);
  const [c, box, [gx, gy]] = [centroid(region, size), sourceBox(region, size), GRIPS[grip]];
  const held = /** @type {Point} */ ([box.middle[0] + gx * box.half[0], box.middle[1] + gy * box.half[1]]);
  const inPlace = middle || region.task === "rotation";
  const still = inPlace ? c : /** @type {Point} */ ([box.middle[0] - gx * box.half[0], box.middle[1] - gy * box.half[1]]);
  const [hx, hy] = apply(matrix, held);
  const fixed = apply(matrix, still);
  // Turned back, the grip's way from what stays is the scale times its way on the region as drawn.
  const [x, y] = turnedBack(matrix, before, [hx + by[0] * size[0] - fixed[0], hy + by[1] * size[1] - fixed[1]]);
  const way = [held[0] - still[0], held[1] - still[1]];
  /** @type {Point} */
  let scale = [...before];
  if (gx !== 0 && gy !== 0 && !free) {
    const [ux, uy] = [before[0] * way[0], before[1] * way[1]];
    const factor = (x * ux + y * uy) / (ux * ux + uy * uy || 1);
    const [low, high] = [MIN_SCALE / Math.min(...before.map(Math.abs)), MAX_SCALE / Math.max(...before.map(Math.abs))];
    const even = clamp(factor, low, high);
    scale = [before[0] * even, before[1] * even];
  } else {
    if (gx !== 0) scale[0] = withinLimits(x / way[0], before[0]);
    if (gy !== 0) scale[1] = withinLimits(y / way[1], before[1]);
  }
  if (inPlace) return { scale };
  const [mx, my] = turned(matrix, before, [scale[0] * (still[0] - c[0]), scale[1] * (still[1] - c[1])]);
  return { scale, target: [(fixed[0] - mx) / size[0], (fixed[1] - my) / size[1]] };
}

/** The region as drawn: the middle and half the sides of its box, px. @param {Region} region @param {Size} size
 * @returns {{middle: Point, half: Point}} */
function sourceBox(region, [width, height]) {
  const { x0, y0, x1, y1 } = bounds(region.region);
  const floor = 0.5;
  return {
    middle: [((x0 + x1) / 2) * width, ((y0 + y1) / 2) * height],
    half: [Math.max(floor, ((x1 - x0) / 2) * width), Math.max(floor, ((y1 - y0) / 2) * height)],
  };
}

/** A factor within the limits; one of nothing keeps the side it was on. @param {number} factor @param {number} before */
function withinLimits(factor, before) {
  const side = Math.sign(factor) || Math.sign(before);
  return side * clamp(Math.abs(factor), MIN_SCALE, MAX_SCALE);
}

/** How much a matrix enlarges along x and y of the source. @param {import("./types.mjs").Matrix} m @returns {Point} */
function stretches([a, b, , d, e]) {
  return [Math.hypot(a, d), Math.hypot(b, e)];
}

/** A direction turned as the matrix turns, less its scale. @param {import("./types.mjs").Matrix} m @param {Point} scale @param {Point} way
 * @returns {Point} */
function turned([a, b, , d, e], [sx, sy], [x, y]) {
  return [(a / sx) * x + (b / sy) * y, (d / sx) * x + (e / sy) * y];
}

/** The same back. @param {import("./types.mjs").Matrix} m @param {Point} scale @param {Point} way @returns {Point} */
function turnedBack([a, b, , d, e], [sx, sy], [x, y]) {
  return [(a / sx) * x + (d / sx) * y, (b / sy) * x + (e / sy) * y];
}

/** @param {Point} point */
function onPicture([x, y]) {
  return x >= 0 && x <= 1 && y >= 0 && y <= 1;
}
