/**
 * What the keys do, and copy and paste. One listener on the canvas' own element; keys typed into its fields are left to them.
 */

import { commandFor } from "../drag/keymap.mjs";
import { cycleHit, hits } from "../drag/hit.mjs";
import { angleOf } from "../drag/motion.mjs";
import { united } from "../drag/brush.mjs";
import { centroidOf, documentOf, emptyState, makePoints, makeRegion, partOf, puller, selected } from "../drag/model.mjs";
import { besideItself } from "../drag/room.mjs";
import { bounds, clampPoint, mapOutline, rectangleOutline } from "../drag/rings.mjs";
import { readDrag, writeDrag } from "../drag/wire.mjs";
import { startGesture } from "./gestures.mjs";

/** @import {Operation, Part, Point, Task, ToolName} from "../drag/types.mjs" */
/** @import {Editor} from "./editor.mjs" */

/** What was copied last, in any canvas of the page. */
let clipboard = "";

const STEP = 1;
const LEAP = 10;
/** What a press of the scaling keys makes of 1. */
const SCALED = 1.05;

/** @type {Record<string, Point>} */
const NUDGES = { nudgeLeft: [-1, 0], nudgeRight: [1, 0], nudgeUp: [0, -1], nudgeDown: [0, 1] };

/** Kept for the fields: they have an undo and a clipboard of their own. */
const FIELDS = "input:not([type=range]), select, textarea";

export class Commands {
  /** @param {Editor} editor @param {boolean} ownUndoKeys */
  constructor(editor, ownUndoKeys) {
    this.editor = editor;
    this.ownUndoKeys = ownUndoKeys;
  }

  /** @param {HTMLElement} element */
  listen(element) {
    element.addEventListener("keydown", (event) => this.down(event));
    element.addEventListener("keyup", (event) => this.up(event));
    // Elsewhere nobody hears that a key is let go.
    element.addEventListener("focusout", () => {
      this.editor.stage.panning = false;
      this.editor.stage.setLoupe(false);
    });
    element.addEventListener("copy", (event) => this.copied(event));
    element.addEventListener("cut", (event) => this.copied(event));
    element.addEventListener("paste", (event) => this.pasted(event));
  }

  /** @param {KeyboardEvent} event */
  down(event) {
    const { stage } = this.editor;
    const target = /** @type {Element} */ (event.target);
    if (target.matches(FIELDS)) {
      // What is typed is no shortcut of the page either.
      if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
      return;
    }
    if (target.closest(".df-slider")) return;
    const found = commandFor(event);
    if (!found) return;
    const onStage = target === stage.element;
    if (!onStage && (["Enter", " ", "Tab"].includes(event.key) || event.key.startsWith("Arrow"))) return;
    if (target.matches("input") && event.key.startsWith("Page")) return;
    if (["undo", "redo"].includes(found.command) && !this.ownUndoKeys) return;
    // Copy and paste come as events of their own.
    if (["copy", "paste", "cut"].includes(found.command)) return;
    if (this.run(found.command, found.args, event) === false) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {KeyboardEvent} event */
  up(event) {
    if (event.key === " ") this.editor.stage.panning = false;
    if (event.key.toLowerCase() === "z") this.editor.stage.setLoupe(false);
    if (event.key.startsWith("Arrow") || event.key === "," || event.key === ".") this.editor.session.settle();
  }

  /**
   * @param {string} command
   * @param {any} [args]
   * @param {{shiftKey: boolean, altKey: boolean}} [keys]
   * @returns {boolean | void} false: it was not for us
   */
  run(command, args, keys = { shiftKey: false, altKey: false }) {
    const { editor } = this;
    const { session, stage } = editor;
    const operation = selected(session.state);
    const part = partOf(session.state);
    if (command in NUDGES) return this.nudge(NUDGES[command], args, keys);
    if (command.startsWith("tool")) return this.tool(/** @type {ToolName} */ (command.slice(4).toLowerCase()));
    if (command.startsWith("task")) return this.task(/** @type {Task} */ (command.slice(4).toLowerCase()));
    switch (command) {
      case "undo":
        stage.drop();
        return session.undo();
      case "redo":
        stage.drop();
        return session.redo();
      case "delete":
        if (stage.gesture?.back) return stage.gesture.back();
        if (part) return editor.tell(session.act({ type: part.type, id: part.id, outline: null }));
        if (operation) this.remove(operation);
        return;
      case "duplicate":
        return operation ? editor.tell(session.act({ type: "duplicate", id: operation.id })) : undefined;
      case "copy":
        return operation ? this.copyText(this.textOf(operation)) : undefined;
      case "paste":
        return this.paste(null);
      case "selectNext":
        return this.next(1);
      case "selectPrevious":
        return this.next(-1);
      case "cancel":
      case "deselect":
        if (editor.closeHelp() || stage.drop()) return;
        if (session.state.part !== "region") return this.drawPart("region");
        if (!operation) return false;
        session.act({ type: "select", id: null });
        return;
      case "commit":
        if (stage.gesture?.commit) return stage.gesture.commit();
        return this.below();
      case "turnLeft":
      case "turnRight":
        return this.turn((command === "turnLeft" ? -1 : 1) * (keys.shiftKey || args?.large ? 15 : 1));
      case "toggleAlong":
        return this.along();
      case "brushSmaller":
      case "brushLarger":
        session.act({ type: "brush", radius: session.state.brush * (command === "brushLarger" ? 1.25 : 0.8) });
        return;
      case "toggleVisible":
        if (operation) session.act({ type: "show", id: operation.id, visible: !operation.visible });
        return;
      case "toggleEnd":
        return this.toggleEnd();
      case "toggleCopy":
        if (operation?.kind === "region") editor.tell(session.act({ type: "copy", id: operation.id, copy: !operation.copy }));
        return;
      case "toggleFront":
        return this.front();
      case "flipX":
      case "flipY":
        if (operation) editor.tell(session.act({ type: "flip", id: operation.id, axis: command === "flipX" ? 0 : 1 }));
        return;
      case "scaleLarger":
        return this.scale(SCALED);
      case "scaleSmaller":
        return this.scale(1 / SCALED);
      case "raise":
      case "lower": {
        if (!operation) return;
        const to = session.state.operations.indexOf(operation) + (command === "raise" ? 1 : -1);
        session.act({ type: "reorder", id: operation.id, to: Math.max(0, Math.min(session.state.operations.length - 1, to)) });
        return;
      }
      case "fit":
        stage.view = null;
        return;
      case "zoomIn":
        return stage.zoom(1.25);
      case "zoomOut":
        return stage.zoom(0.8);
      case "panHold":
        stage.panning = true;
        return;
      case "loupeHold":
        return stage.setLoupe(true);
      case "viewInput":
        return stage.setMode("input");
      case "viewPreview":
        return stage.setMode("preview");
      case "viewResult":
        return stage.setMode("result");
      case "toggleMarks":
        return stage.setMarks(!stage.showMarks);
      case "toggleArea":
        return stage.setMask(!stage.showMask);
      case "help":
        editor.help.togglePopover();
        if (editor.help.matches(":popover-open")) editor.help.focus();
        return;
      case "addRegionCentre":
        return this.addRegion();
      case "addPairCentre":
        return this.addPair();
    }
    return false;
  }

  /** @param {ToolName} tool */
  tool(tool) {
    const { session, stage } = this.editor;
    if (session.readOnly) return;
    stage.drop();
    session.act({ type: "tool", tool });
    stage.hover(stage.pointer ?? [-1, -1]);
  }

  /** What is drawn next: what goes along with the selected operation, or a region again. */
  along() {
    const { state } = this.editor.session;
    this.drawPart(partOf(state) ? "region" : puller(state) ? "selected" : "along");
  }

  /** Whether what moves passes behind the selected pin; else what stays in front is drawn next, or a region again. */
  front() {
    const { session } = this.editor;
    const { part } = session.state;
    const operation = selected(session.state);
    if (part === "region" && operation?.kind === "region" && operation.task === "pin")
      return this.editor.tell(session.act({ type: "front", id: operation.id, front: !operation.front }));
    this.drawPart(part === "front" ? "region" : "front");
  }

  /** @param {Part} part what is drawn next */
  drawPart(part) {
    const { session, stage } = this.editor;
    if (session.readOnly) return;
    stage.drop();
    const refused = session.act({ type: "part", part });
    if (refused) return this.editor.tell(refused);
    this.editor.said = null;
    if (part !== "region" && ["select", "points", "bend"].includes(session.state.tool)) session.act({ type: "tool", tool: "lasso" });
  }

  /** Of the selected region, and of those drawn next. @param {Task} task */
  task(task) {
    const { session } = this.editor;
    const operation = selected(session.state);
    session.act({ type: "task", task });
    if (operation?.kind === "region") this.editor.tell(session.act({ type: "retask", id: operation.id, task }));
  }

  /** @param {Point} direction @param {any} args @param {{shiftKey: boolean, altKey: boolean}} keys @returns {boolean | void} */
  nudge([dx, dy], args, { shiftKey, altKey }) {
    const { session, stage } = this.editor;
    const operation = selected(session.state);
    const step = shiftKey ? LEAP : STEP;
    if (!operation) {
      if (!stage.ownView) return false;
      stage.pan(-dx * 24, -dy * 24);
      return;
    }
    const part = args?.part ?? (altKey ? "outline" : operation.kind === "region" && operation.task === "pin" ? "outline" : "target");
    const { id } = operation;
    const drawn = part === "outline" ? partOf(session.state) : null;
    if (drawn?.outline) {
      const outline = mapOutline(drawn.outline, ([x, y]) => [x + (dx * step) / stage.size[0], y + (dy * step) / stage.size[1]]);
      // At the border it stays whole.
      if (outline.flat(2).some((point) => point.some((value) => value < 0 || value > 1))) return;
      return this.editor.tell(session.act({ type: drawn.type, id, outline }, `nudge:${id}:along`));
    }
    this.editor.tell(session.act({ type: "nudge", id, by: [dx * step, dy * step], part }, `nudge:${id}:${part}`));
  }

  /** @param {number} by degrees */
  turn(by) {
    const { session, stage } = this.editor;
    const operation = selected(session.state);
    if (operation?.kind !== "region" || (operation.task !== "rotation" && operation.task !== "relocation")) return;
    const { id } = operation;
    this.editor.tell(session.act({ type: "turn", id, angle: angleOf(operation, stage.size) + by }, `turn:${id}`));
  }

  /** About its middle. @param {number} by a factor */
  scale(by) {
    const { session } = this.editor;
    const operation = selected(session.state);
    if (operation?.kind !== "region") return;
    const { id } = operation;
    const [x, y] = operation.scale ?? [1, 1];
    this.editor.tell(session.act({ type: "rescale", id, scale: [x * by, y * by] }, `scale:${id}`));
  }

  /** The end of a deformed thing that stays: as far behind the region as it is pulled, until someone moves it. */
  toggleEnd() {
    const { session, stage } = this.editor;
    const operation = selected(session.state);
    if (operation?.kind !== "region" || operation.task !== "deformation") return;
    const [x, y] = centroidOf(operation, stage.size);
    const [dx, dy] = operation.target ? [operation.target[0] - x, operation.target[1] - y] : [0, 0];
    const { y0, y1 } = bounds(operation.region);
    /** @type {Point} */
    const behind = Math.hypot(dx, dy) > 0.01 ? [x - dx, y - dy] : [x, y + y1 - y0];
    const to = operation.anchor ? null : clampPoint(behind);
    this.editor.tell(session.act({ type: "moveAnchor", id: operation.id, to }));
  }

  /** @param {Operation} operation */
  remove(operation) {
    const { session } = this.editor;
    const { pair } = session.state;
    if (operation.kind === "points" && pair !== null && operation.pairs.length > 1)
      session.act({ type: "removePair", id: operation.id, index: pair });
    else session.act({ type: "remove", id: operation.id });
  }

  /** The next operation, or the next pair of one. @param {number} step @returns {boolean | void} */
  next(step) {
    const { session } = this.editor;
    /** @type {{id: string, pair: number | null}[]} */
    const places = session.state.operations.flatMap((operation) =>
      /** @type {(number | null)[]} */ (operation.kind === "points" ? [...operation.pairs.keys()] : [null]).map((pair) => ({
        id: operation.id,
        pair,
      })),
    );
    const here = places.findIndex(
      ({ id, pair }) => id === session.state.selection && (pair === null || pair === (session.state.pair ?? 0)),
    );
    const to = here < 0 ? (step > 0 ? 0 : places.length - 1) : here + step;
    // Past the ends the focus moves on: nobody is caught in here.
    if (to < 0 || to >= places.length) {
      session.act({ type: "select", id: null });
      return false;
    }
    session.act({ type: "select", ...places[to] });
  }

  /** What lies below the selected one. */
  below() {
    const { session, stage } = this.editor;
    if (!stage.pointer) return;
    const below = cycleHit(hits(session.state, stage.onPicture(stage.pointer), stage.reach), session.state.selection);
    if (below) session.act({ type: "select", id: below.id, pair: below.pair ?? null });
  }

  /** @returns {Point} the middle of what is seen */
  middle() {
    const { stage } = this.editor;
    return stage.onPicture([stage.box[0] / 2, stage.box[1] / 2]);
  }

  addRegion() {
    const { session, stage } = this.editor;
    const [x, y] = this.middle();
    const [width, height] = stage.size;
    const half = 0.1 * Math.min(width, height);
    const outline = rectangleOutline([x - half / width, y - half / height], [x + half / width, y + half / height]);
    const part = partOf(session.state);
    if (outline && part) {
      const both = part.outline ? united(part.outline, outline, stage.size) : outline;
      return this.editor.tell(session.act({ type: part.type, id: part.id, outline: both }));
    }
    if (outline) this.editor.tell(session.act({ type: "add", operation: makeRegion(session.state, outline) }));
    session.act({ type: "tool", tool: "select" });
  }

  addPair() {
    const { session, stage } = this.editor;
    const handle = this.middle();
    if (session.state.tool === "bend") {
      startGesture(stage, "bend", handle, { shift: false, alt: false, again: false })?.end(handle, { shift: false, alt: false, again: false });
      return;
    }
    const own = selected(session.state);
    if (own?.kind === "points") this.editor.tell(session.act({ type: "addPair", id: own.id, handle, target: handle }));
    else this.editor.tell(session.act({ type: "add", operation: makePoints(session.state, [[handle, handle]]) }));
    session.act({ type: "tool", tool: "select" });
  }

  /** @param {Operation} operation */
  textOf(operation) {
    return writeDrag({ ...documentOf(emptyState(this.editor.session.state.size)), operations: [operation] });
  }

  /** @param {ClipboardEvent} event */
  copied(event) {
    if (/** @type {Element} */ (event.target).matches?.(FIELDS)) return;
    const operation = selected(this.editor.session.state);
    if (!operation) return;
    clipboard = this.textOf(operation);
    event.clipboardData?.setData("text/plain", clipboard);
    event.preventDefault();
    event.stopPropagation();
    if (event.type === "cut") this.editor.session.act({ type: "remove", id: operation.id });
    else this.editor.tell({ key: "clipboard.copied" });
  }

  /** @param {ClipboardEvent} event */
  pasted(event) {
    if (/** @type {Element} */ (event.target).matches?.(FIELDS)) return;
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!readDrag(text).document) return;
    event.preventDefault();
    event.stopPropagation();
    this.paste(text);
  }

  /** @param {string} text */
  copyText(text) {
    clipboard = text;
    // Without a permission it stays on this page.
    navigator.clipboard?.writeText(text).catch(() => {});
    this.editor.tell({ key: "clipboard.copied" });
  }

  /** What was copied last anywhere, where the browser lets us read it, else in any canvas of this page. */
  async pasteAny() {
    const text = await navigator.clipboard?.readText().catch(() => "");
    this.paste(text && readDrag(text).document ? text : null);
  }

  /** The operations of a drag are added to those that are here. @param {string | null} text null: what was copied last */
  paste(text) {
    const { editor } = this;
    const { session } = editor;
    const { document, reason } = readDrag(text ?? clipboard);
    if (!document) return editor.tell(text === null ? { key: "clipboard.empty" } : reason);
    session.begin();
    for (const operation of document.operations)
      editor.tell(session.act({ type: "add", operation: besideItself(session.state, operation) }));
    session.end();
  }
}
