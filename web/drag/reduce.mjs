/**
 * From one state and an action to the next state. Pure, and never throws: an action that cannot be done leaves the state
 * as it is and says why.
 *
 * Convention: as in types.mjs; coordinates come out on the wire's lattice of six decimals (checks.mjs).
 *
 * @import {Action, Document, Operation, Outline, Point, Points, Region, Result, State} from "./types.mjs"
 */

import {
  angle as checkedAngle, brokenLimit, cleanText, complete, outline as checkedOutline, pictureSize, point, scale as checkedScale,
} from "./checks.mjs";
import { BESIDE, MAX_NAME, MAX_PROMPT, TASKS } from "./form.mjs";
import {
  documentOf, emptyState, find, frameOf, freeColour, freeId, settled, TOOLS, withDocument, withPart, withTask,
} from "./model.mjs";
import { flip, moveAnchor, moveRegion, moveTarget, nudge, rescale, setCopy, setNumber, setOutline, turn } from "./reduce_region.mjs";
import { addPair, movePair, removePair } from "./reduce_points.mjs";
import { COLOURS } from "./wire.mjs";

/** @param {State} state @param {Action} action @returns {Result} */
export function reduce(state, action) {
  try {
    const found = step(state, action);
    if (typeof found === "string") return { state, reason: { key: found } };
    const next = withPart(found);
    const limit = next.operations === state.operations && next.editable === state.editable ? null : brokenLimit(next);
    return limit ? { state, reason: { key: limit } } : { state: next, reason: null };
  } catch (error) {
    // Only what is not an action of these types gets here, from a script for example.
    if (error instanceof TypeError) return { state, reason: { key: "refused.value" } };
    throw error;
  }
}

/** @param {State} state @param {Action} action @returns {State | string} the next state, or the key of a reason */
function step(state, action) {
  switch (action.type) {
    case "add":
      return add(state, action.operation);
    case "prompts":
      return prompts(state, action.background, action.editing);
    case "editable":
      return editable(state, action.outline);
    case "picture":
      return picture(state, action.size);
    case "replace":
      return replaceAll(state, action.document);
    case "clear":
      return withDocument(state, documentOf(emptyState(state.size)));
    case "select":
      return select(state, action.id, action.pair ?? null);
    case "tool":
      return TOOLS.includes(action.tool) ? { ...state, tool: action.tool } : "refused.value";
    case "task":
      return TASKS.includes(action.task) ? { ...state, task: action.task } : "refused.value";
    case "part":
      if (!["region", "along", "selected", "front"].includes(action.part)) return "refused.value";
      return withPart({ ...state, part: action.part }).part !== action.part ? "hint.noCarrier" : { ...state, part: action.part };
    case "brush":
      return Number.isFinite(action.radius) ? { ...state, brush: Math.min(0.5, Math.max(0.002, action.radius)) } : "refused.value";
    case "addPair":
      return addPair(state, action.id, action.handle, action.target);
  }
  const operation = find(state, action.id);
  if (!operation) return "refused.missing";
  switch (action.type) {
    case "remove":
      return remove(state, operation);
    case "duplicate":
      return duplicate(state, operation);
    case "reorder":
      return reorder(state, operation, action.to);
    case "rename":
      return put(state, { ...operation, name: cleanText(action.name, MAX_NAME) });
    case "show":
      return put(state, { ...operation, visible: Boolean(action.visible) });
    case "recolour":
      if (!Number.isInteger(action.colour)) return "refused.value";
      return put(state, { ...operation, colour: ((action.colour % COLOURS) + COLOURS) % COLOURS });
    case "nudge":
      return putOr(state, nudge(operation, action.by, action.part, state));
    case "setNumber":
      return putOr(state, setNumber(operation, action.field, action.value, state));
  }
  if (operation.kind === "points") {
    if (action.type === "movePair") return putOr(state, movePair(operation, action.index, action.end, action.to));
    if (action.type === "removePair") return removePair(state, operation, action.index);
    if (action.type === "setSelected") return putOr(state, setSelected(operation, action.outline));
    return "refused.points";
  }
  const size = frameOf(state);
  switch (action.type) {
    case "retask":
      return TASKS.includes(action.task) ? put(state, withTask(operation, action.task, size)) : "refused.value";
    case "moveTarget":
      return putOr(state, moveTarget(operation, action.to));
    case "moveAnchor":
      return putOr(state, moveAnchor(operation, action.to, size));
    case "turn":
      return putOr(state, turn(operation, action.angle, size));
    case "rescale":
      return putOr(state, rescale(operation, action.scale, action.target));
    case "flip":
      return action.axis === 0 || action.axis === 1 ? putOr(state, flip(operation, action.axis)) : "refused.value";
    case "front":
      return putOr(state, setFront(operation, Boolean(action.front)));
    case "copy":
      return putOr(state, setCopy(operation, Boolean(action.copy)));
    case "moveOutline":
      return putOr(state, moveRegion(operation, action.by));
    case "setOutline":
      if (action.outline === null || action.outline.length === 0) return remove(state, operation);
      return putOr(state, setOutline(operation, action.outline, size));
    case "setAlong":
      return putOr(state, setAlong(operation, action.outline));
  }
  return "refused.region";
}

/** What goes along with a region. @param {Region} region @param {Outline | null} outline @returns {Region | string} */
function setAlong(region, outline) {
  if (region.task === "pin") return "refused.pin";
  const { along: _, ...alone } = region;
  if (outline === null || outline.length === 0) return region.along ? alone : region;
  const along = checkedOutline(outline);
  return along ? { ...alone, along } : "refused.shape";
}

/** Whether what moves passes behind a pin. @param {Region} region @param {boolean} front @returns {Region | string} */
function setFront(region, front) {
  if (region.task !== "pin") return "refused.front";
  const { front: before, ...alone } = region;
  return front === Boolean(before) ? region : front ? { ...alone, front: true } : alone;
}

/** What points take along. @param {Points} points @param {Outline | null} outline  null: what is found @returns {Points | string} */
function setSelected(points, outline) {
  const { selected: _, ...alone } = points;
  if (outline === null || outline.length === 0) return points.selected ? alone : points;
  const selected = checkedOutline(outline);
  return selected ? { ...alone, selected } : "refused.shape";
}

/** The state with an operation in the place of the one with its id; unchanged if it is the same.
 * @param {State} state @param {Operation} operation @returns {State} */
export function put(state, operation) {
  if (find(state, operation.id) === operation) return state;
  return { ...state, operations: state.operations.map((o) => (o.id === operation.id ? operation : o)) };
}

/** @param {State} state @param {Operation | string} operation @returns {State | string} */
function putOr(state, operation) {
  return typeof operation === "string" ? operation : put(state, operation);
}

/** @param {State} state @param {Operation} operation @returns {State | string} */
function add(state, operation) {
  const checked = operation.kind === "region" ? checkedRegion(operation) : checkedPoints(operation);
  if (!checked) return "refused.shape";
  const id = checked.id && !find(state, checked.id) ? checked.id : freeId(state);
  const name = cleanText(checked.name, MAX_NAME);
  const added = { ...checked, id, name, visible: Boolean(checked.visible) };
  const pair = added.kind === "points" ? added.pairs.length - 1 : null;
  return { ...state, operations: [...state.operations, added], selection: id, pair };
}

/** @param {Region} region @returns {Region | null} */
function checkedRegion(region) {
  const outline = checkedOutline(region.region);
  const anchor = region.anchor && point(region.anchor, ...BESIDE);
  if (!outline || (region.anchor && !anchor)) return null;
  if ((region.scale && !checkedScale(region.scale)) || (region.angle && checkedAngle(region.angle) === null)) return null;
  const { along: drawn, ...alone } = region;
  const along = drawn && checkedOutline(drawn);
  if (drawn && !along) return null;
  const checked = { ...alone, region: outline, target: region.target && settled(region.target), anchor, ...(along && { along }) };
  return complete(checked) && (!checked.target || point(checked.target)) ? checked : null;
}

/** @param {Points} points @returns {Points | null} */
function checkedPoints(points) {
  /** @type {[Point, Point][]} */
  const pairs = points.pairs.map(([handle, target]) => [settled(handle), settled(target)]);
  const { selected: drawn, ...alone } = points;
  const selected = drawn && checkedOutline(drawn);
  if (drawn && !selected) return null;
  return pairs.length > 0 && pairs.flat().every((p) => point(p)) ? { ...alone, pairs, ...(selected && { selected }) } : null;
}

/** Removes an operation; what takes its place in the list is selected, so that a keyboard can go on.
 * @param {State} state @param {Operation} operation @returns {State} */
export function remove(state, operation) {
  const index = state.operations.indexOf(operation);
  const operations = state.operations.filter((o) => o !== operation);
  const next = operations[Math.min(index, operations.length - 1)];
  return state.selection === operation.id ? { ...state, operations, selection: next?.id ?? null, pair: null } : { ...state, operations };
}

/** @param {State} state @param {Operation} operation @returns {State} */
function duplicate(state, operation) {
  const copy = { ...operation, id: freeId(state), colour: freeColour(state) };
  // Beside the original, towards the middle of the picture: two moving regions may not cover the same pixels.
  const moved = copy.kind === "region" ? moveRegion(copy, aside(copy.region)) : besidePoints(copy);
  const operations = [...state.operations];
  operations.splice(operations.indexOf(operation) + 1, 0, typeof moved === "string" ? copy : moved);
  return { ...state, operations, selection: copy.id, pair: null };
}

/** @param {Outline} outline @returns {Point} */
function aside(outline) {
  const xs = outline.flatMap(([outside]) => outside.map(([x]) => x));
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  return [(x0 + x1 <= 1 ? 1 : -1) * (x1 - x0), 0];
}

/** @param {Points} points @returns {Points} */
function besidePoints({ selected, ...points }) {
  if (!selected) return { ...points, pairs: points.pairs.map((pair) => movedAside(pair, pair)) };
  // What they take along stays as it is under them.
  const all = [...points.pairs.flat(), ...selected.flat(2)];
  return {
    ...points,
    pairs: points.pairs.map((pair) => movedAside(pair, all)),
    selected: selected.map((polygon) => polygon.map((ring) => movedAside(ring, all))),
  };
}

/** @template {Point[]} T @param {T} points @param {Point[]} all  what there has to be room for @returns {T} */
function movedAside(points, all) {
  const dx = Math.max(...all.map(([x]) => x)) <= 0.96 ? 0.04 : -0.04;
  return /** @type {T} */ (points.map(([x, y]) => settled([x + dx, y])));
}

/** @param {State} state @param {Operation} operation @param {number} to @returns {State | string} */
function reorder(state, operation, to) {
  if (!Number.isInteger(to)) return "refused.value";
  const operations = state.operations.filter((o) => o !== operation);
  operations.splice(Math.min(operations.length, Math.max(0, to)), 0, operation);
  return operations.every((o, i) => o === state.operations[i]) ? state : { ...state, operations };
}

/** @param {State} state @param {string | undefined} background @param {string | undefined} editing @returns {State} */
function prompts(state, background, editing) {
  return {
    ...state,
    background: background === undefined ? state.background : cleanText(background, MAX_PROMPT),
    editing: editing === undefined ? state.editing : cleanText(editing, MAX_PROMPT),
  };
}

/** @param {State} state @param {Outline | null} outline @returns {State | string} */
function editable(state, outline) {
  if (outline === null || outline.length === 0) return { ...state, editable: null };
  const checked = checkedOutline(outline);
  return checked ? { ...state, editable: checked } : "refused.shape";
}

/** @param {State} state @param {unknown} size @returns {State | string} */
function picture(state, size) {
  if (size === null) return { ...state, size: null };
  const checked = pictureSize(size);
  if (!checked) return "refused.picture";
  return state.size?.[0] === checked[0] && state.size[1] === checked[1] ? state : { ...state, size: checked };
}

/** @param {State} state @param {Document} document @returns {State | string} */
function replaceAll(state, document) {
  let next = { ...emptyState(document.size === null ? null : pictureSize(document.size)) };
  for (const operation of document.operations) {
    const added = add(next, operation);
    if (typeof added === "string") return added;
    next = added;
  }
  const parts = editable(prompts(next, document.background, document.editing), document.editable);
  return typeof parts === "string" ? parts : withDocument(state, documentOf(parts));
}

/** @param {State} state @param {string | null} id @param {number | null} pair @returns {State | string} */
function select(state, id, pair) {
  if (id === null) return { ...state, selection: null, pair: null };
  const operation = find(state, id);
  if (!operation) return "refused.missing";
  const index = operation.kind === "points" && pair !== null && pair >= 0 && pair < operation.pairs.length ? pair : null;
  return { ...state, selection: id, pair: index };
}
