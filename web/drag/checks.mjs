/**
 * What a drag may hold: core's limits, and values in the one form in which the canvas keeps them.
 *
 * Coordinates are kept on a lattice of six decimals, the wire's, so that a drag that is saved and loaded is the same to the
 * last digit and an outline that moves never loses a corner to rounding.
 *
 * @import {Document, Outline, Point, Points, Region, Ring, Size} from "./types.mjs"
 */

import { MAX_ANGLE, MAX_LENGTH, MAX_OPERATIONS, MAX_PAIRS, MAX_PIXELS, MAX_SCALE, MAX_SIDE, MAX_VERTICES, MIN_SCALE, TASKS } from "./form.mjs";
import { corners, outlineLength } from "./rings.mjs";
import { round } from "./simplify.mjs";

/** A point of the picture, or as far outside of it as `low` and `high` say; null if it is none.
 * @param {unknown} value @param {number} low @param {number} high @returns {Point | null} */
export function point(value, low = 0, high = 1) {
  if (!Array.isArray(value) || value.length !== 2) return null;
  const [x, y] = value;
  if (typeof x !== "number" || typeof y !== "number") return null;
  // Written so that NaN fails too.
  if (!(x >= low && x <= high && y >= low && y <= high)) return null;
  return [round(x), round(y)];
}

/** Factors (x, y) of a region; null if they are none. @param {unknown} value @returns {Point | null} */
export function scale(value) {
  if (!Array.isArray(value) || value.length !== 2) return null;
  const good = value.every((factor) => typeof factor === "number" && Math.abs(factor) >= MIN_SCALE && Math.abs(factor) <= MAX_SCALE);
  return good ? [round(value[0]), round(value[1])] : null;
}

/** Degrees from -180 to 180; null if it is none. @param {unknown} value @returns {number | null} */
export function angle(value) {
  return typeof value === "number" && Math.abs(value) <= MAX_ANGLE ? round(value) : null;
}

/** An outline with at least three corners in every ring; null if it is none. @param {unknown} value @returns {Outline | null} */
export function outline(value) {
  if (!Array.isArray(value) || value.length === 0) return null;
  /** @type {Outline} */
  const raw = [];
  /** @type {Outline} */
  const kept = [];
  let total = 0;
  for (const rings of value) {
    if (!Array.isArray(rings) || rings.length === 0) return null;
    /** @type {Ring[]} */
    const exact = [];
    for (const ring of rings) {
      if (!Array.isArray(ring) || (total += ring.length) > MAX_VERTICES || !ring.every((p) => point(p))) return null;
      const open = withoutEnd(ring);
      if (open.length < 3) return null;
      exact.push(open);
    }
    raw.push(exact);
    const rounded = exact.map((ring) => settledRing(ring)).map((ring) => (ring.length < 3 ? null : ring));
    if (rounded[0]) kept.push(/** @type {Ring[]} */ (rounded.filter(Boolean)));
  }
  // Of something too small for the lattice nothing is lost here; core says that it is too small for the picture.
  return kept.length > 0 ? kept : raw;
}

/** On the lattice, without repeats. @param {Ring} ring @returns {Ring} */
export function settledRing(ring) {
  /** @type {Ring} */
  const kept = [];
  for (const [x, y] of ring) {
    /** @type {Point} */
    const p = [round(x), round(y)];
    const last = kept[kept.length - 1];
    if (!last || last[0] !== p[0] || last[1] !== p[1]) kept.push(p);
  }
  return withoutEnd(kept);
}

/** A text that UTF-8 can hold, shortened to `longest`. @param {unknown} value @param {number} longest @returns {string} */
export function cleanText(value, longest) {
  return String(value ?? "").slice(0, longest).replace(/\p{Surrogate}/gu, "\ufffd");
}

/** @param {unknown} value @param {number} longest @returns {value is string} */
export function isText(value, longest) {
  // Core counts characters, a string's length half pairs.
  return typeof value === "string" && (value.length <= longest || [...value].length <= longest) && !/\p{Surrogate}/u.test(value);
}

/** @param {unknown} value @returns {Size | null} */
export function pictureSize(value) {
  if (!Array.isArray(value) || value.length !== 2) return null;
  const [width, height] = value;
  const good = [width, height].every((side) => Number.isInteger(side) && side >= 1 && side <= MAX_SIDE);
  return good && width * height <= MAX_PIXELS ? [width, height] : null;
}

/** The limit that a drag as a whole breaks, as the key of a text; null if it keeps them. @param {Document} document */
export function brokenLimit({ operations, editable }) {
  if (operations.length > MAX_OPERATIONS) return "limit.operations";
  const outlines = operations.flatMap((o) => (o.kind === "region" ? [o.region, o.along ?? []] : [o.selected ?? []]));
  if (editable) outlines.push(editable);
  if (outlines.reduce((sum, o) => sum + corners(o), 0) > MAX_VERTICES) return "limit.corners";
  if (outlines.reduce((sum, o) => sum + outlineLength(o), 0) > MAX_LENGTH) return "limit.length";
  const pairs = operations.reduce((sum, o) => sum + (o.kind === "points" ? o.pairs.length : 0), 0);
  return pairs > MAX_PAIRS ? "limit.pairs" : null;
}

/** Whether an operation holds what its task needs and nothing else. @param {Region | Points} operation */
export function complete(operation) {
  if (operation.kind === "points") return operation.pairs.length > 0;
  const { task, target, anchor, along, front } = operation;
  if (task === "pin" && along) return false;
  if (front && task !== "pin") return false;
  if (changed(operation) && task !== "relocation" && task !== "rotation") return false;
  if (operation.angle && task === "rotation") return false;
  const anchored = task === "deformation" || (anchor !== null) === (task === "rotation");
  return TASKS.includes(task) && (target !== null) === (task !== "pin") && anchored;
}

/** Whether it only goes somewhere or stays, and points look for what they take along, which is all that version 1 knows.
 * @param {Region | Points} operation */
export function plain(operation) {
  return operation.kind === "points" ? !operation.selected : !changed(operation) && !operation.front;
}

/** Whether it is more than moved. @param {Region} region */
function changed({ scale, angle, copy }) {
  return Boolean(scale || angle || copy);
}

/** A ring may repeat its first corner at its end. @param {Ring} ring @returns {Ring} */
function withoutEnd(ring) {
  let end = ring.length;
  while (end > 1 && ring[end - 1][0] === ring[0][0] && ring[end - 1][1] === ring[0][1]) end--;
  return end === ring.length ? ring : ring.slice(0, end);
}
