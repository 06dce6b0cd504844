/** Outlines, masks, brushes: what is drawn is what is kept. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { coverage, extendStroke, startStroke, strokeOutline } from "../../web/drag/brush.mjs";
import { convexHull, grownRing, smallestRectangle } from "../../web/drag/hull.mjs";
import {
  bounds, contains, corners, cutToPicture, edgeDistance, ellipseOutline, lassoOutline, polygonCentroid, rectangleOutline, ringArea,
} from "../../web/drag/rings.mjs";
import { fitOutline, outlineBytes, simplifyRing } from "../../web/drag/simplify.mjs";
import { fillMask, sharedPixels, spanArea, spansOf } from "../../web/drag/spans.mjs";
import { outlineFromMask, traceMask } from "../../web/drag/trace.mjs";
import { fillHoles } from "../../web/drag/fill.mjs";
import { fillGround } from "../../web/drag/ground.mjs";
import { maskOf, seeded, vectors } from "./vectors.mjs";

/** A random mask of 0 and 255, with holes, specks and corners that touch. */
function blots(seed, width, height, share) {
  const random = seeded(seed);
  return Uint8Array.from({ length: width * height }, () => (random() < share ? 255 : 0));
}

test("a traced mask fills to the very same mask", () => {
  for (let seed = 0; seed < 30; seed++) {
    const [width, height] = [17, 13];
    const mask = blots(seed, width, height, 0.2 + 0.02 * seed);
    const outline = traceMask(mask, width, height);
    assert.deepEqual(fillMask(outline, [width, height]), mask.map((value) => value / 255));
  }
});

test("outsides run clockwise, holes the other way and inside their polygon", () => {
  const outline = traceMask(blots(3, 40, 30, 0.6), 40, 30);
  assert.ok(outline.some((rings) => rings.length > 1));
  for (const [outside, ...holes] of outline) {
    assert.ok(ringArea(outside) > 0);
    for (const hole of holes) {
      const [[x0, y0], [x1, y1]] = hole;
      assert.ok(ringArea(hole) < 0 && contains([[outside]], [(x0 + x1) / 2, (y0 + y1) / 2]));
    }
  }
});

test("a full mask is the whole picture, an empty one nothing", () => {
  assert.deepEqual(bounds(traceMask(new Uint8Array(12).fill(255), 4, 3)), { x0: 0, y0: 0, x1: 1, y1: 1 });
  assert.deepEqual(traceMask(new Uint8Array(12), 4, 3), []);
  assert.equal(outlineFromMask(new Uint8Array(12), 4, 3, [400, 300]), null);
});

test("a ragged mask becomes an outline that fits", () => {
  const outline = outlineFromMask(blots(1, 200, 150, 0.65), 200, 150, [200, 150]);
  assert.ok(outline && outlineBytes(outline) <= 8192);
});

test("dust and a comb fit too, and something is left of them", () => {
  const dust = Array.from({ length: 900 }, (_, i) => [[[i / 900, 0.1], [(i + 0.5) / 900, 0.1], [(i + 0.5) / 900, 0.1004]]]);
  const comb = Array.from({ length: 3000 }, (_, i) => [i / 3000, i % 2 ? 0.5 : 0.5004]);
  for (const outline of [dust, [[comb]]]) {
    const found = fitOutline(outline, [1024, 1024]);
    assert.ok(found.length > 0 && corners(found) >= 3 && outlineBytes(found) <= 8192);
  }
});

test("simplifying misses no corner by more than the tolerance", () => {
  const ring = Array.from({ length: 500 }, (_, i) => [100 * Math.cos(i / 79.6) + 3 * Math.sin(i), 100 * Math.sin(i / 79.6)]);
  for (const tolerance of [0.5, 2, 8]) {
    const kept = simplifyRing(ring, tolerance);
    assert.ok(kept.length < ring.length);
    for (const p of ring) assert.ok(edgeDistance([[kept]], p, [1, 1]) <= tolerance + 1e-9);
  }
});

test("a brush stroke covers what the brush went over, an eraser takes it off again", () => {
  const size = [400, 300];
  const stroke = startStroke(null, size, 20 / 300, false);
  for (const x of [0.3, 0.5, 0.7]) extendStroke(stroke, [x, 0.5]);
  const outline = strokeOutline(stroke);
  const wanted = 160 * 40 + Math.PI * 20 * 20;
  assert.ok(Math.abs(spanArea(spansOf(outline, size)) - wanted) / wanted < 0.02);
  assert.ok(contains(outline, [0.5, 0.5 + 19 / 300]) && !contains(outline, [0.5, 0.5 + 21 / 300]));

  const eraser = startStroke(outline, size, 30 / 300, true);
  extendStroke(eraser, [0.5, 0.2]);
  extendStroke(eraser, [0.5, 0.8]);
  assert.equal(strokeOutline(eraser).length, 2);
  for (const x of [0.1, 0.9]) extendStroke(eraser, [x, 0.5]);
  assert.equal(strokeOutline(eraser), null);
});

test("a long stroke and its pieces cover the same", () => {
  const [once, pieces] = [startStroke(null, [300, 200], 0.05, false), startStroke(null, [300, 200], 0.05, false)];
  extendStroke(once, [0.1, 0.9]);
  extendStroke(once, [0.8, 0.2]);
  for (let i = 0; i <= 10; i++) extendStroke(pieces, [0.1 + 0.07 * i, 0.9 - 0.07 * i]);
  assert.ok(once.cells.every((value, i) => Math.abs(value - pieces.cells[i]) <= 1));
});

test("what the brush does not touch comes back within half a cell", () => {
  const size = [4000, 3000];
  let outline = ellipseOutline([0.3, 0.3], [0.6, 0.7]);
  const before = outline;
  for (let i = 0; i < 5; i++) outline = strokeOutline(startStroke(outline, size, 0.01, false));
  const cell = 4000 / 1024;
  for (const [ring] of outline) for (const p of ring) assert.ok(edgeDistance(before, p, size) < cell);
  assert.ok(Math.abs(spanArea(spansOf(outline, size)) / spanArea(spansOf(before, size)) - 1) < 0.01);
});

test("coverage is the area of each cell", () => {
  const cells = coverage(rectangleOutline([0.125, 0.25], [0.5, 0.75]), [4, 2]);
  assert.deepEqual([...cells], [64, 128, 0, 0, 64, 128, 0, 0]);
});

test("shapes stay on the picture, and lines that enclose nothing are none", () => {
  assert.deepEqual(bounds(ellipseOutline([-0.5, 0.2], [0.5, 1.4])).x0, 0);
  assert.equal(rectangleOutline([0.2, 0.2], [0.2, 0.8]), null);
  assert.equal(lassoOutline([[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]], [100, 100]), null);
  assert.equal(lassoOutline([], [100, 100]), null);
  assert.ok(corners(lassoOutline([[0.1, 0.1], [0.5, 0.1], [0.9, 0.1], [0.9, 0.9]], [100, 100])) === 3);
});

test("shared pixels are those of both", () => {
  const size = [50, 40];
  const [a, b] = [ellipseOutline([0.1, 0.1], [0.7, 0.8]), rectangleOutline([0.3, 0.3], [0.9, 0.6])];
  const [p, q] = [fillMask(a, size), fillMask(b, size)];
  assert.equal(sharedPixels(spansOf(a, size), spansOf(b, size)), p.reduce((sum, value, i) => sum + value * q[i], 0));
});

test("the centre of an outline is that of its pixels, holes taken off", () => {
  const outline = [[[[0, 0], [1, 0], [1, 1], [0, 1]], [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]]];
  polygonCentroid(outline).forEach((value, axis) => assert.ok(Math.abs(value - [0.25, 0.5][axis]) < 1e-9));
});

test("the smallest rectangle around a turned one is it", () => {
  const [c, s] = [Math.cos(0.4), Math.sin(0.4)];
  const turned = [[0, 0], [30, 0], [30, 10], [0, 10]].map(([x, y]) => [c * x - s * y + 5, s * x + c * y + 7]);
  const found = smallestRectangle(convexHull([...turned, [12, 15]]));
  assert.ok(Math.abs(Math.abs(ringArea(found)) - 300) < 1e-6);
});

test("a grown ring is its radius away, and the picture cuts it", () => {
  const ring = grownRing([[0.2, 0.2], [0.4, 0.2], [0.4, 0.4], [0.2, 0.4]], 0.3, 32);
  assert.ok(edgeDistance([[ring]], [0.2, 0.3], [1, 1]) > 0.299);
  const cut = cutToPicture(ring);
  assert.deepEqual(bounds([[cut]]), { x0: 0, y0: 0, x1: 0.7, y1: 0.7 });
});

for (const { name, size, runs, filled } of vectors("ground")) {
  test(`ground is found where core finds it: ${name}`, () => {
    const [width, height] = size;
    const rgba = new Uint8ClampedArray(4 * width * height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const base = 60 + 50 * ((Math.floor(x / 6) + Math.floor(y / 5)) % 3) + ((x * 31 + y * 17) % 13);
        rgba.set([base, base + Math.floor(x / 2), base + Math.floor(y / 3), 255], 4 * (y * width + x));
      }
    }
    const hole = maskOf(runs, size);
    const before = Uint8ClampedArray.from(rgba);
    const found = fillGround(rgba, width, height, hole);
    let [at, sum, most] = [0, 0, 0];
    hole.forEach((inside, i) => {
      if (!inside) assert.deepEqual(found.subarray(4 * i, 4 * i + 4), before.subarray(4 * i, 4 * i + 4));
      for (let k = 0; inside && k < 3; k++, at++) {
        const off = Math.abs(found[4 * i + k] - filled[at]);
        [sum, most] = [sum + off, Math.max(most, off)];
      }
    });
    // The smooth part is made on grids of other sizes on the two sides.
    assert.ok(sum / at < 3 && most < 40, `${(sum / at).toFixed(2)} levels off on average, ${most} at most`);
    assert.deepEqual(rgba, before);
  });
}

test("a hole is filled from around it, and what is known stays", () => {
  const [width, height] = [32, 32];
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  const mask = new Uint8Array(width * height);
  for (let i = 0; i < mask.length; i++) {
    const hole = i % width > 8 && i % width < 24 && i > 8 * width && i < 24 * width;
    mask[i] = Number(hole);
    rgba.set(hole ? [255, 0, 0] : [40, 80, 120], 4 * i);
  }
  const filled = fillHoles(rgba, width, height, mask);
  for (let i = 0; i < mask.length; i++) assert.deepEqual([...filled.subarray(4 * i, 4 * i + 4)], [40, 80, 120, 255]);
  // With nothing known, the mean of all.
  const mean = [...rgba].reduce((sum, value, i) => (i % 4 === 0 ? sum + value : sum), 0) / mask.length;
  assert.ok(Math.abs(fillHoles(rgba, width, height, mask.fill(1))[0] - mean) < 1);
});
