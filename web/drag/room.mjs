/**
 * Where a second copy of an operation goes: beside what is there, so that it is seen and covers nothing that moves.
 */

import { moveRegion } from "./reduce_region.mjs";
import { bounds, mapOutline } from "./rings.mjs";

/** @import {Operation, Point, State} from "./types.mjs" */

/** How far a point goes aside where regions have no room, of the picture. */
const ASIDE = 0.04;
const TRIES = 12;

/**
 * The operation as it is where it lies on none like it, else shifted.
 *
 * @param {State} state
 * @param {Operation} operation
 * @returns {Operation}
 */
export function besideItself(state, operation) {
  if (!state.operations.some((other) => lieAlike(other, operation))) return operation;
  for (const by of shifts(operation)) {
    const moved = shifted(operation, by);
    if (moved && !state.operations.some((other) => meets(other, moved))) return moved;
  }
  return shifted(operation, [ASIDE, ASIDE]) ?? shifted(operation, [-ASIDE, -ASIDE]) ?? operation;
}

/** The nearest places first. @param {Operation} operation @returns {Point[]} */
function shifts(operation) {
  const { x0, y0, x1, y1 } = operation.kind === "region" ? bounds(operation.region) : { x0: 0, y0: 0, x1: ASIDE, y1: ASIDE };
  /** @type {Point[]} */
  const found = [];
  for (let k = 1; k <= TRIES; k++) {
    const [dx, dy] = [k * (x1 - x0), k * (y1 - y0)];
    found.push([dx, 0], [-dx, 0], [0, dy], [0, -dy]);
  }
  return found;
}

/** @param {Operation} operation @param {Point} by @returns {Operation | null} null: it would leave the picture */
function shifted(operation, [dx, dy]) {
  if (operation.kind === "region") {
    const { x0, y0, x1, y1 } = bounds(operation.region);
    if (x0 + dx < 0 || y0 + dy < 0 || x1 + dx > 1 || y1 + dy > 1) return null;
    const moved = moveRegion(operation, [dx, dy]);
    return typeof moved === "string" ? null : moved;
  }
  const move = (/** @type {Point} */ [x, y]) => /** @type {Point} */ ([x + dx, y + dy]);
  const pairs = operation.pairs.map(([handle, target]) => /** @type {[Point, Point]} */ ([move(handle), move(target)]));
  const selected = operation.selected && mapOutline(operation.selected, move);
  const all = [...pairs.flat(), ...(selected ?? []).flat(2)];
  return all.every((point) => point.every((value) => value >= 0 && value <= 1)) ? { ...operation, pairs, ...(selected && { selected }) } : null;
}

/** @param {Operation} one @param {Operation} other */
function lieAlike(one, other) {
  if (one.kind === "region") return other.kind === "region" && JSON.stringify(one.region) === JSON.stringify(other.region);
  return other.kind === "points" && JSON.stringify(one.pairs) === JSON.stringify(other.pairs);
}

/** @param {Operation} one @param {Operation} other */
function meets(one, other) {
  if (one.kind !== "region" || other.kind !== "region") return lieAlike(one, other);
  const [a, b] = [bounds(one.region), bounds(other.region)];
  const slack = 1e-6;
  return a.x0 < b.x1 - slack && b.x0 < a.x1 - slack && a.y0 < b.y1 - slack && b.y0 < a.y1 - slack;
}
