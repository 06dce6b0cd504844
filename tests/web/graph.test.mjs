/** Reading a ComfyUI graph around the canvas, on graphs of plain objects. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { areaOf, downstream, isLinked, maskOf, pictureOf, resultOf, textOf } from "../../web/comfy/graph.mjs";

/** A graph of nodes, `links` as [from, output, to, input], each by place. */
function graphOf(nodes, links) {
  const graph = { nodes, links: {}, getNodeById: (id) => nodes.find((node) => node.id === id) };
  graph.rootGraph = graph;
  nodes.forEach((node, id) => Object.assign({ inputs: [], outputs: [], mode: 0 }, node) && Object.assign(node, { id, graph }));
  links.forEach(([from, output, to, input], id) => {
    graph.links[id] = { origin_id: from, origin_slot: output, target_id: to, target_slot: input };
    nodes[to].inputs[input].link = id;
    (nodes[from].outputs[output].links ??= []).push(id);
  });
  return nodes;
}

const picture = (name = "image") => ({ name, type: "IMAGE" });
const loader = (value) => ({ type: "LoadImage", widgets: [{ name: "image", value }], outputs: [picture(), { type: "MASK" }] });
const canvas = () => ({
  type: "DragfieldCanvas",
  inputs: [picture(), { name: "drag", type: "STRING" }, { name: "mask", type: "MASK" }],
  outputs: [{ type: "STRING" }, { type: "MASK" }],
});
const nothing = { nodeOutputs: {} };

describe("the picture that comes in", () => {
  test("is the file of a LoadImage, with its folder and kind, as the LoadImage reads it", () => {
    const [, node] = graphOf([loader("a/b/cup.png [output]"), canvas()], [[0, 0, 1, 0]]);
    const { image, direct } = pictureOf(nothing, node, "image");
    assert.deepEqual(image, { filename: "cup.png", subfolder: "a/b", type: "output", loaded: "image" });
    assert.equal(direct, true);
    assert.equal(isLinked(node, "image"), true);
  });
  test("is that of the nearest node upstream that shows one, through reroutes and bypassed nodes", () => {
    const through = (type, more = {}) => ({ type, inputs: [picture()], outputs: [picture()], ...more });
    const nodes = graphOf(
      [loader("cup.png"), through("ImageBlur"), through("Reroute"), through("ImageScale", { mode: 4 }), canvas()],
      [[0, 0, 1, 0], [1, 0, 2, 0], [2, 0, 3, 0], [3, 0, 4, 0]],
    );
    assert.equal(pictureOf(nothing, nodes[4], "image").image.filename, "cup.png");
    assert.equal(pictureOf(nothing, nodes[4], "image").direct, false);
    const shown = { nodeOutputs: { 1: { images: [{ filename: "blurred.png", type: "temp" }] } } };
    assert.equal(pictureOf(shown, nodes[4], "image").image.filename, "blurred.png");
    assert.equal(pictureOf(shown, nodes[4], "image").direct, true);
  });
  test("is none without a link, and none of a node that shows none", () => {
    assert.equal(pictureOf(nothing, graphOf([canvas()], [])[0], "image"), null);
    const [, node] = graphOf([{ type: "EmptyImage", outputs: [picture()] }, canvas()], [[0, 0, 1, 0]]);
    assert.equal(pictureOf(nothing, node, "image"), null);
  });
  test("a ring of links ends", () => {
    const through = () => ({ type: "Reroute", inputs: [picture()], outputs: [picture()] });
    const nodes = graphOf([through(), through(), canvas()], [[0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 2, 0]]);
    assert.equal(pictureOf(nothing, nodes[2], "image"), null);
  });
});

test("the mask before a run is the alpha of a LoadImage or the channel of a LoadImageMask", () => {
  const [, node] = graphOf([loader("cup.png"), canvas()], [[0, 1, 1, 2]]);
  assert.equal(maskOf(nothing, node, "mask")[0].loaded, "mask");
  const red = { ...loader("cup.png"), type: "LoadImageMask" };
  red.widgets.push({ name: "channel", value: "red" });
  const [, other] = graphOf([red, canvas()], [[0, 1, 1, 2]]);
  assert.equal(maskOf(nothing, other, "mask")[0].loaded, "image");
});

test("a linked text is read off the widget of the node that it comes from", () => {
  const source = { type: "PrimitiveString", widgets: [{ name: "value", value: "{}" }], outputs: [{ type: "STRING" }] };
  const [, node] = graphOf([source, canvas()], [[0, 0, 1, 1]]);
  assert.equal(textOf(node, "drag"), "{}");
  assert.equal(textOf(graphOf([canvas()], [])[0], "drag"), null);
});

describe("what comes after", () => {
  const text = (name = "drag") => ({ name, type: "STRING" });
  test("the mask's outline is that of the nearest Gradient Mask or Drag Edit", () => {
    const widgets = (values) => Object.entries(values).map(([name, value]) => ({ name, value }));
    const after = (type, values) => graphOf([canvas(), { type, inputs: [text()], widgets: widgets(values) }], [[0, 0, 1, 0]])[0];
    assert.deepEqual(areaOf(after("DragfieldEdit", { method: "dragfield", margin: 0.1 })), { shape: "around", margin: 0.1 });
    assert.deepEqual(areaOf(after("DragfieldEdit", { method: "dragflow", margin: 0 })), { shape: "rectangles", margin: 0 });
    assert.deepEqual(areaOf(after("DragfieldEdit", { method: "dragflow", preset: "auto", margin: -1 })), { shape: "rectangles", margin: 0 });
    assert.deepEqual(areaOf(after("DragfieldEdit", { method: "dragflow", preset: "tuned", margin: -1 })), { shape: "rectangles", margin: 0.08 });
    assert.deepEqual(areaOf(after("DragfieldEdit", { method: "dragfield", margin: -1 })), { shape: "around", margin: 0.08 });
    assert.deepEqual(areaOf(after("DragfieldGradientMask", { shape: "around", margin: 0.2 })), { shape: "around", margin: 0.2 });
    assert.equal(areaOf(after("DragfieldReport", {})), null);
  });
  test("points alone are kept to the soft mask along their way, but for the published code's", () => {
    const widgets = (values) => Object.entries(values).map(([name, value]) => ({ name, value }));
    const nodeOf = (type, values) => ({ type, inputs: [text()], widgets: widgets(values), outputs: [{ type: "MASK" }] });
    const after = (type, values) => areaOf(graphOf([canvas(), nodeOf(type, values)], [[0, 0, 1, 0]])[0]);
    const soft = { shape: "soft", margin: 60 / 512 };
    assert.deepEqual(after("DragfieldEdit", { method: "directdrag", preset: "principled", margin: 0.1 }), soft);
    assert.equal(after("DragfieldEdit", { method: "directdrag", preset: "reference", margin: 0.1 }).shape, "none");
    assert.deepEqual(after("DragfieldPointOptimizer", { preset: "carry" }), soft);
    assert.equal(after("DragfieldPointOptimizer", { preset: "auto" }).shape, "none");
    const bundled = nodeOf("DragfieldPointOptimizer", { preset: "auto" });
    bundled.inputs.push({ name: "model", type: "MODEL" });
    const demo = { type: "DragfieldLoadDemoUNet", outputs: [{ type: "MODEL" }] };
    assert.deepEqual(areaOf(graphOf([canvas(), bundled, demo], [[0, 0, 1, 0], [2, 0, 1, 1]])[0]), soft);
    const optimizer = nodeOf("DragfieldPointOptimizer", { preset: "carry" });
    optimizer.inputs.push({ name: "mask", type: "MASK" });
    const links = [[0, 0, 1, 0], [0, 0, 2, 0], [2, 0, 1, 1]];
    const [node] = graphOf([canvas(), optimizer, nodeOf("DragfieldAutoSoftMask", { width: 0.05 })], links);
    assert.deepEqual(areaOf(node), { shape: "soft", margin: 0.05 });
  });
  test("a report is found behind other nodes, and a guess is no result", () => {
    const edit = { type: "DragfieldEdit", inputs: [text()], outputs: [picture()] };
    const guess = { type: "DragfieldPreview", inputs: [text()], outputs: [picture()] };
    const saves = () => ({ type: "SaveImage", inputs: [picture("images")], outputs: [] });
    const report = { type: "DragfieldReport", inputs: [picture("after")], outputs: [] };
    const [node] = graphOf(
      [canvas(), guess, saves(), edit, saves(), report],
      [[0, 0, 1, 0], [1, 0, 2, 0], [0, 0, 3, 0], [3, 0, 4, 0], [3, 0, 5, 0]],
    );
    const outputs = { 2: { images: [{ filename: "guess.png" }] }, 4: { images: [{ filename: "edited.png" }] } };
    assert.equal(resultOf({ nodeOutputs: outputs }, node).filename, "edited.png");
    assert.deepEqual(downstream(node, "DragfieldReport").map(({ id }) => id), [5]);
  });
});
