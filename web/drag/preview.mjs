/**
 * What an edit by "dragfield" starts from, as a plan to draw: the picture warped by core's field, the ground behind filled (core's `carry`).
 *
 * Drawn in this order, each over the last: the picture; the `holes`, filled with what ground.mjs finds for them, those that
 * are lifted a px wider, since antialiased edges reach so far; the triangles of `meshes`; the `regions`, cut out by their
 * outline and moved by their matrix; the `pins`, which show the picture as it was. What lies in the `withheld` outlines of a
 * mesh or region is not carried: it stays, or goes elsewhere. What is behind the `fronts` of one is filled from the rest of its `body` first
 * (`uncovered` of fill.mjs). Of a mesh with a `within` only that is drawn. If `editable` is given, nothing outside of it changes.
 *
 * Convention: outlines are normalised; matrices and triangles are in px of `size`, which may be that of any copy of the
 * picture: motions are those of the picture itself, seen in the copy's px.
 *
 * @import {Bounds, Matrix, Outline, Points, Region, Size, State} from "./types.mjs"
 * @import {Cells} from "./selection.mjs"
 *
 * @typedef {{id: string, outline: Outline, lifted: boolean}} Hole  lifted: all of it moves away; else what nothing covers again is open
 *
 * @typedef {{id: string, triangles: Float32Array, withheld: Outline[], within?: Outline, body?: Outline, fronts?: Outline[]}} Mesh  of each triangle 12 numbers: corners on the target,
 *   then in the source; within: an outline on the target
 *
 * @typedef {object} Plan
 * @property {Hole[]} holes
 * @property {Mesh[]} meshes
 * @property {{id: string, outline: Outline, matrix: Matrix, withheld: Outline[], body: Outline, fronts: Outline[]}[]} regions
 *   matrix: source to target
 * @property {{id: string, outline: Outline, front: boolean}[]} pins
 * @property {Outline | null} editable
 */

import { bentTriangles, landedOutline, selectedBodies } from "./bend.mjs";
import { bodiesOf, carriedTriangles } from "./carried.mjs";
import { bodyOf, frameOf } from "./model.mjs";
import { forwardMatrix, multiply, shiftOf } from "./motion.mjs";
import { bounds } from "./rings.mjs";
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
  const points = shown.filter((operation) => operation.kind === "points");
  const pairs = points.flatMap((operation) => (operation.selected ? [] : operation.pairs));
  /** @type {Plan} */
  const plan = { holes: holes(state), meshes: [], regions: [], pins: [], editable: state.editable };
  if (pairs.length > 0) {
    const bodies = cells ? bodiesOf(cells, pairs, size, state.editable) : [];
    // What an object uncovers is covered by what gives beside it: points leave no hole.
    if (bodies.length > 0) plan.holes = holes(state, true);
    const triangles = bodies.length > 0 ? carriedTriangles(bodies, size, state.editable, progress) : spreadTriangles(pairs, size, state.editable, progress);
    if (triangles.length > 0) plan.meshes.push({ id: POINTS, triangles: Float32Array.from(triangles), withheld: [] });
  }
  for (const operation of points) plan.meshes.push(...bent(operation, size, progress));
  for (const region of moving) {
    const { matrix, triangles } = planned(region, frame, size, progress);
    if (triangles) plan.meshes.push({ id: region.id, triangles, withheld: [] });
    for (const outline of partsOf(region)) plan.regions.push({ id: region.id, outline, matrix, withheld: [], body: bodyOf(region), fronts: [] });
  }
  for (const operation of shown) {
    if (operation.kind === "region" && operation.task === "pin") plan.pins.push({ id: operation.id, outline: operation.region, front: Boolean(operation.front) });
  }
  const pins = plan.pins.map(({ outline, front }) => ({ outline, front, box: bounds(outline) }));
  const [fronts, plain] = [true, false].map((wanted) => pins.filter(({ front }) => front === wanted));
  const copied = new Set(moving.filter(({ copy }) => copy).map(({ id }) => id));
  // What is copied stays too: nobody lacks it, and pins take nothing from it.
  const parts = plan.regions.filter(({ id }) => !copied.has(id)).map((region) => ({ ...region, region, box: bounds(region.outline) }));
  for (const mesh of plan.meshes) {
    const others = parts.filter(({ id }) => id !== mesh.id);
    mesh.withheld = near([...(mesh.body ? plain : pins), ...others], () => sourceBox(mesh.triangles, size));
    if (mesh.body) mesh.fronts = near(fronts, () => bounds(/** @type {Outline} */ (mesh.body)));
  }
  for (const { region, box } of parts) region.withheld = near(plain, () => box);
  for (const region of plan.regions) region.fronts = near(fronts, () => bounds(region.body));
  return plan;
}

/** Those that may share something with a box. @param {{outline: Outline, box: Bounds}[]} parts @param {() => Bounds} boxOf */
function near(parts, boxOf) {
  if (parts.length === 0) return [];
  const b = boxOf();
  return parts.filter(({ box: a }) => a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1).map(({ outline }) => outline);
}

/** What triangles are taken from. @param {Float32Array} triangles @param {Size} size @returns {Bounds} normalised */
function sourceBox(triangles, [width, height]) {
  const box = { x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity };
  for (let i = 0; i < triangles.length; i += 12) {
    for (let k = i + 6; k < i + 12; k += 2) {
      const [x, y] = [triangles[k] / width, triangles[k + 1] / height];
      [box.x0, box.x1] = [Math.min(box.x0, x), Math.max(box.x1, x)];
      [box.y0, box.y1] = [Math.min(box.y0, y), Math.max(box.y1, y)];
    }
  }
  return box;
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
    const list = stretchTriangles(bodyOf(region), [(dx * size[0]) / frame[0], (dy * size[1]) / frame[1]], size, progress, region.anchor);
    if (list.length > 0) triangles = Float32Array.from(list);
  }
  plans.set(region, { key, planned: { matrix, triangles } });
  return { matrix, triangles };
}

/** @type {WeakMap<Points, {key: string, meshes: Mesh[]}>} */
const bends = new WeakMap();

/** What is selected for points, remembered. @param {Points} operation @param {Size} size @param {number} progress @returns {Mesh[]} */
function bent(operation, size, progress) {
  const key = `${size} ${progress}`;
  let known = bends.get(operation);
  if (known?.key !== key) {
    const meshes = selectedBodies(operation).map((body) => {
      const within = landedOutline(body, size, progress);
      return { id: operation.id, triangles: bentTriangles(body, size, progress), withheld: [], within, body: body.outline };
    });
    bends.set(operation, (known = { key, meshes }));
  }
  return known.meshes.map((mesh) => ({ ...mesh }));
}

/** What moving content is taken from. @param {State} state @param {boolean} given  whether the surroundings of points give @returns {Hole[]} */
export function holes(state, given = false) {
  const found = movingRegions(state).flatMap((region) =>
    (region.copy ? [] : partsOf(region)).map((outline) => ({ id: region.id, outline, lifted: region.task !== "deformation" })),
  );
  for (const operation of state.operations) {
    if (operation.kind !== "points" || !operation.visible) continue;
    for (const { outline } of selectedBodies(operation)) found.push({ id: operation.id, outline, lifted: false });
    // Without an editable area the surroundings of points give way and nothing is left open.
    if (given || !state.editable || operation.selected) continue;
    if (operation.pairs.some(([h, t]) => h[0] !== t[0] || h[1] !== t[1])) found.push({ id: operation.id, outline: state.editable, lifted: false });
  }
  return found;
}

/** A region and what goes along, each of which is drawn by itself: they may overlap. @param {Region} region @returns {Outline[]} */
function partsOf({ region, along }) {
  return along ? [region, along] : [region];
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
