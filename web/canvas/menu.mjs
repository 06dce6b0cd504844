/**
 * The menu behind the dots: the whole drag as a text or a file, and the prompts. Made when it is first opened. A popover of the browser: in the
 * top layer, closed by Escape or a click elsewhere without a listener of ours outside the node.
 */

import { writeDrag, readDrag } from "../drag/wire.mjs";
import { documentOf } from "../drag/model.mjs";
import { h, put } from "./dom.mjs";
import { menuItem } from "./toolbar.mjs";

/** @import {Editor} from "./editor.mjs" */

export class Menu {
  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    const { t } = editor;
    this.file = h("input", { type: "file", accept: ".json,application/json,text/plain", hidden: true, on: { change: () => this.read() } });
    this.paste = this.item("duplicate", t("menu.paste"), () => editor.commands.pasteAny());
    this.load = this.item("open", t("menu.import"), () => this.file.click());
    this.clear = this.item("remove", t("menu.clear"), () => editor.session.act({ type: "clear" }));
    this.element = h(
      "div",
      { class: "df-popover df-menu", popover: "auto", role: "menu", on: { keydown: (event) => this.key(event) } },
      this.item("duplicate", t("menu.copy"), () => editor.copyAll()),
      this.paste,
      h("hr"),
      this.load,
      this.item("save", t("menu.export"), () => this.save()),
      h("hr"),
      this.prompt("background", t("prompt.background")),
      this.prompt("editing", t("prompt.editing")),
      h("hr"),
      this.clear,
      this.file,
    );
  }

  /** @param {string} icon @param {string} text @param {() => void} press */
  item(icon, text, press) {
    return menuItem(icon, text, () => {
      this.element.hidePopover();
      press();
    });
  }

  /** @param {"background" | "editing"} name @param {string} label */
  prompt(name, label) {
    const { session } = this.editor;
    const area = h("textarea", {
      rows: "2",
      class: "df-prompt",
      maxlength: "10000",
      on: { change: () => this.editor.tell(session.act({ type: "prompts", [name]: area.value })) },
    });
    area.dataset.prompt = name;
    return h("label", { class: "df-prompts" }, h("span", {}, label), area);
  }

  /** @param {HTMLElement} button */
  toggle(button) {
    const { session } = this.editor;
    for (const item of [this.paste, this.load, this.clear]) put(item, { disabled: session.readOnly });
    for (const area of this.element.querySelectorAll("textarea")) {
      area.value = area.dataset.prompt === "editing" ? session.state.editing : session.state.background;
      put(area, { readonly: session.readOnly });
    }
    this.element.togglePopover();
    if (!this.element.matches(":popover-open")) return;
    const at = button.getBoundingClientRect();
    const own = this.element.getBoundingClientRect();
    const top = at.bottom + 4 + own.height > innerHeight ? Math.max(4, at.top - 4 - own.height) : at.bottom + 4;
    Object.assign(this.element.style, {
      left: `${Math.max(4, Math.min(at.right - own.width, innerWidth - own.width - 4))}px`,
      top: `${top}px`,
    });
    this.element.querySelector("button")?.focus();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    event.stopPropagation();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target instanceof HTMLTextAreaElement) return;
    const items = [...this.element.querySelectorAll("button")].filter((item) => !item.disabled);
    items[(items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement)) + step + items.length) % items.length]?.focus();
    event.preventDefault();
  }

  save() {
    const text = writeDrag(documentOf(this.editor.session.state));
    const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "drag.json" });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async read() {
    const [file] = this.file.files ?? [];
    this.file.value = "";
    if (!file) return;
    const { document, reason } = readDrag(await file.text());
    this.editor.tell(document ? this.editor.session.act({ type: "replace", document }) : reason);
  }
}
