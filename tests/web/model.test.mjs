/** What a state does under actions, and what undo brings back. */

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";

import { united } from "../../web/drag/brush.mjs";
import { canUndo, endGesture, MAX_STEPS, record, redo, sameDocument, startHistory, undo } from "../../web/drag/history.mjs";
import { hitAt } from "../../web/drag/hit.mjs";
import { angleOf, centroidOf, documentOf, emptyState, landing, makePoints, makeRegion, selected, shiftOf } from "../../web/drag/model.mjs";
import { reduce } from "../../web/drag/reduce.mjs";
import { rectangleOutline } from "../../web/drag/rings.mjs";
import { spanArea, spansOf } from "../../web/drag/spans.mjs";
import { EMPTY, readDrag, writeDrag } from "../../web/drag/wire.mjs";

const SIZE = /** @type {const} */ ([1000, 800]);

/** The state after actions that must all be possible. */
function after(state, ...actions) {
  for (const action of actions) {
    const result = reduce(state, action);
    assert.equal(result.reason, null, JSON.stringify(action));
    state = result.state;
  }
  return state;
}

function withRegion(task = "relocation") {
  const state = emptyState([...SIZE]);
  return after(state, { type: "add", operation: makeRegion(state, rectangleOutline([0.2, 0.3], [0.4, 0.5]), task) });
}

function near(found, wanted, tolerance = 1e-5) {
  found.forEach((value, i) => assert.ok(Math.abs(value - wanted[i]) <= tolerance, `${found} is not ${wanted}`));
}

test("a new region does not move yet", () => {
  for (const task of ["relocation", "rotation", "deformation", "pin"]) {
    const region = selected(withRegion(task));
    near(shiftOf(region, SIZE), [0, 0]);
    assert.ok(Math.abs(angleOf(region, SIZE)) < 1e-4);
  }
});

test("an empty drag is the node's default", () => {
  assert.equal(writeDrag(documentOf(emptyState())), EMPTY);
});

test("painting on keeps how far a region moves", () => {
  const state = after(withRegion(), { type: "setNumber", id: "1", field: "shiftX", value: 120 });
  const grown = after(state, { type: "setOutline", id: "1", outline: rectangleOutline([0.2, 0.3], [0.5, 0.7]) });
  near(shiftOf(selected(grown), SIZE), [120, 0], 0.01);
});

test("painting on keeps the angle of a rotation", () => {
  const state = after(withRegion("rotation"), { type: "turn", id: "1", angle: 30 });
  const grown = after(state, { type: "setOutline", id: "1", outline: rectangleOutline([0.2, 0.3], [0.5, 0.45]) });
  assert.ok(Math.abs(angleOf(selected(grown), SIZE) - 30) < 0.01);
});

test("moving the joint keeps the angle", () => {
  const state = after(withRegion("rotation"), { type: "turn", id: "1", angle: -20 }, { type: "moveAnchor", id: "1", to: [0.5, 0.6] });
  assert.ok(Math.abs(angleOf(selected(state), SIZE) + 20) < 0.01);
});

test("moving a region takes its target along and stops at the border", () => {
  const state = after(withRegion(), { type: "moveTarget", id: "1", to: [0.5, 0.6] }, { type: "moveOutline", id: "1", by: [9, 0.1] });
  const region = selected(state);
  near(centroidOf(region, [...SIZE]), [0.9, 0.5]);
  near(region.target, [1, 0.7]);
});

test("a rotation that becomes a relocation lands where it was seen", () => {
  const turned = after(withRegion("rotation"), { type: "turn", id: "1", angle: 40 });
  const seen = landing(selected(turned), [...SIZE]);
  near(selected(after(turned, { type: "retask", id: "1", task: "relocation" })).target, seen);
});

test("a nudge is in pixels, and of a pin moves the region", () => {
  near(shiftOf(selected(after(withRegion(), { type: "nudge", id: "1", by: [3, -2] })), SIZE), [3, -2], 1e-3);
  near(centroidOf(selected(after(withRegion("pin"), { type: "nudge", id: "1", by: [10, 0] })), [...SIZE]), [0.31, 0.4]);
});

test("numbers are exact", () => {
  const state = after(withRegion("rotation"), { type: "setNumber", id: "1", field: "angle", value: 12.5 });
  assert.ok(Math.abs(angleOf(selected(state), SIZE) - 12.5) < 0.01);
  const points = after(emptyState([...SIZE]), { type: "addPair", id: null, handle: [0.1, 0.1], target: [0.2, 0.2] });
  assert.deepEqual(selected(after(points, { type: "setNumber", id: "1", field: "handleX", value: 250 })).pairs[0][0], [0.25, 0.1]);
});

test("pairs join the points that are selected, and the last one takes the operation with it", () => {
  const pair = { type: "addPair", id: null, handle: [0.1, 0.1], target: [0.2, 0.2] };
  const state = after(emptyState([...SIZE]), pair, pair);
  assert.equal(selected(state).pairs.length, 2);
  const gone = after(state, { type: "removePair", id: "1", index: 0 }, { type: "removePair", id: "1", index: 0 });
  assert.deepEqual(gone.operations, []);
});

test("an action that cannot be done changes nothing and says why", () => {
  const state = withRegion("pin");
  for (const action of [
    { type: "moveTarget", id: "1", to: [0.5, 0.5] },
    { type: "moveTarget", id: "2", to: [0.5, 0.5] },
    { type: "moveOutline", id: "1", by: [NaN, 0] },
    { type: "turn", id: "1", angle: 10 },
    { type: "movePair", id: "1", index: 0, end: "handle", to: [0, 0] },
    { type: "setOutline", id: "1", outline: [[[[0, 0], [1, 1]]]] },
    { type: "picture", size: [0, 5] },
    { type: "add", operation: { kind: "region" } },
    { type: "fly", id: "1" },
    {},
  ]) {
    const result = reduce(state, action);
    assert.equal(result.state, state);
    assert.equal(typeof result.reason?.key, "string", JSON.stringify(action));
  }
});

test("the sixty-fifth operation is refused", () => {
  let state = emptyState([...SIZE]);
  for (let i = 0; i < 64; i++) state = after(state, { type: "add", operation: makePoints(state, [[[0, 0], [1, 1]]]) });
  assert.deepEqual(reduce(state, { type: "duplicate", id: "1" }).reason, { key: "limit.operations" });
});

test("colours and names survive the wire", () => {
  const state = after(withRegion(), { type: "recolour", id: "1", colour: 5 }, { type: "rename", id: "1", name: "cup" });
  const { document } = readDrag(writeDrag(documentOf(state)));
  assert.deepEqual(document, documentOf(state));
});

test("prompts, the editable area and hidden pins survive edits of something else", () => {
  const text = JSON.stringify({
    version: 1, size: [10, 20], prompts: { background: "b", editing: "e" }, editable: rectangleOutline([0, 0], [0.5, 0.5]),
    operations: [{ id: "p", kind: "region", task: "pin", region: rectangleOutline([0.1, 0.1], [0.2, 0.2]), visible: false }],
  });
  const { document } = readDrag(text);
  const state = after(emptyState(), { type: "replace", document }, { type: "addPair", id: null, handle: [0, 0], target: [1, 1] });
  const written = JSON.parse(writeDrag(documentOf(state)));
  assert.deepEqual({ ...written, operations: written.operations.slice(0, 1) }, JSON.parse(text));
});

test("an outline with twenty thousand corners too many is refused", () => {
  const ring = Array.from({ length: 20_001 }, (_, i) => [0.5 + 0.2 * Math.cos(i), 0.5 + 0.2 * Math.sin(i)]);
  assert.ok(reduce(withRegion(), { type: "setOutline", id: "1", outline: [[ring]] }).reason);
});

test("one gesture is one step of undo", () => {
  const start = withRegion();
  let history = startHistory(documentOf(start));
  let state = start;
  for (const x of [0.5, 0.6, 0.7]) {
    state = after(state, { type: "moveTarget", id: "1", to: [x, 0.4] });
    history = record(history, documentOf(state), "press 1");
  }
  const [first, back] = [history, undo(history)];
  assert.deepEqual(back.document, documentOf(start));
  assert.equal(canUndo(back.history), false);
  assert.deepEqual(redo(back.history).document, documentOf(state));
  const second = record(endGesture(first), documentOf(after(state, { type: "moveTarget", id: "1", to: [0.1, 0.4] })), "press 1");
  assert.deepEqual(undo(second).document, documentOf(state));
});

test("recording what is there already is no step, and a history is plain data", () => {
  const state = withRegion();
  const history = startHistory(documentOf(state));
  assert.equal(record(history, structuredClone(documentOf(state))), history);
  const changed = record(history, documentOf(after(state, { type: "remove", id: "1" })));
  assert.deepEqual(undo(JSON.parse(JSON.stringify(changed))).document, documentOf(state));
  assert.ok(!sameDocument(changed.present, history.present));
});

test("history forgets the oldest steps", () => {
  let state = withRegion();
  let history = startHistory(documentOf(state));
  for (let i = 0; i < MAX_STEPS + 10; i++) {
    state = after(state, { type: "rename", id: "1", name: String(i) });
    history = record(history, documentOf(state));
  }
  assert.equal(history.past.length, MAX_STEPS);
});

test("a pointer's move with twenty operations on a large picture takes less than four milliseconds of the processor", () => {
  let state = emptyState([4096, 4096]);
  for (let i = 0; i < 20; i++) {
    const [cx, cy] = [0.15 + 0.17 * (i % 5), 0.15 + 0.2 * Math.floor(i / 5)];
    const ring = Array.from({ length: 400 }, (_, k) => [cx + 0.07 * Math.cos(k / 63.7), cy + 0.07 * Math.sin(k / 63.7)]);
    state = after(state, { type: "add", operation: makeRegion(state, [[ring]], i % 2 ? "rotation" : "deformation") });
  }
  let history = startHistory(documentOf(state));
  const spent = Array.from({ length: 41 }, (_, i) => {
    const before = process.cpuUsage();
    state = after(state, { type: "moveTarget", id: "1", to: [0.3 + i / 100, 0.4] }, { type: "moveOutline", id: "3", by: [0.0013, 0] });
    history = record(history, documentOf(state), "press");
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  assert.ok(spent.sort((a, b) => a - b)[20] < 4, `${spent[20]} ms`);
});

test("what goes along with a region is kept, moves with its outline, and is nothing of a pin's", () => {
  const drag = {
    version: 1,
    operations: [
      {
        id: "1", kind: "region", task: "relocation", region: [[[[0.2, 0.2], [0.4, 0.2], [0.4, 0.4]]]], target: [0.6, 0.3],
        along: [[[[0.2, 0.4], [0.4, 0.4], [0.4, 0.5]]]],
      },
    ],
  };
  const { document } = readDrag(JSON.stringify(drag));
  assert.deepEqual(JSON.parse(writeDrag(document)), drag);
  const state = { ...emptyState([...SIZE]), ...document, selection: "1" };
  const moved = after(state, { type: "moveOutline", id: "1", by: [0.1, 0.05] });
  assert.deepEqual(moved.operations[0].along, [[[[0.3, 0.45], [0.5, 0.45], [0.5, 0.55]]]]);
  assert.equal("along" in after(state, { type: "retask", id: "1", task: "pin" }).operations[0], false);
  drag.operations[0] = { ...drag.operations[0], task: "pin", target: undefined };
  assert.notEqual(readDrag(JSON.stringify(drag)).reason, null);
});

test("what goes along is drawn for a selected region that moves, held with it, and erased whole", () => {
  const [shadow, box] = [rectangleOutline([0.5, 0.1], [0.6, 0.2]), rectangleOutline([0.55, 0.1], [0.7, 0.2])];
  const state = withRegion();
  const drawing = after(state, { type: "part", part: "along" });
  assert.equal(drawing.part, "along");
  const along = after(drawing, { type: "setAlong", id: "1", outline: shadow });
  assert.deepEqual(along.operations[0].along, shadow);
  assert.equal(hitAt(along, [0.55, 0.15], 0).id, "1");
  assert.equal(hitAt(state, [0.55, 0.15], 0), null);
  const both = united(shadow, box, SIZE);
  const area = spanArea(spansOf(both, [100, 100]));
  assert.ok(Math.abs(area - 200) < 8, `${area}`);
  assert.equal("along" in after(along, { type: "setAlong", id: "1", outline: null }).operations[0], false);
  // Nothing is left that it could go along with.
  assert.equal(after(along, { type: "select", id: null }).part, "region");
  assert.equal(after(along, { type: "remove", id: "1" }).part, "region");
  const pinned = after(along, { type: "retask", id: "1", task: "pin" });
  assert.deepEqual([pinned.part, "along" in pinned.operations[0]], ["region", false]);
  assert.equal(reduce(pinned, { type: "setAlong", id: "1", outline: shadow }).reason.key, "refused.pin");
  assert.equal(reduce(pinned, { type: "part", part: "along" }).reason.key, "hint.noCarrier");
});
