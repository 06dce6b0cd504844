/** Pointer, keyboard, view and words. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { cycleHit, handlesOf, hitAt, hits, inBox } from "../../web/drag/hit.mjs";
import { COMMANDS, commandFor, keyLabel } from "../../web/drag/keymap.mjs";
import { emptyState, makeRegion, PALETTE } from "../../web/drag/model.mjs";
import { apply, forwardMatrix, IDENTITY, invert, multiply, snapAngle, snapAxis, snapPoint } from "../../web/drag/motion.mjs";
import { fillKey } from "../../web/drag/fill.mjs";
import { holes } from "../../web/drag/preview.mjs";
import { reduce } from "../../web/drag/reduce.mjs";
import { rectangleOutline } from "../../web/drag/rings.mjs";
import { ENGLISH, makeTexts, messagesFrom } from "../../web/drag/texts.mjs";
import { COLOURS } from "../../web/drag/wire.mjs";
import { backingSize, clientToCss, fitView, panBy, toCss, toPicture, zoomAt } from "../../web/drag/viewport.mjs";

const SIZE = [1000, 500];

function drawn(...boxes) {
  const add = (state, [p, q]) => reduce(state, { type: "add", operation: makeRegion(state, rectangleOutline(p, q), "relocation") }).state;
  return boxes.reduce(add, emptyState(SIZE));
}

function act(state, action) {
  const { state: next, reason } = reduce(state, action);
  assert.equal(reason, null);
  return next;
}

test("a click takes the topmost, repeated clicks go down and come back", () => {
  const state = drawn([[0.1, 0.1], [0.6, 0.6]], [[0.2, 0.2], [0.7, 0.7]], [[0.3, 0.3], [0.8, 0.8]]);
  const found = hits({ ...state, selection: null }, [0.5, 0.52], 4).filter((hit) => hit.part !== "target");
  assert.deepEqual([...new Set(found.map((hit) => hit.id))], ["3", "2", "1"]);
  assert.equal(cycleHit(found, "3").id, "2");
  assert.equal(cycleHit(found, "1").id, "3");
  assert.equal(cycleHit(found, null).id, "3");
  assert.equal(cycleHit([], null), null);
});

test("a ghost is hit where the region lands, the region where it is", () => {
  const state = act(drawn([[0.1, 0.1], [0.2, 0.2]]), { type: "moveTarget", id: "1", to: [0.8, 0.8] });
  assert.equal(hitAt(state, [0.77, 0.77], 2).part, "ghost");
  assert.equal(hitAt(state, [0.12, 0.12], 2).part, "outline");
  assert.equal(hitAt(state, [0.8, 0.8], 6).part, "target");
  assert.equal(hitAt(state, [0.5, 0.5], 6), null);
});

test("handles of the selected operation come first, hidden operations have none", () => {
  let state = drawn([[0.1, 0.1], [0.3, 0.3]], [[0.11, 0.1], [0.31, 0.3]]);
  state = act(state, { type: "select", id: "1" });
  assert.equal(hitAt(state, [0.205, 0.2], 12).id, "1");
  state = act(state, { type: "show", id: "1", visible: false });
  assert.deepEqual(handlesOf(state.operations[0], SIZE), []);
  assert.equal(hitAt(state, [0.205, 0.2], 12).id, "2");
  assert.deepEqual(inBox(state, [0, 0], [0.5, 0.5]), ["2"]);
});

test("there are as many colours as the wire knows", () => {
  assert.equal(PALETTE.length, COLOURS);
});

test("snapping keeps to the eight directions in pixels, and on the picture", () => {
  const [x, y] = snapAxis([0.5, 0.5], [0.6, 0.72], SIZE);
  assert.ok(Math.abs((x - 0.5) * SIZE[0] - (y - 0.5) * SIZE[1]) < 1e-6);
  assert.deepEqual(snapAxis([0.5, 0.5], [0.9, 0.51], SIZE)[1], 0.5);
  for (const value of snapAxis([0.5, 0.9], [3, 3.5], SIZE)) assert.ok(value >= 0 && value <= 1);
  assert.equal(snapAngle(52), 45);
  assert.deepEqual(snapPoint([0.123, 0.5], SIZE, 10), [0.12, 0.5]);
});

test("a matrix and its inverse undo each other", () => {
  const turning = act(drawn([[0.1, 0.1], [0.3, 0.4]]), { type: "retask", id: "1", task: "rotation" });
  const state = act(turning, { type: "turn", id: "1", angle: 33 });
  const matrix = forwardMatrix(state.operations[0], SIZE);
  multiply(matrix, invert(matrix)).forEach((value, i) => assert.ok(Math.abs(value - IDENTITY[i]) < 1e-9));
  const [x, y] = apply(invert(matrix), apply(matrix, [12, 34]));
  assert.ok(Math.hypot(x - 12, y - 34) < 1e-9);
});

test("the fill is made anew when a region is drawn, not when it is dragged", () => {
  const keyOf = (one) => fillKey(holes(one));
  const state = act(drawn([[0.1, 0.1], [0.2, 0.2]]), { type: "moveTarget", id: "1", to: [0.8, 0.8] });
  const key = keyOf(state);
  assert.equal(keyOf(act(state, { type: "moveTarget", id: "1", to: [0.7, 0.8] })), key);
  assert.notEqual(keyOf(act(state, { type: "moveOutline", id: "1", by: [0.1, 0] })), key);
  const points = act(state, { type: "addPair", id: null, handle: [0.5, 0.5], target: [0.6, 0.6] });
  assert.equal(keyOf(points), key);
  assert.equal(keyOf(act(points, { type: "movePair", id: "2", index: 0, end: "target", to: [0.9, 0.9] })), keyOf(points));
});

test("zooming keeps what is under the pointer, and the picture is never lost", () => {
  const box = [600, 400];
  let view = fitView(SIZE, box, 10);
  const under = toPicture(view, [123, 234], SIZE);
  view = zoomAt(view, 3, [123, 234], SIZE, box);
  toCss(view, under, SIZE).forEach((value, i) => assert.ok(Math.abs(value - [123, 234][i]) < 1e-6));
  view = panBy(view, 1e6, -1e6, SIZE, box);
  const [[x0, y0], [x1, y1]] = [toCss(view, [0, 0], SIZE), toCss(view, [1, 1], SIZE)];
  assert.ok(x0 < box[0] && x1 > 0 && y0 < box[1] && y1 > 0);
  assert.ok(zoomAt(view, 1e9, [0, 0], SIZE, box).zoom <= 64);
});

test("a pointer is found under every zoom of the graph", () => {
  assert.deepEqual(clientToCss({ left: 100, top: 50, width: 300, height: 200 }, [600, 400], 250, 150), [300, 200]);
  assert.deepEqual(backingSize([600, 400], 2), [1200, 800]);
  assert.equal(Math.max(...backingSize([6000, 400], 3)), 4096);
});

test("no key means two things, and every command has one and a text", () => {
  const keys = COMMANDS.flatMap((command) => command.keys);
  assert.equal(new Set(keys).size, keys.length);
  for (const { id, group } of COMMANDS) {
    assert.ok(ENGLISH[`command.${id}`], id);
    assert.ok(ENGLISH[`help.${group}`], group);
  }
});

test("every key of the table finds its command", () => {
  for (const { id, keys } of COMMANDS) {
    for (const name of keys) {
      const parts = name.split(/\+(?=.)/);
      const key = parts.pop();
      const event = { key: key === "Space" ? " " : key.length === 1 ? key.toLowerCase() : key };
      for (const part of parts) event[`${part.toLowerCase()}Key`] = true;
      assert.equal(commandFor(event)?.command, id, name);
    }
  }
});

test("keys are found on other layouts and with Shift and Alt", () => {
  assert.equal(commandFor({ key: "Z", metaKey: true, shiftKey: true }).command, "redo");
  assert.equal(commandFor({ key: "?", shiftKey: true }).command, "help");
  assert.equal(commandFor({ key: "[", ctrlKey: true, altKey: true }).command, "brushSmaller");
  assert.equal(commandFor({ key: "0", shiftKey: true }).command, "fit");
  assert.deepEqual(commandFor({ key: "<", shiftKey: true }), { command: "turnLeft", args: { large: true } });
  assert.deepEqual(commandFor({ key: "ArrowUp", altKey: true }), { command: "nudgeUp", args: { large: false, part: "outline" } });
  assert.equal(commandFor({ key: "s", ctrlKey: true }), null);
  assert.equal(commandFor({ key: "b", ctrlKey: true }), null);
  assert.equal(keyLabel("Ctrl+Shift+Z", true), "⌘⇧Z");
  assert.equal(keyLabel("+"), "+");
});

test("texts fall back to English and then to their key", () => {
  const t = makeTexts({ "view.input": "Eingabe", "canvas.operations": "{count} Vorgänge von {nobody}" });
  assert.equal(t("view.input"), "Eingabe");
  assert.equal(t("view.result"), "Result");
  assert.equal(t("canvas.operations", { count: 3 }), "3 Vorgänge von {nobody}");
  assert.equal(t("no.such"), "no.such");
  assert.equal(messagesFrom({ zh: { dragfield: { a: "b", c: 3 } } }, "zh-TW").a, "b");
  assert.equal(messagesFrom({ zh: {} }, "pt-BR"), undefined);
  assert.equal(messagesFrom(null, "de"), undefined);
});

test("every key of a reason that the modules give has a text", () => {
  const sources = ["brush", "checks", "problems", "reduce", "reduce_points", "reduce_region", "wire"];
  const text = sources.map((name) => readFileSync(new URL(`../../web/drag/${name}.mjs`, import.meta.url), "utf8")).join("\n");
  const keys = [...text.matchAll(/"((?:limit|refused|problem|read)\.\w+)"/g)].map((match) => match[1]);
  assert.ok(keys.length > 20);
  for (const key of keys) assert.ok(ENGLISH[key], key);
});
