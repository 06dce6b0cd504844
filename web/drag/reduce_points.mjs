/**
 * Pairs of handle and target: adding, moving and removing them.
 *
 * @import {Point, Points, State} from "./types.mjs"
 */

import { find, makePoints, selected, settled } from "./model.mjs";

/**
 * A pair for the operation `id`; for null, for the selected points operation, else the last one, else a new one.
 * @param {State} state @param {string | null} id @param {Point} handle @param {Point} target @returns {State | string}
 */
export function addPair(state, id, handle, target) {
  /** @type {[Point, Point]} */
  const pair = [settled(handle), settled(target)];
  if (!pair.flat().every(Number.isFinite)) return "refused.value";
  const current = selected(state);
  const open = current?.kind === "points" ? current : state.operations.filter((o) => o.kind === "points").pop();
  const into = id === null ? open : find(state, id);
  if (id !== null && into?.kind !== "points") return "refused.missing";
  if (into?.kind !== "points") {
    const made = makePoints(state, [pair]);
    return { ...state, operations: [...state.operations, made], selection: made.id, pair: 0 };
  }
  const grown = { ...into, pairs: [...into.pairs, pair] };
  return { ...state, operations: state.operations.map((o) => (o === into ? grown : o)), selection: into.id, pair: into.pairs.length };
}

/** @param {Points} points @param {number} index @param {"handle" | "target"} end @param {Point} to @returns {Points | string} */
export function movePair(points, index, end, to) {
  const at = settled(to);
  if (!points.pairs[index] || !at.every(Number.isFinite)) return "refused.value";
  return {
    ...points,
    pairs: points.pairs.map((pair, i) => (i !== index ? pair : end === "handle" ? [at, pair[1]] : [pair[0], at])),
  };
}

/** The last pair takes the operation with it. @param {State} state @param {Points} points @param {number} index
 * @returns {State | string} */
export function removePair(state, points, index) {
  if (!points.pairs[index]) return "refused.value";
  const pairs = points.pairs.filter((_, i) => i !== index);
  const gone = pairs.length === 0;
  const operations = state.operations.flatMap((o) => (o !== points ? [o] : gone ? [] : [{ ...points, pairs }]));
  if (state.selection !== points.id) return { ...state, operations };
  return { ...state, operations, selection: gone ? null : points.id, pair: gone ? null : Math.min(index, pairs.length - 1) };
}
