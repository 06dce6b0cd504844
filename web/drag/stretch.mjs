/**
 * The material next to a deformed region, stretched or pressed along the drag, as triangles (core/field/stretch.py).
 *
 * On every line along the drag, the piece from a far point f to the region's near edge e goes linearly onto the piece from
 * f to e + distance. Between two lines this is a quadrangle, and two triangles draw it. f lies `LENGTH` of the drag's length behind the
 * region, or where the anchor of the deformation is: the end that stays.
 *
 * Convention: px of a picture of `size`; of each triangle 12 numbers: its corners on the target, then in the source.
 *
 * @import {Outline, Point, Size} from "./types.mjs"
 */

/** `FieldSettings.stretch_length` of core. */
const LENGTH = 0.5;
/** Px between lines, as long as there are not more than `MOST`. */
const [STEP, MOST] = [4, 96];

/**
 * @param {Outline} outline  normalised @param {Point} shift  px, all of it @param {Size} size @param {number} progress
 * @param {Point | null} fixed  normalised, the end that stays
 * @returns {number[]} triangles; none if nothing moves
 */
export function stretchTriangles(outline, shift, size, progress = 1, fixed = null) {
  const distance = Math.hypot(...shift);
  const [ux, uy] = [shift[0] / distance, shift[1] / distance];
  const lines = linesOf(outline, shift, size, progress, fixed);
  return lines.flatMap((line, i) => {
    const before = lines[i - 1];
    return line && before ? quadrangle(before, line, distance * progress, ux, uy) : [];
  });
}

/**
 * All that the stretched material covers, before and after: its rims, one polygon per piece.
 * @param {Outline} outline  normalised @param {Point} shift  px, all of it @param {Size} size @param {Point | null} fixed  normalised
 * @returns {Outline} normalised; empty if nothing moves
 */
export function stretchOutline(outline, shift, size, fixed = null) {
  const distance = Math.hypot(...shift);
  const [ux, uy] = [shift[0] / distance, shift[1] / distance];
  /** @type {Line[][]} */
  const pieces = [[]];
  for (const line of linesOf(outline, shift, size, 1, fixed)) {
    if (line) pieces[pieces.length - 1].push(line);
    else if (pieces[pieces.length - 1].length > 0) pieces.push([]);
  }
  /** @type {(along: number, across: number) => Point} */
  const place = (along, across) => [(along * ux - across * uy) / size[0], (along * uy + across * ux) / size[1]];
  return pieces
    .filter((lines) => lines.length > 1)
    .map((lines) => {
      const low = lines.map(({ across, far, near }) => place(Math.min(far, near), across));
      const high = lines.map(({ across, far, near }) => place(Math.max(far, near + distance), across));
      return [[...low, ...high.reverse()]];
    });
}

/** The lines along the drag, null where they meet nothing that gives. @param {Outline} outline @param {Point} shift @param {Size} size
 * @param {number} progress @param {Point | null} fixed @returns {(Line | null)[]} */
function linesOf(outline, shift, size, progress, fixed) {
  const distance = Math.hypot(...shift);
  if (distance * progress < 1e-6) return [];
  const [ux, uy] = [shift[0] / distance, shift[1] / distance];
  const edges = edgesAlong(outline, size, ux, uy);
  let [low, high] = [Infinity, -Infinity];
  for (let i = 1; i < edges.length; i += 2) {
    low = Math.min(low, edges[i]);
    high = Math.max(high, edges[i]);
  }
  const count = Math.min(MOST, Math.max(1, Math.ceil((high - low) / STEP)));
  // A hair inside, where the outermost lines still meet the region.
  const places = Array.from({ length: count + 1 }, (_, i) => low + (high - low) * Math.min(1 - 1e-4, Math.max(1e-4, i / count)));
  const end = fixed && fixed[0] * size[0] * ux + fixed[1] * size[1] * uy;
  let middle = 0;
  for (let i = 0; i < edges.length; i += 2) middle += (2 * edges[i]) / edges.length;
  const side = end === null || end < middle ? 1 : -1;
  const edge = nearEdges(edges, places, side);
  return places.map((across, i) => {
    const near = edge[i];
    const far = end ?? near - Math.min(LENGTH * distance, roomBehind([near * ux - across * uy, near * uy + across * ux], [ux, uy], size));
    // Less than a pixel of material cannot give.
    const gives = Number.isFinite(near) && (near - far) * side >= 1 && (near + progress * distance - far) * side >= 1;
    return gives ? { across, far, near } : null;
  });
}

/** @typedef {{across: number, far: number, near: number}} Line */

/** @param {Line} p @param {Line} q @param {number} distance @param {number} ux @param {number} uy @returns {number[]} two triangles */
function quadrangle(p, q, distance, ux, uy) {
  const place = (/** @type {number} */ along, /** @type {number} */ across) => [along * ux - across * uy, along * uy + across * ux];
  const [source, target] = [0, distance].map((moved) => [
    place(p.far, p.across), place(p.near + moved, p.across), place(q.near + moved, q.across), place(q.far, q.across),
  ]);
  const triangle = (/** @type {number[]} */ ids) => [...ids.flatMap((i) => target[i]), ...ids.flatMap((i) => source[i])];
  return [...triangle([0, 1, 2]), ...triangle([0, 2, 3])];
}

/** The edges of the outsides, each as along, across, along, across. @param {Outline} outline @param {Size} size @param {number} ux
 * @param {number} uy @returns {Float64Array} */
function edgesAlong(outline, [width, height], ux, uy) {
  const edges = new Float64Array(4 * outline.reduce((sum, [ring]) => sum + ring.length, 0));
  let k = 0;
  for (const [ring] of outline) {
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      for (const [x, y] of [ring[j], ring[i]]) {
        edges[k++] = x * width * ux + y * height * uy;
        edges[k++] = y * height * ux - x * width * uy;
      }
    }
  }
  return edges;
}

/** Where each line first meets the region, coming from behind (side 1) or from the front (-1). @param {Float64Array} edges
 * @param {number[]} places  of the lines, across @param {number} side @returns {Float64Array} along; infinite where it does not */
function nearEdges(edges, places, side) {
  const near = new Float64Array(places.length).fill(side * Infinity);
  const first = places[0];
  const scale = (places.length - 1) / (places[places.length - 1] - first || 1);
  for (let k = 0; k < edges.length; k += 4) {
    const [a0, b0, a1, b1] = [edges[k], edges[k + 1], edges[k + 2], edges[k + 3]];
    if (b0 === b1) continue;
    // The places are evenly spaced but for a hair at the ends.
    const from = Math.max(0, Math.floor((Math.min(b0, b1) - first) * scale) - 1);
    const to = Math.min(places.length - 1, Math.ceil((Math.max(b0, b1) - first) * scale) + 1);
    for (let i = from; i <= to; i++) {
      const at = places[i];
      if (b0 <= at === b1 <= at) continue;
      const along = a0 + ((at - b0) / (b1 - b0)) * (a1 - a0);
      near[i] = side > 0 ? Math.min(near[i], along) : Math.max(near[i], along);
    }
  }
  return near;
}

/** How far back one can go before the outermost pixel centres. @param {Point} at @param {Point} direction @param {Size} size */
function roomBehind(at, direction, size) {
  let room = Infinity;
  for (const axis of /** @type {const} */ ([0, 1])) {
    const step = direction[axis];
    if (Math.abs(step) < 1e-9) continue;
    room = Math.min(room, (step > 0 ? at[axis] - 0.5 : size[axis] - 0.5 - at[axis]) / Math.abs(step));
  }
  return Math.max(0, room);
}
