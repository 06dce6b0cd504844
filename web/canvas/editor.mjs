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
import { loadPicture } from "./picture.mjs";
import { Session } from "./session.mjs";
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
 */

const SAID = 4000;

export class Editor {
  /** @param {Options} options */
  constructor({ commit, t = makeTexts(), masks, ownUndoKeys = true }) {
    this.t = t;
    this.masks = masks;
    this.maskLinked = false;
    this.session = new Session(commit);
    this.stage = new Stage(this.session, { label: t("canvas.label"), say: (reason) => this.tell(reason), changed: () => this.schedule() });
    this.commands = new Commands(this, ownUndoKeys);
    /** @type {{menu?: Menu, help?: HTMLElement}} made when they are first opened */
    this.made = {};
    this.toolbar = new Toolbar(this);
    this.viewbar = new Viewbar(this);
    this.list = new List(this);
    this.numbers = new Numbers(this);
    this.notice = h("div", { class: "df-notice", hidden: true });
    this.stage.element.append(this.notice);
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

  /** @param {string | null} url null: none  @param {string | null} [missing] what is said instead of it */
  async setPicture(url, missing = null) {
    this.missing = missing;
    await this.follow("picture", url, (picture) => this.stage.setPicture(picture));
  }

  /** @param {string | null} url */
  async setResult(url) {
    await this.follow("result", url, (picture) => this.stage.setResult(picture));
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
    let picture = null;
    try {
      picture = wished ? await loadPicture(wished) : null;
    } catch {
      if (wished === this.urls[which]) this.tell({ key: "picture.failed" });
    }
    if (wished === this.urls[which]) put(picture);
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
      : tool === "select" && operation
        ? `hint.${operation.kind === "points" ? "points" : operation.task}`
        : `hint.${tool}`;
    write(this.hint, reason ? whose + t(reason.key, reason.params) : t(idle));
    put(this.hint, { "data-warning": reason ? "" : null, title: this.hint.textContent });
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
    if (readOnly) said = ["link", t("linked.shown")];
    else if (!picture) said = ["picture", this.missing ?? t("picture.none")];
    else if (drawnOn && session.state.operations.length && drawnOn.join() !== picture.size.join()) {
      const [width, height] = picture.size;
      said = ["warning", t("picture.otherSize", { drawnWidth: drawnOn[0], drawnHeight: drawnOn[1], width, height })];
    }
    put(this.notice, { hidden: !said, "data-middle": !picture && !readOnly ? "" : null });
    if (!said || this.notice.dataset.said === said.join()) return;
    this.notice.dataset.said = said.join();
    this.notice.replaceChildren(icon(said[0]), h("span", {}, said[1]));
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
