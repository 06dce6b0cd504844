/**
 * Looking around in a ComfyUI graph from one node: what is linked to it, what it leads to, which pictures they show.
 *
 * Pure reading, of plain properties that LiteGraph has had for years; works through reroutes, bypassed nodes and subgraphs. The app is handed
 * in, so nothing here imports ComfyUI.
 */

import { WIDTH } from "../drag/soft_mask.mjs";

/** @typedef {{filename: string, subfolder?: string, type?: string, loaded?: "image" | "mask", scene?: Record<string, string>}} Image
 * loaded: as a LoadImage reads that file, which a browser may do otherwise; scene: what a Load Demo Scene is set to */
/** @typedef {any} Node  a LiteGraph node */
/** @typedef {{node: Node, slot: number}} End  one end of a link */

const BYPASSED = 4;
/** What a preset of ours leaves around a drag, of the picture's shorter side. */
const MARGIN = 0.08;
const SUBGRAPH_INPUT = -10;
const DEPTH = 40;
/** Nodes whose pictures are a guess of ours, no result. */
const ROUGH = new Set(["DragfieldPreview", "DragfieldGradientMask", "DragfieldCanvas", "DragfieldLatentWarp"]);

/** @param {Node} node @param {string} name */
function inputOf(node, name) {
  return node.inputs?.find((/** @type {any} */ input) => input.name === name);
}

/** @param {Node} node @param {string} name */
export function isLinked(node, name) {
  return inputOf(node, name)?.link != null;
}

/** @param {any} graph @param {number} id */
function linkOf(graph, id) {
  return graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id];
}

/** @param {any} graph a subgraph @returns {Node[]} the nodes that stand for it */
function hostsOf(graph) {
  const seen = [graph.rootGraph ?? graph];
  const found = [];
  for (let i = 0; i < seen.length && i < 1000; i++) {
    for (const node of seen[i]?.nodes ?? seen[i]?._nodes ?? []) {
      if (node.subgraph === graph) found.push(node);
      if (node.subgraph && !seen.includes(node.subgraph)) seen.push(node.subgraph);
    }
  }
  return found;
}

/**
 * The node and output that an input is fed by.
 *
 * @param {Node} node @param {any} input @param {number} [depth]
 * @returns {End | null}
 */
function originOf(node, input, depth = 0) {
  const link = input?.link == null ? null : linkOf(node.graph, input.link);
  if (!link || depth > DEPTH) return null;
  if (Number(link.origin_id) === SUBGRAPH_INPUT) {
    const [host] = hostsOf(node.graph);
    return host ? originOf(host, host.inputs?.[link.origin_slot], depth + 1) : null;
  }
  const origin = node.graph.getNodeById(link.origin_id);
  if (!origin) return null;
  if (origin.subgraph) {
    const inner = linkOf(origin.subgraph, origin.subgraph.outputs?.[link.origin_slot]?.linkIds?.[0]);
    const source = inner && origin.subgraph.getNodeById(inner.origin_id);
    return source ? passed({ node: source, slot: inner.origin_slot }, depth) : null;
  }
  return passed({ node: origin, slot: link.origin_slot }, depth);
}

/**
 * The widget of the node around a subgraph that an input of ours was moved to ("promoted"): there its value is. Null where a link feeds it from
 * outside, or where several nodes stand for the subgraph, each with a value of its own.
 *
 * @param {Node} node @param {string} name @param {number} [depth]
 * @returns {any}
 */
export function promotedTo(node, name, depth = 0) {
  const link = linkOf(node.graph, inputOf(node, name)?.link);
  if (!link || Number(link.origin_id) !== SUBGRAPH_INPUT || depth > DEPTH) return null;
  const hosts = hostsOf(node.graph);
  const input = hosts.length === 1 ? hosts[0].inputs?.[link.origin_slot] : null;
  if (!input) return null;
  if (input.link != null) return promotedTo(hosts[0], input.name, depth + 1);
  return hosts[0].widgets?.find((/** @type {any} */ widget) => widget.name === (input.widget?.name ?? input.name)) ?? null;
}

/** @param {any} widget @param {string} text */
export function setValue(widget, text) {
  if (widget.value === text) return;
  widget.value = text;
  widget.callback?.(text);
}

/** Through what hands on what it gets. @param {End} end @param {number} depth @returns {End | null} */
function passed(end, depth) {
  const { node, slot } = end;
  if (node.type === "Reroute") return originOf(node, node.inputs?.[0], depth + 1);
  if (node.mode !== BYPASSED) return end;
  const type = node.outputs?.[slot]?.type;
  const through = node.inputs?.find((/** @type {any} */ input) => input.type === type && input.link != null);
  return through ? originOf(node, through, depth + 1) : null;
}

/** @param {Node} node @returns {boolean} whether it is in a subgraph */
export function isInside(node) {
  return Boolean(node.graph) && node.graph !== (node.graph.rootGraph ?? node.graph);
}

/** What a run calls a node: its id, after those of the nodes around it. @param {Node} node @returns {string | null} null: several stand for it */
export function runIdOf(node) {
  if (!isInside(node)) return String(node.id);
  const hosts = hostsOf(node.graph);
  const around = hosts.length === 1 ? runIdOf(hosts[0]) : null;
  return around && `${around}:${node.id}`;
}

/** What a run has brought. @param {any} app @param {Node} node @returns {any} */
export function outputsOf(app, node) {
  return app.nodeOutputs?.[isInside(node) ? `${node.graph.id}:${node.id}` : String(node.id)];
}

/** @param {any} outputs @returns {Image[]} */
export function imagesIn(outputs) {
  return (outputs?.images ?? []).filter((/** @type {any} */ image) => image?.filename);
}

/** The file that a LoadImage names. @param {Node} node @returns {Image | null} */
function fileOf(node) {
  const widget = node.widgets?.find((/** @type {any} */ one) => one.name === "image" && typeof one.value === "string");
  if (!widget?.value || !/^LoadImage/.test(node.type ?? "")) return null;
  const [, path, type] = /^(.*?)(?:\s*\[(input|output|temp)\])?$/.exec(widget.value) ?? [];
  const cut = path.lastIndexOf("/");
  return {
    filename: path.slice(cut + 1),
    subfolder: path.slice(0, Math.max(0, cut)),
    type: type ?? (node.type === "LoadImageOutput" ? "output" : "input"),
    loaded: "image",
  };
}

/** Whether a picture can come out or go in here. Core's newer nodes say "IMAGE,MASK", or "*" for whatever is linked. @param {any} slot */
function takesPictures(slot) {
  return String(slot?.type ?? "")
    .split(",")
    .some((type) => type === "IMAGE" || type === "*" || type.startsWith("COMFY_MATCHTYPE"));
}

/** The values that a node is set to. @param {Node} node */
function settingsOf(node) {
  return (node.widgets ?? []).map((/** @type {any} */ widget) => (typeof widget.value === "object" ? null : widget.value));
}

/** The picture that a Load Demo Scene will draw, told by its settings. @param {End} end @returns {Image | null} */
function sceneOf({ node, slot }) {
  const part = node.outputs?.[slot]?.name;
  if (node.type !== "DragfieldLoadDemoScene" || (part !== "image" && part !== "truth")) return null;
  /** @type {Record<string, string>} */
  const scene = { part };
  for (const name of ["seed", "task", "size", "world"]) {
    const value = node.widgets?.find((/** @type {any} */ widget) => widget.name === name)?.value;
    if (value == null || isLinked(node, name)) return null;
    scene[name] = String(value);
  }
  return { filename: JSON.stringify(scene), scene };
}

/**
 * The picture that comes in, as far as it is known before a run: of the nearest node upstream that shows one.
 *
 * @param {any} app @param {Node} node @param {string} name of the input
 * @returns {{image: Image, direct: boolean, node: Node, signature: string, path: string} | null} direct: nothing changes it on the way, else it
 * is a guess, the picture of `node`; signature: of that picture; path: of what is between
 */
export function pictureOf(app, node, name) {
  return search(originOf(node, inputOf(node, name)), app, []);
}

/** @param {End | null} end @param {any} app @param {Node[]} between @returns {ReturnType<typeof pictureOf>} */
function search(end, app, between) {
  if (!end || between.length > DEPTH || between.includes(end.node)) return null;
  const { node, slot } = end;
  const file = fileOf(node) ?? sceneOf(end);
  const image = file ?? imagesIn(outputsOf(app, node))[0];
  if (image && (file || takesPictures(node.outputs?.[slot]))) {
    const signature = JSON.stringify([node.id, image.subfolder, image.filename]);
    const path = JSON.stringify(between.map((one) => [one.id, settingsOf(one)]));
    return { image, direct: !between.length && (Boolean(file) || isFirstImage(end)), node, signature, path };
  }
  for (const input of node.inputs ?? []) {
    if (input.link == null || !takesPictures(input)) continue;
    const found = search(originOf(node, input), app, [...between, node]);
    if (found) return found;
  }
  return null;
}

/** Whether what a node shows is what comes out here. @param {End} end */
function isFirstImage({ node, slot }) {
  return node.outputs?.findIndex(takesPictures) === slot;
}

/** The mask of a LoadImage or LoadImageMask, before a run. @param {any} _app @param {Node} node @param {string} name @returns {Image[]} */
export function maskOf(_app, node, name) {
  const end = originOf(node, inputOf(node, name));
  const file = end && fileOf(end.node);
  if (!file) return [];
  const channel = end.node.widgets?.find((/** @type {any} */ one) => one.name === "channel")?.value;
  return [channel && channel !== "alpha" ? file : { ...file, loaded: "mask" }];
}

/**
 * The text that is linked, where it is known before a run.
 *
 * @param {Node} node @param {string} name
 * @returns {string | null}
 */
export function textOf(node, name) {
  const end = originOf(node, inputOf(node, name));
  const names = ["drag", "value", "text", "string"];
  const widget = end?.node.widgets?.find((/** @type {any} */ one) => names.includes(one.name) && typeof one.value === "string");
  const fed = widget && isLinked(end?.node, widget.name);
  return widget && !fed && end?.node.outputs?.[end.slot]?.type !== "IMAGE" ? widget.value : null;
}

/** @param {Node} node @returns {End[]} the nodes that its outputs lead to, with the input that they lead to */
function targetsOf(node) {
  const found = [];
  for (const output of node.outputs ?? []) {
    for (const id of output.links ?? []) {
      const link = linkOf(node.graph, id);
      const target = link && node.graph.getNodeById(link.target_id);
      if (target) found.push({ node: target, slot: link.target_slot });
    }
  }
  return found;
}

/**
 * The nodes that the drag of this one reaches.
 *
 * @param {Node} node @param {string} [type] of them
 * @returns {Node[]}
 */
export function downstream(node, type) {
  return reached(node, () => true).filter((found) => !type || found.type === type);
}

/** @typedef {{shape: "rectangles" | "around" | "soft" | "none", margin: number}} Area  of the picture's shorter side; none: not known */

/**
 * What nodes keep an edit to, by what their widgets say; null for what a link decides.
 * @type {Record<string, (value: (name: string) => any, linked: (name: string) => boolean, bundled: boolean) => Area | null>}
 */
const AREAS = {
  DragfieldGradientMask: (value) => ({ shape: value("shape") === "around" ? "around" : "rectangles", margin: Number(value("margin")) || 0 }),
  DragfieldAutoSoftMask: (value) => ({ shape: "soft", margin: Number(value("width")) || WIDTH }),
  DragfieldPointOptimizer: (value, linked, bundled) => (linked("mask") ? null : softBy(presetOf(value("preset"), bundled))),
  DragfieldEdit(value, _linked, bundled) {
    const [method, preset, margin] = [value("method"), presetOf(value("preset"), bundled), Number(value("margin")) || 0];
    if (method === "directdrag") return softBy(preset);
    const own = method === "dragflow" && preset === "published" ? 0 : MARGIN;
    return { shape: method === "dragflow" ? "rectangles" : "around", margin: margin < 0 ? own : margin };
  },
};

/** What a preset's widget stands for. @param {string | undefined} chosen @param {boolean} bundled @returns {"published" | "tuned"} */
function presetOf(chosen = "auto", bundled) {
  if (chosen === "auto") return bundled ? "tuned" : "published";
  return chosen === "published" || chosen === "reference" ? "published" : "tuned";
}

/** The published code mistakes x for y in its mask. @param {"published" | "tuned"} preset @returns {Area} */
function softBy(preset) {
  return preset === "published" ? { shape: "none", margin: 0 } : { shape: "soft", margin: WIDTH };
}

/**
 * The mask that the edit of this drag will be kept to: of the nearest node downstream that says so.
 *
 * @param {Node} node
 * @returns {Area | null}
 */
export function areaOf(node) {
  for (const found of reached(node, () => true)) {
    const value = (/** @type {string} */ name) => found.widgets?.find((/** @type {any} */ one) => one.name === name)?.value;
    const bundled = /^DragfieldLoadDemo/.test(originOf(found, inputOf(found, "model"))?.node.type ?? "");
    const area = AREAS[found.type]?.(value, (name) => isLinked(found, name), bundled);
    if (area) return area;
  }
  return null;
}

/**
 * The picture that came of the drag, where no Drag Report says so: of the nearest node downstream that shows one.
 *
 * @param {any} app @param {Node} node
 * @returns {Image | null}
 */
export function resultOf(app, node) {
  const shows = reached(node, ({ node: target, slot }) => target.inputs?.[slot]?.type !== "MASK" && !ROUGH.has(target.type));
  for (const found of shows) {
    const [image] = /^(SaveImage|PreviewImage)/.test(found.type ?? "") ? imagesIn(outputsOf(app, found)) : [];
    if (image) return image;
  }
  return null;
}

/** Nearest first. @param {Node} start @param {(end: End) => boolean} follow @returns {Node[]} */
function reached(start, follow) {
  const found = [start];
  for (let i = 0; i < found.length && i < 500; i++) {
    for (const end of targetsOf(found[i])) if (!found.includes(end.node) && follow(end)) found.push(end.node);
  }
  return found.slice(1);
}
