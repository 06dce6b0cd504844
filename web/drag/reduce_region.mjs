/**
 * What can be done to one operation's places: its target, anchor, angle, scale, outline. Each function gives the operation
 * anew, or the key of the reason why not.
 *
 * @import {NumberField, Operation, Outline, Point, Points, Region, Size, State} from "./types.mjs"
 */

import { outline as checkedOutline, scale as checkedScale } from "./checks.mjs";
import { frameOf, settled } from "./model.mjs";
import { angleOf, centroid, shiftOf, targetForAngle, wrapAngle } from "./motion.mjs";
import { bounds, clamp } from "./rings.mjs";
import { round } from "./simplify.mjs";

/** @param {Region} region @param {Point} to  of a rotation: any point in the direction @returns {Region | string} */
export function moveTarget(region, to) {
  if (region.task === "pin") return "refused.pin";
  return finite(to) ? { ...region, target: settled(to) } : "refused.value";
}

/**
 * Of a rotation it keeps the angle. Of a deformation it sets the end that stays, and null takes it away.
 * @param {Region} region @param {Point | null} to @param {Size} size @returns {Region | string}
 */
export function moveAnchor(region, to, size) {
  if (region.task === "deformation" && to === null) return region.anchor ? { ...region, anchor: null } : region;
  if (region.task !== "rotation" && region.task !== "deformation") return "refused.anchor";
  if (to === null || !finite(to)) return "refused.value";
  if (region.task === "deformation") return { ...region, anchor: near(to) };
  const angle = angleOf(region, size);
  const moved = { ...region, anchor: near(to) };
  return { ...moved, target: settled(targetForAngle(moved, size, angle)) };
}

/** A rotation about its anchor, a relocation about its middle. @param {Region} region @param {number} angle  degrees @param {Size} size
 * @returns {Region | string} */
export function turn(region, angle, size) {
  if (region.task !== "rotation" && region.task !== "relocation") return "refused.anchor";
  if (!Number.isFinite(angle)) return "refused.value";
  if (region.task === "relocation") return changed(region, { angle: round(wrapAngle(angle)) });
  const [x, y] = targetForAngle(region, size, angle);
  return x < 0 || x > 1 || y < 0 || y > 1 ? "refused.offPicture" : { ...region, target: settled([x, y]) };
}

/** @param {Region} region @param {Point} scale @param {Point | undefined} target  where its middle comes to lie; left out: where it is
 * @returns {Region | string} */
export function rescale(region, scale, target) {
  if (region.task !== "relocation" && region.task !== "rotation") return "refused.scale";
  const factors = checkedScale(scale);
  if (!factors) return "refused.factor";
  const scaled = changed(region, { scale: factors });
  return target === undefined || region.task === "rotation" ? scaled : moveTarget(scaled, target);
}

/** Mirrors it where it lands, left and right (axis 0) or top and bottom (1). @param {Region} region @param {0 | 1} axis @returns {Region | string} */
export function flip(region, axis) {
  if (region.task !== "relocation" && region.task !== "rotation") return "refused.scale";
  const [x, y] = region.scale ?? [1, 1];
  const scale = /** @type {Point} */ (axis === 0 ? [-x, y] : [x, -y]);
  // On the screen: what was turned to the right is turned to the left in the mirror.
  return changed(region, { scale, ...(region.angle && { angle: -region.angle }) });
}

/** Whether the original stays. @param {Region} region @param {boolean} copy @returns {Region | string} */
export function setCopy(region, copy) {
  if (region.task !== "relocation" && region.task !== "rotation") return "refused.scale";
  return changed(region, { copy });
}

/** What changes nothing is left out, as on the wire. @param {Region} region @param {{scale?: Point, angle?: number, copy?: boolean}} to
 * @returns {Region} */
function changed(region, to) {
  const { scale, angle, copy, ...rest } = { ...region, ...to };
  return {
    ...rest,
    ...(scale && (scale[0] !== 1 || scale[1] !== 1) && { scale }),
    ...(angle && { angle }),
    ...(copy && { copy: /** @type {true} */ (true) }),
  };
}

/**
 * The drawn region itself moves, and takes its target and anchor along; it stays on the picture.
 * @param {Region} region @param {Point} by @returns {Region | string}
 */
export function moveRegion(region, by) {
  if (!finite(by)) return "refused.value";
  const box = bounds([...region.region, ...(region.along ?? [])]);
  // On the lattice, so that every corner moves by the very same.
  const dx = round(clamp(by[0], -box.x0, 1 - box.x1));
  const dy = round(clamp(by[1], -box.y0, 1 - box.y1));
  if (dx === 0 && dy === 0) return region;
  /** @type {(p: Point) => Point} */
  const move = ([x, y]) => [round(clamp(x + dx)), round(clamp(y + dy))];
  return {
    ...region,
    region: region.region.map((polygon) => polygon.map((ring) => ring.map(move))),
    ...(region.along && { along: region.along.map((polygon) => polygon.map((ring) => ring.map(move))) }),
    target: region.target && move(region.target),
    anchor: region.anchor && near([region.anchor[0] + dx, region.anchor[1] + dy]),
  };
}

/**
 * Another outline, after painting: the displacement or the angle stays, so that what moves moves as far as before.
 * @param {Region} region @param {Outline} outline @param {Size} size @returns {Region | string}
 */
export function setOutline(region, outline, size) {
  const checked = checkedOutline(outline);
  if (!checked) return "refused.shape";
  const changed = { ...region, region: checked };
  if (region.task === "pin") return changed;
  if (region.task === "rotation") return { ...changed, target: settled(targetForAngle(changed, size, angleOf(region, size))) };
  const [dx, dy] = shiftOf(region, size);
  const [x, y] = centroid(changed, size);
  return { ...changed, target: settled([(x + dx) / size[0], (y + dy) / size[1]]) };
}

/**
 * A step with the arrow keys.
 * @param {Operation} operation @param {Point} by  px @param {"target" | "outline" | "anchor" | undefined} part @param {State} state
 * @returns {Operation | string}
 */
export function nudge(operation, by, part, state) {
  if (!finite(by)) return "refused.value";
  const size = frameOf(state);
  /** @type {Point} */
  const step = [by[0] / size[0], by[1] / size[1]];
  if (operation.kind === "points") return nudgePairs(operation, step, part === "outline", state.pair);
  if (part === "outline" || operation.task === "pin") return moveRegion(operation, step);
  if (part === "anchor") return operation.anchor ? moveAnchor(operation, shifted(operation.anchor, step), size) : "refused.anchor";
  return moveTarget(operation, shifted(operation.target ?? [0, 0], step));
}

/**
 * An exact value from a number field.
 * @param {Operation} operation @param {NumberField} field @param {number} value  px, degrees or percent @param {State} state
 * @returns {Operation | string}
 */
export function setNumber(operation, field, value, state) {
  if (!Number.isFinite(value)) return "refused.value";
  const size = frameOf(state);
  if (field === "angle") return operation.kind === "region" ? turn(operation, value, size) : "refused.points";
  const axis = field.endsWith("X") ? 0 : 1;
  if (operation.kind === "points") return setPairNumber(operation, field, axis, value / size[axis], state.pair);
  if (field === "anchorX" || field === "anchorY") {
    return operation.anchor ? moveAnchor(operation, replaced(operation.anchor, axis, value / size[axis]), size) : "refused.anchor";
  }
  if (field === "scaleX" || field === "scaleY") {
    return rescale(operation, replaced(operation.scale ?? [1, 1], axis, value / 100), undefined);
  }
  if (!operation.target) return "refused.pin";
  if (field === "shiftX" || field === "shiftY") {
    if (operation.task === "rotation") return "refused.value";
    return moveTarget(operation, replaced(operation.target, axis, (centroid(operation, size)[axis] + value) / size[axis]));
  }
  if (field !== "targetX" && field !== "targetY") return "refused.value";
  return moveTarget(operation, replaced(operation.target, axis, value / size[axis]));
}

/** @param {Points} points @param {Point} step @param {boolean} both @param {number | null} pair  null: all @returns {Points} */
function nudgePairs(points, step, both, pair) {
  return {
    ...points,
    pairs: points.pairs.map(([handle, target], i) =>
      pair !== null && i !== pair
        ? [handle, target]
        : [both ? settled(shifted(handle, step)) : handle, settled(shifted(target, step))],
    ),
  };
}

/** @param {Points} points @param {NumberField} field @param {0 | 1} axis @param {number} value @param {number | null} pair
 * @returns {Points | string} */
function setPairNumber(points, field, axis, value, pair) {
  const end = field === "handleX" || field === "handleY" ? 0 : 1;
  if (pair === null || (end === 1 && field !== "targetX" && field !== "targetY")) return "refused.value";
  return {
    ...points,
    pairs: points.pairs.map((ends, i) => {
      if (i !== pair) return ends;
      const moved = settled(replaced(ends[end], axis, value));
      return end === 0 ? [moved, ends[1]] : [ends[0], moved];
    }),
  };
}

/** An anchor may lie up to one picture size outside. @param {Point} point @returns {Point} */
function near([x, y]) {
  return [round(clamp(x, -1, 2)), round(clamp(y, -1, 2))];
}

/** @param {Point} point @param {Point} by @returns {Point} */
function shifted([x, y], [dx, dy]) {
  return [x + dx, y + dy];
}

/** @param {Point} point @param {0 | 1} axis @param {number} value @returns {Point} */
function replaced([x, y], axis, value) {
  return axis === 0 ? [value, y] : [x, value];
}

/** @param {unknown} value */
function finite(value) {
  return Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
}
