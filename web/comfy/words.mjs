/**
 * Words on the node that says them. The frontend shows the text of its own Preview as Text and Save Text alone; our nodes that judge say
 * theirs in a box below their widgets, which is there once there is something to say.
 */

/** Nodes whose result is text: Drag Report, Drag Metrics, Model Check, Drag Intent. */
const SAYING = new Set(["DragfieldReport", "DragfieldMetrics", "DragfieldModelCheck", "DragfieldIntent"]);
const NAME = "dragfield words";
/** Least height of the box, px: some five lines. */
const HEIGHT = 96;

/** @typedef {{text?: unknown}} Output  what a node's run gave to be shown */

/** Have a node show what each of its runs says. @param {any} node */
export function listen(node) {
  if (!SAYING.has(node.comfyClass)) return;
  const executed = node.onExecuted;
  node.onExecuted = function (/** @type {Output} */ output, /** @type {unknown[]} */ ...more) {
    executed?.call(this, output, ...more);
    show(this, output);
  };
}

/** Show the words of a run on a node, if it says any. @param {any} node @param {Output | undefined} output */
export function show(node, output) {
  if (!SAYING.has(node?.comfyClass)) return;
  const words = [output?.text ?? []].flat().filter((text) => typeof text === "string").join("\n");
  const widget = boxOf(node) ?? (words ? added(node) : undefined);
  if (widget) widget.value = words;
}

/** @param {any} node */
function boxOf(node) {
  return node.widgets?.find((/** @type {any} */ widget) => widget.name === NAME);
}

/** @param {any} node */
function added(node) {
  const box = document.createElement("textarea");
  box.readOnly = true;
  box.className = "comfy-multiline-input df-words";
  box.style.resize = "none";
  // A type of its own: Nodes 2.0 would put its own field in the place of one that it knows.
  const widget = node.addDOMWidget(NAME, "DRAGFIELD_WORDS", box, {
    getValue: () => box.value,
    setValue: (/** @type {string} */ value) => (box.value = value),
    getMinHeight: () => HEIGHT,
    serialize: false,
    // Templates open at a zoom at which the classic renderer shows grey boxes instead.
    hideOnZoom: false,
  });
  // Neither in the prompt nor in the file: it is the result of a run.
  widget.serialize = false;
  const [width, height] = node.size;
  node.setSize([width, Math.max(height + HEIGHT, node.computeSize()[1])]);
  return widget;
}
