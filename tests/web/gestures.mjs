/**
 * Random things that a hand could do to a canvas, and some that no hand does: sequences of actions for the fuzz test.
 *
 * Run as a program it prints the drags of `count` sequences as JSON, for Python to read:  node gestures.mjs 50
 */

import { argv } from "node:process";
import { fileURLToPath } from "node:url";

import { boxed, pulled } from "../../web/drag/box.mjs";
import { extendStroke, startStroke, strokeOutline, united } from "../../web/drag/brush.mjs";
import { endGesture, record, redo, startHistory, undo } from "../../web/drag/history.mjs";
import { hits } from "../../web/drag/hit.mjs";
import { documentOf, emptyState, find, frameOf, makePoints, makeRegion, selected, withDocument } from "../../web/drag/model.mjs";
import { reduce } from "../../web/drag/reduce.mjs";
import { ellipseOutline, lassoOutline, rectangleOutline } from "../../web/drag/rings.mjs";
import { writeDrag } from "../../web/drag/wire.mjs";
import { seeded } from "./vectors.mjs";

const TASKS = ["relocation", "rotation", "deformation", "pin"];
const FIELDS = ["targetX", "targetY", "shiftX", "shiftY", "anchorX", "anchorY", "angle", "scaleX", "scaleY", "handleX", "handleY"];
const SIZES = [[1024, 768], [512, 512], [640, 1137], [4096, 4096], [33, 21]];

/** One canvas in the hands of `seed`: what happened, step by step, as {action, before, after, reason, value}. */
export function* session(seed, steps = 40) {
  const random = seeded(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const size = pick(SIZES);
  let state = emptyState(size);
  let history = startHistory(documentOf(state));
  for (let i = 0; i < steps; i++) {
    const before = state;
    let [action, reason] = [nextAction(random, pick, state), null];
    if (action.type === "undo" || action.type === "redo") {
      const gone = action.type === "undo" ? undo(history) : redo(history);
      if (gone) [history, state] = [gone.history, withDocument(state, gone.document)];
    } else {
      ({ state, reason } = reduce(state, action));
      history = record(history, documentOf(state), random() < 0.5 ? "drag" : null);
      if (random() < 0.3) history = endGesture(history);
    }
    yield { action, before, after: state, reason, value: writeDrag(documentOf(state)), found: hits(state, somewhere(random), 8, pick([null, 1, 3])) };
  }
}

/** A point, mostly on the picture. */
function somewhere(random) {
  return random() < 0.1 ? [random() * 4 - 2, random() * 4 - 2] : [random(), random()];
}

function nextAction(random, pick, state) {
  const at = () => somewhere(random);
  const { id } = selected(state) ?? pick(state.operations) ?? { id: "none" };
  const other = pick(state.operations)?.id ?? id;
  const by = () => [random() * 40 - 20, random() * 40 - 20];
  const choices = [
    () => drawn(random, pick, state),
    () => drawn(random, pick, state),
    () => ({ type: "addPair", id: random() < 0.5 ? null : id, handle: at(), target: at() }),
    () => ({ type: "moveTarget", id, to: at() }),
    () => ({ type: "moveAnchor", id, to: at() }),
    () => ({ type: "moveOutline", id, by: at() }),
    () => ({ type: "turn", id, angle: random() * 720 - 360 }),
    () => gripped(random, state, id),
    () => ({ type: "flip", id, axis: pick([0, 1, 2]) }),
    () => ({ type: "copy", id, copy: random() < 0.7 }),
    () => ({ type: "front", id, front: random() < 0.7 }),
    () => ({ type: "nudge", id, by: by(), part: pick(["target", "outline", "anchor", undefined]) }),
    () => painted(random, state, id),
    () => ({ type: "part", part: pick(["along", "selected", "front", "region", "shadow"]) }),
    () => carried(random, pick, state, id),
    () => carried(random, pick, state, id),
    () => ({ type: "movePair", id, index: Math.floor(random() * 3), end: pick(["handle", "target"]), to: at() }),
    () => ({ type: "removePair", id, index: Math.floor(random() * 3) }),
    () => ({ type: "setNumber", id, field: pick(FIELDS), value: pick([0, -5, 1e9, NaN, 300 * random()]) }),
    () => ({ type: "retask", id, task: pick([...TASKS, "scale"]) }),
    () => ({ type: "rename", id, name: pick(["cup", "", "\ud800 half", "x".repeat(500), "\u{1f600}"]) }),
    () => ({ type: "show", id: other, visible: random() < 0.7 }),
    () => ({ type: "recolour", id: other, colour: Math.floor(random() * 20) - 5 }),
    () => ({ type: "reorder", id: other, to: Math.floor(random() * 8) - 2 }),
    () => ({ type: "duplicate", id: other }),
    () => ({ type: "select", id: other, pair: 0 }),
    () => ({ type: "prompts", background: pick(["a cup", "\udc00", "y".repeat(20_000)]), editing: "it moves" }),
    () => ({ type: "editable", outline: random() < 0.5 ? null : rectangleOutline(at(), at()) }),
    () => ({ type: "picture", size: pick([...SIZES, [0, 1], null]) }),
    () => ({ type: "undo" }),
    () => ({ type: "redo" }),
    () => ({ type: "remove", id: random() < 0.5 ? id : "none" }),
  ];
  return pick(choices)();
}

/** A new operation, drawn with one of the tools. */
function drawn(random, pick, state) {
  const [p, q] = [somewhere(random), somewhere(random)];
  const line = Array.from({ length: 3 + Math.floor(random() * 60) }, () => somewhere(random));
  const outline = pick([rectangleOutline(p, q), ellipseOutline(p, q), lassoOutline(line, frameOf(state))]);
  if (!outline) return { type: "add", operation: makePoints(state, [[p, q]]) };
  return { type: "add", operation: makeRegion(state, outline, pick(TASKS)) };
}

/** A grip of the box around a region, pulled anywhere. */
function gripped(random, state, id) {
  const operation = find(state, id);
  if (operation?.kind !== "region" || !boxed(operation) || random() < 0.1) return { type: "rescale", id, scale: [random() * 30 - 15, random()] };
  const how = { free: random() < 0.5, middle: random() < 0.3 };
  const [x, y] = somewhere(random);
  return { type: "rescale", id, ...pulled(operation, Math.floor(random() * 8), [x - 0.5, y - 0.5], frameOf(state), how) };
}

/** A stroke of the brush or the eraser over an operation. */
function painted(random, state, id) {
  const operation = find(state, id);
  const stroke = startStroke(operation?.kind === "region" ? operation.region : null, frameOf(state), 0.01 + random() * 0.1, random() < 0.3);
  let [x, y] = somewhere(random);
  for (let i = 0; i < 6; i++) extendStroke(stroke, [(x += random() * 0.2 - 0.1), (y += random() * 0.2 - 0.1)]);
  return { type: "setOutline", id, outline: strokeOutline(stroke) };
}

/** What goes along with an operation, as the tools draw it. */
function carried(random, pick, state, id) {
  const operation = find(state, id);
  const line = Array.from({ length: 3 + Math.floor(random() * 60) }, () => somewhere(random));
  const drawn = pick([rectangleOutline(somewhere(random), somewhere(random)), lassoOutline(line, frameOf(state))]);
  const points = operation?.kind === "points";
  const before = points ? operation.selected : operation?.along;
  return { type: points ? "setSelected" : "setAlong", id, outline: drawn && before && random() < 0.7 ? united(before, drawn, frameOf(state)) : drawn };
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const found = Array.from({ length: Number(argv[2] ?? 50) }, (_, seed) => [...session(seed)].map(({ value }) => value));
  // Every fifth: between them little changes.
  console.log(JSON.stringify(found.map((values) => values.filter((_, i) => i % 5 === 4))));
}
