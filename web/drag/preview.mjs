/**
 * What a drag will roughly do, as a plan to draw: the picture warped by core's field, the gaps filled.
 *
 * Drawn in this order, each over the last: the picture; the `holes`, filled with what fill.mjs makes of their
 * surroundings; the triangles of `meshes`; the `regions`, cut out by their outline and moved by their matrix; the `pins`,
 * which show the picture as it was. If `editable` is given, nothing outside of it changes.
 *
 * Convention: outlines are normalised; matrices and triangles are in px of `size`, which may be that of any copy of the
 * picture: motions are those of the picture itself, seen in the copy's px.
 *
 * @import {Matrix, Outline, Region, Size, State} from "./types.mjs"
 * @import {Cells} from "./selection.mjs"
 *
 * @typedef {object} Plan
 * @property {{id: string, outline: Outline}[]} holes
 * @property {{id: string, triangles: Float32Array}[]} meshes  of each triangle 12 numbers: corners on the target, then in
 *   the source
 * @property {{id: string, outline: Outline, matrix: Matrix}[]} regions  matrix: source to target
 * @property {{id: string, outline: Outline}[]} pins
 * @property {Outline | null} editable
 */

import { bodiesOf, carriedTriangles } from "./carried.mjs";
import { frameOf } from "./model.mjs";
import { forwardMatrix, multiply, shiftOf } from "./motion.mjs";
import { spreadTriangles } from "./spread.mjs";
import { stretchTriangles } from "./stretch.mjs";

/** The id of the one mesh of all points operations, which act together. */
export const POINTS = "points";

/**
 * @param {State} state @param {Size} size @param {number} progress  in [0, 1]
 * @param {Cells | null} cells  the picture: points then take along what they belong to on it, else what is close
 * @returns {Plan}
 */
export function previewPlan(state, size = frameOf(state), progress = 1, cells = null) {
  const frame = frameOf(state);
  const shown = state.operations.filter((operation) => operation.visible);
  const moving = movingRegions(state);
  const pairs = shown.flatMap((operation) => (operation.kind === "points" ? operation.pairs : []));
  /** @type {Plan} */
  const plan = { holes: holes(state), meshes: [], regions: [], pins: [], editable: state.editable };
  if (pairs.length > 0) {
    const bodies = cells ? bodiesOf(cells, pairs, size, state.editable) : [];
    // What an object uncovers is covered by what gives beside it: points leave no hole.
    if (bodies.length > 0) plan.holes = holes(state, true);
    const triangles = bodies.length > 0 ? carriedTriangles(bodies, size, state.editable, progress) : spreadTriangles(pairs, size, state.editable, progress);
    if (triangles.length > 0) plan.meshes.push({ id: POINTS, triangles: Float32Array.from(triangles) });
  }
  for (const region of moving) {
    const { matrix, triangles } = planned(region, frame, size, progress);
    if (triangles) plan.meshes.push({ id: region.id, triangles });
    plan.regions.push({ id: region.id, outline: region.region, matrix });
  }
  for (const operation of shown) {
    if (operation.kind === "region" && operation.task === "pin") plan.pins.push({ id: operation.id, outline: operation.region });
  }
  return plan;
}

/** @typedef {{matrix: Matrix, triangles: Float32Array | null}} Planned */
/** @type {WeakMap<Region, {key: string, planned: Planned}>} */
const plans = new WeakMap();

/** What one region needs, remembered: while one is dragged the others stay. @param {Region} region @param {Size} frame
 * @param {Size} size @param {number} progress @returns {Planned} */
function planned(region, frame, size, progress) {
  const key = `${frame} ${size} ${progress}`;
  const known = plans.get(region);
  if (known?.key === key) return known.planned;
  const matrix = seenAt(forwardMatrix(region, frame, progress), frame, size);
  let triangles = null;
  if (region.task === "deformation") {
    const [dx, dy] = shiftOf(region, frame);
    const list = stretchTriangles(region.region, [(dx * size[0]) / frame[0], (dy * size[1]) / frame[1]], size, progress, region.anchor);
    if (list.length > 0) triangles = Float32Array.from(list);
  }
  plans.set(region, { key, planned: { matrix, triangles } });
  return { matrix, triangles };
}

/** What moving content is taken from. @param {State} state @param {boolean} given  whether the surroundings of points give @returns {{id: string, outline: Outline}[]} */
export function holes(state, given = false) {
  const found = movingRegions(state).filter(({ copy }) => !copy).map(({ id, region }) => ({ id, outline: region }));
  for (const operation of state.operations) {
    // Without an editable area the surroundings of points give way and nothing is left open.
    if (given || !state.editable || operation.kind !== "points" || !operation.visible) continue;
    if (operation.pairs.some(([h, t]) => h[0] !== t[0] || h[1] !== t[1])) found.push({ id: operation.id, outline: state.editable });
  }
  return found;
}

/** A motion of the picture in px of a copy of another size. @param {Matrix} m @param {Size} frame @param {Size} size @returns {Matrix} */
export function seenAt(m, frame, size) {
  const [sx, sy] = [size[0] / frame[0], size[1] / frame[1]];
  return multiply([sx, 0, 0, 0, sy, 0], multiply(m, [1 / sx, 0, 0, 0, 1 / sy, 0]));
}

/** Visible regions that go somewhere: closer than a hundredth of a pixel is nowhere. @param {State} state @returns {Region[]} */
function movingRegions(state) {
  const frame = frameOf(state);
  return state.operations.flatMap((operation) => {
    if (operation.kind !== "region" || !operation.visible || operation.task === "pin") return [];
    const [a, b, c, d, e, f] = forwardMatrix(operation, frame);
    const still = Math.hypot(c, f) < 0.01 && Math.hypot(a - 1, b, d, e - 1) * Math.max(...frame) < 0.01;
    return still ? [] : [operation];
  });
}
