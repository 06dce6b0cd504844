/**
 * What a drag may hold: core's limits, and values in the one form in which the canvas keeps them.
 *
 * Coordinates are kept on a lattice of six decimals, the wire's, so that a drag that is saved and loaded is the same to the
 * last digit and an outline that moves never loses a corner to rounding.
 *
 * @import {Document, Outline, Point, Points, Region, Ring, Size} from "./types.mjs"
 */

import { corners, outlineLength } from "./rings.mjs";
import { round } from "./simplify.mjs";

export const MAX_OPERATIONS = 64;
export const MAX_PAIRS = 1024;
export const MAX_CORNERS = 20_000;
/** Length of all outlines together in picture sides. */
export const MAX_LENGTH = 500;
export const MAX_NAME = 200;
/** Factors by which a region may shrink and grow, mirrored or not. */
export const MIN_SCALE = 0.1;
export const MAX_SCALE = 10;
/** Degrees by which a relocated region may turn, either way. */
export const MAX_ANGLE = 180;
export const MAX_PROMPT = 10_000;
export const MAX_SIDE = 16_384;
export const MAX_PIXELS = 8192 * 8192;
export const TASKS = Object.freeze(/** @type {const} */ (["relocation", "rotation", "deformation", "pin"]));

/** A point of the picture, or up to `beyond` picture sizes outside of it; null if it is none.
 * @param {unknown} value @param {number} beyond @returns {Point | null} */
export function point(value, beyond = 0) {
  if (!Array.isArray(value) || value.length !== 2) return null;
  const [x, y] = value;
  if (typeof x !== "number" || typeof y !== "number") return null;
  // Written so that NaN fails too.
  if (!(x >= -beyond && x <= 1 + beyond && y >= -beyond && y <= 1 + beyond)) return null;
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
      if (!Array.isArray(ring) || (total += ring.length) > MAX_CORNERS || !ring.every((p) => point(p))) return null;
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
  const outlines = operations.flatMap((o) => (o.kind === "region" ? [o.region, ...(o.along ? [o.along] : [])] : []));
  if (editable) outlines.push(editable);
  if (outlines.reduce((sum, o) => sum + corners(o), 0) > MAX_CORNERS) return "limit.corners";
  if (outlines.reduce((sum, o) => sum + outlineLength(o), 0) > MAX_LENGTH) return "limit.length";
  const pairs = operations.reduce((sum, o) => sum + (o.kind === "points" ? o.pairs.length : 0), 0);
  return pairs > MAX_PAIRS ? "limit.pairs" : null;
}

/** Whether an operation holds what its task needs and nothing else. @param {Region | Points} operation */
export function complete(operation) {
  if (operation.kind === "points") return operation.pairs.length > 0;
  const { task, target, anchor, along } = operation;
  if (task === "pin" && along) return false;
  if (!plain(operation) && task !== "relocation" && task !== "rotation") return false;
  if (operation.angle && task === "rotation") return false;
  const anchored = task === "deformation" || (anchor !== null) === (task === "rotation");
  return TASKS.includes(task) && (target !== null) === (task !== "pin") && anchored;
}

/** Whether it only goes somewhere, which is all that version 1 knows. @param {Region | Points} operation */
export function plain(operation) {
  return operation.kind === "points" || !(operation.scale || operation.angle || operation.copy);
}

/** A ring may repeat its first corner at its end. @param {Ring} ring @returns {Ring} */
function withoutEnd(ring) {
  let end = ring.length;
  while (end > 1 && ring[end - 1][0] === ring[0][0] && ring[end - 1][1] === ring[0][1]) end--;
  return end === ring.length ? ring : ring.slice(0, end);
}
