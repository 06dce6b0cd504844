/**
 * Exact values of what is selected, in picture px, degrees and percent, and what else a moved region does.
 *
 * While a field has the focus its text is the user's; each change is one step of the history, however many times the arrow keys were pressed.
 */

import { selected } from "../drag/model.mjs";
import { angleOf, shiftOf } from "../drag/motion.mjs";
import { h, icon, iconButton, nameButton, put } from "./dom.mjs";
import { keyOf } from "./toolbar.mjs";

/** @import {Operation, Size} from "../drag/types.mjs" */
/** @import {Editor} from "./editor.mjs" */

/** @typedef {"targetX" | "targetY" | "shiftX" | "shiftY" | "anchorX" | "anchorY" | "angle" | "scaleX" | "scaleY" | "handleX" | "handleY"} Field */

/** @type {Record<string, Field[]>} */
const FIELDS = {
  relocation: ["shiftX", "shiftY", "targetX", "targetY", "scaleX", "scaleY", "angle"],
  deformation: ["shiftX", "shiftY", "targetX", "targetY"],
  "deformation with an end": ["shiftX", "shiftY", "targetX", "targetY", "anchorX", "anchorY"],
  rotation: ["angle", "anchorX", "anchorY", "scaleX", "scaleY"],
  points: ["handleX", "handleY", "targetX", "targetY"],
  pin: [],
};

export class Numbers {
  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    this.element = h("div", { class: "df-numbers", role: "group", "aria-label": editor.t("numbers.label") });
    /** @type {Map<Field, HTMLInputElement>} */
    this.inputs = new Map();
    this.kind = "";
    this.end = h(
      "button",
      { type: "button", class: "df-field df-end", on: { click: () => editor.run("toggleEnd") } },
      icon("hold"),
      h("span", {}, editor.t("numbers.hold")),
    );
    nameButton(this.end, editor.t("command.toggleEnd"), keyOf("toggleEnd"));
    const press = (/** @type {string} */ command, /** @type {string} */ name) =>
      iconButton({
        icon: name,
        label: editor.t(`command.${command}`),
        key: keyOf(command),
        class: "df-tip-left",
        press: () => editor.run(command),
      });
    this.copy = press("toggleCopy", "copy");
    this.flips = [press("flipX", "flipX"), press("flipY", "flipY")];
    this.front = press("toggleFront", "front");
    this.changes = h("div", { class: "df-changes" }, this.copy, ...this.flips, this.front);
  }

  update() {
    const { session, stage } = this.editor;
    const operation = selected(session.state);
    const kind = operation ? kindOf(operation) : "";
    if (kind !== this.kind) this.build(kind);
    put(this.element, { hidden: this.inputs.size === 0 });
    if (!operation) return;
    put(this.copy, { "aria-pressed": String(operation.kind === "region" && Boolean(operation.copy)) });
    put(this.front, { "aria-pressed": String(session.state.part === "front") });
    for (const button of [this.copy, ...this.flips, this.front]) put(button, { disabled: session.readOnly });
    put(this.end, { "aria-pressed": String(kind === "deformation with an end"), disabled: session.readOnly });
    const values = valuesOf(operation, session.state.pair ?? 0, stage.size);
    for (const [field, input] of this.inputs) {
      put(input, { disabled: session.readOnly });
      if (document.activeElement === input && this.typed === input) continue;
      const text = String(Math.round((values[field] ?? 0) * 10) / 10);
      if (input.value !== text) input.value = text;
    }
  }

  /** @param {string} kind */
  build(kind) {
    this.kind = kind;
    this.inputs.clear();
    const { t } = this.editor;
    const fields = (FIELDS[kind] ?? []).map((field) => {
      // The anchor of a deformation is no turning point but the end that stays.
      const text = kind === "rotation" ? field : field.replace("anchor", "end");
      const input = h("input", {
        type: "number",
        class: "df-number",
        step: "1",
        inputmode: "decimal",
        "aria-label": t(`numbers.${text}.name`),
        on: {
          input: () => this.take(field, input),
          change: () => this.settle(input),
          blur: () => this.settle(input),
        },
      });
      this.inputs.set(field, input);
      return h("label", { class: "df-field", "data-tip": t(`numbers.${text}.name`) }, h("span", {}, t(`numbers.${text}`)), input);
    });
    this.element.replaceChildren(...fields);
    if (kind.startsWith("deformation")) this.element.append(this.end);
    if (kind === "relocation" || kind === "rotation") this.element.append(this.changes);
  }

  /** @param {Field} field @param {HTMLInputElement} input */
  take(field, input) {
    const { session } = this.editor;
    this.typed = input;
    const id = session.state.selection;
    if (!id || !input.value.trim() || !Number.isFinite(input.valueAsNumber)) return;
    if (session.state.pair === null && this.kind === "points") session.act({ type: "select", id, pair: 0 });
    this.editor.tell(session.act({ type: "setNumber", id, field, value: input.valueAsNumber }, `number:${id}:${field}`));
  }

  /** @param {HTMLInputElement} input */
  settle(input) {
    if (this.typed !== input) return;
    this.typed = null;
    this.editor.session.settle();
    this.update();
  }
}

/** @param {Operation} operation */
function kindOf(operation) {
  if (operation.kind === "points") return "points";
  return operation.task === "deformation" && operation.anchor ? "deformation with an end" : operation.task;
}

/**
 * @param {Operation} operation
 * @param {number} pair
 * @param {Size} size
 * @returns {Partial<Record<Field, number>>}
 */
function valuesOf(operation, pair, [width, height]) {
  if (operation.kind === "points") {
    const [handle, target] = operation.pairs[Math.min(pair, operation.pairs.length - 1)];
    return { handleX: handle[0] * width, handleY: handle[1] * height, targetX: target[0] * width, targetY: target[1] * height };
  }
  const [shiftX, shiftY] = shiftOf(operation, [width, height]);
  const { target, anchor } = operation;
  return {
    shiftX,
    shiftY,
    targetX: (target?.[0] ?? 0) * width,
    targetY: (target?.[1] ?? 0) * height,
    anchorX: (anchor?.[0] ?? 0) * width,
    anchorY: (anchor?.[1] ?? 0) * height,
    angle: angleOf(operation, [width, height]),
    scaleX: (operation.scale?.[0] ?? 1) * 100,
    scaleY: (operation.scale?.[1] ?? 1) * 100,
  };
}
