/**
 * The state of a drag canvas and what can be read off it. `reduce` is the only thing that makes a state from another.
 *
 * @import {Document, Operation, Outline, Point, Points, Region, Size, State, Task} from "./types.mjs"
 */

import { angleOf as angle, centroid, targetForAngle } from "./motion.mjs";
import { bounds, clampPoint } from "./rings.mjs";
import { round } from "./simplify.mjs";
import { COLOURS } from "./wire.mjs";

export { angleOf, landing, shiftOf } from "./motion.mjs";

/** Told apart with all common kinds of colour blindness (after Okabe and Ito), and seen on dark and on light. */
export const PALETTE = Object.freeze([
  { name: "blue", hex: "#3fa2f7" },
  { name: "orange", hex: "#f59e0b" },
  { name: "green", hex: "#10b981" },
  { name: "pink", hex: "#e879b9" },
  { name: "yellow", hex: "#f5e04b" },
  { name: "red", hex: "#ef5b3c" },
  { name: "cyan", hex: "#5ee1f0" },
  { name: "violet", hex: "#a78bfa" },
]);

export const TOOLS = Object.freeze(
  /** @type {const} */ (["select", "brush", "eraser", "lasso", "polygon", "rectangle", "ellipse", "points", "bend"]),
);

/** @param {Size | null} size @returns {State} */
export function emptyState(size = null) {
  return {
    size, operations: [], background: "", editing: "", editable: null,
    selection: null, pair: null, tool: "rectangle", task: "relocation", part: "region", brush: 0.04,
  };
}

/** What is saved and undone. @param {State} state @returns {Document} */
export function documentOf({ size, operations, background, editing, editable }) {
  return { size, operations, background, editing, editable };
}

/** The state with another document, and with the selection as far as it still exists. @param {State} state
 * @param {Document} document @returns {State} */
export function withDocument(state, document) {
  const kept = document.operations.find((o) => o.id === state.selection);
  const pair = kept?.kind === "points" && state.pair !== null && state.pair < kept.pairs.length ? state.pair : null;
  return withPart({ ...state, ...document, selection: kept ? kept.id : null, pair });
}

/** The region that something can go along with: the selected one, if it moves. @param {State} state @returns {Region | null} */
export function carrier(state) {
  const operation = selected(state);
  return operation?.kind === "region" && operation.task !== "pin" ? operation : null;
}

/** The points that take something along: the selected ones. @param {State} state @returns {Points | null} */
export function puller(state) {
  const operation = selected(state);
  return operation?.kind === "points" ? operation : null;
}

/**
 * What is drawn instead of a region: what goes along with the selected one, or what the selected points take along; null: a region is drawn.
 * @param {State} state
 * @returns {{id: string, outline: Outline | null, type: "setAlong" | "setSelected"} | null}
 */
export function partOf(state) {
  const [region, points] = [carrier(state), puller(state)];
  if (state.part === "along" && region) return { id: region.id, outline: region.along ?? null, type: "setAlong" };
  return state.part === "selected" && points ? { id: points.id, outline: points.selected ?? null, type: "setSelected" } : null;
}

/** Without an operation that something belongs to, regions are drawn. @param {State} state @returns {State} */
export function withPart(state) {
  return ["along", "selected"].includes(state.part) && !partOf(state) ? { ...state, part: "region" } : state;
}

/** @param {State} state @returns {Operation | null} */
export function selected(state) {
  return find(state, state.selection);
}

/** @param {State} state @param {string | null} id @returns {Operation | null} */
export function find(state, id) {
  return state.operations.find((operation) => operation.id === id) ?? null;
}

/** The picture's size, or a stand-in while it is not known. @param {{size: Size | null}} state @returns {Size} */
export function frameOf(state) {
  return state.size ?? [1024, 1024];
}

/** Core's centroid of a region. @param {Region} region @param {Size | null} size @returns {Point} normalised */
export function centroidOf(region, size) {
  const frame = size ?? [1024, 1024];
  const [x, y] = centroid(region, frame);
  return [x / frame[0], y / frame[1]];
}

/** What moves: the region and what goes along with it, core's `body`. @param {Region} region @returns {Outline} */
export function bodyOf({ region, along }) {
  if (!along) return region;
  let body = bodies.get(along);
  if (body?.region !== region) bodies.set(along, (body = { region, both: [...region, ...along] }));
  return body.both;
}

/** The same object for the same outlines: much is remembered by outline. @type {WeakMap<Outline, {region: Outline, both: Outline}>} */
const bodies = new WeakMap();

/** A region that does not move yet. @param {State} state @param {Outline} outline @param {Task} task @returns {Region} */
export function makeRegion(state, outline, task = state.task) {
  /** @type {Region} */
  const region = { ...label(state), kind: "region", task: "pin", region: outline, target: null, anchor: null };
  return state.part === "front" ? { ...region, front: true } : withTask(region, task, frameOf(state));
}

/** @param {State} state @param {[Point, Point][]} pairs @returns {Points} */
export function makePoints(state, pairs) {
  return { ...label(state), kind: "points", pairs };
}

/**
 * The region with another task, as far as that knows what it does. What is on the screen stays where it is: a rotation that becomes a relocation lands at the
 * same place, a relocation that becomes a rotation turns towards the same target.
 * @param {Region} region @param {Task} task @param {Size} size @returns {Region}
 */
export function withTask(region, task, size) {
  if (task === region.task) return region;
  const [x, y] = centroid(region, size);
  /** @type {Point} */
  const at = [x / size[0], y / size[1]];
  const { along, scale, angle: _turned, copy, front: _, ...alone } = region;
  if (task === "pin") return { ...alone, task, target: null, anchor: null };
  // Only what moves or turns as a whole scales and is copied, and how far a rotation turns its target says.
  const kept = { ...alone, ...(along && { along }), ...(task !== "deformation" && scale && { scale }), ...(task !== "deformation" && copy && { copy }) };
  const landed = region.task === "rotation" ? targetForAngle(region, size, angle(region, size)) : region.target;
  const target = settled(landed ?? at);
  return task === "rotation" ? { ...kept, task, target, anchor: joint(region.region) } : { ...kept, task, target, anchor: null };
}

/** A point of the picture on the wire's lattice. @param {Point} point @returns {Point} */
export function settled(point) {
  const [x, y] = clampPoint(point);
  return [round(x), round(y)];
}

/** @param {{operations: Operation[]}} document @returns {string} the first free number */
export function freeId({ operations }) {
  const taken = new Set(operations.map((operation) => operation.id));
  let next = 1;
  while (taken.has(String(next))) next++;
  return String(next);
}

/** The colour that is used least. @param {{operations: Operation[]}} document @returns {number} */
export function freeColour({ operations }) {
  const used = new Array(COLOURS).fill(0);
  for (const { colour } of operations) used[colour]++;
  return used.indexOf(Math.min(...used));
}

/** @param {State} state */
function label(state) {
  return { id: freeId(state), name: "", colour: freeColour(state), visible: true };
}

/** Where a thing that stands on something would turn: the middle of its lower end. @param {Outline} outline @returns {Point} */
function joint(outline) {
  const { x0, x1, y1 } = bounds(outline);
  return settled([(x0 + x1) / 2, y1]);
}
