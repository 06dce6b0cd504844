/**
 * The drag canvas as one element: toolbar, picture, list, numbers and what they say to each other.
 *
 * It knows nothing of ComfyUI. Whoever puts it on a page gives it a text and pictures, and is told each new text once:
 *
 *     const editor = new Editor({ commit: (text) => save(text) })
 *     page.append(editor.element)
 *     editor.load(text)
 *     editor.setPicture(url)
 */

import { outlineFromMask } from "../drag/trace.mjs";
import { makeRegion, selected } from "../drag/model.mjs";
import { problems } from "../drag/problems.mjs";
import { makeTexts } from "../drag/texts.mjs";
import { Commands } from "./commands.mjs";
import { h, icon, iconButton, put, write } from "./dom.mjs";
import { List, nameOf } from "./list.mjs";
import { Menu } from "./menu.mjs";
import { helpPage } from "./help.mjs";
import { AREA } from "./area.mjs";
import { Numbers } from "./numbers.mjs";
import { ProgressLine } from "./progress_line.mjs";
import { blank, context2d, loadPicture } from "./picture.mjs";
import { sameDrag, Session } from "./session.mjs";
import { Stage } from "./stage.mjs";
import { styles } from "./style.mjs";
import { keyOf, Toolbar } from "./toolbar.mjs";
import { Viewbar } from "./viewbar.mjs";

/** @import {Reason} from "../drag/types.mjs" */
/** @import {Picture} from "./picture.mjs" */
/** @import {Area} from "./area.mjs" */
/** @import {Verdict} from "./marks.mjs" */

/**
 * @typedef {object} Options
 * @property {(text: string, held: boolean) => void} commit  called once for each step; held: more of the same may follow at once
 * @property {(key: string, params?: Record<string, string | number>) => string} [t]
 * @property {() => Promise<ImageData[]>} [masks]  what a linked mask holds; its first channel is taken
 * @property {boolean} [ownUndoKeys]  false where the page takes Ctrl+Z itself
 * @property {() => void} [run]  runs what makes the picture, where that can be done
 */

const SAID = 4000;
/** ms after which loading takes long enough to be said while another picture is seen. */
const LONG = 300;

export class Editor {
  /** @param {Options} options */
  constructor({ commit, t = makeTexts(), masks, run, ownUndoKeys = true }) {
    this.t = t;
    this.masks = masks;
    this.maskLinked = false;
    this.session = new Session((text, held) => {
      this.edited();
      commit(text, held);
    });
    /** @type {Reason | null} what the picture is a guess of */
    this.guess = null;
    /** @type {Picture | null} the guess that was last drawn on */
    this.drawnOnGuess = null;
    /** @type {Reason | null} what is wrong with the drag, until it is edited */
    this.trouble = null;
    /** Whether the picture that was asked for could not be had. */
    this.failed = false;
    /** Whether it is on its way, and whether that takes a while. */
    this.loading = { now: false, long: false, timer: 0 };
    /** @type {{text: string, drag: string, same: boolean} | null} what was found last of two drags */
    this.compared = null;
    /** @type {string | null} the drag that the result came of */
    this.resultDrag = null;
    this.stage = new Stage(this.session, { label: t("canvas.label"), say: (reason) => this.tell(reason), changed: () => this.schedule() });
    this.commands = new Commands(this, ownUndoKeys);
    /** @type {{menu?: Menu, help?: HTMLElement}} made when they are first opened */
    this.made = {};
    this.toolbar = new Toolbar(this);
    this.viewbar = new Viewbar(this);
    this.list = new List(this);
    this.numbers = new Numbers(this);
    this.notice = h("div", { class: "df-notice", hidden: true });
    this.runButton = run ? h("button", { type: "button", class: "df-run", on: { click: () => run() } }, t("picture.run")) : null;
    this.whole = h("div", { class: "df-whole", hidden: true });
    this.progress = new ProgressLine(t);
    this.stage.element.append(this.notice, this.whole, this.progress.element);
    /** @type {import("./progress_line.mjs").Run | null} what a run of this drag is at */
    this.running = null;
    this.reading = false;
    /** @type {unknown} the drag that the run works on */
    this.runOf = null;
    this.hint = h("span", { class: "df-hint" });
    this.fact = h("span", { class: "df-fact" });
    this.live = h("div", { class: "df-live", "aria-live": "polite" });
    const help = iconButton({
      icon: "help",
      label: t("command.help"),
      key: keyOf("help"),
      class: "df-tip-left",
      press: () => this.run("help"),
    });
    this.status = h("div", { class: "df-status" }, this.hint, this.fact, help);
    const main = h("div", { class: "df-main" }, this.stage.element, this.viewbar.element);
    const side = h("div", { class: "df-side" }, this.list.element, this.numbers.element);
    this.frame = h("div", { class: "df-frame" }, this.toolbar.element, h("div", { class: "df-body" }, main, side), this.status, this.live);
    this.element = h("div", { class: "df-root", title: "" }, styles(), this.frame);
    this.commands.listen(this.element);
    this.pending = 0;
    /** @type {Reason | null} */
    this.said = null;
    this.timer = 0;
    this.urls = { picture: "", result: "" };
    /** @type {string | null} what the picture's place says while there is none */
    this.missing = null;
    this.session.subscribe(() => this.schedule());
    this.stage.session.changed();
  }

  /** What is drawn stays until whoever holds the element removes it. */
  destroy() {
    cancelAnimationFrame(this.pending);
    clearTimeout(this.timer);
    clearTimeout(this.loading.timer);
    this.stage.destroy();
    for (const popover of [this.made.menu?.element, this.made.help]) if (popover?.matches(":popover-open")) popover.hidePopover();
  }

  get menu() {
    if (!this.made.menu) this.frame.append((this.made.menu = new Menu(this)).element);
    return this.made.menu;
  }

  get help() {
    if (!this.made.help) this.frame.append((this.made.help = helpPage(this.t)));
    return this.made.help;
  }

  /** @param {string} text */
  load(text) {
    this.session.load(text);
  }

  /** A text that was linked is shown, not edited. @param {boolean} readOnly */
  setReadOnly(readOnly) {
    if (readOnly === this.session.readOnly) return;
    this.stage.drop();
    this.session.readOnly = readOnly;
    this.session.changed();
  }

  /**
   * @param {string | null} url null: none
   * @param {string | null} [missing] what is said instead of it
   * @param {Reason | null} [guess] it may not be the picture that comes in: what is said of it
   */
  async setPicture(url, missing = null, guess = null) {
    this.missing = missing;
    if (url === this.urls.picture || !url) this.takeGuess(guess);
    await this.follow("picture", url ?? null, (picture) => {
      this.failed = Boolean(url) && !picture;
      this.takeGuess(guess);
      this.check(picture);
      this.stage.setPicture(picture);
    });
  }

  /** @param {Reason | null} guess */
  takeGuess(guess) {
    if (guess?.key === this.guess?.key && guess?.params?.node === this.guess?.params?.node) return;
    this.guess = guess;
    put(this.stage.element, { "data-guess": guess ? "" : null });
    this.schedule();
  }

  /** A drag that was drawn on a guess, on the picture that has come. @param {Picture | null} picture */
  check(picture) {
    const before = this.drawnOnGuess;
    if (!before || !picture || this.guess) return;
    this.drawnOnGuess = null;
    const [[drawnWidth, drawnHeight], [width, height]] = [before.size, picture.size];
    const shape = Math.abs(Math.log((drawnWidth * height) / (drawnHeight * width)));
    if (shape > 0.02) this.trouble = { key: "picture.otherShape", params: { drawnWidth, drawnHeight, width, height } };
    else if (differ(before, picture)) this.trouble = { key: "picture.otherContent" };
  }

  /** A step of the hand: what was wrong with the drag is taken as seen. */
  edited() {
    this.trouble = null;
    if (this.guess) this.drawnOnGuess = this.stage.base.picture;
  }

  /** Something is wrong with the drag, said on the picture until it is edited. @param {Reason} reason */
  warn(reason) {
    this.trouble = reason;
    write(this.live, this.t(reason.key, reason.params));
    this.schedule();
  }

  /** @param {string | null} url @param {string | null} [drag] what it came of; null: the drag as it is now */
  async setResult(url, drag = null) {
    if (url !== this.urls.result) this.resultDrag = drag ?? this.session.text;
    await this.follow("result", url, (picture) => this.stage.setResult(picture));
  }

  /** What a run that this drag feeds is at, told again with each of its steps. @param {import("./progress_line.mjs").Run | null} run null: there is none */
  async setRun(run) {
    const before = this.running;
    this.running = run;
    if (Boolean(before) !== Boolean(run)) {
      this.runOf = this.session.state.operations;
      write(this.live, this.t(run ? "run.started" : "run.over"));
    }
    put(this.stage.element, { "data-running": run ? "" : null });
    this.progress.update(run);
    if (!run) this.stage.setRun(null);
    if (this.reading) return;
    this.reading = true;
    // One after the other, and each is shown: on a busy machine the next comes before the last is read.
    for (let seen = before?.preview; this.running?.preview && this.running.preview !== seen; ) {
      const { preview, window = /** @type {[number, number, number, number]} */ ([0, 0, 1, 1]) } = this.running;
      const of = this.runOf;
      seen = preview;
      const image = await createImageBitmap(preview).catch(() => null);
      // The run may have ended meanwhile, and another have begun.
      if (image && this.running && of === this.runOf) this.stage.setRun({ image, window, of });
      else image?.close();
    }
    this.reading = false;
  }

  /** Whether the drag has changed since the result. */
  get resultIsOld() {
    if (!this.stage.base.result || this.resultDrag === null) return false;
    const { text } = this.session;
    if (this.compared?.text !== text || this.compared.drag !== this.resultDrag)
      this.compared = { text, drag: this.resultDrag, same: text === this.resultDrag || sameDrag(text, this.resultDrag) };
    return !this.compared.same;
  }

  /** @returns {boolean} whether it was open */
  closeHelp() {
    const { help } = this.made;
    if (!help?.matches(":popover-open")) return false;
    help.hidePopover();
    return true;
  }

  /**
   * The old picture stays until the new one is there; a slower answer for an older wish is dropped.
   *
   * @param {"picture" | "result"} which @param {string | null} url @param {(picture: Picture | null) => void} put
   */
  async follow(which, url, put) {
    const wished = url ?? "";
    if (wished === this.urls[which]) return;
    this.urls[which] = wished;
    if (which === "picture") this.awaitPicture(wished !== "");
    let picture = null;
    try {
      picture = wished ? await loadPicture(wished) : null;
    } catch {
      // Said in the picture's place.
    }
    if (wished === this.urls[which]) {
      if (which === "picture") this.awaitPicture(false);
      put(picture);
    }
    this.schedule();
  }

  /** The picture is on its way, or has come. @param {boolean} now */
  awaitPicture(now) {
    clearTimeout(this.loading.timer);
    const timer = now ? setTimeout(() => this.waited(), LONG) : 0;
    this.loading = { now, long: false, timer };
    this.schedule();
  }

  waited() {
    this.loading.long = true;
    write(this.live, this.t("picture.loading"));
    this.schedule();
  }

  /** @param {Map<string, Verdict[]>} verdicts by operation */
  setVerdicts(verdicts) {
    this.stage.verdicts = verdicts;
    this.stage.redraw();
    this.schedule();
  }

  /** Which mask the edit will use. @param {Area | null} area null: nothing says so */
  setArea(area) {
    const { stage } = this;
    const next = area ?? AREA;
    if (next.shape === stage.area.shape && next.margin === stage.area.margin) return;
    stage.area = next;
    stage.redraw();
  }

  /** @param {boolean} linked */
  setMaskLinked(linked) {
    if (linked === this.maskLinked) return;
    this.maskLinked = linked;
    this.schedule();
  }

  async fromMask() {
    const masks = (await this.masks?.()) ?? [];
    const { session, stage } = this;
    const found = masks.map(({ data, width, height }) => {
      const grey = new Uint8Array(width * height);
      for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
      return outlineFromMask(grey, width, height, stage.size);
    });
    session.begin();
    for (const outline of found) if (outline) this.tell(session.act({ type: "add", operation: makeRegion(session.state, outline) }));
    session.end();
    if (!found.some(Boolean)) this.tell({ key: masks.length ? "mask.empty" : "mask.unknown" });
    else session.act({ type: "tool", tool: "select" });
  }

  /** @param {string} command */
  run(command) {
    this.commands.run(command);
  }

  copyAll() {
    this.commands.copyText(this.session.text);
  }

  /** Said below the picture for some seconds. @param {Reason | null} reason */
  tell(reason) {
    if (!reason) return;
    this.said = reason;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.said = null;
      this.schedule();
    }, SAID);
    write(this.live, this.t(reason.key, reason.params));
    this.schedule();
  }

  schedule() {
    if (!this.pending) this.pending = requestAnimationFrame(() => this.update());
  }

  update() {
    this.pending = 0;
    this.toolbar.update();
    this.viewbar.update();
    this.list.update();
    this.numbers.update();
    this.updateStatus();
    this.updateNotice();
    this.describe();
  }

  updateStatus() {
    const { session, stage, t } = this;
    const [problem] = session.gesturing ? [] : problems(session.state, stage.size);
    const { tool } = session.state;
    const reason = this.said ?? session.refused ?? problem?.reason ?? null;
    const whose = reason && reason === problem?.reason ? this.nameOf(problem.id) : "";
    const operation = selected(session.state);
    const idle = session.readOnly
      ? "linked.readOnly"
      : session.state.part !== "region"
        ? `hint.${session.state.part}`
        : tool === "select" && operation
        ? `hint.${operation.kind === "points" ? "points" : operation.task}`
        : `hint.${tool}`;
    write(this.hint, reason ? whose + t(reason.key, reason.params) : t(idle));
    put(this.hint, { "data-warning": reason ? "" : null, title: this.hint.textContent });
    // A warning that does not fit in its line is said on the picture: nothing else moves or is covered.
    const cut = reason !== null && this.hint.scrollWidth > this.hint.clientWidth + 1;
    put(this.whole, { hidden: !cut });
    write(this.whole, cut ? (this.hint.textContent ?? "") : "");
    write(this.fact, stage.base.picture ? `${stage.size[0]} × ${stage.size[1]}` : "");
  }

  /** @param {string | null} id @returns {string} the beginning of a sentence about an operation */
  nameOf(id) {
    const { operations } = this.session.state;
    const index = operations.findIndex((operation) => operation.id === id);
    return index < 0 ? "" : `${operations[index].name || nameOf(operations[index], index, this.t)}: `;
  }

  updateNotice() {
    const { session, stage, t } = this;
    const { drawnOn, readOnly } = session;
    const { picture } = stage.base;
    /** @type {[string, string] | null} icon and text */
    let said = null;
    const { trouble, guess } = this;
    let runs = false;
    // A run brings another picture: what is wrong with the drag on this one can wait.
    const waits = guess && trouble?.key !== "drag.nothing";
    if (this.loading.now && (!picture || this.loading.long)) said = ["picture", t("picture.loading")];
    else if (trouble && picture && !waits) said = ["warning", t(trouble.key, trouble.params)];
    else if (!picture) {
      said = ["picture", this.failed ? t("picture.failed") : (this.missing ?? t("picture.none"))];
      runs = !this.failed && this.missing !== t("picture.none");
    } else if (guess && stage.mode !== "result") {
      said = ["picture", t(guess.key, guess.params)];
      runs = true;
    } else if (readOnly) said = ["link", t("linked.shown")];
    else if (stage.mode === "result" && this.resultIsOld) said = ["warning", t("result.old")];
    else if (drawnOn && session.state.operations.length && drawnOn.join() !== picture.size.join()) {
      const [width, height] = picture.size;
      said = ["warning", t("picture.otherSize", { drawnWidth: drawnOn[0], drawnHeight: drawnOn[1], width, height })];
    }
    put(this.stage.element, { "aria-busy": this.loading.now ? "true" : null });
    put(this.notice, { hidden: !said, "data-middle": !picture && !readOnly ? "" : null });
    const key = said && [...said, runs].join();
    if (!said || this.notice.dataset.said === key) return;
    this.notice.dataset.said = key ?? "";
    this.notice.replaceChildren(icon(said[0]), h("span", {}, said[1]), ...(runs && this.runButton ? [this.runButton] : []));
  }

  /** What a screen reader says of the stage. */
  describe() {
    const { session, stage, t } = this;
    const { state } = session;
    const operation = selected(state);
    const index = operation ? state.operations.indexOf(operation) : -1;
    const what = operation
      ? t("canvas.selected", {
          name: operation.name || nameOf(operation, index, t),
          task: t(operation.kind === "points" ? "kind.points" : `task.${operation.task}`),
        })
      : t("canvas.operations", { count: state.operations.length });
    put(stage.element, { "aria-label": `${t("canvas.label")}. ${what}` });
  }
}

/** Of the shades of two pictures, below which they are the same picture. */
const ALIKE = 6;

/** Whether two pictures show something else, whatever their sizes. @param {Picture} one @param {Picture} other */
function differ(one, other) {
  const [a, b] = [one, other].map((picture) => {
    const pen = context2d(blank(24, 24), true);
    pen.drawImage(picture.level(24 / Math.max(...picture.size)).source, 0, 0, 24, 24);
    return pen.getImageData(0, 0, 24, 24).data;
  });
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i]);
  return sum / a.length > ALIKE;
}
