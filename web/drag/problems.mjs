/**
 * What core would refuse when this drag meets this picture (core/instruction/on_picture.py), so that the canvas can say it
 * beside the operation before anything is queued.
 *
 * @import {Operation, Point, Points, Reason, Region, Size, State} from "./types.mjs"
 * @import {Spans} from "./spans.mjs"
 */

import { moves } from "./bend.mjs";
import { frameOf } from "./model.mjs";
import { centroid, landing, scaled } from "./motion.mjs";
import { contains } from "./rings.mjs";
import { sharedPixels, spanArea, spansOf, union } from "./spans.mjs";

export const MIN_PIXELS = 4;
export const OVERLAP = 0.02;
/** Pixels between the anchor of a rotation and its centroid or target. */
export const MIN_ARM = 1;
/** Pixels below which two handles are one place of the picture, and two targets too. */
export const NEAR = 1;

/**
 * @param {State} state @param {Size} size  of the picture
 * @returns {{id: string | null, reason: Reason}[]}  by operation, in their order; null speaks of the editable area
 */
export function problems(state, size = frameOf(state)) {
  /** @type {{id: string | null, reason: Reason}[]} */
  const found = [];
  const tell = (/** @type {string | null} */ id, /** @type {string} */ key, /** @type {Reason["params"]} */ params = undefined) =>
    found.push({ id, reason: params ? { key, params } : { key } });
  const shown = state.operations.map((operation, index) => ({ operation, index })).filter(({ operation }) => operation.visible);
  /** @type {{region: Region, index: number, spans: Spans, area: number}[]} what takes its region away; copies don't */
  const moving = [];
  const pins = [];
  for (const { operation, index } of shown) {
    if (operation.kind !== "region") {
      const wrong = selectionProblem(operation, size);
      if (wrong) found.push({ id: operation.id, reason: wrong });
      continue;
    }
    const spans = spansOf(operation.region, size);
    const area = spanArea(spans);
    if (area < MIN_PIXELS) tell(operation.id, "problem.small", { pixels: area });
    else if (operation.task === "pin") pins.push(spans);
    else {
      const [sx, sy] = operation.scale ?? [1, 1];
      const left = area * Math.abs(sx * sy);
      if (left < MIN_PIXELS) tell(operation.id, "problem.shrunk", { pixels: atLeast(left) });
      const turned = operation.task === "rotation" ? rotationProblem(operation, size) : null;
      if (turned) tell(operation.id, turned);
      if (!operation.copy) moving.push({ region: operation, index, spans, area });
    }
  }
  const pinned = pins.length > 0 ? pins.reduce(union) : null;
  moving.forEach((one, i) => {
    for (const other of moving.slice(0, i)) {
      const part = sharedPixels(one.spans, other.spans) / Math.min(one.area, other.area);
      if (part <= OVERLAP) continue;
      tell(one.region.id, "problem.overlap", { other: nameOf(other.region, other.index), percent: atLeast(part * 100) });
    }
    if (pinned && sharedPixels(one.spans, pinned) === one.area) tell(one.region.id, "problem.pinned");
  });
  for (const [id, key] of contradicted(shown.map(({ operation }) => operation), size)) tell(id, key);
  if (state.editable && spanArea(spansOf(state.editable, size)) < MIN_PIXELS) tell(null, "problem.editable");
  return found;
}

/** Never rounded down to what is allowed. @param {number} percent */
function atLeast(percent) {
  return percent < 10 ? Math.ceil(percent * 10) / 10 : Math.round(percent);
}

/** How an operation is called where it has no name. @param {Operation} operation @param {number} index  from 0 */
export function nameOf({ name }, index) {
  return name || `#${index + 1}`;
}

/** @param {Points} points @param {Size} size @returns {Reason | null} */
function selectionProblem({ selected, pairs }, size) {
  if (!selected) return null;
  const pixels = spanArea(spansOf(selected, size));
  if (pixels < MIN_PIXELS) return { key: "problem.small", params: { pixels } };
  const moving = pairs.filter(moves);
  // In the pixel that the handle lies in, as core looks.
  const held = moving.some(([[x, y]]) => {
    const at = [[x, size[0]], [y, size[1]]].map(([v, side]) => (Math.min(side - 1, Math.floor(v * side)) + 0.5) / side);
    return contains(selected, /** @type {Point} */ (at));
  });
  return moving.length && !held ? { key: "problem.notSelected" } : null;
}

/** @param {Region} region @param {Size} size @returns {string | null} */
function rotationProblem(region, size) {
  const anchor = scaled(region.anchor ?? [0, 0], size);
  if (distance(centroid(region, size), anchor) < MIN_ARM) return "problem.anchorOnCentroid";
  if (distance(scaled(region.target ?? [0, 0], size), anchor) < MIN_ARM) return "problem.targetOnAnchor";
  const [x, y] = landing(region, size);
  return x < 0 || x > 1 || y < 0 || y > 1 ? "problem.landsOutside" : null;
}

/** Operations that send a handle elsewhere than an earlier one does, or than its neighbour within a pixel.
 * @param {Operation[]} operations @param {Size} size @returns {Map<string, string>}  by id, the text's key */
function contradicted(operations, size) {
  /** @type {{handle: Point, target: Point, at: Point, to: Point}[]} */
  const seen = [];
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const operation of operations) {
    if (operation.kind !== "points") continue;
    for (const [handle, target] of operation.pairs) {
      const [at, to] = [scaled(handle, size), scaled(target, size)];
      for (const one of seen) {
        if (same(handle, one.handle)) {
          if (!same(target, one.target)) found.set(operation.id, "problem.twoTargets");
        } else if (distance(at, one.at) < NEAR && distance(to, one.to) >= NEAR && !found.has(operation.id)) {
          found.set(operation.id, "problem.nearHandles");
        }
      }
      seen.push({ handle, target, at, to });
    }
  }
  return found;
}

/** @param {Point} p @param {Point} q */
function same(p, q) {
  return p[0] === q[0] && p[1] === q[1];
}

/** @param {Point} p @param {Point} q */
function distance(p, q) {
  return Math.hypot(p[0] - q[0], p[1] - q[1]);
}
