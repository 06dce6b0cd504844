/**
 * Where an edit by "dragfield" may change the picture: around what moves and what it leaves, with a margin (`open_mask` of
 * core/edits/dragfield.py; the shape "around" of the Gradient Mask node). gradient_mask.mjs has DragFlow's rectangles.
 *
 * Two things that core sees pixel by pixel are left out, which a margin covers: points pull nothing in from outside of the picture, and
 * stretched material that another region takes away does not stretch.
 *
 * Convention: outlines are normalised; matrices and the margin's px are those of a picture of `size`.
 *
 * @import {Matrix, Outline, Point, Size, State} from "./types.mjs"
 *
 * @typedef {{outline: Outline, matrix: Matrix}} Part  matrix: moves the outline, in px
 */

import { landedOutline, selectedBodies } from "./bend.mjs";
import { bodyOf, frameOf } from "./model.mjs";
import { apply, forwardMatrix, IDENTITY, shiftOf } from "./motion.mjs";
import { seenAt } from "./preview.mjs";
import { cutToPicture, mapOutline } from "./rings.mjs";
import { fillMask, rasterised, spanMask } from "./spans.mjs";
import { spreadOutline } from "./spread.mjs";
import { stretchOutline } from "./stretch.mjs";

/**
 * What moves, where it was unless it stays as well, and where it goes, without the margin. Their union less pins and what is not editable.
 * @param {State} state @param {Size} size @returns {Part[]}
 */
export function aroundParts(state, size = frameOf(state)) {
  const frame = frameOf(state);
  const shown = state.operations.filter(({ visible }) => visible);
  /** @type {Part[]} */
  const parts = [];
  for (const region of shown) {
    if (region.kind !== "region" || region.task === "pin") continue;
    const matrix = seenAt(forwardMatrix(region, frame), frame, size);
    for (const outline of region.along ? [region.region, region.along] : [region.region]) {
      if (!region.copy) parts.push({ outline, matrix: IDENTITY });
      parts.push({ outline, matrix });
    }
    if (region.task !== "deformation") continue;
    const [dx, dy] = shiftOf(region, frame);
    const shift = /** @type {Point} */ ([(dx * size[0]) / frame[0], (dy * size[1]) / frame[1]]);
    parts.push({ outline: stretchOutline(bodyOf(region), shift, size, region.anchor), matrix: IDENTITY });
  }
  const points = shown.filter((operation) => operation.kind === "points");
  for (const body of points.flatMap(selectedBodies)) {
    for (const outline of [body.outline, landedOutline(body, size)]) parts.push({ outline, matrix: IDENTITY });
  }
  const pairs = points.flatMap((operation) => (operation.selected ? [] : operation.pairs));
  if (pairs.length > 0) parts.push({ outline: spreadOutline(pairs, size, state.editable), matrix: IDENTITY });
  return parts.filter(({ outline }) => outline.length > 0);
}

/**
 * The mask as pixels, for tests and small sizes.
 * @param {State} state @param {Size} size @param {number} margin  of the shorter side @returns {Uint8Array} [h * w] of 0 and 1
 */
export function aroundMask(state, size = frameOf(state), margin = 0) {
  const [width, height] = size;
  const closed = new Uint8Array(width * height);
  for (const operation of state.operations) {
    if (!operation.visible || operation.kind !== "region" || operation.task !== "pin") continue;
    fillMask(operation.region, size).forEach((pinned, i) => pinned && (closed[i] = 1));
  }
  if (state.editable) fillMask(state.editable, size).forEach((free, i) => free || (closed[i] = 1));
  const moved = new Uint8Array(width * height);
  for (const { outline, matrix } of aroundParts(state, size)) {
    const placed = mapOutline(outline, ([x, y]) => {
      const [px, py] = apply(matrix, [x * width, y * height]);
      return [px / width, py / height];
    });
    const seen = placed.map((polygon) => polygon.map(cutToPicture));
    spanMask(rasterised(seen, size)).forEach((inside, i) => inside && !closed[i] && (moved[i] = 1));
  }
  return grown(moved, size, margin * Math.min(width, height)).map((inside, i) => (closed[i] ? 0 : inside));
}

/** Every pixel within `radius` px of the mask. @param {Uint8Array} mask @param {Size} size @param {number} radius @returns {Uint8Array} */
function grown(mask, [width, height], radius) {
  const result = Uint8Array.from(mask);
  const reach = Math.floor(radius);
  mask.forEach((inside, i) => {
    if (!inside) return;
    const [c, r] = [i % width, Math.floor(i / width)];
    for (let y = Math.max(0, r - reach); y <= Math.min(height - 1, r + reach); y++) {
      const half = Math.floor(Math.sqrt(radius * radius - (y - r) * (y - r)));
      result.fill(1, y * width + Math.max(0, c - half), y * width + Math.min(width - 1, c + half) + 1);
    }
  });
  return result;
}
