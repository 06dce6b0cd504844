/**
 * The drag as JSON, docs/instruction.md: what the widget holds, what nodes pass on, what `DragInstruction.from_json` reads.
 *
 * Reading accepts what core accepts and gives a reason for the rest; writing gives what core accepts, with every region
 * simplified to `REGION_BYTES`. Keys that start with "_" are remarks, which core skips: `_colour` keeps an operation's
 * colour.
 *
 * @import {Document, Operation, Outline, Point, Reason, Region, Size, Task} from "./types.mjs"
 */

import { angle, brokenLimit, complete, isText, outline, pictureSize, plain, point, scale } from "./checks.mjs";
import {
  BESIDE, MAX_NAME, MAX_OPERATIONS, MAX_PAIRS, MAX_PROMPT, MAX_TEXT, POINTS, PROMPTS, REGION, TASKS, TOP,
} from "./form.mjs";
import { readJson } from "./json.mjs";
import { fitOutline, roundOutline } from "./simplify.mjs";

/** The newest version; what version 1 can say is still written as version 1. */
export const VERSION = 2;
export const REGION_BYTES = 8192;
export const COLOURS = 8;
/** What an empty canvas holds; the node's default. */
export const EMPTY = '{"version":1,"operations":[]}';

/**
 * @param {unknown} text
 * @returns {{document: Document, reason: null} | {document: null, reason: Reason}}
 */
export function readDrag(text) {
  if (typeof text !== "string" || text.trim() === "") return refused("read.empty");
  if (text.length > MAX_TEXT) return refused("read.tooLong");
  const { value, at } = readJson(text);
  if (at !== null) return refused("read.notJson", { at: at + 1 });
  try {
    return { document: drag(value), reason: null };
  } catch (error) {
    if (error instanceof Refusal) return { document: null, reason: error.reason };
    throw error;
  }
}

/** Deterministic; `readDrag` of it is the same document. @param {Document} document @returns {string} */
export function writeDrag({ size, operations, background, editing, editable }) {
  const parts = [`"version":${operations.every(plain) ? 1 : VERSION}`];
  if (size) parts.push(`"size":${JSON.stringify(size)}`);
  parts.push(`"operations":[${operations.map((o, i) => writeOperation(o, i, size ?? [1024, 1024])).join(",")}]`);
  const prompts = { ...(background && { background }), ...(editing && { editing }) };
  if (Object.keys(prompts).length > 0) parts.push(`"prompts":${JSON.stringify(prompts)}`);
  if (editable) parts.push(`"editable":${outlineJson(editable, size ?? [1024, 1024])}`);
  return `{${parts.join(",")}}`;
}

/** @type {WeakMap<Outline, string>} */
const written = new WeakMap();

/** An outline as JSON of at most `REGION_BYTES`; remembered, since most outlines stay as they are.
 * @param {Outline} region @param {Size} size */
function outlineJson(region, size) {
  let json = written.get(region);
  if (json === undefined) {
    const exact = JSON.stringify(region);
    json = exact.length <= REGION_BYTES ? exact : JSON.stringify(roundOutline(fitOutline(region, size, REGION_BYTES)));
    written.set(region, json);
  }
  return json;
}

/** @param {Operation} operation @param {number} index @param {Size} size */
function writeOperation(operation, index, size) {
  const { id, kind, name, visible, colour } = operation;
  const parts = [`"id":${JSON.stringify(id)}`, `"kind":"${kind}"`];
  if (name) parts.push(`"name":${JSON.stringify(name)}`);
  if (operation.kind === "region") {
    parts.push(`"task":"${operation.task}"`, `"region":${outlineJson(operation.region, size)}`);
    if (operation.target) parts.push(`"target":${JSON.stringify(operation.target)}`);
    if (operation.anchor) parts.push(`"anchor":${JSON.stringify(operation.anchor)}`);
    if (operation.along) parts.push(`"along":${outlineJson(operation.along, size)}`);
    if (operation.scale) parts.push(`"scale":${JSON.stringify(operation.scale)}`);
    if (operation.angle) parts.push(`"angle":${operation.angle}`);
    if (operation.copy) parts.push('"copy":true');
    if (operation.front) parts.push('"front":true');
  } else {
    parts.push(`"pairs":${JSON.stringify(operation.pairs)}`);
    if (operation.selected) parts.push(`"selected":${outlineJson(operation.selected, size)}`);
  }
  if (!visible) parts.push('"visible":false');
  if (colour !== index % COLOURS) parts.push(`"_colour":${colour}`);
  return `{${parts.join(",")}}`;
}

class Refusal extends Error {
  /** @param {string} key @param {Record<string, string | number>} [params] */
  constructor(key, params) {
    super(key);
    /** @type {Reason} */
    this.reason = params ? { key, params } : { key };
  }
}

/** @param {string} key @param {Record<string, string | number>} [params] @returns {{document: null, reason: Reason}} */
function refused(key, params) {
  return { document: null, reason: new Refusal(key, params).reason };
}

/** @param {unknown} value @returns {Document} */
function drag(value) {
  const data = fields(value, TOP, "drag");
  if (data.version !== 1 && data.version !== VERSION) throw new Refusal("read.version", { version: shown(data.version) });
  const list = data.operations ?? [];
  if (!Array.isArray(list)) throw new Refusal("read.value", { where: "operations" });
  if (list.length > MAX_OPERATIONS) throw new Refusal("limit.operations");
  const prompts = fields(data.prompts ?? {}, PROMPTS, "prompts");
  /** @type {Document} */
  const document = {
    size: data.size === undefined ? null : required(pictureSize(data.size), "size"),
    operations: numbered(list.map(readOperation)),
    background: text(prompts.background, MAX_PROMPT, "prompts.background"),
    editing: text(prompts.editing, MAX_PROMPT, "prompts.editing"),
    editable: data.editable === undefined ? null : required(outline(data.editable), "editable"),
  };
  const newer = document.operations.findIndex((operation) => !plain(operation));
  if (newer >= 0 && data.version === 1) throw new Refusal("read.newer", { where: `operations[${newer}]` });
  const limit = brokenLimit(document);
  if (limit) throw new Refusal(limit);
  return document;
}

/** @param {unknown} value @param {number} index @returns {Operation} */
function readOperation(value, index) {
  const where = `operations[${index}]`;
  const kind = isObject(value) ? value.kind : undefined;
  if (kind !== "region" && kind !== "points") throw new Refusal("read.value", { where: `${where}.kind` });
  const data = fields(value, kind === "region" ? REGION : POINTS, where);
  const colour = /** @type {Record<string, unknown>} */ (value)._colour;
  const visible = data.visible ?? true;
  if (typeof visible !== "boolean") throw new Refusal("read.value", { where: `${where}.visible` });
  const label = {
    id: text(data.id, MAX_NAME, `${where}.id`),
    name: text(data.name, MAX_NAME, `${where}.name`),
    colour: Number.isInteger(colour) && Number(colour) >= 0 && Number(colour) < COLOURS ? Number(colour) : index % COLOURS,
    visible,
  };
  if (kind === "points") {
    const selected = data.selected !== undefined && { selected: required(outline(data.selected), `${where}.selected`) };
    return { ...label, kind, pairs: readPairs(data.pairs, `${where}.pairs`), ...selected };
  }
  const task = TASKS.find((one) => one === data.task);
  /** @type {Operation} */
  const region = {
    ...label,
    kind,
    task: /** @type {Task} */ (required(task ?? null, `${where}.task`)),
    region: required(outline(data.region), `${where}.region`),
    target: data.target === undefined ? null : required(point(data.target), `${where}.target`),
    anchor: data.anchor === undefined ? null : required(point(data.anchor, ...BESIDE), `${where}.anchor`),
    ...(data.along !== undefined && { along: required(outline(data.along), `${where}.along`) }),
    ...readChanges(data, where),
  };
  if (!complete(region)) throw new Refusal("read.task", { where, task: region.task });
  return region;
}

/** How a region is more than moved or kept; what changes nothing is left out. @param {Record<string, unknown>} data @param {string} where
 * @returns {Pick<Region, "scale" | "angle" | "copy" | "front">} */
function readChanges(data, where) {
  const factors = data.scale === undefined ? [1, 1] : required(scale(data.scale), `${where}.scale`);
  const turn = data.angle === undefined ? 0 : required(angle(data.angle), `${where}.angle`);
  const [copy, front] = ["copy", "front"].map((key) => {
    const value = data[key] ?? false;
    if (typeof value !== "boolean") throw new Refusal("read.value", { where: `${where}.${key}` });
    return value;
  });
  return {
    ...((factors[0] !== 1 || factors[1] !== 1) && { scale: /** @type {Point} */ (factors) }),
    ...(turn !== 0 && { angle: turn }),
    ...(copy && { copy: /** @type {true} */ (true) }),
    ...(front && { front: /** @type {true} */ (true) }),
  };
}

/** @param {unknown} value @param {string} where @returns {[Point, Point][]} */
function readPairs(value, where) {
  if (!Array.isArray(value) || value.length === 0) throw new Refusal("read.value", { where });
  if (value.length > MAX_PAIRS) throw new Refusal("limit.pairs");
  return value.map((pair, i) => {
    if (!Array.isArray(pair) || pair.length !== 2) throw new Refusal("read.value", { where: `${where}[${i}]` });
    return [required(point(pair[0]), `${where}[${i}][0]`), required(point(pair[1]), `${where}[${i}][1]`)];
  });
}

/** Operations without an id get the first free number. @param {Operation[]} operations @returns {Operation[]} */
function numbered(operations) {
  const ids = operations.map((o) => o.id).filter((id) => id !== "");
  const taken = new Set(ids);
  if (taken.size < ids.length) throw new Refusal("read.repeated", { where: "operations.id" });
  let next = 1;
  return operations.map((operation) => {
    if (operation.id !== "") return operation;
    while (taken.has(String(next))) next++;
    return { ...operation, id: String(next++) };
  });
}

/** The entries that are not null; unknown keys are refused, remarks skipped. @param {unknown} value @param {readonly string[]} allowed
 * @param {string} where @returns {Record<string, unknown>} */
function fields(value, allowed, where) {
  if (!isObject(value)) throw new Refusal("read.value", { where });
  /** @type {Record<string, unknown>} */
  const known = {};
  for (const [key, entry] of Object.entries(value)) {
    if (allowed.includes(key)) {
      if (entry !== null) known[key] = entry;
    } else if (!key.startsWith("_")) {
      throw new Refusal("read.unknownKey", { where, name: shown(key) });
    }
  }
  return known;
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @template T @param {T | null} value @param {string} where @returns {T} */
function required(value, where) {
  if (value === null) throw new Refusal("read.value", { where });
  return value;
}

/** @param {unknown} value @param {number} longest @param {string} where @returns {string} */
function text(value, longest, where) {
  if (value === undefined) return "";
  if (!isText(value, longest)) throw new Refusal("read.value", { where });
  return value;
}

/** Short enough for a sentence. @param {unknown} value */
function shown(value) {
  return (JSON.stringify(value) ?? "nothing").slice(0, 40);
}
