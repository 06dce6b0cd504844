/**
 * The operations as a list: colour, name, task, whether it arrived, and what can be done with each.
 *
 * Rows are kept from one update to the next, so that focus, a name being typed and an open choice survive.
 */

import { TASKS } from "../drag/form.mjs";
import { PALETTE } from "../drag/model.mjs";
import { h, icon, iconButton, nameButton, put } from "./dom.mjs";
import { keyOf } from "./toolbar.mjs";

/** @import {Operation, Task} from "../drag/types.mjs" */
/** @import {Editor} from "./editor.mjs" */

/** @typedef {{element: HTMLLIElement, update: (operation: Operation, index: number) => void}} Row */

export class List {
  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    this.items = h("ul", { class: "df-list", "aria-label": editor.t("list.label") });
    this.empty = h("p", { class: "df-empty" }, editor.t("list.empty"));
    this.element = h("div", { class: "df-operations" }, this.items, this.empty);
    /** @type {string | null} the selection that was scrolled to */
    this.seen = null;
  }

  update() {
    const { state } = this.editor.session;
    put(this.empty, { hidden: state.operations.length > 0 });
    const left = new Set(this.rows.keys());
    state.operations.forEach((operation, index) => {
      let row = this.rows.get(operation.id);
      if (!row || row.element.dataset.kind !== operation.kind) {
        row?.element.remove();
        row = this.row(operation);
        this.rows.set(operation.id, row);
      }
      left.delete(operation.id);
      if (this.items.children[index] !== row.element) this.items.insertBefore(row.element, this.items.children[index] ?? null);
      row.update(operation, index);
    });
    for (const id of left) {
      this.rows.get(id)?.element.remove();
      this.rows.delete(id);
    }
    const { selection } = state;
    if (selection !== this.seen) this.rows.get(selection ?? "")?.element.scrollIntoView?.({ block: "nearest" });
    this.seen = selection;
  }

  /** @param {Operation} made @returns {Row} */
  row({ id, kind }) {
    const { editor } = this;
    const { session, t } = editor;
    const swatch = h("button", {
      type: "button",
      class: "df-swatch",
      on: { click: () => session.act({ type: "recolour", id, colour: ((this.find(id)?.colour ?? 0) + 1) % PALETTE.length }) },
    });
    const name = h("input", {
      class: "df-name",
      type: "text",
      maxlength: "200",
      spellcheck: "false",
      on: {
        focus: () => session.act({ type: "select", id }),
        change: () => editor.tell(session.act({ type: "rename", id, name: name.value.trim() })),
      },
    });
    const task = kind === "points" ? h("span", { class: "df-kind" }, icon("points"), t("kind.points")) : this.taskChoice(id);
    const verdict = h("span", { class: "df-verdict", role: "img" });
    const eye = iconButton({ icon: "eye", label: "", press: () => session.act({ type: "show", id, visible: !this.find(id)?.visible }) });
    const copy = iconButton({
      icon: "duplicate",
      label: t("command.duplicate"),
      class: "df-tip-left",
      press: () => editor.tell(session.act({ type: "duplicate", id })),
    });
    const along = iconButton({ icon: "along", label: "", class: "df-along", press: () => this.along(id) });
    const remove = iconButton({ icon: "remove", label: t("command.delete"), class: "df-tip-left", press: () => this.remove(id) });
    const element = h(
      "li",
      { class: "df-row", "data-kind": kind, on: { click: (event) => event.target === element && session.act({ type: "select", id }) } },
      swatch,
      name,
      task,
      verdict,
      along,
      eye,
      copy,
      remove,
    );
    return {
      element,
      update: (operation, index) => {
        const chosen = session.state.selection === id;
        put(element, { "aria-current": chosen ? "true" : null, "data-hidden": operation.visible ? null : "" });
        const shown = operation.name || nameOf(operation, index, t);
        nameButton(swatch, t("list.colour", { name: shown }));
        swatch.style.setProperty("--df-colour", PALETTE[operation.colour % PALETTE.length].hex);
        put(name, { placeholder: nameOf(operation, index, t), "aria-label": t("list.name", { name: shown }), readonly: session.readOnly });
        if (document.activeElement !== name && name.value !== operation.name) name.value = operation.name;
        if (task instanceof HTMLSelectElement && operation.kind === "region") {
          if (task.value !== operation.task) task.value = operation.task;
          put(task, { "aria-label": t("list.task", { name: shown }), disabled: session.readOnly });
        }
        nameButton(eye, t(operation.visible ? "list.hide" : "list.show", { name: shown }));
        put(eye, { "aria-pressed": String(!operation.visible), disabled: session.readOnly });
        if (eye.dataset.icon !== String(operation.visible)) eye.replaceChildren(icon(operation.visible ? "eye" : "hidden"));
        eye.dataset.icon = String(operation.visible);
        const points = operation.kind === "points";
        const pinned = !points && operation.task === "pin";
        const front = !points && Boolean(operation.front);
        const drawing = chosen && (session.state.part === "along" || session.state.part === "selected");
        nameButton(along, t(points ? "list.selected" : pinned ? "list.front" : "list.along", { name: shown }), keyOf(pinned ? "toggleFront" : "toggleAlong"));
        put(along, {
          "aria-pressed": String(pinned ? front : drawing),
          "data-has": front || (points ? operation.selected : operation.along) ? "" : null,
          disabled: session.readOnly,
        });
        const picture = points ? "selected" : pinned ? "front" : "along";
        if (along.dataset.icon !== picture) along.replaceChildren(icon(picture));
        along.dataset.icon = picture;
        for (const button of [copy, remove, swatch]) put(button, { disabled: session.readOnly });
        this.judge(verdict, operation);
      },
    };
  }

  /** @param {string} id */
  along(id) {
    const { session } = this.editor;
    const operation = this.find(id);
    if (operation?.kind === "region" && operation.task === "pin")
      return this.editor.tell(session.act({ type: "front", id, front: !operation.front }));
    // Of another region it goes on, of the same one it ends.
    if (session.state.selection !== id) {
      session.act({ type: "part", part: "region" });
      session.act({ type: "select", id });
    }
    this.editor.run("toggleAlong");
  }

  /** @param {string} id */
  taskChoice(id) {
    const { session, t } = this.editor;
    const choice = h(
      "select",
      {
        class: "df-task",
        on: { change: () => this.editor.tell(session.act({ type: "retask", id, task: /** @type {Task} */ (choice.value) })) },
      },
      ...TASKS.map((task) => h("option", { value: task }, t(`task.${task}`))),
    );
    return choice;
  }

  /** @param {HTMLElement} element @param {Operation} operation */
  judge(element, operation) {
    const verdicts = this.editor.stage.verdicts.get(operation.id) ?? [];
    const state = verdicts.length ? String(verdicts.every(({ arrived }) => arrived)) : "";
    put(element, { hidden: !state, "data-arrived": state || null });
    if (!state) return;
    const off = Math.max(...verdicts.map((one) => one.off)).toFixed(0);
    const advice = verdicts.map((one) => one.advice).find(Boolean) ?? "";
    const missed = verdicts.filter(({ arrived }) => !arrived);
    let key = "report.missed";
    if (state === "true") key = "report.arrived";
    else if (missed.every(({ verdict }) => verdict === "arrived")) key = "report.unclean";
    else if (missed.every(({ verdict }) => verdict === "unknown")) key = "report.unknown";
    const text = this.editor.t(key, { off }) + (advice ? `\n${advice}` : "");
    put(element, { "aria-label": text, "data-tip": text });
    if (element.dataset.icon !== state) element.replaceChildren(icon(state === "true" ? "arrived" : "missed"));
    element.dataset.icon = state;
  }

  /** Focus goes on to the next row, not to nowhere. @param {string} id */
  remove(id) {
    const next = this.rows.get(id)?.element.nextElementSibling ?? this.rows.get(id)?.element.previousElementSibling;
    this.editor.session.act({ type: "remove", id });
    const button = next?.querySelector("button:last-of-type");
    if (button instanceof HTMLElement) button.focus();
    else this.editor.stage.element.focus({ preventScroll: true });
  }

  /** @param {string} id */
  find(id) {
    return this.editor.session.state.operations.find((operation) => operation.id === id);
  }
}

/**
 * What an operation without a name is called.
 *
 * @param {Operation} operation
 * @param {number} index
 * @param {(key: string, params?: Record<string, string | number>) => string} t
 */
export function nameOf(operation, index, t) {
  return t(operation.kind === "points" ? "name.points" : "name.region", { number: index + 1 });
}
