/**
 * Undo and redo over documents. A history is a plain value: it can be kept by node id while a graph is loaded again.
 *
 * All steps of one gesture count as one: `record` with the same gesture replaces the step before.
 *
 * @import {Document} from "./types.mjs"
 *
 * @typedef {object} History
 * @property {Document[]} past  oldest first
 * @property {Document} present
 * @property {Document[]} future  next first
 * @property {string | null} gesture  of the last step, while it may still grow
 */

export const MAX_STEPS = 100;

/** @param {Document} document @returns {History} */
export function startHistory(document) {
  return { past: [], present: document, future: [], gesture: null };
}

/**
 * A new present. Recording what is there already changes nothing.
 * @param {History} history @param {Document} document
 * @param {string | null} gesture  e.g. the id of a pointer's press; null for a step of its own
 * @returns {History}
 */
export function record(history, document, gesture = null) {
  if (sameDocument(history.present, document)) return history;
  if (gesture !== null && gesture === history.gesture) return { ...history, present: document, future: [] };
  return { past: [...history.past, history.present].slice(-MAX_STEPS), present: document, future: [], gesture };
}

/** The next step stands for itself, whatever its gesture. @param {History} history @returns {History} */
export function endGesture(history) {
  return history.gesture === null ? history : { ...history, gesture: null };
}

/** @param {History} history @returns {{history: History, document: Document} | null} */
export function undo({ past, present, future }) {
  const document = past[past.length - 1];
  if (!document) return null;
  return { history: { past: past.slice(0, -1), present: document, future: [present, ...future], gesture: null }, document };
}

/** @param {History} history @returns {{history: History, document: Document} | null} */
export function redo({ past, present, future }) {
  const [document, ...later] = future;
  if (!document) return null;
  return { history: { past: [...past, present], present: document, future: later, gesture: null }, document };
}

/** @param {History} history */
export function canUndo({ past }) {
  return past.length > 0;
}

/** @param {History} history */
export function canRedo({ future }) {
  return future.length > 0;
}

/** Whether two documents hold the same values. Parts are shared between states, so this looks at few of them.
 * @param {Document} a @param {Document} b */
export function sameDocument(a, b) {
  return a === b || equal(a, b);
}

/** @param {unknown} a @param {unknown} b @returns {boolean} */
function equal(a, b) {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b) return false;
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  const [x, y] = [/** @type {Record<string, unknown>} */ (a), /** @type {Record<string, unknown>} */ (b)];
  return keys.length === others.length && keys.every((key) => equal(x[key], y[key]));
}
