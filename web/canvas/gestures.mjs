/**
 * What the hand does on the picture between pressing and letting go, one factory per tool.
 *
 * A gesture gets normalised points, clamped to the picture unless it is a pan. `end` may return another gesture that goes on without a button
 * held: the next corner of a polygon, the target of a point that was only clicked.
 */

import { placeBefore } from "../drag/bend.mjs";
import { pulled } from "../drag/box.mjs";
import { extendStroke, startStroke, strokeOutline, united } from "../drag/brush.mjs";
import { cycleHit, hitAt, hits } from "../drag/hit.mjs";
import { landing, makePoints, makeRegion, partOf, puller, selected } from "../drag/model.mjs";
import { angleOf, handleAngle, snapAngle, snapAxis } from "../drag/motion.mjs";
import { objectAt } from "../drag/object.mjs";
import { contains, ellipseOutline, lassoOutline, rectangleOutline } from "../drag/rings.mjs";
import { sharedPixels, spansOf } from "../drag/spans.mjs";

/** @import {Outline, Point, Region, ToolName} from "../drag/types.mjs" */
/** @import {Hit} from "../drag/hit.mjs" */
/** @import {Stage} from "./stage.mjs" */

/** @typedef {{shift: boolean, alt: boolean, again: boolean}} Keys  again: the second press of a double click */

/**
 * @typedef {object} Gesture
 * @property {(point: Point, keys: Keys) => void} move
 * @property {(point: Point, keys: Keys) => Gesture | null | void} end
 * @property {() => void} [cancel]
 * @property {(point: Point, keys: Keys) => Gesture | null | void} [press]  only of one that goes on without a button: pressed again
 * @property {() => void} [commit]  Enter
 * @property {() => void} [back]  Backspace
 * @property {Path} [path]  what the stage draws meanwhile
 * @property {() => Point | null} [exact]  the single point that is being set
 */

/** @typedef {{points: Point[], closed: boolean, width?: number, arrow?: boolean, erase?: boolean}} Path  width: px of the picture */

/**
 * @param {Stage} stage
 * @param {ToolName} tool
 * @param {Point} point
 * @param {Keys} keys
 * @returns {Gesture | null}
 */
export function startGesture(stage, tool, point, keys) {
  if (tool === "select") return grab(stage, point);
  if (tool === "brush" || tool === "eraser") return paint(stage, point, tool === "eraser", keys);
  if (tool === "lasso") return lasso(stage, point);
  if (tool === "polygon") return polygon(stage, point);
  if (tool === "points") return pair(stage, point);
  if (tool === "bend") return bend(stage, point);
  return box(stage, point, tool === "ellipse" ? ellipseOutline : rectangleOutline);
}

/** @param {Stage} stage @param {Point} point @returns {Gesture | null} */
function grab(stage, point) {
  const { session } = stage;
  const found = hits(session.state, point, stage.reach, stage.unit);
  const chosen = found.find((hit) => hit.id === session.state.selection) ?? found[0];
  if (!chosen) {
    session.act({ type: "select", id: null });
    return null;
  }
  const wasSelected = chosen.id === session.state.selection;
  session.act({ type: "select", id: chosen.id, pair: chosen.pair ?? null });
  session.begin();
  const drag = dragOf(stage, chosen, point);
  let moved = false;
  return {
    move(to, keys) {
      moved ||= stage.distance(point, to) > 2.5;
      if (moved) drag(to, keys);
    },
    end() {
      session.end();
      if (moved || !wasSelected || (chosen.part !== "outline" && chosen.part !== "ghost")) return;
      const below = cycleHit(found, session.state.selection);
      if (below) session.act({ type: "select", id: below.id, pair: below.pair ?? null });
    },
    cancel: () => session.cancel(),
    exact: () => (moved ? pointAt(stage, chosen) : null),
  };
}

/** Where the end of a pair or an anchor that is held has got to. @param {Stage} stage @param {Hit} hit @returns {Point | null} */
function pointAt(stage, { part, pair }) {
  const operation = selected(stage.session.state);
  if (operation?.kind === "points") return operation.pairs[pair ?? 0]?.[part === "handle" ? 0 : 1] ?? null;
  return part === "anchor" ? (operation?.anchor ?? null) : null;
}

/**
 * @param {Stage} stage
 * @param {Hit} hit
 * @param {Point} start
 * @returns {(to: Point, keys: Keys) => void}
 */
function dragOf(stage, hit, start) {
  const { session } = stage;
  const { id, part } = hit;
  const operation = selected(session.state);
  if (!operation) return () => {};
  if (operation.kind === "points") {
    const index = hit.pair ?? 0;
    const end = part === "handle" ? "handle" : "target";
    const origin = operation.pairs[index][end === "handle" ? 0 : 1];
    return (to, { shift }) => session.act({ type: "movePair", id, index, end, to: stage.carried(origin, start, to, shift) });
  }
  if (part === "anchor" && operation.anchor) {
    const origin = operation.anchor;
    return (to, { shift }) => session.act({ type: "moveAnchor", id, to: stage.carried(origin, start, to, shift) });
  }
  if (part === "grip") {
    return (to, { shift, alt }) => {
      const by = /** @type {Point} */ ([to[0] - start[0], to[1] - start[1]]);
      session.act({ type: "rescale", id, ...pulled(operation, hit.grip ?? 0, by, stage.size, { free: shift, middle: alt }) });
    };
  }
  if (part === "turn") return turn(stage, operation, landing(operation, stage.size), start);
  const redraw = outlineDrag(stage, operation, start);
  if (operation.task === "pin") return redraw;
  const origin = operation.target ?? start;
  const rotates = operation.task === "rotation" && operation.anchor ? turn(stage, operation, operation.anchor, start) : null;
  // A fresh region lies under its own target: whatever of it is held, Alt moves what was drawn.
  return (to, keys) => {
    if (keys.alt) redraw(to, keys);
    else if (rotates) rotates(to, keys);
    else session.act({ type: "moveTarget", id, to: stage.carried(origin, start, to, keys.shift) });
  };
}

/** The region itself, with its target. @param {Stage} stage @param {Region} region @param {Point} start @returns {(to: Point, keys: Keys) => void} */
function outlineDrag(stage, region, start) {
  const { session } = stage;
  const corner = () => {
    const now = selected(session.state);
    return now?.kind === "region" ? now.region[0][0][0] : region.region[0][0][0];
  };
  const origin = corner();
  return (to, { shift }) => {
    const here = shift ? snapAxis(start, to, stage.size) : to;
    // From where it is, not from where the hand was: at the edge of the picture the region waits for it.
    const [x, y] = corner();
    session.act({ type: "moveOutline", id: region.id, by: [origin[0] + here[0] - start[0] - x, origin[1] + here[1] - start[1] - y] });
  };
}

/** @param {Stage} stage @param {Region} region @param {Point} anchor @param {Point} start @returns {(to: Point, keys: Keys) => void} */
function turn(stage, region, anchor, start) {
  const began = angleOf(region, stage.size);
  let last = handleAngle(anchor, start, stage.size);
  let turned = 0;
  return (to, keys) => {
    const now = handleAngle(anchor, to, stage.size);
    turned += ((now - last + 540) % 360) - 180;
    last = now;
    const angle = began + turned;
    stage.session.act({ type: "turn", id: region.id, angle: keys.shift ? snapAngle(angle) : angle });
  };
}

/**
 * Paints the selected region on where it is touched, or with shift held, else a new one. The eraser takes from the region that it touches
 * first, and from the selected one if it begins beside all. Where what goes along with the selected operation is drawn, both do so to that.
 *
 * @param {Stage} stage @param {Point} point @param {boolean} erase @param {Keys} keys
 * @returns {Gesture | null}
 */
function paint(stage, point, erase, keys) {
  const { session, size } = stage;
  const part = partOf(session.state);
  const current = selected(session.state);
  const own = current?.kind === "region" && (session.state.part !== "front" || current.front) ? current : null;
  const touched = own && (keys.shift || near(own.region, point, stage)) ? own : null;
  const under = part ? null : erase && !touched ? (regionAt(stage, point) ?? own) : touched;
  if (erase && !(part ? part.outline : under)) {
    stage.say({ key: "hint.nothingToErase" });
    return null;
  }
  const stroke = startStroke((part ? part.outline : under?.region) ?? null, size, session.state.brush, erase);
  if (under) session.act({ type: "select", id: under.id });
  extendStroke(stroke, point);
  /** @type {Path} */
  const path = { points: [point], closed: false, width: session.state.brush * 2 * Math.min(...size), erase };
  return {
    path,
    move(to) {
      path.points.push(to);
      extendStroke(stroke, to);
      stage.redraw();
    },
    end() {
      const outline = strokeOutline(stroke);
      if (part) stage.tell(session.act({ type: part.type, id: part.id, outline }));
      else if (under) stage.tell(session.act({ type: "setOutline", id: under.id, outline: outline ?? [] }));
      else if (outline) stage.tell(session.act({ type: "add", operation: makeRegion(session.state, outline) }));
    },
  };
}

/** @param {Outline} outline @param {Point} point @param {Stage} stage */
function near(outline, point, stage) {
  if (contains(outline, point)) return true;
  const reach = stage.session.state.brush * Math.min(...stage.size);
  const steps = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => (i * Math.PI) / 4);
  return steps.some((a) =>
    contains(outline, [point[0] + (Math.cos(a) * reach) / stage.size[0], point[1] + (Math.sin(a) * reach) / stage.size[1]]),
  );
}

/** The region that is drawn here; where it goes does not count. @param {Stage} stage @param {Point} point @returns {Region | null} */
function regionAt(stage, point) {
  const found = hits(stage.session.state, point, stage.session.state.brush * Math.min(...stage.size));
  const ids = found.filter(({ part }) => part === "outline").map(({ id }) => id);
  for (const operation of ids.map((id) => stage.session.state.operations.find((one) => one.id === id)))
    if (operation?.kind === "region" && near(operation.region, point, stage)) return operation;
  return null;
}

/** A new region, or more of what goes along with the selected operation. @param {Stage} stage @param {Outline | null} outline */
function addRegion(stage, outline) {
  if (!outline) {
    stage.say({ key: "hint.tooSmall" });
    return;
  }
  const { session } = stage;
  const part = partOf(session.state);
  const refused = part
    ? session.act({ type: part.type, id: part.id, outline: part.outline ? united(part.outline, outline, stage.size) : outline })
    : session.act({ type: "add", operation: makeRegion(session.state, outline) });
  if (refused) return stage.say(refused);
  session.act({ type: "part", part: "region" });
  session.act({ type: "tool", tool: "select" });
}

/**
 * A pin on what is selected for points, held and dragged to where it should go. Beside it, what is found there is selected first: as more of the
 * same object where the two overlap, else as another one.
 *
 * @param {Stage} stage @param {Point} start @returns {Gesture | null}
 */
function bend(stage, start) {
  const { session, base, size } = stage;
  const hit = hitAt(session.state, start, stage.reach);
  if (hit && (hit.part === "handle" || hit.part === "pairTarget")) return grab(stage, start);
  const own = puller(session.state);
  const handle = own && placeBefore(own, start, size);
  const found = handle || !base.picture ? null : objectAt(base.warp.cellsOf(base.picture), start, size);
  if (!handle && !found) {
    stage.say({ key: "hint.noObject" });
    return null;
  }
  session.begin();
  const more = own?.selected && found && overlap(own.selected, found) ? united(own.selected, found, size) : null;
  if (own && more) stage.tell(session.act({ type: "setSelected", id: own.id, outline: more }));
  if (own && (handle || more)) stage.tell(session.act({ type: "addPair", id: own.id, handle: handle ?? start, target: start }));
  else if (found) {
    stage.tell(session.act({ type: "add", operation: { ...makePoints(session.state, [[start, start]]), selected: found } }));
  }
  const { selection: id, pair: index } = session.state;
  let moved = false;
  return {
    move(to, { shift }) {
      moved ||= stage.distance(start, to) > 2.5;
      if (moved && id !== null) session.act({ type: "movePair", id, index: index ?? 0, end: "target", to: stage.carried(start, start, to, shift) });
    },
    end: () => session.end(),
    cancel: () => session.cancel(),
    exact: () => (moved ? pointAt(stage, { id: id ?? "", part: "pairTarget", pair: index ?? 0, distance: 0 }) : null),
  };
}

/** Whether two outlines share anything. @param {Outline} one @param {Outline} other */
function overlap(one, other) {
  const grid = /** @type {import("../drag/types.mjs").Size} */ ([256, 256]);
  return sharedPixels(spansOf(one, grid), spansOf(other, grid)) > 0;
}

/** Where what points take along is selected, a click adds the object there; where what stays in front is, it is what does. @param {Stage} stage @param {Point} point @returns {boolean} whether it did */
function clicked(stage, point) {
  const { session, base, size } = stage;
  const part = partOf(session.state);
  const front = session.state.part === "front";
  const cells = base.picture && (front || part?.type === "setSelected") ? base.warp.cellsOf(base.picture) : null;
  if (!cells) return false;
  const found = objectAt(cells, point, size);
  if (!found) {
    stage.say({ key: "hint.noObject" });
    return true;
  }
  if (front) addRegion(stage, found);
  if (part) stage.tell(session.act({ type: part.type, id: part.id, outline: part.outline ? united(part.outline, found, size) : found }));
  return true;
}

/** @param {Stage} stage @param {Point} start @returns {Gesture} */
function lasso(stage, start) {
  /** @type {Path} */
  const path = { points: [start], closed: true };
  return {
    path,
    move(to) {
      path.points.push(to);
      stage.redraw();
    },
    end() {
      if (path.points.every((point) => stage.distance(start, point) < 4) && clicked(stage, start)) return;
      addRegion(stage, lassoOutline(path.points, stage.size));
    },
  };
}

/**
 * @param {Stage} stage
 * @param {Point} start
 * @param {(p: Point, q: Point) => Outline | null} outlineOf
 * @returns {Gesture}
 */
function box(stage, start, outlineOf) {
  /** @type {Path} */
  const path = { points: [start], closed: true };
  /** @type {[Point, Point]} */
  let corners = [start, start];
  return {
    path,
    move(to, { shift, alt }) {
      const [width, height] = stage.size;
      let [dx, dy] = [(to[0] - start[0]) * width, (to[1] - start[1]) * height];
      if (shift) {
        const side = Math.max(Math.abs(dx), Math.abs(dy));
        dx = side * (Math.sign(dx) || 1);
        dy = side * (Math.sign(dy) || 1);
      }
      const end = /** @type {Point} */ ([start[0] + dx / width, start[1] + dy / height]);
      corners = [alt ? [2 * start[0] - end[0], 2 * start[1] - end[1]] : start, end];
      path.points = outlineOf(...corners)?.[0][0] ?? [start];
      stage.redraw();
    },
    end() {
      const far = stage.distance(...corners) > 4;
      if (far) addRegion(stage, outlineOf(...corners));
      else if (!clicked(stage, start)) grab(stage, start)?.end(start, { shift: false, alt: false, again: false });
    },
  };
}

/** @param {Stage} stage @param {Point} start @returns {Gesture} */
function polygon(stage, start) {
  const corners = [start];
  /** @type {Path} */
  const path = { points: [start, start], closed: true };
  const draw = (/** @type {Point} */ to) => {
    path.points = [...corners, to];
    stage.redraw();
  };
  const close = () => {
    stage.letGo();
    addRegion(stage, corners.length < 3 ? null : lassoOutline(corners, stage.size, 0));
  };
  /** @type {Gesture} */
  const gesture = {
    path,
    exact: () => path.points[path.points.length - 1],
    move: (to, { shift }) => draw(shift ? snapAxis(corners[corners.length - 1], to, stage.size) : to),
    end: () => gesture,
    press(to, { shift, again }) {
      if (corners.length > 2 && (again || stage.distance(corners[0], to) < 10)) return void close();
      const corner = shift ? snapAxis(corners[corners.length - 1], to, stage.size) : to;
      if (stage.distance(corners[corners.length - 1], corner) > 2) corners.push(corner);
      draw(corner);
      return gesture;
    },
    commit: close,
    back() {
      if (corners.length > 1) corners.pop();
      draw(corners[corners.length - 1]);
    },
  };
  return gesture;
}

/** A handle and its target: pressed and dragged, or clicked one after the other. @param {Stage} stage @param {Point} start @returns {Gesture} */
function pair(stage, start) {
  const { session } = stage;
  const hit = hitAt(session.state, start, stage.reach);
  if (hit && (hit.part === "handle" || hit.part === "pairTarget")) return /** @type {Gesture} */ (grab(stage, start));
  /** @type {Path} */
  const path = { points: [start, start], closed: false, arrow: true };
  const snapped = (/** @type {Point} */ to, /** @type {Keys} */ { shift }) => (shift ? snapAxis(start, to, stage.size) : to);
  const add = (/** @type {Point} */ to) => {
    const own = selected(session.state);
    const id = own?.kind === "points" ? own.id : null;
    if (id) stage.tell(session.act({ type: "addPair", id, handle: start, target: to }));
    else stage.tell(session.act({ type: "add", operation: makePoints(session.state, [[start, to]]) }));
  };
  /** @type {Gesture} */
  const gesture = {
    path,
    exact: () => path.points[1],
    move(to, keys) {
      path.points = [start, snapped(to, keys)];
      stage.redraw();
    },
    end(to, keys) {
      if (stage.distance(start, to) < 4) return gesture;
      add(snapped(to, keys));
      return null;
    },
    press(to, keys) {
      if (stage.distance(start, to) >= 4) add(snapped(to, keys));
    },
  };
  return gesture;
}
