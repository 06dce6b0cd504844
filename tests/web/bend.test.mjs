/** What is selected for points: it goes as the points say, and bends where pins hold it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { landedOutline, placeBefore, rigid, selectedBodies } from "../../web/drag/bend.mjs";
import { emptyState, find, makePoints, makeRegion } from "../../web/drag/model.mjs";
import { objectAt } from "../../web/drag/object.mjs";
import { reduce } from "../../web/drag/reduce.mjs";
import { bounds, contains, rectangleOutline } from "../../web/drag/rings.mjs";
import { cellsOf, shrunk } from "../../web/drag/selection.mjs";
import { readDrag, writeDrag } from "../../web/drag/wire.mjs";

const SIZE = [200, 100];
const LIMB = rectangleOutline([0.1, 0.4], [0.7, 0.6]);

function after(state, ...actions) {
  return actions.reduce((now, action) => {
    const { state: next, reason } = reduce(now, action);
    assert.equal(reason, null, JSON.stringify(reason));
    return next;
  }, state);
}

/** The state with points that are selected, and take `selected` along. */
function withPoints(pairs, selected = LIMB) {
  const state = emptyState(SIZE);
  const drawn = after(state, { type: "add", operation: makePoints(state, pairs) });
  return selected ? after(drawn, { type: "setSelected", id: "1", outline: selected }) : drawn;
}

test("one pair shifts what is selected, two turn it", () => {
  const [shifted] = selectedBodies(find(withPoints([[[0.2, 0.5], [0.3, 0.6]]]), "1"));
  const box = bounds(landedOutline(shifted, SIZE));
  for (const [found, wanted] of [[box.x0, 0.2], [box.x1, 0.8], [box.y0, 0.5], [box.y1, 0.7]]) assert.ok(Math.abs(found - wanted) < 1e-9);
  // A quarter turn about (0.5, 0.5): from above the middle to its right, in px.
  const pairs = [[[100, 20], [130, 50]], [[100, 80], [70, 50]]];
  const [x, y] = rigid([120, 50], pairs);
  assert.ok(Math.hypot(x - 100, y - 70) < 1e-6, `${x} ${y}`);
});

test("a limb bends at its pins: they stay, and its length is kept to a few per cent", () => {
  const [pins, elbow] = [[[0.15, 0.45], [0.15, 0.55]].map((p) => [p, p]), [0.4, 0.5]];
  for (const degrees of [20, 45, 70]) {
    const turn = (degrees * Math.PI) / 180;
    const hand = [0.65, 0.5];
    const to = [elbow[0] + 0.25 * Math.cos(turn), elbow[1] + (0.25 * Math.sin(turn) * SIZE[0]) / SIZE[1]];
    const pairs = [...pins, [elbow, elbow], [hand, to]].map((pair) => pair.map(([x, y]) => [x * SIZE[0], y * SIZE[1]]));
    for (const [handle, target] of pairs) {
      const [x, y] = rigid(handle, pairs);
      assert.ok(Math.hypot(x - target[0], y - target[1]) < 0.05, `${degrees}: ${handle} is at ${x} ${y}`);
    }
    let length = 0;
    let last = null;
    for (let x = 30; x <= 130; x++) {
      const at = rigid([x, 50], pairs);
      if (last) length += Math.hypot(at[0] - last[0], at[1] - last[1]);
      last = at;
    }
    assert.ok(Math.abs(length - 100) < 4, `${degrees}: ${length}`);
    for (const x of [50, 110]) {
      const [a, b] = [rigid([x, 42], pairs), rigid([x, 58], pairs)];
      assert.ok(Math.abs(Math.hypot(a[0] - b[0], a[1] - b[1]) - 16) < 0.5, `${degrees}: ${a} ${b}`);
    }
  }
});

test("a pin that is set on what is bent holds the place that is there, and changes little", () => {
  const pairs = [[[0.15, 0.5], [0.15, 0.5]], [[0.4, 0.5], [0.4, 0.5]], [[0.65, 0.5], [0.6, 0.7]]];
  const state = withPoints(pairs);
  const points = find(state, "1");
  const [body] = selectedBodies(points);
  const px = pairs.map((pair) => pair.map(([x, y]) => [x * SIZE[0], y * SIZE[1]]));
  for (const [x, y] of [[0.2, 0.45], [0.5, 0.5], [0.6, 0.58]]) {
    const [u, v] = rigid([x * SIZE[0], y * SIZE[1]], px);
    const before = placeBefore(points, [u / SIZE[0], v / SIZE[1]], SIZE);
    assert.ok(Math.hypot((before[0] - x) * SIZE[0], (before[1] - y) * SIZE[1]) < 0.05, `${before}`);
    const [pinned] = selectedBodies(find(after(state, { type: "addPair", id: "1", handle: before, target: [u / SIZE[0], v / SIZE[1]] }), "1"));
    const [old, now] = [body, pinned].map((one) => landedOutline(one, SIZE).flat(2));
    const off = old.map((p, i) => Math.hypot((p[0] - now[i][0]) * SIZE[0], (p[1] - now[i][1]) * SIZE[1]));
    assert.ok(Math.max(...off) < 6, `${Math.max(...off)}`);
  }
  assert.equal(placeBefore(points, [0.9, 0.1], SIZE), null);
  assert.deepEqual(placeBefore(find(withPoints([[[0.2, 0.5], [0.2, 0.5]]]), "1"), [0.3, 0.5], SIZE), [0.3, 0.5]);
});

test("each piece goes with the handles in it, one without any with all, and one that only stays does not go", () => {
  const [left, right] = [rectangleOutline([0.1, 0.1], [0.3, 0.3]), rectangleOutline([0.6, 0.6], [0.8, 0.8])];
  const [go, stay, other] = [[[0.2, 0.2], [0.3, 0.2]], [[0.7, 0.7], [0.7, 0.7]], [[0.7, 0.7], [0.7, 0.9]]];
  const of = (...pairs) => selectedBodies(find(withPoints(pairs, [...left, ...right]), "1")).map(({ outline, pairs: own }) => [outline.length, own.length]);
  assert.deepEqual(of(go, other), [[1, 1], [1, 1]]);
  assert.deepEqual(of(go), [[2, 1]]);
  assert.deepEqual(of(go, stay), [[1, 1]]);
  assert.deepEqual(of(go, [[0.45, 0.1], [0.5, 0.1]]), [[2, 2]]);
});

test("what points take along is selected for points alone, saved with them, and looked for again when it is erased", () => {
  const state = withPoints([[[0.2, 0.5], [0.3, 0.6]]], null);
  const selecting = after(state, { type: "part", part: "selected" });
  assert.equal(reduce(state, { type: "part", part: "along" }).reason.key, "hint.noCarrier");
  const chosen = after(selecting, { type: "setSelected", id: "1", outline: LIMB });
  assert.deepEqual(find(chosen, "1").selected, LIMB);
  assert.equal(JSON.parse(writeDrag(chosen)).version, 2);
  assert.deepEqual(readDrag(writeDrag(chosen)).document.operations, chosen.operations);
  assert.equal("selected" in find(after(chosen, { type: "setSelected", id: "1", outline: null }), "1"), false);
  assert.equal(JSON.parse(writeDrag(after(chosen, { type: "setSelected", id: "1", outline: null }))).version, 1);
  assert.equal(after(chosen, { type: "select", id: null }).part, "region");
  const region = after(state, { type: "add", operation: makeRegion(state, LIMB) });
  assert.equal(reduce(region, { type: "setSelected", id: "2", outline: LIMB }).reason.key, "refused.region");
  assert.equal(reduce(region, { type: "part", part: "selected" }).reason.key, "hint.noCarrier");
  const copy = after(chosen, { type: "duplicate", id: "1" }).operations[1];
  const [from, to] = [bounds(LIMB), bounds(copy.selected)];
  assert.ok(Math.abs(to.x0 - from.x0 - 0.04) < 1e-6 && Math.abs(copy.pairs[0][0][0] - 0.24) < 1e-6);
});

test("a click finds the object that is there", () => {
  const [width, height] = [120, 80];
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [i % width, Math.floor(i / width)];
    const inside = x >= 30 && x < 54 && y >= 20 && y < 60;
    rgba.set(inside ? [220, 60, 40] : [90 + ((x * 7 + y * 3) % 11), 120, 80], 4 * i);
  }
  const cells = shrunk(rgba, [width, height], cellsOf([width, height]));
  const found = objectAt(cells, [42 / width, 40 / height], [width, height]);
  const { x0, y0, x1, y1 } = bounds(found);
  for (const [value, wanted] of [[x0 * width, 30], [x1 * width, 54], [y0 * height, 20], [y1 * height, 60]]) {
    assert.ok(Math.abs(value - wanted) <= 1.5, `${value} is not ${wanted}`);
  }
  assert.ok(contains(found, [42 / width, 40 / height]) && !contains(found, [0.8, 0.2]));
});
