/**
 * The picture with the drag on it: two canvases on top of each other, drawn at most once a frame, and the hand's way to them.
 *
 * The lower canvas holds the picture or its preview, the upper one the marks, so that moving the pointer alone redraws only lines. Both have as
 * many px as the screen shows, whatever zooms the graph.
 */

import { boxOf } from "../drag/box.mjs";
import { hits } from "../drag/hit.mjs";
import { snapAxis } from "../drag/motion.mjs";
import { frameOf, landing, selected } from "../drag/model.mjs";
import { backingSize, clientToCss, fitView, hitRadius, panBy, toCss, toPicture, zoomAt } from "../drag/viewport.mjs";
import { h } from "./dom.mjs";
import { startGesture } from "./gestures.mjs";
import { Base } from "./base.mjs";
import { drawLoupe, isCoarse } from "./loupe.mjs";
import { AREA, Resting } from "./area.mjs";
import { Marks } from "./marks.mjs";
import { context2d } from "./picture.mjs";
import { Touches } from "./touches.mjs";

/** @import {Point, Reason, Size} from "../drag/types.mjs" */
/** @import {View} from "../drag/viewport.mjs" */
/** @import {Session} from "./session.mjs" */
/** @import {Gesture, Keys, Path} from "./gestures.mjs" */
/** @import {Area} from "./area.mjs" */
/** @import {Verdict} from "./marks.mjs" */
/** @import {Picture} from "./picture.mjs" */

/** @typedef {"input" | "preview" | "result"} Mode */

const PADDING = 10;
const REACH = 10;
const TOUCH_REACH = 20;

export class Stage {
  /**
   * @param {Session} session
   * @param {{label: string, say: (reason: Reason) => void, changed: () => void}} options changed: the view, the mode or the pictures have
   */
  constructor(session, { label, say, changed }) {
    this.session = session;
    this.say = say;
    this.changed = changed;
    this.lower = h("canvas", { class: "df-layer", "aria-hidden": "true" });
    this.upper = h("canvas", { class: "df-layer", "aria-hidden": "true" });
    this.element = h(
      "div",
      { class: "df-stage", tabindex: "0", role: "application", "aria-roledescription": label, "data-capture-wheel": "true" },
      this.lower,
      this.upper,
    );
    this.base = new Base(context2d(this.lower), () => this.redraw(true));
    this.pen = context2d(this.upper);
    this.still = { canvas: h("canvas"), key: /** @type {unknown[]} */ ([]) };
    /** @type {View | null} null: fitted */
    this.ownView = null;
    /** @type {Size} */
    this.box = [1, 1];
    /** @type {Mode} */
    this.mode = "preview";
    /** @type {number | null} where the slider between before and after stands, 0 to 1; null: none */
    this.split = null;
    /** How far the preview has moved things, 0 to 1. */
    this.progress = 1;
    this.showMask = false;
    /** @type {(import("./base.mjs").Running & {of: unknown}) | null} what a run is at; of: the drag that it works on */
    this.run = null;
    /** Whether the drag is drawn on the picture. */
    this.showMarks = true;
    /** @type {unknown} what the drag was when the result was asked for */
    this.resultOf = null;
    /** @type {Area} what is shown then */
    this.area = AREA;
    this.resting = new Resting();
    /** @type {Map<string, Verdict[]>} */
    this.verdicts = new Map();
    /** @type {Gesture | null} */
    this.gesture = null;
    this.held = false;
    this.panning = false;
    /** Whether the key of the loupe is held. */
    this.loupe = false;
    this.reach = REACH;
    /** @type {Point | null} where the pointer is, for the ring of the brush */
    this.pointer = null;
    this.pending = 0;
    this.lowerToo = true;
    this.touches = new Touches(this);
    this.resized = new ResizeObserver(() => this.measure());
    this.resized.observe(this.element);
    this.unsubscribe = session.subscribe(() => {
      // Whoever edits wants to see what that does: the result can't show it.
      if (this.mode === "result" && session.state.operations !== this.resultOf) this.setMode("preview");
      this.redraw(true);
    });
  }

  destroy() {
    this.drop();
    cancelAnimationFrame(this.pending);
    this.base.warp.stop();
    this.run?.image.close();
    this.run = null;
    this.resized.disconnect();
    this.unsubscribe();
  }

  /** @returns {Size} px of the picture */
  get size() {
    return this.base.picture?.size ?? frameOf(this.session.state);
  }

  /** @returns {View} */
  get view() {
    return this.ownView ?? fitView(this.size, this.box, PADDING);
  }

  /** @returns {number | null} px of the picture per css px, where the selected region has a box around it to scale and turn it by */
  get unit() {
    return this.session.state.tool === "select" && !this.session.readOnly ? hitRadius(this.view, 1) : null;
  }

  /** @param {View | null} view */
  set view(view) {
    this.ownView = view;
    this.redraw(true);
    this.changed();
  }

  /** @param {Picture | null} picture */
  setPicture(picture) {
    const before = this.size.join();
    this.base.picture = picture;
    if (this.size.join() !== before) this.ownView = null;
    this.session.fit(picture?.size ?? null);
    this.changed();
  }

  /** @param {Picture | null} result */
  setResult(result) {
    this.base.result = result;
    if (!result && this.mode === "result") this.mode = "preview";
    this.redraw(true);
    this.changed();
  }

  /** @param {Mode} mode */
  setMode(mode) {
    this.mode = mode === "result" && !this.base.result ? "preview" : mode;
    this.resultOf = this.session.state.operations;
    this.redraw(true);
    this.changed();
  }

  /** Of a drag that has changed since, a run shows nothing. */
  get shownRun() {
    return this.run?.of === this.session.state.operations ? this.run : null;
  }

  /** @param {Stage["run"]} run */
  setRun(run) {
    const before = this.run;
    this.run = run;
    if (before?.image !== run?.image) before?.image.close();
    this.redraw(true);
  }

  /** @param {boolean} shown */
  setMarks(shown) {
    this.showMarks = shown;
    this.redraw();
    this.changed();
  }

  /** @param {boolean} shown where the edit may change the picture */
  setMask(shown) {
    this.showMask = shown;
    this.redraw();
    this.changed();
  }

  /** @param {number | null} split */
  setSplit(split) {
    this.split = split;
    this.redraw(true);
    this.changed();
  }

  /** @param {number} progress of the preview, 0 to 1 */
  setProgress(progress) {
    this.progress = progress;
    this.redraw(true);
    this.changed();
  }

  /** @param {number} factor @param {Point} [at] css px */
  zoom(factor, at = [this.box[0] / 2, this.box[1] / 2]) {
    const next = zoomAt(this.view, factor, at, this.size, this.box);
    const least = fitView(this.size, this.box, PADDING);
    this.view = next.zoom <= least.zoom * 1.001 && factor < 1 ? null : next;
  }

  /** @param {number} dx @param {number} dy css px */
  pan(dx, dy) {
    this.view = panBy(this.view, dx, dy, this.size, this.box);
  }

  /** How far apart on the screen. @param {Point} a @param {Point} b normalised @returns {number} css px */
  distance(a, b) {
    const { zoom } = this.view;
    return Math.hypot((a[0] - b[0]) * this.size[0], (a[1] - b[1]) * this.size[1]) * zoom;
  }

  /** Where `origin` goes when the hand that pressed at `start` is at `to`. @param {Point} origin @param {Point} start @param {Point} to @param {boolean} snap @returns {Point} */
  carried(origin, start, to, snap) {
    const moved = /** @type {Point} */ ([origin[0] + to[0] - start[0], origin[1] + to[1] - start[1]]);
    return snap ? snapAxis(origin, moved, this.size) : moved;
  }

  /** @param {Reason | null} reason */
  tell(reason) {
    if (reason) this.say(reason);
  }

  measure() {
    const { clientWidth, clientHeight } = this.element;
    if (!clientWidth || !clientHeight) return;
    this.box = [clientWidth, clientHeight];
    this.redraw(true);
    this.changed();
  }

  /** @param {boolean} [lowerToo] whether the picture changes as well */
  redraw(lowerToo = false) {
    this.lowerToo ||= lowerToo;
    if (!this.pending) this.pending = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.pending = 0;
    if (!this.element.isConnected || this.box[0] < 2) return;
    const ratio = this.sharpen();
    const { view, size } = this;
    const { state } = this.session;
    if (this.lowerToo) {
      this.lowerToo = false;
      this.base.draw({ state, view, size, ratio, mode: this.mode, split: this.split, progress: this.progress, run: this.shownRun });
    }
    this.pen.setTransform(1, 0, 0, 1, 0, 0);
    this.pen.clearRect(0, 0, this.upper.width, this.upper.height);
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const marks = new Marks(this.pen, view, size, this.mode !== "input");
    if (this.showMask) marks.area(state, this.area, this.resting);
    if (this.showMarks) {
      this.drawStill(ratio);
      marks.operations(
        state.operations.filter(({ id }) => id === state.selection),
        this.verdicts,
        state,
        this.unit,
      );
    }
    if (this.gesture?.path) this.drawPath(this.gesture.path, marks);
    this.drawBrush();
    this.drawLoupe(ratio);
  }

  /** Where a point is set, while that can't be seen to a px; anywhere while its key is held. @param {number} ratio */
  drawLoupe(ratio) {
    const { picture } = this.base;
    const exact = isCoarse(this.view) ? (this.gesture?.exact?.() ?? null) : null;
    const at = exact ?? (this.loupe ? this.lookedAt : null);
    if (picture && at) drawLoupe(this.pen, picture, this.view, this.box, ratio, at);
  }

  /** @returns {Point | null} where the pointer is, else what is selected */
  get lookedAt() {
    if (this.pointer) return this.onPicture(this.pointer);
    const { state } = this.session;
    const operation = selected(state);
    if (operation?.kind === "points") return operation.pairs[state.pair ?? 0][1];
    return operation ? landing(operation, this.size) : null;
  }

  /** @param {boolean} held */
  setLoupe(held) {
    if (held === this.loupe) return;
    this.loupe = held;
    this.redraw();
  }

  /** What is not selected stands still while something is dragged: drawn once, copied in every frame. @param {number} ratio */
  drawStill(ratio) {
    const { view, size, mode, verdicts } = this;
    const { operations, selection } = this.session.state;
    const others = operations.filter(({ id }) => id !== selection);
    if (!others.length) return;
    const key = [
      this.upper.width,
      this.upper.height,
      view.zoom,
      view.panX,
      view.panY,
      size[0],
      size[1],
      mode === "input",
      verdicts,
      ...others,
    ];
    if (key.length !== this.still.key.length || key.some((part, i) => part !== this.still.key[i])) {
      const { canvas } = this.still;
      Object.assign(canvas, { width: this.upper.width, height: this.upper.height });
      const pen = context2d(canvas);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      new Marks(pen, view, size, mode !== "input").operations(others, verdicts);
      this.still.key = key;
    }
    this.pen.drawImage(this.still.canvas, 0, 0, this.box[0], this.box[1]);
  }

  /** As many px as are seen: the screen's, times what zooms the graph. @returns {number} device px per css px */
  sharpen() {
    const shown = this.element.getBoundingClientRect();
    const zoomed = this.box[0] ? shown.width / this.box[0] : 1;
    const wanted = Math.min(3, Math.max(1, Math.ceil(zoomed * devicePixelRatio * 2) / 2));
    const [width, height] = backingSize(this.box, wanted, 3072);
    if (this.upper.width !== width || this.upper.height !== height) {
      for (const canvas of [this.lower, this.upper]) Object.assign(canvas, { width, height });
      this.lowerToo = true;
    }
    return width / this.box[0];
  }

  /** @param {Path} path @param {Marks} marks */
  drawPath({ points, closed, width, arrow, erase }, marks) {
    const { pen } = this;
    const [first, ...rest] = points.map((point) => toCss(this.view, point, this.size));
    const line = new Path2D();
    line.moveTo(...first);
    for (const point of rest) line.lineTo(...point);
    if (width) {
      if (!rest.length) line.lineTo(first[0] + 0.01, first[1]);
      pen.save();
      pen.globalAlpha = 0.5;
      pen.lineCap = pen.lineJoin = "round";
      pen.lineWidth = width * this.view.zoom;
      pen.strokeStyle = erase ? "#16181d" : "#fff";
      pen.stroke(line);
      pen.restore();
      return;
    }
    if (arrow) {
      marks.ring(first, "#5aa9ff", 6);
      marks.arrow(first, rest[0], "#5aa9ff", 0);
      return;
    }
    if (closed) {
      pen.fillStyle = "rgba(255, 255, 255, 0.16)";
      pen.fill(line);
      line.closePath();
    }
    marks.line(line, "#fff", 1.5);
    if (this.session.state.tool === "polygon") marks.ring(first, "#5aa9ff", 4);
  }

  drawBrush() {
    const { tool, brush } = this.session.state;
    if (!this.pointer || this.session.readOnly || (tool !== "brush" && tool !== "eraser") || this.panning) return;
    const [x, y] = this.pointer;
    const circle = new Path2D();
    circle.arc(x, y, Math.max(2, brush * Math.min(...this.size) * this.view.zoom), 0, Math.PI * 2);
    new Marks(this.pen, this.view, this.size).line(circle, "#fff", 1.25);
  }

  /** @param {{clientX: number, clientY: number}} event @returns {Point} css px */
  css(event) {
    return clientToCss(this.element.getBoundingClientRect(), this.box, event.clientX, event.clientY);
  }

  /** @param {Point} css @returns {Point} normalised, on the picture */
  onPicture(css) {
    const [x, y] = toPicture(this.view, css, this.size);
    return [Math.min(1, Math.max(0, x)), Math.min(1, Math.max(0, y))];
  }

  /** @param {Point} css @param {Keys} keys @param {{touch: boolean, control: boolean}} how */
  press(css, keys, { touch, control }) {
    this.reach = hitRadius(this.view, touch ? TOUCH_REACH : REACH);
    const point = this.onPicture(css);
    this.held = true;
    if (this.gesture?.press) {
      const next = this.gesture.press(point, keys) ?? null;
      this.gesture = this.gesture && next;
      return;
    }
    if (this.session.readOnly) {
      const [hit] = hits(this.session.state, point, this.reach);
      this.session.act({ type: "select", id: hit?.id ?? null, pair: hit?.pair ?? null });
      return;
    }
    this.gesture = startGesture(this, control ? "select" : this.session.state.tool, point, keys);
    this.redraw();
  }

  /** @param {Point} css @param {Keys} keys */
  drag(css, keys) {
    this.gesture?.move(this.onPicture(css), keys);
  }

  /** @param {Point} css @param {Keys} keys */
  release(css, keys) {
    if (!this.held) return;
    this.held = false;
    const { gesture } = this;
    if (!gesture) return;
    const next = gesture.end(this.onPicture(css), keys) ?? null;
    if (this.gesture === gesture) this.gesture = next;
    this.redraw(true);
  }

  /** The gesture that went on without a button is done. */
  letGo() {
    this.gesture = null;
    this.redraw();
  }

  /** The gesture is taken back. @returns {boolean} whether there was one */
  drop() {
    const { gesture } = this;
    this.gesture = null;
    this.held = false;
    gesture?.cancel?.();
    if (gesture) this.redraw(true);
    return gesture !== null;
  }

  /** The way that a grip goes, as it is seen. @param {import("../drag/hit.mjs").Hit} hit */
  gripCursor(hit) {
    const region = this.session.state.operations.find(({ id }) => id === hit.id);
    if (region?.kind !== "region") return "move";
    const { ring, grips } = boxOf(region, this.size, this.unit ?? 1);
    const at = grips.find(({ grip }) => grip === hit.grip)?.at ?? ring[0];
    const [x, y] = [0, 1].map((axis) => (at[axis] - (ring[0][axis] + ring[2][axis]) / 2) * this.size[axis]);
    return ["ew-resize", "nwse-resize", "ns-resize", "nesw-resize"][((Math.round((Math.atan2(y, x) * 4) / Math.PI) % 4) + 4) % 4];
  }

  /** What the pointer would do here, as a cursor. @param {Point} css */
  hover(css) {
    this.pointer = css;
    const { tool } = this.session.state;
    let cursor = "crosshair";
    if (this.panning) cursor = "grab";
    else if (tool === "brush" || tool === "eraser") cursor = "none";
    else if (!this.gesture && (["select", "points", "bend"].includes(tool) || this.session.readOnly)) {
      this.reach = hitRadius(this.view, REACH);
      const [hit] = hits(this.session.state, this.onPicture(css), this.reach, this.unit);
      cursor = hit?.part === "grip" ? this.gripCursor(hit) : hit?.part === "turn" ? "alias" : hit ? "move" : tool !== "select" ? "crosshair" : this.ownView ? "grab" : "default";
    }
    if (this.session.readOnly) cursor = "default";
    if (this.element.style.cursor !== cursor) this.element.style.cursor = cursor;
    if (cursor === "none" || this.gesture || this.loupe) this.redraw();
  }
}
