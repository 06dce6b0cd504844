/**
 * What handle points carry along, as triangles. Each place is displaced by the mean of all displacements, weighted by
 * inverse distance (core/field/points.py): in the editable area as they are ("idw"), without one each fading to nothing towards a
 * circle around all points ("latent_warp"), so that the surroundings give way.
 *
 * Convention: px of a picture of `size`; of each triangle 12 numbers: its corners on the target, then in the source.
 *
 * @import {Outline, Point, Size} from "./types.mjs"
 */

import { pointRadius } from "./gradient_mask.mjs";
import { bounds, clamp, contains } from "./rings.mjs";

/** Meshes across a handle's own surroundings. */
const ACROSS = 8;
/** Displacements looked at in all, beyond which the mesh gets coarser: it is only a preview. */
const WORK = 600_000;

/**
 * @param {[Point, Point][]} pairs  normalised, of all points operations: they act together
 * @param {Size} size @param {Outline | null} editable  what the points may move @param {number} progress
 * @returns {number[]} triangles
 */
export function spreadTriangles(pairs, size, editable, progress = 1) {
  const displacements = displacementsOf(pairs, size, progress);
  if (!displacements.some(({ dx, dy }) => Math.hypot(dx, dy) > 1e-6)) return [];
  const radius = pointRadius(size);
  const circle = editable ? null : circleAround(displacements, progress, radius);
  const inside = (/** @type {Point} */ [x, y]) =>
    editable ? contains(editable, [x / size[0], y / size[1]]) : x >= 0 && y >= 0 && x <= size[0] && y <= size[1];
  const [x0, y0, x1, y1] = circle ? boxOf(circle, size) : reached(displacements, bounds(editable ?? []), size);
  const step = Math.max((2 * radius) / ACROSS, Math.sqrt(((x1 - x0) * (y1 - y0) * displacements.length) / WORK));
  const [columns, rows] = [Math.ceil((x1 - x0) / step), Math.ceil((y1 - y0) / step)];
  /** @type {Point[][]} */
  const sources = [];
  for (let j = 0; j <= rows; j++) {
    sources.push(Array.from({ length: columns + 1 }, (_, i) => source([x0 + i * step, y0 + j * step], displacements, circle)));
  }
  /** @type {number[]} */
  const triangles = [];
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      const [a, b, c, d] = [sources[j][i], sources[j][i + 1], sources[j + 1][i + 1], sources[j + 1][i]];
      if (!inside([(a[0] + b[0] + c[0] + d[0]) / 4, (a[1] + b[1] + c[1] + d[1]) / 4])) continue;
      const [left, top, right, low] = [x0 + i * step, y0 + j * step, x0 + (i + 1) * step, y0 + (j + 1) * step];
      triangles.push(left, top, right, top, right, low, ...a, ...b, ...c, left, top, right, low, left, low, ...a, ...c, ...d);
    }
  }
  return triangles;
}

/**
 * All that the points may move, before and after: the editable area, or the circle where displacements end.
 * @param {[Point, Point][]} pairs  normalised @param {Size} size @param {Outline | null} editable
 * @returns {Outline} normalised; empty if nothing moves
 */
export function spreadOutline(pairs, size, editable) {
  if (editable) return editable;
  const displacements = displacementsOf(pairs, size, 1);
  if (!displacements.some(({ dx, dy }) => Math.hypot(dx, dy) > 1e-6)) return [];
  const { x, y, radius } = circleAround(displacements, 1, pointRadius(size));
  const turns = Array.from({ length: 96 }, (_, i) => (2 * Math.PI * i) / 96);
  return [[turns.map((turn) => [(x + radius * Math.cos(turn)) / size[0], (y + radius * Math.sin(turn)) / size[1]])]];
}

/** @typedef {{x: number, y: number, dx: number, dy: number}} Displacement */

/** @param {[Point, Point][]} pairs @param {Size} size @param {number} progress @returns {Displacement[]} px */
function displacementsOf(pairs, size, progress) {
  return pairs.map(([handle, target]) => ({
    x: handle[0] * size[0],
    y: handle[1] * size[1],
    dx: (target[0] - handle[0]) * size[0] * progress,
    dy: (target[1] - handle[1]) * size[1] * progress,
  }));
}

/** @typedef {{x: number, y: number, radius: number}} Circle */

/** Where a place's content comes from: the published formula with handles and targets exchanged. @param {Point} at
 * @param {Displacement[]} displacements @param {Circle | null} circle  where displacements end @returns {Point} */
function source([x, y], displacements, circle) {
  let [sx, sy, total] = [0, 0, 0];
  for (const displacement of displacements) {
    const [rx, ry] = [x - displacement.x - displacement.dx, y - displacement.y - displacement.dy];
    const distance = Math.hypot(rx, ry);
    const share = 1 / (distance + 1e-4);
    const faded = circle ? share * fade(rx, ry, distance, displacement, circle) : share;
    sx += faded * displacement.dx;
    sy += faded * displacement.dy;
    total += share;
  }
  return [x - sx / total, y - sy / total];
}

/** 1 at the point itself, falling linearly along each ray to 0 on the circle. @param {number} x @param {number} y
 * @param {number} distance @param {Displacement} displacement @param {Circle} circle */
function fade(x, y, distance, displacement, circle) {
  const [ox, oy] = [displacement.x + displacement.dx - circle.x, displacement.y + displacement.dy - circle.y];
  const along = (x * ox + y * oy) / Math.max(distance, 1e-9);
  const toCircle = Math.sqrt(along * along + circle.radius ** 2 - ox * ox - oy * oy) - along;
  return Math.max(0, 1 - distance / toCircle);
}

/** Around all handles and targets, as much wider as the longest displacement and a handle's surroundings on both sides; the same at
 * every progress. @param {Displacement[]} displacements @param {number} progress @param {number} radius @returns {Circle} */
function circleAround(displacements, progress, radius) {
  const whole = displacements.map(({ x, y, dx, dy }) => [x + dx / progress, y + dy / progress]);
  const ends = [...displacements.map(({ x, y }) => [x, y]), ...whole];
  const middle = [0, 1].map((axis) => {
    const values = ends.map((end) => end[axis]);
    return (Math.min(...values) + Math.max(...values)) / 2;
  });
  const furthest = Math.max(...ends.map(([x, y]) => Math.hypot(x - middle[0], y - middle[1])));
  const longest = Math.max(...displacements.map(({ dx, dy }) => Math.hypot(dx, dy))) / progress;
  return { x: middle[0], y: middle[1], radius: furthest + longest + 2 * radius };
}

/** @param {Circle} circle @param {Size} size @returns {[number, number, number, number]} cut to the picture */
function boxOf({ x, y, radius }, [width, height]) {
  return [clamp(x - radius, 0, width), clamp(y - radius, 0, height), clamp(x + radius, 0, width), clamp(y + radius, 0, height)];
}

/** The box that can show something of the editable area: its own, shifted by every displacement. @param {Displacement[]} displacements
 * @param {import("./types.mjs").Bounds} area @param {Size} size @returns {[number, number, number, number]} cut to the picture */
function reached(displacements, area, [width, height]) {
  const low = (/** @type {"dx" | "dy"} */ key) => displacements.reduce((least, displacement) => Math.min(least, displacement[key]), 0);
  const high = (/** @type {"dx" | "dy"} */ key) => displacements.reduce((most, displacement) => Math.max(most, displacement[key]), 0);
  return [
    clamp(area.x0 * width + low("dx"), 0, width), clamp(area.y0 * height + low("dy"), 0, height),
    clamp(area.x1 * width + high("dx"), 0, width), clamp(area.y1 * height + high("dy"), 0, height),
  ];
}
