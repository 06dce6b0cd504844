/** Reading a ComfyUI graph around the canvas, on graphs of plain objects. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { areaOf, downstream, isLinked, maskOf, pictureOf, promotedTo, resultOf, runIdOf, textOf } from "../../web/comfy/graph.mjs";

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
  test("is a guess behind a node that changes it, and says whose picture it is and what is between", () => {
    const crop = (x) => ({ type: "ImageCrop", inputs: [picture()], outputs: [picture()], widgets: [{ name: "x", value: x }] });
    const found = (x) => pictureOf(nothing, graphOf([loader("cup.png"), crop(x), canvas()], [[0, 0, 1, 0], [1, 0, 2, 0]])[2], "image");
    assert.equal(found(0).direct, false);
    assert.equal(found(0).node.type, "LoadImage");
    assert.equal(found(0).path, found(0).path);
    assert.notEqual(found(0).path, found(8).path);
    assert.equal(found(0).signature, found(8).signature);
  });
  test("comes through core's newer nodes, whose inputs take pictures and masks, or anything", () => {
    for (const [into, out] of [["IMAGE,MASK", "IMAGE"], ["*", "*"], ["COMFY_MATCHTYPE_V3", "COMFY_MATCHTYPE_V3"]]) {
      const resize = { type: "ResizeImageMaskNode", inputs: [{ name: "mask", type: "MASK" }, { name: "input", type: into }], outputs: [{ type: out }] };
      const nodes = graphOf([loader("cup.png"), resize, canvas()], [[0, 0, 1, 1], [1, 0, 2, 0]]);
      assert.equal(pictureOf(nothing, nodes[2], "image").image.filename, "cup.png", into);
    }
  });
  test("of a demo scene is known from its settings, where no link sets them", () => {
    const scene = (link = null) => ({
      type: "DragfieldLoadDemoScene",
      inputs: [{ name: "seed", type: "INT", link }],
      outputs: [picture(), { name: "drag", type: "STRING" }],
      widgets: Object.entries({ seed: 28, task: "relocation", size: 256, world: "figures" }).map(([name, value]) => ({ name, value })),
    });
    const [, node] = graphOf([scene(), canvas()], [[0, 0, 1, 0]]);
    const { image, direct } = pictureOf(nothing, node, "image");
    assert.deepEqual(image.scene, { part: "image", seed: "28", task: "relocation", size: "256", world: "figures" });
    assert.equal(direct, true);
    assert.equal(pictureOf(nothing, graphOf([scene(7), canvas()], [[0, 0, 1, 0]])[1], "image"), null);
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

describe("a widget promoted to the node around a subgraph", () => {
  const around = (hosts, link = null) => {
    const widgets = [{ name: "drag", value: "{}" }];
    const inner = { type: "DragfieldCanvas", id: 1, inputs: [{ name: "drag", type: "STRING", link: 5 }] };
    const root = { nodes: [], links: {} };
    const subgraph = { nodes: [inner], links: { 5: { origin_id: -10, origin_slot: 0 } }, rootGraph: root, id: "sub" };
    inner.graph = subgraph;
    for (let i = 0; i < hosts; i++) root.nodes.push({ id: 7 + i, subgraph, graph: root, inputs: [{ name: "drag", link }], widgets });
    return { inner, widgets };
  };
  test("is where the value is, unless a link feeds it or several nodes stand for the subgraph", () => {
    const { inner, widgets } = around(1);
    assert.equal(promotedTo(inner, "drag"), widgets[0]);
    assert.equal(runIdOf(inner), "7:1");
    assert.equal(promotedTo(around(2).inner, "drag"), null);
    assert.equal(runIdOf(around(2).inner), null);
    assert.equal(promotedTo(around(1, 3).inner, "drag"), null);
    assert.equal(promotedTo(graphOf([canvas()], [])[0], "drag"), null);
  });
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
