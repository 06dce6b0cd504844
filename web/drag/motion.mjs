/**
 * Where a region goes: core's rigid motions, angles, and the snapping of what the hand does.
 *
 * Convention: matrices act on px of a picture of `size`. Angles are in degrees, positive clockwise on the screen. A
 * forward matrix carries a source position to its target, a backward one the other way (core/field/geometry.py).
 *
 * @import {Matrix, Point, Region, Size} from "./types.mjs"
 */

import { clampPoint, polygonCentroid } from "./rings.mjs";
import { spanCentroid, spansOf } from "./spans.mjs";

/** @type {Matrix} */
export const IDENTITY = [1, 0, 0, 0, 1, 0];

/** Core's centroid of the region on a picture of `size`. @param {Region} region @param {Size} size @returns {Point} px */
export function centroid(region, size) {
  const [width, height] = size;
  const found = spanCentroid(spansOf(region.region, size));
  if (found) return found;
  // Smaller than a pixel: core refuses to work on it, but it is still on the screen.
  const [x, y] = polygonCentroid(region.region) ?? region.region[0][0][0];
  return [x * width, y * height];
}

/** How far relocation and deformation carry the region; 0 for the others. @param {Region} region @param {Size} size @returns {Point} px */
export function shiftOf(region, size) {
  if (!region.target || region.task === "rotation" || region.task === "pin") return [0, 0];
  const [x, y] = centroid(region, size);
  return [region.target[0] * size[0] - x, region.target[1] * size[1] - y];
}

/** How far a rotation turns, in [-180, 180); 0 for the others. @param {Region} region @param {Size} size @returns {number} degrees */
export function angleOf(region, size) {
  if (region.task !== "rotation" || !region.target || !region.anchor) return 0;
  return rotationAngle(centroid(region, size), scaled(region.target, size), scaled(region.anchor, size));
}

/** Where the centroid lands. @param {Region} region @param {Size} size @returns {Point} normalised, may be off the picture */
export function landing(region, size) {
  const [x, y] = apply(forwardMatrix(region, size), centroid(region, size));
  return [x / size[0], y / size[1]];
}

/**
 * Degrees in [-180, 180) that turn `start` about `anchor` into the direction of `target`; 0 where a direction is missing.
 * @param {Point} start @param {Point} target @param {Point} anchor  px
 */
export function rotationAngle(start, target, anchor) {
  const reach = Math.min(Math.hypot(start[0] - anchor[0], start[1] - anchor[1]), Math.hypot(target[0] - anchor[0], target[1] - anchor[1]));
  return reach < 1e-6 ? 0 : wrapAngle(direction(anchor, target) - direction(anchor, start));
}

/** Into [-180, 180). @param {number} degrees */
export function wrapAngle(degrees) {
  return modulo(degrees + 180, 360) - 180;
}

/** Source to target. @param {Region} region @param {Size} size @param {number} progress  in [0, 1] @returns {Matrix} px */
export function forwardMatrix(region, size, progress = 1) {
  if (region.task === "rotation" && region.anchor) {
    return turnAbout(scaled(region.anchor, size), angleOf(region, size) * progress);
  }
  const [dx, dy] = shiftOf(region, size);
  return [1, 0, dx * progress, 0, 1, dy * progress];
}

/** Target to source. @param {Region} region @param {Size} size @param {number} progress @returns {Matrix} px */
export function backwardMatrix(region, size, progress = 1) {
  return invert(forwardMatrix(region, size, progress));
}

/** @param {Point} anchor @param {number} degrees @returns {Matrix} */
export function turnAbout([ax, ay], degrees) {
  const turn = (degrees * Math.PI) / 180;
  const [c, s] = [Math.cos(turn), Math.sin(turn)];
  return [c, -s, ax - (c * ax - s * ay), s, c, ay - (s * ax + c * ay)];
}

/** First n, then m. @param {Matrix} m @param {Matrix} n @returns {Matrix} */
export function multiply(m, n) {
  return [
    m[0] * n[0] + m[1] * n[3],
    m[0] * n[1] + m[1] * n[4],
    m[0] * n[2] + m[1] * n[5] + m[2],
    m[3] * n[0] + m[4] * n[3],
    m[3] * n[1] + m[4] * n[4],
    m[3] * n[2] + m[4] * n[5] + m[5],
  ];
}

/** @param {Matrix} m  not singular @returns {Matrix} */
export function invert([a, b, c, d, e, f]) {
  const scale = 1 / (a * e - b * d);
  return [e * scale, -b * scale, (b * f - e * c) * scale, -d * scale, a * scale, (d * c - a * f) * scale];
}

/** @param {Matrix} m @param {Point} p @returns {Point} */
export function apply(m, [x, y]) {
  return [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]];
}

/** The arguments of setTransform and of DOMMatrix. @param {Matrix} m @returns {[number, number, number, number, number, number]} */
export function toCanvas([a, b, c, d, e, f]) {
  return [a, d, b, e, c, f];
}

/** Where the target of a rotation belongs for an angle: on the circle of the centroid. @param {Region} region @param {Size} size
 * @param {number} angle  degrees @returns {Point} normalised, may be off the picture */
export function targetForAngle(region, size, angle) {
  const anchor = scaled(region.anchor ?? [0.5, 0.5], size);
  const [x, y] = apply(turnAbout(anchor, angle), centroid(region, size));
  return [x / size[0], y / size[1]];
}

/** The direction of a point seen from the anchor. @param {Point} anchor @param {Point} point  normalised @param {Size} size */
export function handleAngle(anchor, point, size) {
  return direction(scaled(anchor, size), scaled(point, size));
}

/** The nearest multiple. @param {number} degrees @param {number} step */
export function snapAngle(degrees, step = 15) {
  return Math.round(degrees / step) * step;
}

/** Onto the nearest of the eight directions from a point. @param {Point} from @param {Point} to  normalised @param {Size} size
 * @returns {Point} on the picture */
export function snapAxis(from, to, [width, height]) {
  const dx = (to[0] - from[0]) * width;
  const dy = (to[1] - from[1]) * height;
  const turn = (snapAngle((Math.atan2(dy, dx) * 180) / Math.PI, 45) * Math.PI) / 180;
  const [ux, uy] = [Math.cos(turn), Math.sin(turn)];
  let distance = dx * ux + dy * uy;
  // Shortened at the border, where clamping each coordinate would leave the direction.
  for (const [at, unit, side] of [[from[0] * width, ux, width], [from[1] * height, uy, height]]) {
    if (Math.abs(unit) > 1e-9) distance = Math.min(distance, ((unit > 0 ? side : 0) - at) / unit);
  }
  return clampPoint([from[0] + (distance * ux) / width, from[1] + (distance * uy) / height]);
}

/** Onto a grid of `step` px. @param {Point} point @param {Size} size @param {number} step @returns {Point} */
export function snapPoint([x, y], [width, height], step) {
  return clampPoint([(Math.round((x * width) / step) * step) / width, (Math.round((y * height) / step) * step) / height]);
}

/** @param {Point} point @param {Size} size @returns {Point} px */
export function scaled([x, y], [width, height]) {
  return [x * width, y * height];
}

/** @param {Point} from @param {Point} to  px */
function direction(from, to) {
  return (Math.atan2(to[1] - from[1], to[0] - from[0]) * 180) / Math.PI;
}

/** @param {number} value @param {number} by */
function modulo(value, by) {
  return ((value % by) + by) % by;
}
