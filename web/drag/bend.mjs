/**
 * What the user selected for handle points, and where it goes: as a region does, all of it, by rigid moving least squares (core/field/carried.py,
 * `rigid` of bodies.py). One pair shifts it, two turn it, more bend it as stiffly as they allow, and a pair that stays is a pin.
 *
 * Convention: outlines and pairs normalised; places in px of a picture of `size`; of each triangle 12 numbers: its corners on the target, then in
 * the source.
 *
 * @import {Outline, Point, Points, Ring, Size} from "./types.mjs"
 *
 * @typedef {[Point, Point]} Pair  handle and target
 * @typedef {{outline: Outline, pairs: Pair[]}} Body  what moves as one
 */

import { bounds, contains, mapOutline } from "./rings.mjs";
import { rasterised, spanMask } from "./spans.mjs";

/** Added to squared distances, px: at a handle its own pair counts alone. */
const NEAR = 1e-4;
/** Steps in which a place before a bend is looked for. */
const ROUNDS = 12;
/** Of the shorter side: sides of the mesh, and how far the corners of an outline are apart that is bent. */
const MESH = 1 / 40;
/** px that are drawn beyond what is selected: the outline cuts it. */
const RIM = 1;
/** Fewest meshes across what is bent. */
const ACROSS = 12;

/** @type {WeakMap<Points, Body[]>} */
const remembered = new WeakMap();

/**
 * Each piece goes with the handles in it and those beside all pieces, one that holds none with all; what only stays is left out.
 * @param {Points} operation @returns {Body[]}
 */
export function selectedBodies(operation) {
  const known = remembered.get(operation);
  if (known) return known;
  const { selected = [], pairs } = operation;
  const at = pairs.map(([handle]) => selected.findIndex((polygon) => contains([polygon], handle)));
  /** @type {Map<string, {mine: number[], parts: number[]}>} */
  const bodies = new Map();
  selected.forEach((_, i) => {
    const own = at.includes(i);
    const mine = [...pairs.keys()].filter((k) => !own || at[k] === -1 || at[k] === i);
    if (!mine.some((k) => moves(pairs[k]))) return;
    const body = bodies.get(mine.join()) ?? { mine, parts: [] };
    body.parts.push(i);
    bodies.set(mine.join(), body);
  });
  const found = [...bodies.values()].map(({ mine, parts }) => ({ outline: partOf(selected, parts), pairs: mine.map((k) => pairs[k]) }));
  remembered.set(operation, found);
  return found;
}

/** @type {WeakMap<Outline, Map<string, Outline>>} */
const parted = new WeakMap();

/** Polygons of an outline, the same object for the same ones: much is remembered by outline. @param {Outline} outline @param {number[]} parts
 * @returns {Outline} */
function partOf(outline, parts) {
  if (parts.length === outline.length) return outline;
  const known = parted.get(outline) ?? new Map();
  parted.set(outline, known);
  const made = known.get(parts.join()) ?? parts.map((i) => outline[i]);
  known.set(parts.join(), made);
  return made;
}

/** @param {Pair} pair */
export function moves([[hx, hy], [tx, ty]]) {
  return hx !== tx || hy !== ty;
}

/** Where a place goes. @param {Point} place px @param {Pair[]} pairs px @returns {Point} */
export function rigid(place, pairs) {
  const [x, y] = mover(pairs)(place[0], place[1]);
  return [x, y];
}

/** The place that goes to a given one, by steps that are turned back as it turns there. @param {Point} goal px @param {Pair[]} pairs px
 * @returns {Point} */
function unbent(goal, pairs) {
  let [x, y] = rigid(goal, pairs.map(([handle, target]) => [target, handle]));
  const move = mover(pairs);
  for (let round = 0; round < ROUNDS; round++) {
    const [u, v, cosine, sine] = move(x, y);
    const [dx, dy] = [goal[0] - u, goal[1] - v];
    [x, y] = [x + cosine * dx + sine * dy, y + cosine * dy - sine * dx];
  }
  return [x, y];
}

/**
 * Where a place of what is selected was before it was bent: what a pin that is set there holds.
 * @param {Points} operation @param {Point} place @param {Size} size @returns {Point | null} null: nothing of what is selected is there
 */
export function placeBefore(operation, place, size) {
  const bodies = selectedBodies(operation);
  const body = bodies.find((one) => contains(landedOutline(one, size), place));
  if (body) {
    const [x, y] = unbent([place[0] * size[0], place[1] * size[1]], pairsAt(body.pairs, size, 1));
    return [x / size[0], y / size[1]];
  }
  // What only stays is where it was.
  const gone = new Set(bodies.flatMap(({ outline }) => outline));
  return (operation.selected ?? []).some((polygon) => !gone.has(polygon) && contains([polygon], place)) ? place : null;
}

/**
 * Says where a place goes, and the cosine and sine of its turn. Called for every corner of a mesh: it makes no lists on its way.
 * @param {Pair[]} pairs px @returns {(x: number, y: number) => [number, number, number, number]}
 */
function mover(pairs) {
  const [px, py, ox, oy] = middles(pairs);
  const flat = Float64Array.from(pairs.flatMap(([[hx, hy], [tx, ty]]) => [hx - px, hy - py, tx - ox, ty - oy]));
  return (x, y) => {
    const dx = x - px;
    const dy = y - py;
    let total = 0;
    let hx = 0;
    let hy = 0;
    let tx = 0;
    let ty = 0;
    let along = 0;
    let across = 0;
    for (let i = 0; i < flat.length; i += 4) {
      const ax = flat[i];
      const ay = flat[i + 1];
      const bx = flat[i + 2];
      const by = flat[i + 3];
      const weight = 1 / ((dx - ax) * (dx - ax) + (dy - ay) * (dy - ay) + NEAR);
      total += weight;
      hx += weight * ax;
      hy += weight * ay;
      tx += weight * bx;
      ty += weight * by;
      along += weight * (ax * bx + ay * by);
      across += weight * (ax * by - ay * bx);
    }
    hx /= total;
    hy /= total;
    tx /= total;
    ty /= total;
    along = along / total - (hx * tx + hy * ty);
    across = across / total - (hx * ty - hy * tx);
    const length = Math.hypot(along, across);
    const cosine = length > 1e-9 ? along / length : 1;
    const sine = length > 1e-9 ? across / length : 0;
    const [u, v] = [dx - hx, dy - hy];
    return [cosine * u - sine * v + tx + ox, sine * u + cosine * v + ty + oy, cosine, sine];
  };
}

/** @type {WeakMap<Body, {key: string, landed: Outline}>} */
const laid = new WeakMap();

/** The outline of a body where it has got to, the same object for the same body. @param {Body} body @param {Size} size @param {number} progress
 * @returns {Outline} */
export function landedOutline(body, size, progress = 1) {
  const key = `${size} ${progress}`;
  let known = laid.get(body);
  if (known?.key !== key) laid.set(body, (known = { key, landed: landed(body, size, progress) }));
  return known.landed;
}

/** @param {Body} body @param {Size} size @param {number} progress @returns {Outline} */
function landed({ outline, pairs }, size, progress) {
  const placed = pairsAt(pairs, size, progress);
  const [width, height] = size;
  const move = mover(placed);
  const step = placed.length > 1 ? Math.min(width, height) * MESH : Infinity;
  return outline.map((polygon) =>
    polygon.map((ring) =>
      dense(ring, size, step).map(([x, y]) => {
        const [u, v] = move(x * width, y * height);
        return /** @type {Point} */ ([u / width, v / height]);
      }),
    ),
  );
}

/** The picture under a body, to be drawn within its landed outline. @param {Body} body @param {Size} size @param {number} progress
 * @returns {Float32Array} triangles */
export function bentTriangles({ outline, pairs }, size, progress = 1) {
  const { x0, y0, x1, y1 } = bounds(outline);
  const [left, top, across, down] = [x0 * size[0] - RIM, y0 * size[1] - RIM, (x1 - x0) * size[0] + 2 * RIM, (y1 - y0) * size[1] + 2 * RIM];
  const step = pairs.length > 1 ? Math.max(2, Math.min(Math.min(...size) * MESH, Math.max(across, down) / ACROSS)) : Infinity;
  const [columns, rows] = [across, down].map((side) => Math.max(1, Math.ceil(side / step)));
  const move = mover(pairsAt(pairs, size, progress));
  const corners = new Float64Array((columns + 1) * (rows + 1) * 4);
  for (let n = 0; n < corners.length / 4; n++) {
    const x = left + ((n % (columns + 1)) * across) / columns;
    const y = top + (Math.floor(n / (columns + 1)) * down) / rows;
    const goal = move(x, y);
    corners[4 * n] = goal[0];
    corners[4 * n + 1] = goal[1];
    corners[4 * n + 2] = x;
    corners[4 * n + 3] = y;
  }
  const wanted = touched(outline, size, [left, top, across, down], [columns, rows]);
  const triangles = new Float32Array(wanted.reduce((sum, one) => sum + one, 0) * 24);
  let at = 0;
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      if (!wanted[j * columns + i]) continue;
      const a = j * (columns + 1) + i;
      const c = a + columns + 2;
      for (const three of [[a, a + 1, c], [a, c, c - 1]]) {
        // The corners on the target, then in the source.
        for (const k of [0, 2]) for (const corner of three) for (const axis of [0, 1]) triangles[at++] = corners[4 * corner + k + axis];
      }
    }
  }
  return triangles;
}

/** Meshes of a box that hold some of an outline. @param {Outline} outline @param {Size} size @param {[number, number, number, number]} box px: left, top,
 * width, height @param {Size} grid @returns {Uint8Array} of 0 and 1 */
function touched(outline, size, [left, top, across, down], grid) {
  const [columns, rows] = grid;
  const inBox = mapOutline(outline, ([x, y]) => [(x * size[0] - left) / across, (y * size[1] - top) / down]);
  const found = spanMask(rasterised(inBox, grid));
  for (const ring of inBox.flat()) {
    for (const [x, y] of dense(ring, grid, 0.5)) {
      const [c, r] = [Math.min(columns - 1, Math.floor(x * columns)), Math.min(rows - 1, Math.floor(y * rows))];
      found[r * columns + c] = 1;
    }
  }
  return found;
}

/** Handles and where they have got to, px. @param {Pair[]} pairs @param {Size} size @param {number} progress @returns {Pair[]} */
function pairsAt(pairs, [width, height], progress) {
  return pairs.map(([[hx, hy], [tx, ty]]) => [
    [hx * width, hy * height],
    [(hx + progress * (tx - hx)) * width, (hy + progress * (ty - hy)) * height],
  ]);
}

/** The mean handle and the mean target. @param {Pair[]} pairs */
function middles(pairs) {
  let [px, py, ox, oy] = [0, 0, 0, 0];
  for (const [[hx, hy], [tx, ty]] of pairs) [px, py, ox, oy] = [px + hx, py + hy, ox + tx, oy + ty];
  return [px, py, ox, oy].map((sum) => sum / pairs.length);
}

/** A ring with corners that are at most `step` px apart. @param {Ring} ring @param {Size} size @param {number} step @returns {Ring} */
function dense(ring, size, step) {
  return ring.flatMap((from, i) => {
    const to = ring[(i + 1) % ring.length];
    const count = Math.max(1, Math.ceil(Math.hypot((to[0] - from[0]) * size[0], (to[1] - from[1]) * size[1]) / step));
    return Array.from({ length: count }, (_, k) => /** @type {Point} */ ([0, 1].map((axis) => from[axis] + (k / count) * (to[axis] - from[axis]))));
  });
}
