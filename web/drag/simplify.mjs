/**
 * Fewer corners: Douglas-Peucker on closed rings, and as much of it as makes an outline fit into a number of characters.
 *
 * Convention: a tolerance is the distance in px by which a dropped corner may miss the new edge.
 *
 * @import {Outline, Point, Ring, Size} from "./types.mjs"
 */

const DIGITS = 1e6;

/**
 * The ring with only the corners that matter.
 * @param {Ring} ring @param {number} tolerance  in the ring's own unit; 0 drops repeats and straight continuations only
 * @returns {Ring}  possibly with fewer than three corners, if the ring is thinner than the tolerance
 */
export function simplifyRing(ring, tolerance) {
  const points = ring.filter((p, i) => {
    const before = ring[(i || ring.length) - 1];
    return p[0] !== before[0] || p[1] !== before[1];
  });
  if (points.length < 3) return points;
  // A ring has no ends: two corners far from each other stand in for them.
  const start = farthest(points, 0);
  const rolled = [...points.slice(start), ...points.slice(0, start)];
  const middle = farthest(rolled, 0);
  const keep = new Uint8Array(rolled.length + 1);
  keep[0] = keep[middle] = 1;
  const around = [...rolled, rolled[0]];
  walk(around, 0, middle, tolerance, keep);
  walk(around, middle, rolled.length, tolerance, keep);
  return rolled.filter((_, i) => keep[i]);
}

/**
 * Every ring simplified; rings that vanish are dropped, with their polygon if it was the outside.
 * @param {Outline} outline @param {Size} size @param {number} tolerance  px of the picture
 * @returns {Outline}
 */
export function simplifyOutline(outline, [width, height], tolerance) {
  /** @type {Outline} */
  const kept = [];
  for (const polygon of outline) {
    const rings = polygon.map((ring) => {
      /** @type {Ring} */
      const px = ring.map(([x, y]) => [x * width, y * height]);
      return simplifyRing(px, tolerance).map(/** @returns {Point} */ ([x, y]) => [round(x / width), round(y / height)]);
    });
    if (rings[0].length >= 3) kept.push(rings.filter((ring) => ring.length >= 3));
  }
  return kept;
}

/**
 * The outline, simplified no more than its JSON needs to fit.
 * @param {Outline} outline @param {Size} size @param {number} bytes @returns {Outline}
 */
export function fitOutline(outline, size, bytes = 8192) {
  if (outlineBytes(outline) <= bytes) return outline;
  let found = outline;
  for (let tolerance = 0.25; tolerance < Math.max(...size); tolerance *= 1.5) {
    found = simplifyOutline(outline, size, tolerance);
    if (outlineBytes(found) <= bytes) break;
  }
  return found.length > 0 && outlineBytes(found) <= bytes ? found : largestPart(outline, bytes);
}

/** Characters of an outline's JSON. @param {Outline} outline @returns {number} */
export function outlineBytes(outline) {
  return JSON.stringify(roundOutline(outline)).length;
}

/** Six decimals, as the drag's JSON has them. @param {Outline} outline @returns {Outline} */
export function roundOutline(outline) {
  return outline.map((polygon) => polygon.map((ring) => ring.map(([x, y]) => [round(x), round(y)])));
}

/** @param {number} value  -0 becomes 0 */
export function round(value) {
  return Math.round(value * DIGITS) / DIGITS + 0;
}

/** @param {Ring} points @param {number} from */
function farthest(points, from) {
  let best = from;
  let distance = -1;
  points.forEach((p, i) => {
    const d = (p[0] - points[from][0]) ** 2 + (p[1] - points[from][1]) ** 2;
    if (d > distance) [best, distance] = [i, d];
  });
  return best;
}

/** Mark what Douglas-Peucker keeps strictly between two kept corners, without recursion: a scribble has long chains.
 * @param {Ring} points @param {number} first @param {number} last @param {number} tolerance @param {Uint8Array} keep */
function walk(points, first, last, tolerance, keep) {
  const open = [[first, last]];
  for (let chain = open.pop(); chain; chain = open.pop()) {
    const [from, to] = chain;
    let worst = -1;
    let distance = tolerance;
    for (let i = from + 1; i < to; i++) {
      const d = lineDistance(points[i], points[from], points[to]);
      if (d > distance) [worst, distance] = [i, d];
    }
    if (worst >= 0) {
      keep[worst] = 1;
      open.push([from, worst], [worst, to]);
    }
  }
}

/** @param {Point} p @param {Point} a @param {Point} b  distance of p from the segment a b */
function lineDistance(p, a, b) {
  const dx = b[0] - a[0];
  const dy = b[1] - a[1];
  const t = Math.min(1, Math.max(0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy);
}

/**
 * For dust, whose every speck is thinner than the tolerance that would make it fit: the largest specks, and if one alone
 * is too ragged, every second of its corners, every fourth, ...
 * @param {Outline} outline @param {number} bytes @returns {Outline}
 */
function largestPart(outline, bytes) {
  const largest = [...outline].sort((p, q) => extent(q[0]) - extent(p[0]));
  /** @type {Outline} */
  let found = [];
  for (let count = largest.length; count > 0; count = Math.floor(count / 2)) {
    found = largest.slice(0, count).map(([outside]) => [outside]);
    if (outlineBytes(found) <= bytes) return found;
  }
  while (outlineBytes(found) > bytes && found[0][0].length >= 6) found = [[found[0][0].filter((_, i) => i % 2 === 0)]];
  return found;
}

/** @param {Ring} ring */
function extent(ring) {
  const xs = ring.map((p) => p[0]);
  const ys = ring.map((p) => p[1]);
  return (Math.max(...xs) - Math.min(...xs)) * (Math.max(...ys) - Math.min(...ys));
}
