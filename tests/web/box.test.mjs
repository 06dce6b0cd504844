/** The box around a region: grips scale it, the knob above turns it, and what lies opposite stays. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { boxed, boxOf, pulled } from "../../web/drag/box.mjs";
import { hits } from "../../web/drag/hit.mjs";
import { documentOf, emptyState, landing, makeRegion, selected } from "../../web/drag/model.mjs";
import { apply, centroid, forwardMatrix } from "../../web/drag/motion.mjs";
import { reduce } from "../../web/drag/reduce.mjs";
import { lassoOutline, rectangleOutline } from "../../web/drag/rings.mjs";
import { readDrag, writeDrag } from "../../web/drag/wire.mjs";

const SIZE = [1000, 500];
const PLAIN = { free: false, middle: false };

function after(state, ...actions) {
  for (const action of actions) {
    const { state: next, reason } = reduce(state, action);
    assert.equal(reason, null, JSON.stringify(action));
    state = next;
  }
  return state;
}

/** A rectangle of 200 x 100 px, moved to the middle. */
function moved(...more) {
  const state = emptyState(SIZE);
  const operation = makeRegion(state, rectangleOutline([0.1, 0.2], [0.3, 0.4]), "relocation");
  return after(state, { type: "add", operation }, { type: "moveTarget", id: "1", to: [0.5, 0.5] }, ...more);
}

/** Where a corner of the region as drawn has got to, px. */
function corner(region, x, y) {
  return apply(forwardMatrix(region, SIZE), [x * SIZE[0], y * SIZE[1]]);
}

function near(found, wanted, tolerance = 0.01) {
  assert.equal(found.length, wanted.length);
  found.forEach((value, i) => assert.ok(Math.abs(value - wanted[i]) <= tolerance, `${found} is not ${wanted}`));
}

/** A grip pulled by px. */
function pull(state, grip, [dx, dy], how = PLAIN) {
  const region = selected(state);
  return selected(after(state, { type: "rescale", id: "1", ...pulled(region, grip, [dx / SIZE[0], dy / SIZE[1]], SIZE, how) }));
}

test("a corner keeps the proportions and the corner opposite", () => {
  const region = pull(moved(), 4, [200, 100]);
  near(region.scale, [2, 2]);
  near(corner(region, 0.1, 0.2), [400, 200]);
  near(corner(region, 0.3, 0.4), [800, 400]);
  // Pulled askew it goes as far as that is along the diagonal.
  near(pull(moved(), 4, [100, 0]).scale, [1.4, 1.4]);
});

test("with Shift a corner goes where the hand is, with Alt the middle stays", () => {
  const free = pull(moved(), 0, [-100, 50], { free: true, middle: false });
  near(free.scale, [1.5, 0.5]);
  near(corner(free, 0.3, 0.4), [600, 300]);
  near(corner(free, 0.1, 0.2), [300, 250]);
  const even = pull(moved(), 4, [100, 50], { free: false, middle: true });
  near(even.scale, [2, 2]);
  assert.deepEqual(even.target, selected(moved()).target);
});

test("a side scales one axis, and through to the other side it mirrors", () => {
  const wide = pull(moved(), 3, [100, 70]);
  near(wide.scale, [1.5, 1]);
  near(corner(wide, 0.1, 0.2), [400, 200]);
  const mirrored = pull(moved(), 3, [-300, 0]);
  near(mirrored.scale, [-0.5, 1]);
  near(corner(mirrored, 0.1, 0.2), [400, 200]);
  near(corner(mirrored, 0.3, 0.2), [300, 200]);
});

test("of a turned and mirrored region a grip follows the hand too", () => {
  const state = moved({ type: "turn", id: "1", angle: 40 }, { type: "flip", id: "1", axis: 0 }, { type: "rescale", id: "1", scale: [-0.8, 1.2] });
  for (let grip = 0; grip < 8; grip++) {
    const before = selected(state);
    const box = boxOf(before, SIZE, 1e-9).grips.find((one) => one.grip === grip);
    const region = pull(state, grip, [30, -20], { free: true, middle: false });
    const [x, y] = boxOf(region, SIZE, 1e-9).grips.find((one) => one.grip === grip).at;
    const opposite = (of) => boxOf(of, SIZE, 1e-9).grips.find((one) => one.grip === (grip + 4) % 8).at.map((v, i) => v * SIZE[i]);
    near(opposite(region), opposite(before), 0.05);
    const by = [x * SIZE[0] - box.at[0] * SIZE[0], y * SIZE[1] - box.at[1] * SIZE[1]];
    // A side goes only along its own axis: as far as the hand went along it.
    if (grip % 2 === 0) near(by, [30, -20], 0.05);
    else assert.ok(Math.abs(by[0] * (by[0] - 30) + by[1] * (by[1] + 20)) < 1, `${by}`);
  }
});

test("a rotation scales about its middle, which stays where it is", () => {
  const state = moved({ type: "retask", id: "1", task: "rotation" }, { type: "turn", id: "1", angle: 30 });
  const region = pull(state, 4, [40, 40]);
  assert.ok(region.scale[0] > 1 && region.scale[0] === region.scale[1]);
  near(landing(region, SIZE), landing(selected(state), SIZE), 1e-4);
  assert.equal(boxOf(region, SIZE, 1).turn, null);
});

test("no pull goes beyond the limits of the wire, not even to nothing", () => {
  for (const by of [[-200, -100], [-1e6, 0], [1e6, 1e6], [-200, 0], [0, -100]]) {
    for (let grip = 0; grip < 8; grip++) {
      for (const how of [PLAIN, { free: true, middle: false }, { free: true, middle: true }]) {
        const { scale } = pull(moved(), grip, by, how);
        for (const factor of scale ?? [1, 1]) assert.ok(Math.abs(factor) >= 0.1 && Math.abs(factor) <= 10, `${by} ${grip} ${scale}`);
      }
    }
  }
});

test("the box lies outside of the region, its knob where the picture has room, and short sides have no grip", () => {
  const box = boxOf(selected(moved()), SIZE, 2);
  near(box.ring.map(([x, y]) => [x * SIZE[0], y * SIZE[1]]).flat(), [384, 184, 616, 184, 616, 316, 384, 316]);
  near(box.turn.map((v, i) => v * SIZE[i]), [500, 140]);
  assert.equal(box.grips.length, 8);
  const high = boxOf(selected(moved({ type: "moveTarget", id: "1", to: [0.5, 0.11] })), SIZE, 2);
  near(high.turn.map((v, i) => v * SIZE[i]), [500, 165]);
  assert.deepEqual(boxOf(selected(moved()), SIZE, 4).grips.map(({ grip }) => grip), [0, 1, 2, 4, 5, 6]);
});

test("the box is hit of what is selected alone, and only where one is drawn", () => {
  const state = moved();
  const at = boxOf(selected(state), SIZE, 1).grips[4].at;
  assert.deepEqual(hits(state, at, 5, 1).map(({ part, grip }) => [part, grip])[0], ["grip", 4]);
  assert.equal(hits(state, at, 5).some(({ part }) => part === "grip"), false);
  assert.equal(hits({ ...state, selection: null }, at, 5, 1).some(({ part }) => part === "grip"), false);
  const { turn } = boxOf(selected(state), SIZE, 1);
  assert.equal(hits(state, turn, 5, 1)[0].part, "turn");
  for (const task of ["deformation", "pin"]) assert.equal(boxed(selected(after(state, { type: "retask", id: "1", task }))), false);
});

test("flipped twice is as it was, and a flip mirrors what is seen", () => {
  const state = moved({ type: "turn", id: "1", angle: 25 }, { type: "rescale", id: "1", scale: [1.5, 0.5] });
  const before = selected(state);
  const flipped = selected(after(state, { type: "flip", id: "1", axis: 0 }));
  const [x, y] = landing(before, SIZE).map((v, i) => v * SIZE[i]);
  const [px, py] = corner(before, 0.3, 0.2);
  near(corner(flipped, 0.3, 0.2), [2 * x - px, py], 0.01);
  const upside = selected(after(state, { type: "flip", id: "1", axis: 1 }));
  near(corner(upside, 0.3, 0.2), [px, 2 * y - py], 0.01);
  assert.deepEqual(selected(after(state, { type: "flip", id: "1", axis: 1 }, { type: "flip", id: "1", axis: 1 })), before);
});

test("numbers scale by percent, turn and survive the wire; what changes nothing is not kept", () => {
  const state = moved(
    { type: "setNumber", id: "1", field: "scaleX", value: -150 },
    { type: "setNumber", id: "1", field: "scaleY", value: 40 },
    { type: "setNumber", id: "1", field: "angle", value: 200 },
    { type: "copy", id: "1", copy: true },
  );
  const region = selected(state);
  assert.deepEqual([region.scale, region.angle, region.copy], [[-1.5, 0.4], -160, true]);
  const text = writeDrag(documentOf(state));
  assert.equal(JSON.parse(text).version, 2);
  assert.deepEqual(readDrag(text).document, documentOf(state));
  const back = after(
    state,
    { type: "rescale", id: "1", scale: [1, 1] },
    { type: "turn", id: "1", angle: 360 },
    { type: "copy", id: "1", copy: false },
  );
  assert.deepEqual(documentOf(back), documentOf(moved()));
  assert.equal(JSON.parse(writeDrag(documentOf(back))).version, 1);
});

test("a task keeps what it knows of these, and refuses the rest", () => {
  const state = moved({ type: "rescale", id: "1", scale: [2, 2] }, { type: "turn", id: "1", angle: 20 }, { type: "copy", id: "1", copy: true });
  const rotation = selected(after(state, { type: "retask", id: "1", task: "rotation" }));
  assert.deepEqual([rotation.scale, rotation.angle, rotation.copy], [[2, 2], undefined, true]);
  const deformed = after(state, { type: "retask", id: "1", task: "deformation" });
  assert.ok(!("scale" in selected(deformed)) && !("copy" in selected(deformed)) && !("angle" in selected(deformed)));
  for (const action of [{ type: "flip", axis: 0 }, { type: "copy", copy: true }, { type: "rescale", scale: [2, 2] }]) {
    assert.equal(reduce(deformed, { id: "1", ...action }).reason.key, "refused.scale");
  }
  assert.equal(reduce(state, { type: "rescale", id: "1", scale: [0.01, 1] }).reason.key, "refused.factor");
});

test("the middle of a region is its centroid, not the middle of its box", () => {
  const state = emptyState(SIZE);
  const outline = lassoOutline([[0.1, 0.2], [0.4, 0.25], [0.15, 0.7]], SIZE, 0);
  const drawn = after(state, { type: "add", operation: makeRegion(state, outline, "relocation") });
  const region = selected(after(drawn, { type: "rescale", id: "1", scale: [2, 2] }));
  near(apply(forwardMatrix(region, SIZE), centroid(region, SIZE)), centroid(region, SIZE), 0.01);
});
