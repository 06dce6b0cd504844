/**
 * Outlines as lists of corners: boxes, lengths, areas, what lies inside, and the shapes that are drawn in one gesture.
 *
 * Convention: as in types.mjs. A polygon is filled even-odd between its rings, an outline is the union of its polygons.
 *
 * @import {Bounds, Matrix, Outline, Point, Polygon, Ring, Size} from "./types.mjs"
 */

import { simplifyRing } from "./simplify.mjs";

/** The smallest box around an outline; of none, an inverted one. @param {Outline} outline @returns {Bounds} */
export function bounds(outline) {
  const box = { x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity };
  for (const [outside] of outline) {
    for (const [x, y] of outside) {
      box.x0 = Math.min(box.x0, x);
      box.y0 = Math.min(box.y0, y);
      box.x1 = Math.max(box.x1, x);
      box.y1 = Math.max(box.y1, y);
    }
  }
  return box;
}

/** How many corners all rings have. @param {Outline} outline @returns {number} */
export function corners(outline) {
  return outline.reduce((sum, polygon) => sum + polygon.reduce((n, ring) => n + ring.length, 0), 0);
}

/** Length of all rings as core counts it, |dx| + |dy|, in picture sides. @param {Outline} outline @returns {number} */
export function outlineLength(outline) {
  let length = 0;
  forEdges(outline, (p, q) => {
    length += Math.abs(q[0] - p[0]) + Math.abs(q[1] - p[1]);
  });
  return length;
}

/** @param {Outline} outline @param {(point: Point) => Point} move @returns {Outline} */
export function mapOutline(outline, move) {
  return outline.map((polygon) => polygon.map((ring) => ring.map(move)));
}

/** From normalised to px, or back. @param {Outline} outline @param {number} sx @param {number} sy @returns {Outline} */
export function scaleOutline(outline, sx, sy) {
  return mapOutline(outline, ([x, y]) => [x * sx, y * sy]);
}

/** Whether a point lies in the outline, by the rule it is filled with. @param {Outline} outline @param {Point} point */
export function contains(outline, point) {
  return outline.some((polygon) => insidePolygon(polygon, point));
}

/**
 * Distance from a point to the nearest edge.
 * @param {Outline} outline @param {Point} point @param {Size} size  the distance is measured in its pixels
 * @returns {number}
 */
export function edgeDistance(outline, point, size) {
  let nearest = Infinity;
  forEdges(outline, (p, q) => {
    nearest = Math.min(nearest, segmentDistance(point, p, q, size));
  });
  return nearest;
}

/** Distance in px of `size` from a point to the segment p q, all normalised.
 * @param {Point} point @param {Point} p @param {Point} q @param {Size} size */
export function segmentDistance(point, p, q, [width, height]) {
  const dx = (q[0] - p[0]) * width;
  const dy = (q[1] - p[1]) * height;
  const x = (point[0] - p[0]) * width;
  const y = (point[1] - p[1]) * height;
  const t = Math.min(1, Math.max(0, (x * dx + y * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - t * dx, y - t * dy);
}

/** Area with a sign: positive if the ring runs clockwise on the screen. @param {Ring} ring @returns {number} */
export function ringArea(ring) {
  let twice = 0;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    twice += ring[j][0] * ring[i][1] - ring[i][0] * ring[j][1];
  }
  return twice / 2;
}

/**
 * Centre of mass of the outline itself, without a picture: outsides count, holes are taken off. Core's own centroid is
 * that of pixels, `spanCentroid`; the two differ by a fraction of a pixel.
 * @param {Outline} outline @returns {Point | null}  null if it has no area
 */
export function polygonCentroid(outline) {
  let mass = 0;
  let mx = 0;
  let my = 0;
  for (const polygon of outline) {
    polygon.forEach((ring, index) => {
      const sign = (ringArea(ring) < 0 ? -1 : 1) * (index === 0 ? 1 : -1);
      for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
        const cross = sign * (ring[j][0] * ring[i][1] - ring[i][0] * ring[j][1]);
        mass += cross / 2;
        mx += ((ring[j][0] + ring[i][0]) * cross) / 6;
        my += ((ring[j][1] + ring[i][1]) * cross) / 6;
      }
    });
  }
  return Math.abs(mass) < 1e-12 ? null : [mx / mass, my / mass];
}

/** The rectangle between two opposite corners. @param {Point} p @param {Point} q @returns {Outline | null} */
export function rectangleOutline(p, q) {
  const [[x0, y0], [x1, y1]] = box(p, q);
  return x1 - x0 < 1e-6 || y1 - y0 < 1e-6 ? null : [[[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]]];
}

/**
 * The ellipse in the box between two corners, cut to the picture.
 * @param {Point} p @param {Point} q @param {number} segments @returns {Outline | null}
 */
export function ellipseOutline(p, q, segments = 48) {
  const [cx, cy, rx, ry] = [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2, Math.abs(q[0] - p[0]) / 2, Math.abs(q[1] - p[1]) / 2];
  /** @type {Ring} */
  const ring = [];
  for (let i = 0; i < segments; i++) {
    const turn = (2 * Math.PI * i) / segments;
    ring.push([cx + rx * Math.cos(turn), cy + ry * Math.sin(turn)]);
  }
  return closed(ring);
}

/**
 * The area that a freely drawn line encloses, cut to the picture.
 * @param {Point[]} points @param {Size} size @param {number} tolerance  px of the picture by which it may be simplified
 * @returns {Outline | null}  null if it encloses nothing to speak of
 */
export function lassoOutline(points, [width, height], tolerance = 0.75) {
  /** @type {Ring} */
  const px = points.map(([x, y]) => [clamp(x) * width, clamp(y) * height]);
  return closed(simplifyRing(px, tolerance).map(([x, y]) => [x / width, y / height]));
}

/** The part of a convex ring within the picture. @param {Ring} ring @returns {Ring} */
export function cutToPicture(ring) {
  for (const axis of /** @type {const} */ ([0, 1])) {
    for (const [side, limit] of [[1, 0], [-1, -1]]) {
      /** @type {Ring} */
      const kept = [];
      for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
        const from = side * ring[j][axis] - limit;
        const to = side * ring[i][axis] - limit;
        if (from < 0 !== to < 0) {
          const t = from / (from - to);
          /** @type {Point} */
          const at = [ring[j][0] + t * (ring[i][0] - ring[j][0]), ring[j][1] + t * (ring[i][1] - ring[j][1])];
          at[axis] = side * limit;
          kept.push(at);
        }
        if (to >= 0) kept.push(ring[i]);
      }
      ring = kept;
    }
  }
  return ring;
}

/** One path per polygon, for `new Path2D(text)` filled "evenodd". @param {Outline} outline @param {Matrix} [matrix] */
export function polygonPaths(outline, matrix) {
  return outline.map((polygon) => polygon.map((ring) => ringPath(ring, matrix)).join(""));
}

/** All polygons in one path, for strokes. @param {Outline} outline @param {Matrix} [matrix] @returns {string} */
export function svgPath(outline, matrix) {
  return polygonPaths(outline, matrix).join("");
}

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low = 0, high = 1) {
  return Math.min(high, Math.max(low, value));
}

/** @param {Point} point @returns {Point} the nearest point of the picture */
export function clampPoint([x, y]) {
  return [clamp(x), clamp(y)];
}

/** @param {Ring} ring @returns {Outline | null} */
function closed(ring) {
  const kept = ring.map(clampPoint).filter((p, i, all) => {
    const before = all[(i || all.length) - 1];
    return p[0] !== before[0] || p[1] !== before[1];
  });
  return kept.length < 3 || Math.abs(ringArea(kept)) < 1e-9 ? null : [[kept]];
}

/** @param {Point} p @param {Point} q @returns {[Point, Point]} */
function box(p, q) {
  const [[px, py], [qx, qy]] = [clampPoint(p), clampPoint(q)];
  return [[Math.min(px, qx), Math.min(py, qy)], [Math.max(px, qx), Math.max(py, qy)]];
}

/** @param {Polygon} polygon @param {Point} point */
function insidePolygon(polygon, [x, y]) {
  let inside = false;
  for (const ring of polygon) {
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      const [[x0, y0], [x1, y1]] = ring[j][0] <= ring[i][0] ? [ring[j], ring[i]] : [ring[i], ring[j]];
      if (x0 <= x && x < x1 && y0 + (x - x0) * ((y1 - y0) / (x1 - x0)) <= y) inside = !inside;
    }
  }
  return inside;
}

/** @param {Outline} outline @param {(p: Point, q: Point) => void} visit */
function forEdges(outline, visit) {
  for (const polygon of outline) {
    for (const ring of polygon) {
      for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) visit(ring[j], ring[i]);
    }
  }
}

/** @param {Ring} ring @param {Matrix} [m] */
function ringPath(ring, m) {
  let path = "";
  for (const [x, y] of ring) {
    const at = m ? `${short(m[0] * x + m[1] * y + m[2])} ${short(m[3] * x + m[4] * y + m[5])}` : `${short(x)} ${short(y)}`;
    path += `${path ? "L" : "M"}${at}`;
  }
  return `${path}Z`;
}

/** Without exponents, which paths read but people do not. @param {number} value */
function short(value) {
  return Math.round(value * 1e6) / 1e6;
}
