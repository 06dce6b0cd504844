/**
 * From the picture to the screen and back: fitting, zooming at a point, panning, and coordinates that stay right when the
 * graph around the canvas is zoomed.
 *
 * Convention: "css" is px of the canvas element's own box, whatever transform it is shown with; a view puts picture px
 * there by css = px * zoom + pan. Client coordinates are those of pointer events.
 *
 * @import {Matrix, Point, Size} from "./types.mjs"
 *
 * @typedef {{zoom: number, panX: number, panY: number}} View  zoom: css px per picture px
 */

import { clamp } from "./rings.mjs";

/** How far out and in one can zoom: a part of the fitted view, and css px per picture px. */
const [LEAST, MOST] = [0.5, 64];

/** The whole picture, in the middle. @param {Size} size @param {Size} box  css px @param {number} padding  css px @returns {View} */
export function fitView(size, box, padding = 0) {
  const zoom = fittingZoom(size, box, padding);
  return { zoom, panX: (box[0] - size[0] * zoom) / 2, panY: (box[1] - size[1] * zoom) / 2 };
}

/** What lies under `at` stays there. @param {View} view @param {number} factor @param {Point} at  css px @param {Size} size
 * @param {Size} box @returns {View} */
export function zoomAt(view, factor, at, size, box) {
  const fit = fittingZoom(size, box, 0);
  const zoom = clamp(view.zoom * factor, fit * LEAST, Math.max(MOST, fit));
  const scale = zoom / view.zoom;
  return held({ zoom, panX: at[0] - (at[0] - view.panX) * scale, panY: at[1] - (at[1] - view.panY) * scale }, size, box);
}

/** @param {View} view @param {number} dx @param {number} dy  css px @param {Size} size @param {Size} box @returns {View} */
export function panBy(view, dx, dy, size, box) {
  return held({ zoom: view.zoom, panX: view.panX + dx, panY: view.panY + dy }, size, box);
}

/** Picture px to css px. @param {View} view @returns {Matrix} */
export function viewMatrix({ zoom, panX, panY }) {
  return [zoom, 0, panX, 0, zoom, panY];
}

/** @param {View} view @param {Point} css @param {Size} size @returns {Point} normalised; outside of the picture below 0 or above 1 */
export function toPicture({ zoom, panX, panY }, [x, y], [width, height]) {
  return [(x - panX) / zoom / width, (y - panY) / zoom / height];
}

/** @param {View} view @param {Point} point  normalised @param {Size} size @returns {Point} css px */
export function toCss({ zoom, panX, panY }, [x, y], [width, height]) {
  return [x * width * zoom + panX, y * height * zoom + panY];
}

/**
 * A pointer event's place in the canvas's own box. The ratio to what getBoundingClientRect says covers every scale between
 * the element and the screen, the zoom of the graph included.
 * @param {{left: number, top: number, width: number, height: number}} rect @param {Size} box @param {number} clientX
 * @param {number} clientY @returns {Point} css px
 */
export function clientToCss(rect, box, clientX, clientY) {
  return [((clientX - rect.left) * box[0]) / (rect.width || 1), ((clientY - rect.top) * box[1]) / (rect.height || 1)];
}

/** Device px of the canvas, so that it is crisp but never larger than `max` on a side. @param {Size} box @param {number} ratio
 * @param {number} max @returns {Size} */
export function backingSize(box, ratio, max = 4096) {
  const scale = Math.min(ratio, max / Math.max(...box, 1));
  return [Math.max(1, Math.round(box[0] * scale)), Math.max(1, Math.round(box[1] * scale))];
}

/** A reach on the screen in px of the picture. @param {View} view @param {number} css @returns {number} */
export function hitRadius({ zoom }, css) {
  return css / zoom;
}

/** @param {Size} size @param {Size} box @param {number} padding */
function fittingZoom([width, height], box, padding) {
  return Math.max(1e-6, Math.min((box[0] - 2 * padding) / width, (box[1] - 2 * padding) / height));
}

/** The picture is never lost: some of it stays in the box. @param {View} view @param {Size} size @param {Size} box @returns {View} */
function held({ zoom, panX, panY }, [width, height], box) {
  const keep = (/** @type {number} */ pan, /** @type {number} */ length, /** @type {number} */ room) => {
    const seen = Math.min(48, length / 2, room / 2);
    return clamp(pan, seen - length, room - seen);
  };
  return { zoom, panX: keep(panX, width * zoom, box[0]), panY: keep(panY, height * zoom, box[1]) };
}
