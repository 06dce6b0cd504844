/**
 * Elements in few words: `h("button", {class: "x", on: {click}}, "text")`. Nothing here listens outside the element it makes.
 */

import { ICONS } from "./icons.mjs";

/** @typedef {{class?: string, on?: Record<string, (event: any) => void>, [name: string]: unknown}} Attributes */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes] `on` holds listeners; true makes an empty attribute, false and null none.
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(attributes.on ?? {})) element.addEventListener(event, listener);
    } else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** @type {Map<string, SVGSVGElement>} */
const icons = new Map();

/**
 * @param {string} name a key of ICONS
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  let made = icons.get(name);
  if (!made) {
    made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    made.setAttribute("viewBox", "0 0 20 20");
    made.setAttribute("aria-hidden", "true");
    made.setAttribute("class", "df-icon");
    made.innerHTML = ICONS[name] ?? "";
    icons.set(name, made);
  }
  return /** @type {SVGSVGElement} */ (made.cloneNode(true));
}

/**
 * A button with a picture, named for screen readers, its name and key shown as a tip.
 *
 * @param {{icon: string, label: string, key?: string, class?: string, press: (event: MouseEvent) => void}} options
 * @returns {HTMLButtonElement}
 */
export function iconButton({ icon: name, label, key = "", class: extra = "", press }) {
  const button = h("button", { type: "button", class: `df-button ${extra}`, on: { click: press } }, icon(name));
  return nameButton(button, label, key);
}

/**
 * @param {HTMLButtonElement} button
 * @param {string} label
 * @param {string} [key]
 */
export function nameButton(button, label, key = "") {
  button.setAttribute("aria-label", label);
  button.dataset.tip = key ? `${label}  ${key}` : label;
  return button;
}

/**
 * Only what differs is written: a page that is redrawn sixty times a second should not be laid out as often.
 *
 * @param {Element} element
 * @param {Record<string, string | boolean | null>} attributes
 */
export function put(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = value === true ? "" : value;
    if (text === null || text === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/**
 * @param {Node} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
