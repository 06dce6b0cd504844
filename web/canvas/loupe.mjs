/**
 * The loupe: a place of the picture as it is, large, beside the pointer, where a point is set or a key asks for it.
 *
 * Convention: the pen's unit is the CSS px of the stage; places are normalised unless a name says css.
 */

import { toCss } from "../drag/viewport.mjs";
import { Marks } from "./marks.mjs";

/** @import {Point, Size} from "../drag/types.mjs" */
/** @import {View} from "../drag/viewport.mjs" */
/** @import {Picture} from "./picture.mjs" */

/** css px. */
const RADIUS = 54;
/** Between the place and the rim of the loupe: a finger is wide. */
const AWAY = 26;
/** How much larger than on the stage, and css px per picture px, at least. */
const [LARGER, LEAST] = [3, 3];
/** css px per picture px from which on nobody needs it. */
const ENOUGH = 2;

/** Whether single px of the picture can't be told apart on the stage. @param {View} view */
export function isCoarse({ zoom }) {
  return zoom < ENOUGH;
}

/** @param {CanvasRenderingContext2D} pen @param {Picture} picture @param {View} view @param {Size} box @param {number} ratio device px per css px @param {Point} at */
export function drawLoupe(pen, picture, view, box, ratio, at) {
  const { size } = picture;
  const css = toCss(view, at, size);
  const [x, y] = placeOf(css, box);
  const zoom = Math.max(LEAST, LARGER * view.zoom);
  const [px, py] = [at[0] * size[0], at[1] * size[1]];
  const circle = new Path2D();
  circle.arc(x, y, RADIUS, 0, Math.PI * 2);
  pen.save();
  pen.clip(circle);
  pen.fillStyle = "#16181d";
  pen.fill(circle);
  pen.translate(x - px * zoom, y - py * zoom);
  pen.scale(zoom, zoom);
  pen.imageSmoothingEnabled = zoom * ratio < 4;
  pen.drawImage(picture.level(zoom * ratio).source, 0, 0, size[0], size[1]);
  pen.restore();
  const marks = new Marks(pen, view, size);
  const cross = new Path2D();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    cross.moveTo(x + dx * 5, y + dy * 5);
    cross.lineTo(x + dx * 15, y + dy * 15);
  }
  marks.line(cross, "#fff", 1.25);
  marks.line(circle, "#fff", 2);
  marks.label([x, y + RADIUS - 13], `${Math.floor(px)}, ${Math.floor(py)}`, "#fff");
}

/** Above the place, or below where there is no room, and on the stage. @param {Point} css @param {Size} box @returns {Point} css px */
export function placeOf([x, y], [width, height]) {
  const reach = RADIUS + AWAY;
  const above = y - reach - RADIUS > 0;
  const inside = (/** @type {number} */ value, /** @type {number} */ side) => Math.min(Math.max(value, RADIUS + 3), Math.max(side / 2, side - RADIUS - 3));
  return [inside(x, width), inside(above ? y - reach : y + reach, height)];
}
