/**
 * The row above the picture: what the hand holds, the task of regions, and the menu.
 *
 * One tab stop per group, arrow keys within it, as toolbars are (WAI-ARIA authoring practices).
 */

import { COMMANDS, keyLabel } from "../drag/keymap.mjs";
import { selected } from "../drag/model.mjs";
import { h, icon, iconButton, nameButton, put } from "./dom.mjs";

/** @import {Task, ToolName} from "../drag/types.mjs" */
/** @import {Editor} from "./editor.mjs" */

/** @type {[ToolName, string][]} with the id of the command */
const TOOLS = [
  ["select", "toolSelect"],
  ["brush", "toolBrush"],
  ["eraser", "toolEraser"],
  ["lasso", "toolLasso"],
  ["polygon", "toolPolygon"],
  ["rectangle", "toolRectangle"],
  ["ellipse", "toolEllipse"],
  ["points", "toolPoints"],
  ["bend", "toolBend"],
];
/** @type {[Task, string][]} */
const TASKS = [
  ["relocation", "taskRelocation"],
  ["rotation", "taskRotation"],
  ["deformation", "taskDeformation"],
  ["pin", "taskPin"],
];

export class Toolbar {
  /** @param {Editor} editor */
  constructor(editor) {
    const { t } = editor;
    this.editor = editor;
    this.tools = new Map(TOOLS.map(([tool, command]) => [tool, this.choice(tool, command)]));
    this.tasks = new Map(TASKS.map(([task, command]) => [task, this.choice(task, command)]));
    this.fromMask = iconButton({ icon: "mask", label: t("tool.fromMask"), press: () => editor.fromMask() });
    this.more = iconButton({ icon: "more", label: t("menu.more"), class: "df-tip-left", press: () => editor.menu.toggle(this.more) });
    put(this.more, { "aria-haspopup": "menu" });
    this.size = h("input", {
      type: "range",
      class: "df-range",
      min: "-5.5",
      max: "-1",
      step: "0.1",
      "aria-label": t("brush.size"),
      on: { input: () => editor.session.act({ type: "brush", radius: 2 ** Number(this.size.value) }) },
    });
    this.brush = h("span", { class: "df-brush", title: "" }, this.size);
    this.element = h(
      "div",
      { class: "df-toolbar", role: "toolbar", "aria-label": t("toolbar.label"), on: { keydown: (event) => walk(event) } },
      this.group(t("toolbar.tools"), [...this.tools.values(), this.fromMask]),
      this.brush,
      // In one box, so that a narrow node has a second row of tasks and not of dots alone.
      h("div", { class: "df-rest" }, this.group(t("toolbar.tasks"), [...this.tasks.values()]), h("span", { class: "df-space" }), this.more),
    );
  }

  /** @param {string} label @param {HTMLElement[]} buttons */
  group(label, buttons) {
    return h("div", { class: "df-group", role: "group", "aria-label": label }, ...buttons);
  }

  /** @param {string} name of the icon @param {string} command */
  choice(name, command) {
    const { t } = this.editor;
    return iconButton({ icon: name, label: t(`command.${command}`), key: keyOf(command), press: () => this.editor.run(command) });
  }

  update() {
    const { session, t } = this.editor;
    const { state, readOnly } = session;
    for (const [tool, button] of this.tools) {
      put(button, { "aria-pressed": String(tool === state.tool), disabled: readOnly && tool !== "select" });
    }
    const own = selected(state);
    const task = own?.kind === "region" ? own.task : state.task;
    const points = own ? own.kind === "points" : ["points", "bend"].includes(state.tool);
    for (const [name, button] of this.tasks)
      put(button, { "aria-pressed": String(!points && name === task), disabled: readOnly || points });
    put(this.fromMask, { disabled: readOnly || !this.editor.maskLinked });
    nameButton(this.fromMask, this.editor.maskLinked ? t("tool.fromMask") : t("tool.fromMask.none"));
    put(this.brush, { hidden: state.tool !== "brush" && state.tool !== "eraser" });
    const value = Math.log2(state.brush).toFixed(1);
    if (this.size.value !== value) this.size.value = value;
  }
}

/** @param {string} id @returns {string} the first key of a command, as it is shown */
export function keyOf(id) {
  const [key] = COMMANDS.find((command) => command.id === id)?.keys ?? [];
  return key ? keyLabel(key, isMac()) : "";
}

export function isMac() {
  return /mac|iphone|ipad/i.test(navigator.platform);
}

/** Arrow keys within a row of buttons. @param {KeyboardEvent} event */
export function walk(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const row = /** @type {HTMLElement} */ (event.currentTarget);
  if (!step || !(event.target instanceof HTMLButtonElement)) return;
  const buttons = [...row.querySelectorAll("button")].filter((button) => !button.disabled && button.offsetParent);
  const next = buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length];
  next?.focus();
  event.preventDefault();
  event.stopPropagation();
}

/** A text button with an icon, for menus. @param {string} name @param {string} text @param {() => void} press */
export function menuItem(name, text, press) {
  return h("button", { type: "button", class: "df-item", role: "menuitem", on: { click: press } }, icon(name), h("span", {}, text));
}
