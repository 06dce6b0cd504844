/**
 * The keyboard commands of the canvas: one table for what happens and for the help that lists it.
 *
 * A key is written as "Ctrl+Shift+Z" with the names of `KeyboardEvent.key`; Ctrl also stands for Cmd. The text of a command
 * is "command." and its id in texts.mjs.
 *
 * @typedef {"tools" | "tasks" | "edit" | "move" | "view"} Group
 *
 * @typedef {object} Command
 * @property {string} id
 * @property {string[]} keys  the first is the one that help shows
 * @property {Group} group
 */

/** @type {readonly Command[]} */
export const COMMANDS = Object.freeze([
  tool("select", "V"),
  tool("brush", "B"),
  tool("eraser", "E"),
  tool("lasso", "L"),
  tool("polygon", "P"),
  tool("rectangle", "R"),
  tool("ellipse", "O"),
  tool("points", "D"),
  tool("bend", "K"),
  { id: "toggleAlong", keys: ["G"], group: "tools" },
  { id: "brushSmaller", keys: ["["], group: "tools" },
  { id: "brushLarger", keys: ["]"], group: "tools" },
  { id: "addRegionCentre", keys: ["N"], group: "tools" },
  { id: "addPairCentre", keys: ["Shift+N"], group: "tools" },
  task("relocation", "1"),
  task("rotation", "2"),
  task("deformation", "3"),
  task("pin", "4"),
  { id: "undo", keys: ["Ctrl+Z"], group: "edit" },
  { id: "redo", keys: ["Ctrl+Y", "Ctrl+Shift+Z"], group: "edit" },
  { id: "copy", keys: ["Ctrl+C"], group: "edit" },
  { id: "paste", keys: ["Ctrl+V"], group: "edit" },
  { id: "duplicate", keys: ["Ctrl+D"], group: "edit" },
  { id: "delete", keys: ["Delete", "Backspace"], group: "edit" },
  { id: "toggleVisible", keys: ["H"], group: "edit" },
  { id: "toggleEnd", keys: ["A"], group: "edit" },
  { id: "toggleCopy", keys: ["C"], group: "edit" },
  { id: "toggleFront", keys: ["F"], group: "edit" },
  { id: "flipX", keys: ["Shift+H"], group: "edit" },
  { id: "flipY", keys: ["Shift+V"], group: "edit" },
  { id: "raise", keys: ["PageUp"], group: "edit" },
  { id: "lower", keys: ["PageDown"], group: "edit" },
  { id: "selectNext", keys: ["Tab"], group: "edit" },
  { id: "selectPrevious", keys: ["Shift+Tab"], group: "edit" },
  { id: "commit", keys: ["Enter"], group: "edit" },
  { id: "cancel", keys: ["Escape"], group: "edit" },
  ...["Left", "Right", "Up", "Down"].map((side) => ({ id: `nudge${side}`, keys: [`Arrow${side}`], group: /** @type {Group} */ ("move") })),
  { id: "turnLeft", keys: [","], group: "move" },
  { id: "turnRight", keys: ["."], group: "move" },
  { id: "scaleLarger", keys: ["Ctrl+ArrowUp"], group: "move" },
  { id: "scaleSmaller", keys: ["Ctrl+ArrowDown"], group: "move" },
  { id: "fit", keys: ["0"], group: "view" },
  { id: "zoomIn", keys: ["+", "="], group: "view" },
  { id: "zoomOut", keys: ["-"], group: "view" },
  { id: "panHold", keys: ["Space"], group: "view" },
  { id: "loupeHold", keys: ["Z"], group: "view" },
  { id: "viewInput", keys: ["I"], group: "view" },
  { id: "viewPreview", keys: ["T"], group: "view" },
  { id: "viewResult", keys: ["U"], group: "view" },
  { id: "toggleMarks", keys: ["M"], group: "view" },
  { id: "toggleArea", keys: ["W"], group: "view" },
  { id: "help", keys: ["?"], group: "view" },
]);

/** What the key is called without Shift, where Shift gives another sign on common layouts. */
const UNSHIFTED = new Map([["<", ","], [">", "."], [";", ","], [":", "."]]);
/** Signs that are typed with Shift or AltGr on some layouts and without on others. */
const SIGNS = new Set([..."?+=-[]01234"]);

/**
 * The command of a key press; null if there is none.
 *
 * With the commands of the group "move", Shift means a large step, ten times as far or 15 degrees, and Alt the drawn region
 * itself instead of its target.
 * @param {{key: string, code?: string, ctrlKey?: boolean, metaKey?: boolean, shiftKey?: boolean, altKey?: boolean}} event
 * @returns {{command: string, args: {large: boolean, part?: "outline"}} | null}
 */
export function commandFor(event) {
  const [ctrl, shift, alt] = [Boolean(event.ctrlKey || event.metaKey), Boolean(event.shiftKey), Boolean(event.altKey)];
  const key = nameOfKey(event, shift, alt);
  /** @type {(one: boolean, two: boolean, three: boolean) => Command | undefined} */
  const named = (one, two, three) => {
    const name = `${one ? "Ctrl+" : ""}${two ? "Shift+" : ""}${three ? "Alt+" : ""}${key}`;
    return COMMANDS.find((command) => command.keys.includes(name));
  };
  let found = named(ctrl, shift, alt);
  if (!found && SIGNS.has(key)) found = named(ctrl && !alt, false, false);
  if (!found && !ctrl) {
    const plain = named(false, false, false);
    if (plain?.group === "move") found = plain;
  }
  return found ? { command: found.id, args: { large: shift, ...(alt && { part: "outline" }) } } : null;
}

/** How help shows a key: with the signs that a Mac's keyboard has, or with words. @param {string} key @param {boolean} mac */
export function keyLabel(key, mac = false) {
  /** @type {Record<string, string>} */
  const names = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", ...(mac && MAC) };
  const parts = key === "+" ? [key] : key.split(/\+(?=.)/);
  return parts.map((part) => names[part] ?? part).join(mac ? "" : "+");
}

const MAC = { Ctrl: "⌘", Shift: "⇧", Alt: "⌥", Delete: "⌦", Backspace: "⌫", Enter: "⏎", Escape: "esc" };

/** @param {{key: string, code?: string}} event @param {boolean} shift @param {boolean} alt */
function nameOfKey({ key, code }, shift, alt) {
  if (key === " ") return "Space";
  // With Alt, a Mac types another sign: the key itself counts then.
  if (alt && code?.startsWith("Key")) return code.slice(3);
  if (shift && UNSHIFTED.has(key)) return UNSHIFTED.get(key) ?? key;
  return key.length === 1 ? key.toUpperCase() : key;
}

/** @param {string} name @param {string} key @returns {Command} */
function tool(name, key) {
  return { id: `tool${capital(name)}`, keys: [key], group: "tools" };
}

/** @param {string} name @param {string} key @returns {Command} */
function task(name, key) {
  return { id: `task${capital(name)}`, keys: [key], group: "tasks" };
}

/** @param {string} name */
function capital(name) {
  return name[0].toUpperCase() + name.slice(1);
}
