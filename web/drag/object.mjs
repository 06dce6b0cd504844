/**
 * The object at a place of a picture, as an outline: what `selectCells` finds from there.
 *
 * @import {Outline, Point, Size} from "./types.mjs"
 * @import {Cells} from "./selection.mjs"
 */

import { indexOf, selectCells } from "./selection.mjs";
import { fitOutline, simplifyOutline } from "./simplify.mjs";
import { traceMask, withoutSpecks } from "./trace.mjs";

/** Of a cell: how far corners may be dropped. */
const TOLERANCE = 0.3;
/** Cells beside the place where it is looked for next: at an object's edge the place itself is neither object nor ground. */
const BESIDE = [[0, 0], [0, -2], [2, 0], [0, 2], [-2, 0]];

/** @param {Cells} cells @param {Point} place normalised @param {Size} size px of the picture @returns {Outline | null} null: none is found */
export function objectAt(cells, [x, y], size) {
  const { width, height } = cells;
  for (const [dx, dy] of BESIDE) {
    const seed = /** @type {Point} */ ([x * width + dx, y * height + dy]);
    const soft = selectCells(cells, [seed]);
    if (soft[indexOf(seed, width, height)] <= 0.5) continue;
    const outline = withoutSpecks(traceMask(Uint8Array.from(soft, (share) => Math.round(255 * share)), width, height), 4 / (width * height));
    const found = simplifyOutline(outline, size, (TOLERANCE * size[0]) / width);
    if (found.length > 0) return fitOutline(found, size);
  }
  return null;
}
