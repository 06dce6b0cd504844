/**
 * One canvas' drag while it is edited: the state, its history, and the text that the node keeps.
 *
 * A gesture is one step: between `begin` and `end` the state moves freely, and only `end` writes the text. A text that comes from outside
 * (ComfyUI's undo, a loaded workflow) is followed through the history, so that both agree on what undo and redo do next.
 */

import { canRedo, canUndo, endGesture, record, redo, startHistory, undo } from "../drag/history.mjs";
import { documentOf, emptyState, withDocument } from "../drag/model.mjs";
import { reduce } from "../drag/reduce.mjs";
import { EMPTY, readDrag, writeDrag } from "../drag/wire.mjs";

/** @import {State, Document, Reason, Size, Action} from "../drag/types.mjs" */
/** @import {History} from "../drag/history.mjs" */

/** How many steps away a text from outside is looked for. */
const REACH = 12;

export class Session {
  /** @param {(text: string, held: boolean) => void} commit called once for each step; held: more of the same may follow at once */
  constructor(commit) {
    this.commit = commit;
    /** @type {State} */
    this.state = emptyState();
    this.history = startHistory(documentOf(this.state));
    this.text = EMPTY;
    this.readOnly = false;
    /** @type {Size | null} px of the picture that is shown */
    this.pictureSize = null;
    /** @type {Size | null} px of the picture that the saved drag was drawn on */
    this.drawnOn = null;
    /** @type {Reason | null} why the text from outside can't be shown */
    this.refused = null;
    /** @type {Document | null} the document at the begin of a gesture */
    this.before = null;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** @param {() => void} listener @returns {() => void} ends it */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  get gesturing() {
    return this.before !== null;
  }

  get canUndo() {
    return !this.readOnly && canUndo(this.history);
  }

  get canRedo() {
    return !this.readOnly && canRedo(this.history);
  }

  begin() {
    this.before ??= documentOf(this.state);
  }

  /** @param {string | null} [name] steps of the same name that follow each other are one */
  end(name = null) {
    const before = this.before;
    this.before = null;
    if (before && !same(before, documentOf(this.state))) this.step(name);
    this.changed();
  }

  cancel() {
    if (this.before) this.show(this.before);
    this.before = null;
    this.changed();
  }

  /**
   * @param {Action} action
   * @param {string | null} [gesture] steps of the same name that follow each other are one
   * @returns {Reason | null} why it was refused
   */
  act(action, gesture = null) {
    const old = this.state;
    const edits = !["select", "tool", "task", "part", "brush"].includes(action.type);
    if (this.readOnly && edits) return { key: "linked.readOnly" };
    const { state, reason } = reduce(old, action);
    if (state === old) return reason;
    this.state = state;
    if (!this.before && !same(documentOf(old), documentOf(state))) this.step(gesture);
    this.changed();
    return reason;
  }

  /** @param {string | null} gesture */
  step(gesture) {
    this.drawnOn = this.state.size;
    this.history = record(this.history, documentOf(this.state), gesture);
    this.write(gesture !== null);
  }

  /** The next step is one of its own, whatever its name. */
  settle() {
    this.history = endGesture(this.history);
  }

  undo() {
    this.take(undo(this.history));
  }

  redo() {
    this.take(redo(this.history));
  }

  /** @param {ReturnType<typeof undo>} step */
  take(step) {
    if (!step || this.readOnly) return;
    this.history = step.history;
    this.show(step.document);
    this.write();
    this.changed();
  }

  /** @param {boolean} [held] */
  write(held = false) {
    const text = writeDrag(documentOf(this.state));
    if (text === this.text) return;
    this.text = text;
    this.refused = null;
    this.commit(text, held);
  }

  /**
   * A text from outside. One that can't be read is kept as it is, and said to be.
   *
   * @param {string} text
   */
  load(text) {
    if (text === this.text) return;
    const { document, reason } = readDrag(text.trim() ? text : EMPTY);
    this.before = null;
    this.text = text;
    this.refused = reason;
    if (document) {
      this.history = found(this.history, text) ?? record(this.history, document);
      this.show(document);
    }
    this.changed();
  }

  /**
   * The drag on a picture of this size. The text keeps the size it was drawn on until something is edited.
   *
   * @param {Size | null} size
   */
  fit(size) {
    this.pictureSize = size;
    this.show({ ...documentOf(this.state), size: this.drawnOn });
    this.changed();
  }

  /** @param {Document} document */
  show(document) {
    this.drawnOn = document.size;
    this.state = withDocument(this.state, this.pictureSize ? { ...document, size: this.pictureSize } : document);
  }

  /**
   * Show a text that is not ours: nothing of it gets into the history.
   *
   * @param {string} text
   */
  peek(text) {
    if (text === this.text) return;
    const { document, reason } = readDrag(text.trim() ? text : EMPTY);
    this.before = null;
    this.text = text;
    this.refused = reason;
    if (document) this.show(document);
    this.changed();
  }

  /**
   * Go on with a text where another session of the same drag was left.
   *
   * @param {History} history @param {string} text @param {Partial<State>} hand what was held and selected
   * @returns {boolean} false: that history never came by this text, so it is not ours
   */
  resume(history, text, hand) {
    const { document } = readDrag(text);
    const here = found(history, text);
    if (!here) return false;
    this.history = here;
    this.text = text;
    if (document) this.show(document);
    const selection = this.state.operations.some(({ id }) => id === hand.selection);
    this.state = { ...this.state, ...hand, ...(!selection && { selection: null, pair: null }) };
    this.changed();
    return true;
  }

  /** The text is the beginning: nothing before it can be undone. */
  forget() {
    this.history = startHistory(documentOf(this.state));
    this.changed();
  }
}

/**
 * A history at the nearest step that wrote this text; null if none did.
 *
 * @param {History} history
 * @param {string} text
 * @returns {History | null}
 */
function found(history, text) {
  const { document } = readDrag(text.trim() ? text : EMPTY);
  if (!document) return null;
  const wanted = writeDrag(document);
  let [back, forth] = [/** @type {History | null} */ (history), /** @type {History | null} */ (history)];
  for (let steps = 0; steps < REACH && (back || forth); steps++) {
    for (const one of [back, forth]) if (one && writeDrag(one.present) === wanted) return one;
    back = (back && undo(back)?.history) ?? null;
    forth = (forth && redo(forth)?.history) ?? null;
  }
  return null;
}

/**
 * Whether two texts ask for the same, whatever things are called and coloured.
 *
 * @param {string} a
 * @param {string} b
 */
export function sameDrag(a, b) {
  const [one, two] = [a, b].map((text) => readDrag(text).document?.operations);
  if (!one || !two) return false;
  const plain = (/** @type {typeof one} */ operations) =>
    JSON.stringify(operations.filter(({ visible }) => visible).map((operation) => ({ ...operation, name: "", colour: 0 })));
  return plain(one) === plain(two);
}

/**
 * @param {Document} a
 * @param {Document} b
 */
function same(a, b) {
  return (
    a.operations === b.operations &&
    a.size === b.size &&
    a.background === b.background &&
    a.editing === b.editing &&
    a.editable === b.editable
  );
}
