/**
 * Drag Canvas in ComfyUI: the one file of web/ that knows its frontend (classic renderer and Nodes 2.0). What is around the node in the graph
 * is read in comfy/graph.mjs; nothing else here has heard of ComfyUI.
 *
 * The node's input `drag` is a STRING whose widget is the canvas. The widget's value is the text of the last finished step; ComfyUI's undo
 * reloads the graph, so whatever else a user would miss (history, tool, zoom) is remembered here by node.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { Editor } from "./canvas/editor.mjs";
import { sameDrag } from "./canvas/session.mjs";
import { makeTexts, messagesFrom } from "./drag/texts.mjs";
import { EMPTY } from "./drag/wire.mjs";
import * as graph from "./comfy/graph.mjs";
import { Runs } from "./comfy/runs.mjs";
import { handOn, keepShown, tell } from "./comfy/widget.mjs";
import * as words from "./comfy/words.mjs";

const WIDGET = "DRAGFIELD_CANVAS";
const REPORT = "DragfieldReport";
const [WIDTH, LEAST, MIN_HEIGHT, HEIGHT] = [440, 360, 400, 660];
/** Its least height where no node has one: in an app's panel. */
const TALL = "clamp(360px, 62vh, 720px)";
/** How often upstream nodes are looked at, ms: nothing tells when a LoadImage gets another file. */
const LOOK = 700;
/** Steps of held keys become one of ComfyUI's undo steps after this pause, ms. */
const PAUSE = 500;

let t = makeTexts();
/** @type {Map<string, object>} what a canvas had before its graph was reloaded, by graph and node */
const memories = new Map();
/** @type {Set<Canvas>} */
const canvases = new Set();
const runs = new Runs();
let looking = 0;
/** @type {Map<string, HTMLElement>} elements of removed canvases, by place */
const left = new Map();
/** @type {WeakSet<Element>} all of them */
const gone = new WeakSet();
/** Where a key was pressed last. */
let keyed = { place: "", time: 0 };

/** Whether ComfyUI is loading the graph of a step before or after. */
function undoing() {
  return Boolean(app.extensionManager?.workflow?.activeWorkflow?.changeTracker?._restoringState);
}

/** One canvas at a time, in the pauses of the page. */
function whenIdle(work) {
  if (window.requestIdleCallback) requestIdleCallback(work, { timeout: 400 });
  else setTimeout(work);
}

class Canvas {
  constructor(node, name, fallback) {
    this.node = node;
    this.fallback = fallback;
    this.key = "";
    this.loaded = false;
    this.own = fallback;
    this.linked = false;
    this.pause = 0;
    /** @type {Editor | null} made when it is first seen: opening a workflow does not wait for ten of them */
    this.editor = null;
    this.host = document.createElement("div");
    this.host.className = "dragfield-host";
    this.host.style.cssText = `display:flex; flex-direction:column; width:100%; height:100%; min-width:0; min-height:${LEAST}px`;
    this.host.addEventListener("keydown", (event) => this.keydown(event));
    this.host.addEventListener("pointerenter", () => this.look());
    for (const event of ["touchstart", "touchmove"]) this.host.addEventListener(event, (touch) => this.pinch(touch), { passive: true });
    this.seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && whenIdle(() => this.make()));
    this.seen.observe(this.host);
    this.widget = node.addDOMWidget(name, WIDGET, this.host, {
      getValue: () => this.own,
      setValue: (value) => this.load(value),
      getMinHeight: () => MIN_HEIGHT,
      margin: 6,
      // Templates open at a zoom at which the classic renderer shows grey boxes instead.
      hideOnZoom: false,
      // The panel beside the graph would take the element out of the node.
      hideInPanel: true,
    });
    keepShown(this.widget);
    handOn(this.host, app, () => this.elsewhere);
    const { onRemove } = this.widget;
    this.widget.onRemove = (...args) => {
      onRemove?.apply(this.widget, args);
      this.destroy();
    };
    canvases.add(this);
    looking ||= setInterval(() => canvases.forEach((canvas) => canvas.look()), LOOK);
    setTimeout(() => this.look());
  }

  make() {
    if (this.editor || !canvases.has(this)) return;
    this.seen.disconnect();
    this.editor = new Editor({ t, commit: (text, held) => this.commit(text, held), masks: () => this.masks(), run: () => this.run(), ownUndoKeys: false });
    this.editor.session.subscribe(() => this.remember());
    this.host.replaceChildren(this.editor.element);
    this.show();
    this.look();
  }

  destroy() {
    clearTimeout(this.pause);
    canvases.delete(this);
    if (!canvases.size) {
      clearInterval(looking);
      looking = 0;
    }
    this.seen.disconnect();
    if (this.last) left.set(this.last, this.host);
    gone.add(this.host);
    this.editor?.destroy();
  }

  /** Whether it is not on the graph, but in an app's panel. */
  get elsewhere() {
    return !this.host.closest(".graph-canvas-container");
  }

  /** Nodes 2.0 keeps a node's box over a reload of the graph, and with it the element of the canvas before: this one takes its place. */
  settle() {
    const { host } = this;
    const before = left.get(this.place);
    if (!host.isConnected && before?.isConnected) before.replaceWith(host);
    // A node that goes into a subgraph leaves its box to the one of the same id inside.
    if (!host.isConnected && this.node.graph === app.canvas?.graph) {
      const box = document.querySelector(`[data-node-id="${this.node.id}"] .dragfield-host`);
      if (box && gone.has(box)) box.replaceWith(host);
    }
    if (host.isConnected) left.delete(this.place);
    const least = host.isConnected && this.elsewhere ? TALL : `${LEAST}px`;
    if (host.style.minHeight !== least) host.style.minHeight = least;
    this.last = this.place;
  }

  /** The value that a workflow, a copied node or ComfyUI's undo brings. */
  load(value) {
    this.own = typeof value === "string" && value.trim() ? value : this.fallback;
    tell(this.widget, this.own);
    // One that was seen before an undo is seen after it, at once; a workflow that opens does not wait for its canvases.
    if (!this.editor && undoing() && memories.has(this.place)) this.make();
    else if (this.editor && !this.linked) this.show();
  }

  show() {
    if (this.recall()) return;
    this.editor.load(this.own);
    if (!this.loaded) this.editor.session.forget();
    this.loaded = Boolean(this.place);
  }

  /** A step is finished. @param {string} text @param {boolean} held a key may still be held down */
  commit(text, held) {
    this.own = text;
    tell(this.widget, text);
    const promoted = graph.promotedTo(this.node, "drag");
    if (promoted) graph.setValue(promoted, text);
    this.widget.callback?.(text);
    this.node.graph?.setDirtyCanvas?.(true, false);
    clearTimeout(this.pause);
    if (held) this.pause = setTimeout(() => this.capture(), PAUSE);
    else this.capture();
  }

  capture() {
    clearTimeout(this.pause);
    this.pause = 0;
    const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
    if (tracker?.captureCanvasState) tracker.captureCanvasState();
    else tracker?.checkState?.();
  }

  /** Two fingers on the picture zoom it. The graph's own pinch has seen them before us and zoomed too: that is taken back before it is drawn. */
  pinch({ type, touches, target }) {
    const { ds } = app.canvas;
    if (touches.length !== 2 || !target.closest(".df-stage")) this.before = null;
    else if (type === "touchstart") this.before = { scale: ds.scale, offset: [...ds.offset] };
    else if (this.before) {
      ds.scale = this.before.scale;
      [ds.offset[0], ds.offset[1]] = this.before.offset;
    }
  }

  keydown(event) {
    keyed = { place: this.place, time: performance.now() };
    // ComfyUI undoes in the next frame: what is not captured yet has to be now.
    if (this.pause && (event.ctrlKey || event.metaKey)) this.capture();
  }

  /** Whose memory this is; "" while the node is not in a graph yet. A graph's own id is no help: a new one gets it at its first reload. */
  get place() {
    const { graph: own, id } = this.node;
    if (!own || id == null || String(id) === "-1") return "";
    return `${graph.isInside(this.node) ? own.id : app.extensionManager?.workflow?.activeWorkflow?.path}:${id}`;
  }

  remember() {
    const { session, stage } = this.editor;
    if (this.linked || !this.place) return;
    const { tool, task, part, brush, selection, pair } = session.state;
    const view = { ownView: stage.ownView, mode: stage.mode, split: stage.split, progress: stage.progress, showMask: stage.showMask };
    memories.set(this.place, {
      history: session.history,
      text: session.text,
      hand: { tool, task, part, brush, selection, pair },
      view,
    });
  }

  /** @returns {boolean} whether this canvas was here before, with this text among its steps */
  recall() {
    if (this.place === this.key || this.editor.session.canUndo) return false;
    this.key = this.place;
    const memory = memories.get(this.key);
    // While another workflow opens, the one before is still the active one: an empty drag says nothing about whose it is.
    if (!memory || (!undoing() && this.own === this.fallback)) return false;
    const { session, stage } = this.editor;
    if (!session.resume(memory.history, this.own, memory.hand)) return false;
    Object.assign(stage, memory.view);
    stage.redraw(true);
    this.loaded = true;
    // Undone by key: the keyboard goes on where it was.
    if (undoing() && keyed.place === this.key && performance.now() - keyed.time < 5000) this.refocus(60);
    return true;
  }

  refocus(tries) {
    const { element } = this.editor.stage;
    const idle = document.activeElement === document.body || document.activeElement === app.canvas?.canvas;
    if (element.isConnected && idle) element.focus({ preventScroll: true });
    else if (tries) setTimeout(() => this.refocus(tries - 1), 50);
  }

  /** See what is linked, and what a run has brought. */
  look() {
    const { node, editor } = this;
    if (!node.graph || document.hidden) return;
    this.settle();
    if (!editor || !this.host.isConnected) return;
    this.recall();
    this.lookAtText();
    const outputs = graph.outputsOf(app, node);
    const found = graph.pictureOf(app, node, "image");
    if (found?.signature !== this.signature && found) this.ownPicture = null;
    this.signature = found?.signature;
    const shown = outputs?.picture?.[0];
    if (shown && shown.filename !== this.shownFile) {
      this.shownFile = shown.filename;
      this.ownPicture = found && !found.direct ? shown : null;
      this.path = found?.path;
    }
    const linked = graph.isLinked(node, "image");
    const image = this.ownPicture ?? found?.image ?? (linked ? shown : null);
    let guess = null;
    if (this.ownPicture && found && found.path !== this.path) guess = { key: "picture.guess.old" };
    else if (!this.ownPicture && found && !found.direct) guess = { key: "picture.guess", params: { node: titleOf(found.node) } };
    editor.setPicture(image ? address(image) : null, linked ? t("picture.unknown") : t("picture.none"), guess);
    editor.setMaskLinked(graph.isLinked(node, "mask"));
    editor.setArea(graph.areaOf(node));
    this.lookAtReport();
  }

  lookAtText() {
    const { node, editor } = this;
    const promoted = graph.promotedTo(node, "drag");
    const linked = graph.isLinked(node, "drag") && !promoted;
    if (promoted) this.follow(promoted);
    if (linked) {
      const text = graph.textOf(node, "drag") ?? graph.outputsOf(app, node)?.drag?.[0] ?? EMPTY;
      if (!this.linked) this.linked = true;
      editor.setReadOnly(true);
      editor.session.peek(text);
    } else if (this.linked) {
      this.linked = false;
      editor.setReadOnly(false);
      editor.session.peek(this.own);
    }
  }

  /** The value of a node around the subgraph is ours. Older frontends keep it here and give the node an empty one. */
  follow(promoted) {
    const { value } = promoted;
    if (value === this.own || this.editor.session.gesturing) return;
    if (typeof value === "string" && value.trim() && value !== this.fallback) this.load(value);
    else graph.setValue(promoted, this.own);
  }

  lookAtReport() {
    const { node, editor } = this;
    const report = graph
      .downstream(node, REPORT)
      .map((found) => graph.outputsOf(app, found)?.dragfield?.[0])
      .find(Boolean);
    const fits = report && sameDrag(report.drag, editor.session.text);
    const after = report?.after ?? graph.resultOf(app, node);
    editor.setResult(after ? address(after) : null, report?.after ? report.drag : null);
    const reported = fits ? JSON.stringify(report.operations) : "";
    if (reported === this.reported) return;
    this.reported = reported;
    const verdicts = new Map();
    for (const one of fits ? report.operations : []) verdicts.set(one.id, [...(verdicts.get(one.id) ?? []), one]);
    editor.setVerdicts(verdicts);
  }

  /** What a node of ours that this drag leads to is at. */
  lookAtRun() {
    if (!this.editor) return;
    const fed = runs.nodes.size ? graph.downstream(this.node).filter(({ type }) => /^Dragfield/.test(type ?? "")) : [];
    const run = runs.of(fed.map((node) => graph.runIdOf(node)));
    if (run || this.editor.running) this.editor.setRun(run);
  }

  /** What makes the picture, and no more of the graph than that. */
  run() {
    const id = graph.runIdOf(this.node);
    app.queuePrompt(0, 1, id ? [id] : undefined);
  }

  /** A run of a node that gets this drag has failed. @param {string} id @param {string} type of what was raised */
  failed(id, type) {
    if (!/InstructionError/.test(type) || !graph.downstream(this.node).some((found) => graph.runIdOf(found) === id)) return;
    this.make();
    if (!this.editor.session.state.operations.some(moves)) this.editor.warn({ key: "drag.nothing" });
  }

  /** What the linked mask holds: of a run, or, before one, a LoadImage's alpha. */
  async masks() {
    const outputs = graph.outputsOf(app, this.node);
    const images = outputs?.masks?.length ? outputs.masks : graph.maskOf(app, this.node, "mask");
    return Promise.all(images.map((image) => pixelsOf(address(image))));
  }
}

/** What a user calls a node. */
function titleOf(node) {
  return node.title || node.type;
}

/** Whether an operation of a drag does anything. */
function moves(operation) {
  return operation.visible && (operation.kind === "points" || operation.task !== "pin");
}

/** The sentence of a node of ours that could not go on: elsewhere the page says no more than that a run has failed. */
function tellFailure({ node_id: id, node_type: kind, exception_message: message, exception_type: type }) {
  if (!/^Dragfield/.test(kind ?? "")) return;
  const summary = LiteGraph.registered_node_types[kind]?.title ?? kind;
  app.extensionManager?.toast?.add({ severity: "error", summary, detail: String(message).trim(), life: 20000 });
  for (const canvas of canvases) canvas.failed(String(id), String(type));
}

/** @returns {string} where the server gives an image of a node's output, or a file as a LoadImage reads it */
function address({ filename, subfolder = "", type = "output", loaded, scene }) {
  if (scene) return api.apiURL(`/dragfield/scene?${new URLSearchParams(scene)}`);
  if (!loaded) return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
  const name = `${subfolder && `${subfolder}/`}${filename} [${type}]`;
  return api.apiURL(`/dragfield/loaded?${new URLSearchParams({ name, part: loaded })}`);
}

/** @returns {Promise<ImageData>} */
async function pixelsOf(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

app.registerExtension({
  name: "dragfield.Canvas",

  // Read by nodes/host/user_settings.py; where pictures go and with which key is no matter of a workflow.
  settings: [
    {
      id: "Dragfield.Intent.Url",
      category: ["Dragfield", "Drag Intent", "Url"],
      name: "Server that Drag Intent asks (OpenAI-compatible, as http://localhost:11434/v1)",
      type: "text",
      defaultValue: "",
    },
    {
      id: "Dragfield.Intent.Key",
      category: ["Dragfield", "Drag Intent", "Key"],
      name: "Key for it; kept as plain text in ComfyUI's settings",
      type: "text",
      defaultValue: "",
    },
  ],

  async init() {
    const locale = app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en";
    if (!locale || locale === "en") return;
    try {
      t = makeTexts(messagesFrom(await (await api.fetchApi("/i18n")).json(), locale));
    } catch (error) {
      console.warn("Dragfield: no translations, English is used", error);
    }
  },

  setup() {
    for (const event of ["executed", "graphChanged"])
      api.addEventListener(event, () => setTimeout(() => canvases.forEach((canvas) => canvas.look())));
    const heard = (take) => (event) => {
      take(event.detail ?? {});
      for (const canvas of canvases) canvas.lookAtRun();
    };
    api.addEventListener("progress_state", heard((detail) => runs.progress(detail)));
    api.addEventListener("dragfield.run", heard((detail) => runs.hear(detail)));
    api.addEventListener("b_preview_with_metadata", heard((detail) => runs.preview(detail)));
    for (const event of ["execution_start", "execution_success", "execution_error", "execution_interrupted"])
      api.addEventListener(event, heard(() => runs.end()));
    api.addEventListener("execution_error", ({ detail }) => tellFailure(detail ?? {}));
  },

  /** What a workflow said is there again when it is. */
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) words.show(app.graph?.getNodeById(id), output);
  },

  getCustomWidgets() {
    return {
      [WIDGET](node, name, spec) {
        const { widget } = new Canvas(node, name, spec?.[1]?.default ?? EMPTY);
        return { widget, minWidth: WIDTH, minHeight: HEIGHT };
      },
    };
  },

  nodeCreated(node) {
    words.listen(node);
    if (node.comfyClass !== "DragfieldCanvas") return;
    node.setSize([Math.max(node.size[0], WIDTH), Math.max(node.size[1], HEIGHT)]);
  },
});
