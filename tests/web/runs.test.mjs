/** What the canvas hears of runs, from events as ComfyUI's server sends them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Runs } from "../../web/comfy/runs.mjs";

const node = (state, value = 0, max = 1, display = undefined) => ({ state, value, max, ...(display && { display_node_id: display }) });

test("a node that counts steps is at work, one that is done or counts none is not", () => {
  const runs = new Runs();
  runs.progress({ nodes: { 3: node("finished", 1), 7: node("running") } });
  assert.equal(runs.of(["3", "7"]), null);
  runs.progress({ nodes: { 3: node("finished", 1), 7: node("running", 2, 8) } });
  assert.deepEqual(runs.of(["3", "7"]), { value: 2, max: 8 });
  assert.equal(runs.of(["4"]), null);
  runs.progress({ nodes: { 7: node("finished", 8, 8) } });
  assert.equal(runs.of(["7"]), null);
});

test("a node that became a graph shows what its parts do, and keeps that from one part to the next", () => {
  const runs = new Runs();
  runs.progress({ nodes: { 12: node("running") } });
  runs.hear({ node: "12", window: [0, 0.25, 0.5, 0.5] });
  runs.progress({ nodes: { 12: node("running"), "12.invert": node("running", 3, 10, "12") } });
  runs.hear({ node: "12.invert", stage: "invert" });
  assert.deepEqual(runs.of(["12"]), { value: 3, max: 10, stage: "invert", window: [0, 0.25, 0.5, 0.5] });
  runs.progress({ nodes: { 12: node("running"), "12.invert": node("finished", 10, 10, "12"), "12.edit": node("running", 0, 1, "12") } });
  assert.equal(runs.of(["12"]).stage, "invert");
  runs.hear({ node: "12.edit", stage: "drag" });
  runs.progress({ nodes: { 12: node("running"), "12.edit": node("running", 1, 70, "12") } });
  assert.deepEqual([runs.of(["12"]).stage, runs.of(["12"]).value], ["drag", 1]);
});

test("pictures of the latent belong to the node that the user sees, and nothing outlives the run", () => {
  const runs = new Runs();
  const [first, second] = [new Blob(["a"]), new Blob(["b"])];
  runs.progress({ nodes: { "5:2.edit": node("running", 1, 4, "5:2") } });
  runs.preview({ blob: first, nodeId: "5:2.edit", displayNodeId: "5:2" });
  runs.preview({ blob: second, nodeId: "5:2.edit", displayNodeId: "5:2" });
  assert.equal(runs.of(["5:2"]).preview, second);
  runs.end();
  assert.equal(runs.of(["5:2"]), null);
  assert.equal(runs.nodes.size, 0);
});
