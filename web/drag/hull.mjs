/**
 * Convex hulls, the smallest rectangle around one, and rings grown with round corners.
 *
 * @import {Point, Ring} from "./types.mjs"
 */

/** Andrew's monotone chain. @param {Point[]} points @returns {Ring} clockwise on the screen; fewer than 3 if they are in a line */
export function convexHull(points) {
  const sorted = [...points].sort((p, q) => p[0] - q[0] || p[1] - q[1]);
  if (sorted.length < 3) return sorted;
  const lower = chain(sorted);
  const upper = chain(sorted.reverse());
  return [...lower.slice(0, -1), ...upper.slice(0, -1)];
}

/**
 * The rectangle of least area around a convex hull; one of its sides lies on a side of the hull.
 * @param {Ring} hull @returns {[Point, Point, Point, Point]}
 */
export function smallestRectangle(hull) {
  let best = Infinity;
  /** @type {[Point, Point, Point, Point]} */
  let found = [hull[0], hull[0], hull[0], hull[0]];
  for (let i = 0, j = hull.length - 1; i < hull.length; j = i++) {
    const length = Math.hypot(hull[i][0] - hull[j][0], hull[i][1] - hull[j][1]);
    if (length === 0) continue;
    const [ux, uy] = [(hull[i][0] - hull[j][0]) / length, (hull[i][1] - hull[j][1]) / length];
    let [a0, a1, b0, b1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const [x, y] of hull) {
      const along = x * ux + y * uy;
      const across = y * ux - x * uy;
      a0 = Math.min(a0, along);
      a1 = Math.max(a1, along);
      b0 = Math.min(b0, across);
      b1 = Math.max(b1, across);
    }
    const area = (a1 - a0) * (b1 - b0);
    if (area < best - 1e-9) {
      best = area;
      /** @type {(a: number, b: number) => Point} */
      const place = (a, b) => [a * ux - b * uy, a * uy + b * ux];
      found = [place(a0, b0), place(a1, b0), place(a1, b1), place(a0, b1)];
    }
  }
  return found;
}

/**
 * Everything within `radius` of a convex ring.
 * @param {Ring} ring  convex @param {number} radius @param {number} steps  corners per quarter turn @returns {Ring}
 */
export function grownRing(ring, radius, steps = 6) {
  if (radius <= 0) return ring;
  /** @type {Point[]} */
  const around = [];
  for (const [x, y] of ring) {
    for (let i = 0; i < 4 * steps; i++) {
      const turn = (Math.PI * i) / (2 * steps);
      around.push([x + radius * Math.cos(turn), y + radius * Math.sin(turn)]);
    }
  }
  return convexHull(around);
}

/** @param {Point[]} sorted @returns {Ring} */
function chain(sorted) {
  /** @type {Ring} */
  const kept = [];
  for (const p of sorted) {
    while (kept.length >= 2 && turn(kept[kept.length - 2], kept[kept.length - 1], p) <= 0) kept.pop();
    kept.push(p);
  }
  return kept;
}

/** @param {Point} a @param {Point} b @param {Point} c */
function turn(a, b, c) {
  return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}
