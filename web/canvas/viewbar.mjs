/**
 * The row below the picture: input, preview or result, how far the preview has moved, the slider between before and after, the mask's outline,
 * undo, and the zoom.
 */

import { h, iconButton, nameButton, put, write } from "./dom.mjs";
import { keyOf, walk } from "./toolbar.mjs";

/** @import {Editor} from "./editor.mjs" */
/** @import {Mode} from "./stage.mjs" */

/** @type {[Mode, string][]} */
const MODES = [
  ["input", "viewInput"],
  ["preview", "viewPreview"],
  ["result", "viewResult"],
];

export class Viewbar {
  /** @param {Editor} editor */
  constructor(editor) {
    const { t, stage } = editor;
    this.editor = editor;
    this.modes = new Map(
      MODES.map(([mode, command]) => {
        const button = h("button", { type: "button", class: "df-segment", on: { click: () => editor.run(command) } }, t(`view.${mode}`));
        return [mode, nameButton(button, t(`command.${command}`), keyOf(command))];
      }),
    );
    this.compare = iconButton({
      icon: "compare",
      label: t("view.compare"),
      press: () => stage.setSplit(stage.split === null ? 0.5 : null),
    });
    this.mask = iconButton({
      icon: "area",
      label: t("view.mask"),
      key: keyOf("toggleArea"),
      press: () => editor.run("toggleArea"),
    });
    this.marks = iconButton({
      icon: "eye",
      label: t("command.toggleMarks"),
      key: keyOf("toggleMarks"),
      press: () => editor.run("toggleMarks"),
    });
    this.progress = h("input", {
      type: "range",
      class: "df-range df-progress",
      min: "0",
      max: "1",
      step: "0.05",
      title: t("view.progress"),
      "aria-label": t("view.progress"),
      on: {
        input: () => stage.setProgress(Number(this.progress.value)),
        dblclick: () => stage.setProgress(1),
      },
    });
    this.undo = iconButton({ icon: "undo", label: t("command.undo"), key: keyOf("undo"), press: () => editor.run("undo") });
    this.redo = iconButton({ icon: "redo", label: t("command.redo"), key: keyOf("redo"), press: () => editor.run("redo") });
    this.percent = nameButton(
      h("button", { type: "button", class: "df-percent df-tip-left", on: { click: () => editor.run("fit") } }),
      t("command.fit"),
      keyOf("fit"),
    );
    this.element = h(
      "div",
      { class: "df-viewbar", role: "toolbar", "aria-label": t("view.label"), on: { keydown: (event) => walk(event) } },
      h("div", { class: "df-segments", role: "group", "aria-label": t("view.shown") }, ...this.modes.values()),
      this.compare,
      this.mask,
      this.marks,
      h("span", { class: "df-space" }, this.progress),
      h("div", { class: "df-group", role: "group", "aria-label": t("toolbar.history") }, this.undo, this.redo),
      this.percent,
    );
    this.handle = h("div", {
      class: "df-slider",
      role: "slider",
      tabindex: "0",
      "aria-label": t("view.compare"),
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      on: {
        pointerdown: (event) => this.grab(event),
        pointermove: (event) => this.drag(event),
        pointerup: (event) => this.drop(event),
        pointercancel: (event) => this.drop(event),
        keydown: (event) => this.key(event),
      },
    });
    stage.element.append(this.handle);
  }

  update() {
    const { session, stage, t } = this.editor;
    put(this.undo, { disabled: !session.canUndo });
    put(this.redo, { disabled: !session.canRedo });
    for (const [mode, button] of this.modes) {
      const old = mode === "result" && this.editor.resultIsOld;
      put(button, {
        "aria-pressed": String(stage.mode === mode),
        disabled: mode === "result" && !stage.base.result,
        "data-old": old ? "" : null,
      });
      if (mode === "result") nameButton(button, old ? t("result.old") : t("command.viewResult"), keyOf("viewResult"));
    }
    put(this.progress, {
      hidden: stage.mode !== "preview" || !stage.base.picture || !session.state.operations.length,
      "aria-valuetext": t("view.progress.value", { percent: Math.round(stage.progress * 100) }),
      "data-part": stage.progress < 1 ? "" : null,
    });
    if (Number(this.progress.value) !== stage.progress) this.progress.value = String(stage.progress);
    const split = stage.mode === "input" || !stage.base.picture ? null : stage.split;
    put(this.compare, { "aria-pressed": String(split !== null), disabled: stage.mode === "input" || !stage.base.picture });
    put(this.mask, { "aria-pressed": String(stage.showMask) });
    put(this.marks, { "aria-pressed": String(stage.showMarks) });
    write(this.percent, `${Math.round(stage.view.zoom * 100)}%`);
    put(this.handle, { hidden: split === null });
    if (split === null) return;
    const { zoom, panX } = stage.view;
    this.handle.style.left = `${panX + split * stage.size[0] * zoom}px`;
    put(this.handle, {
      "aria-valuenow": String(Math.round(split * 100)),
      "aria-valuetext": t("view.split", { percent: Math.round(split * 100) }),
    });
  }

  /** @param {PointerEvent} event */
  grab(event) {
    if (event.button !== 0) return;
    event.stopPropagation();
    this.handle.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  drag(event) {
    if (!this.handle.hasPointerCapture(event.pointerId)) return;
    event.stopPropagation();
    const { stage } = this.editor;
    const [x] = stage.css(event);
    this.to((x - stage.view.panX) / (stage.view.zoom * stage.size[0]));
  }

  /** @param {PointerEvent} event */
  drop(event) {
    if (!this.handle.hasPointerCapture(event.pointerId)) return;
    event.stopPropagation();
    this.handle.releasePointerCapture(event.pointerId);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    this.to((this.editor.stage.split ?? 0.5) + step);
  }

  /** @param {number} split */
  to(split) {
    this.editor.stage.setSplit(Math.min(1, Math.max(0, split)));
  }
}
