/**
 * The page of keys, made when it is first asked for. A popover of the browser, like the menu.
 */

import { COMMANDS, keyLabel } from "../drag/keymap.mjs";
import { h, iconButton } from "./dom.mjs";
import { isMac } from "./toolbar.mjs";

const GROUPS = /** @type {const} */ (["tools", "tasks", "move", "edit", "view"]);

/**
 * @param {(key: string) => string} t
 * @returns {HTMLElement}
 */
export function helpPage(t) {
  const close = iconButton({ icon: "missed", label: t("help.close"), class: "df-tip-left", press: () => page.hidePopover() });
  const sections = GROUPS.map((group) => {
    const rows = COMMANDS.filter((command) => command.group === group).flatMap(({ id, keys }) => [
      h("dt", {}, ...keys.map((key) => h("kbd", {}, keyLabel(key, isMac())))),
      h("dd", {}, t(`command.${id}`)),
    ]);
    return h("section", {}, h("h3", {}, t(`help.${group}`)), h("dl", {}, ...rows));
  });
  const page = h(
    "div",
    {
      class: "df-popover df-help",
      popover: "auto",
      role: "dialog",
      "aria-label": t("help.title"),
      tabindex: "-1",
      on: {
        keydown: (event) => {
          event.stopPropagation();
          if (event.key === "Escape" || event.key === "?") page.hidePopover();
        },
      },
    },
    h("header", {}, h("h2", {}, t("help.title")), close),
    h("p", {}, t("help.intro")),
    h("div", { class: "df-columns" }, ...sections),
  );
  return page;
}
