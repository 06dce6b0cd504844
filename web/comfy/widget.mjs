/**
 * The canvas's widget in ComfyUI's two renderers: it stays where it is whatever is linked, and what it has no use for goes on to the graph.
 */

/** @typedef {{canvas: any}} App  ComfyUI's, as far as it is used here */

/**
 * A widget whose input is linked is hidden by the frontend, up to 1.57 through `computedDisabled`, since through `connectionSuppressed`. This
 * one shows what is linked.
 *
 * @param {any} widget
 */
export function keepShown(widget) {
  for (const name of ["computedDisabled", "connectionSuppressed"])
    Object.defineProperty(widget, name, { get: () => false, set() {}, configurable: true });
}

/**
 * The frontend keeps values of widgets apart from DOM widgets' own and takes those of promoted ones from there; its own text boxes tell it too.
 *
 * @param {any} widget @param {string} text
 */
export function tell(widget, text) {
  if (widget?._state && "value" in widget._state) widget._state.value = text;
}

/**
 * What a hand does over the canvas that the canvas has no use for is done to the graph, as over ComfyUI's own text boxes: the wheel zooms it,
 * the middle button moves it, the right one opens the node's menu.
 *
 * Convention: called while the event bubbles, so whatever a part of the canvas took for itself (and stopped) does not come here.
 *
 * @param {HTMLElement} host @param {App} app @param {() => boolean} elsewhere whether the canvas is not on the graph, but in an app's panel
 */
export function handOn(host, app, elsewhere) {
  /** Nodes 2.0 hands on wheel and menu by itself; of the middle button its widgets tell nobody. */
  const classic = () => !elsewhere() && !(/** @type {any} */ (window).LiteGraph?.vueNodesMode);
  host.addEventListener("wheel", (event) => {
    if (!classic() || scrolls(event.target, host)) return;
    event.preventDefault();
    app.canvas.processMouseWheel(event);
  });
  host.addEventListener("pointerdown", (event) => {
    if (event.button === 1 && !elsewhere()) app.canvas.processMouseDown(event);
  });
  host.addEventListener("pointermove", (event) => {
    if (event.buttons & 4 && !elsewhere()) app.canvas.processMouseMove(event);
  });
  host.addEventListener("pointerup", (event) => {
    if (event.button === 1 && !elsewhere()) app.canvas.processMouseUp(event);
  });
  host.addEventListener("contextmenu", (event) => {
    // A field has a menu of its own, to paste with.
    if (!classic() || (event.target instanceof Element && event.target.closest("input, textarea"))) return;
    event.preventDefault();
    const { canvas } = app;
    canvas.adjustMouseEvent(event);
    const { canvasX, canvasY } = /** @type {any} */ (event);
    const node = canvas.graph.getNodeOnPos(canvasX, canvasY, canvas.visible_nodes);
    if (node) canvas.processContextMenu(node, event);
  });
}

/** Whether the wheel scrolls something on the way to the host. @param {EventTarget | null} target @param {HTMLElement} host */
function scrolls(target, host) {
  for (let at = target instanceof Element ? target : null; at && at !== host; at = at.parentElement)
    if (at.scrollHeight > at.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(at).overflowY)) return true;
  return false;
}
