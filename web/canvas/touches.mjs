/**
 * Pointers on the stage: mouse, pen and fingers.
 *
 * Every listener is on the stage itself and every pointer that is pressed is captured by it, so nothing sticks when the hand leaves the node;
 * a lost capture ends the gesture as well. Nothing is prevented on pressing: ComfyUI takes its undo step on the mouseup that follows.
 * One finger draws, two pan and zoom.
 */

/** @import {Point} from "../drag/types.mjs" */
/** @import {Keys} from "./gestures.mjs" */
/** @import {Stage} from "./stage.mjs" */

const DOUBLE = 350;

export class Touches {
  /** @param {Stage} stage */
  constructor(stage) {
    this.stage = stage;
    /** @type {Map<number, Point>} where each pressed pointer is */
    this.down = new Map();
    /** @type {"tool" | "pan" | "pinch" | null} */
    this.doing = null;
    this.pressed = { time: 0, at: /** @type {Point} */ ([0, 0]) };
    const { element } = stage;
    element.addEventListener("pointerdown", (event) => this.press(event));
    element.addEventListener("pointermove", (event) => this.move(event));
    element.addEventListener("pointerup", (event) => this.release(event, true));
    element.addEventListener("pointercancel", (event) => this.release(event, false));
    element.addEventListener("lostpointercapture", (event) => this.release(event, false));
    element.addEventListener("pointerleave", () => this.leave());
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** @param {PointerEvent} event */
  press(event) {
    const { stage } = this;
    // The middle button pans the graph, the right one opens its menu.
    if (event.button !== 0) return;
    if (event.target instanceof Element && event.target.closest("button, [role=slider]")) return;
    event.stopPropagation();
    stage.element.focus({ preventScroll: true });
    stage.element.setPointerCapture(event.pointerId);
    const at = stage.css(event);
    this.down.set(event.pointerId, at);
    if (this.down.size === 2) {
      stage.drop();
      this.doing = "pinch";
    } else if (this.down.size === 1) {
      this.doing = stage.panning ? "pan" : "tool";
      if (this.doing === "tool") {
        stage.press(at, this.keys(event, at), { touch: event.pointerType === "touch", control: event.ctrlKey || event.metaKey });
        // On bare ground there is nothing to drag but the picture itself.
        if (!stage.gesture && stage.ownView && (stage.session.readOnly || stage.session.state.tool === "select")) this.doing = "pan";
      }
    }
  }

  /** @param {PointerEvent} event */
  move(event) {
    const { stage } = this;
    const old = this.down.get(event.pointerId);
    const at = stage.css(event);
    if (!old) {
      if (stage.gesture && !stage.held) stage.drag(at, keysOf(event));
      if (event.pointerType !== "touch") stage.hover(at);
      return;
    }
    event.stopPropagation();
    if (event.pointerType === "mouse" && !(event.buttons & 1)) {
      this.release(event, true);
      return;
    }
    if (this.doing === "pinch") {
      this.pinch(event.pointerId, at);
      return;
    }
    this.down.set(event.pointerId, at);
    if (this.doing === "pan") stage.pan(at[0] - old[0], at[1] - old[1]);
    else if (this.doing === "tool") {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) stage.drag(stage.css(one), keysOf(event));
    }
    if (event.pointerType !== "touch") stage.hover(at);
  }

  /** @param {number} id @param {Point} at */
  pinch(id, at) {
    const [other] = [...this.down].filter(([key]) => key !== id).map(([, point]) => point);
    const old = /** @type {Point} */ (this.down.get(id));
    this.down.set(id, at);
    if (!other) return;
    const before = Math.hypot(old[0] - other[0], old[1] - other[1]);
    const after = Math.hypot(at[0] - other[0], at[1] - other[1]);
    this.stage.pan((at[0] - old[0]) / 2, (at[1] - old[1]) / 2);
    if (before > 1 && after > 1) this.stage.zoom(after / before, [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2]);
  }

  /** @param {PointerEvent} event @param {boolean} done */
  release(event, done) {
    const at = this.down.get(event.pointerId);
    if (!at) return;
    event.stopPropagation();
    this.down.delete(event.pointerId);
    const { stage } = this;
    if (stage.element.hasPointerCapture(event.pointerId)) stage.element.releasePointerCapture(event.pointerId);
    if (this.doing === "tool") {
      if (done) stage.release(event.type === "pointerup" ? stage.css(event) : at, keysOf(event));
      else stage.drop();
    }
    // Of two fingers the one that stays does nothing: it would draw a line where none was meant.
    this.doing = this.down.size ? this.doing : null;
  }

  leave() {
    this.stage.pointer = null;
    this.stage.redraw();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    const { stage } = this;
    if (!stage.element.matches(":focus-within") || event.ctrlKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.shiftKey) stage.pan(-event.deltaY - event.deltaX, 0);
    else if (event.deltaX && Math.abs(event.deltaX) > Math.abs(event.deltaY)) stage.pan(-event.deltaX, -event.deltaY);
    else stage.zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 400), stage.css(event));
  }

  /** @param {PointerEvent} event @param {Point} at @returns {Keys} */
  keys(event, at) {
    const again = event.timeStamp - this.pressed.time < DOUBLE && Math.hypot(at[0] - this.pressed.at[0], at[1] - this.pressed.at[1]) < 6;
    this.pressed = { time: event.timeStamp, at };
    return { ...keysOf(event), again };
  }
}

/** @param {PointerEvent} event @returns {Keys} */
function keysOf(event) {
  return { shift: event.shiftKey, alt: event.altKey, again: false };
}
