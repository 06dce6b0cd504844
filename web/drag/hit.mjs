/**
 * What lies under the pointer: handles, ghosts of moved regions, regions.
 *
 * Convention: points are normalised; a radius is in px of the picture (`hitRadius` of viewport.mjs makes one).
 *
 * @import {Operation, Point, Size, State} from "./types.mjs"
 *
 * @typedef {"outline" | "ghost" | "target" | "anchor" | "angle" | "grip" | "turn" | "handle" | "pairTarget"} Part
 *   ghost: the region where it lands; target: the middle of the ghost; angle: the same of a rotation; grip and turn: of the box around the
 *   selected region; handle and pairTarget: the ends of a pair of points
 * @typedef {{part: Part, at: Point, pair?: number, grip?: number}} Handle
 * @typedef {{id: string, part: Part, pair?: number, grip?: number, distance: number}} Hit  distance in px, 0 inside an area
 */

import { boxed, boxOf } from "./box.mjs";
import { bodyOf, frameOf } from "./model.mjs";
import { apply, backwardMatrix, landing, scaled } from "./motion.mjs";
import { contains, edgeDistance } from "./rings.mjs";

/** Where the view draws what can be taken hold of; hidden operations have none. @param {Operation} operation @param {Size} size
 * @returns {Handle[]} */
export function handlesOf(operation, size) {
  if (!operation.visible) return [];
  if (operation.kind === "points") {
    return operation.pairs.flatMap(([handle, target], pair) => [
      { part: /** @type {const} */ ("pairTarget"), at: target, pair },
      { part: /** @type {const} */ ("handle"), at: handle, pair },
    ]);
  }
  if (operation.task === "pin" || !operation.target) return [];
  /** @type {Handle[]} */
  const anchor = operation.anchor ? [{ part: "anchor", at: operation.anchor }] : [];
  if (operation.task === "rotation") return [{ part: "angle", at: landing(operation, size) }, ...anchor];
  return [{ part: "target", at: operation.target }, ...anchor];
}

/**
 * Everything under a point, best first: handles of the selected operation, the box around it, other handles, then ghosts and regions from
 * the top of the list's stack to its bottom.
 * @param {State} state @param {Point} point @param {number} radius
 * @param {number | null} unit  px of the picture per px of the screen; null: the selected region has no box @returns {Hit[]}
 */
export function hits(state, point, radius, unit = null) {
  const size = frameOf(state);
  const [x, y] = scaled(point, size);
  const shown = state.operations.filter((operation) => operation.visible).reverse();
  /** @type {Hit[]} */
  const handles = [];
  /** @type {Hit[]} */
  const areas = [];
  for (const operation of shown) {
    const { id } = operation;
    for (const { part, at, pair } of handlesOf(operation, size)) {
      const distance = Math.hypot(at[0] * size[0] - x, at[1] * size[1] - y);
      if (distance <= radius) handles.push({ id, part, ...(pair !== undefined && { pair }), distance });
    }
    if (unit !== null && id === state.selection && operation.kind === "region" && boxed(operation)) {
      for (const { part, at, grip } of boxHandles(operation, size, unit)) {
        const distance = Math.hypot(at[0] * size[0] - x, at[1] * size[1] - y);
        if (distance <= radius) handles.push({ id, part, ...(grip !== undefined && { grip }), distance });
      }
    }
    if (operation.kind !== "region") continue;
    // A ghost at its own region is the region: it is moved by pulling on either.
    if (operation.task !== "pin") {
      const [sx, sy] = apply(backwardMatrix(operation, size), [x, y]);
      const away = area(bodyOf(operation), [sx / size[0], sy / size[1]], radius, size);
      if (away <= radius) areas.push({ id, part: "ghost", distance: away });
    }
    const distance = area(bodyOf(operation), point, radius, size);
    if (distance <= radius) areas.push({ id, part: "outline", distance });
  }
  const first = (/** @type {Hit} */ hit) => (hit.id === state.selection ? 0 : 1);
  handles.sort((a, b) => first(a) - first(b) || a.distance - b.distance);
  // Inside comes before beside; the sort is stable, so that the order from top to bottom stays.
  areas.sort((a, b) => Number(a.distance > 0) - Number(b.distance > 0));
  return [...handles, ...areas];
}

/** @param {import("./types.mjs").Region} region @param {Size} size @param {number} unit @returns {Handle[]} */
function boxHandles(region, size, unit) {
  const { grips, turn } = boxOf(region, size, unit);
  const turning = turn ? [{ part: /** @type {const} */ ("turn"), at: turn }] : [];
  return [...turning, ...grips.map(({ grip, at }) => ({ part: /** @type {const} */ ("grip"), at, grip }))];
}

/** @param {State} state @param {Point} point @param {number} radius @returns {Hit | null} */
export function hitAt(state, point, radius) {
  return hits(state, point, radius)[0] ?? null;
}

/** The next operation below the selected one, and the top one again after the last. @param {Hit[]} found
 * @param {string | null} selection @returns {Hit | null} */
export function cycleHit(found, selection) {
  const ids = [...new Set(found.map((hit) => hit.id))];
  const next = ids[(ids.indexOf(selection ?? "") + 1) % ids.length];
  return found.find((hit) => hit.id === next) ?? null;
}

/** The visible operations of which something can be taken hold of in a box, or that lie in it as a whole.
 * @param {State} state @param {Point} p @param {Point} q @returns {string[]} ids */
export function inBox(state, p, q) {
  const inside = (/** @type {Point} */ [x, y]) =>
    x >= Math.min(p[0], q[0]) && x <= Math.max(p[0], q[0]) && y >= Math.min(p[1], q[1]) && y <= Math.max(p[1], q[1]);
  return state.operations
    .filter((operation) => {
      if (!operation.visible) return false;
      const held = handlesOf(operation, frameOf(state)).some(({ at }) => inside(at));
      return held || (operation.kind === "region" && operation.region.flat(2).every(inside));
    })
    .map((operation) => operation.id);
}

/** @param {import("./types.mjs").Outline} outline @param {Point} point @param {number} radius @param {Size} size
 * @returns {number} px, 0 inside */
function area(outline, point, radius, size) {
  if (contains(outline, point)) return 0;
  return radius > 0 ? edgeDistance(outline, point, size) : Infinity;
}
