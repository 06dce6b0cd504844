/**
 * The canvas's own texts. English is here and works without a server; other languages are `dragfield` in the
 * locales/<language>/main.json, which the server hands out together with those of all packs.
 *
 * "{name}" in a text is replaced by the parameter of that name.
 */

/** @type {Readonly<Record<string, string>>} */
export const ENGLISH = Object.freeze({
  "canvas.label": "Drag canvas",
  "canvas.selected": "{name} selected, {task}",
  "canvas.operations": "Operations: {count}",
  "picture.none": "Connect a picture, or draw on an empty page.",
  "picture.unknown": "The linked picture is seen after a run.",
  "picture.loading": "The picture is loading.",
  "picture.failed": "The picture could not be loaded.",
  "picture.guess": "A guess: the picture of {node}, before what comes after it.",
  "picture.guess.old": "The picture of the run before the last change.",
  "picture.run": "Run this part",
  "picture.otherShape": "Drawn on a guess of {drawnWidth} × {drawnHeight}; the picture has another shape: {width} × {height}. Look where the drag lies now.",
  "picture.otherContent": "Drawn on a guess, and the picture is another one. Look where the drag lies now.",
  "picture.otherSize": "Drawn on {drawnWidth} × {drawnHeight}, the picture is {width} × {height}.",
  "linked.shown": "The drag is linked and shown as it is.",
  "linked.unknown": "The drag is linked and seen after a run.",
  "linked.readOnly": "The drag is linked. Remove the link to draw.",
  "drag.nothing": "Nothing is drawn that moves. Draw a region or a point and drag it to its place.",
  "result.old": "What came of the drag before its last change",
  "run.label": "Progress of the run",
  "run.invert": "Inverting the picture: step {value} of {max}",
  "run.drag": "Dragging: step {value} of {max}",
  "run.denoise": "Making the picture: step {value} of {max}",
  "run.step": "Step {value} of {max}",
  "run.started": "The edit is running.",
  "run.over": "The run is over.",
  "mask.empty": "The mask is empty.",
  "mask.unknown": "The mask is not known before it has run once.",
  "clipboard.copied": "Copied.",
  "clipboard.empty": "There is no drag to paste.",
  "hint.select": "Draw a region, or click one to select it.",
  "hint.relocation": "Drag the region to its place, its grips to scale or turn it. Shift keeps a direction, Alt moves the outline.",
  "hint.rotation": "Drag the region or its handle to turn it, the cross to move the turning point.",
  "hint.deformation": "Drag the end to where it should reach. A keeps the other end in place.",
  "hint.pin": "This region stays where it is.",
  "hint.points": "Drag the ends of an arrow.",
  "hint.along": "Draw what goes along with the selected region; the eraser takes from it. G ends.",
  "hint.brush": "Paint what should move. With Shift the stroke is added to the selected region.",
  "hint.eraser": "Rub away parts of a region.",
  "hint.lasso": "Draw around what should move.",
  "hint.polygon": "Click the corners. Enter or the first corner closes it.",
  "hint.rectangle": "Draw a box around what should move. Shift: a square, Alt: from its middle.",
  "hint.ellipse": "Draw an ellipse around what should move. Shift: a circle, Alt: from its middle.",
  "hint.tooSmall": "Too small: draw a larger area.",
  "hint.nothingToErase": "Select a region to erase from.",
  "hint.noCarrier": "Select a region that moves: something can go along with it then.",

  "task.relocation": "Move",
  "task.rotation": "Rotate",
  "task.deformation": "Deform",
  "task.pin": "Pin",
  "kind.points": "Points",
  "name.region": "Region {number}",
  "name.points": "Points {number}",

  "toolbar.label": "Drawing",
  "toolbar.tools": "Tools",
  "toolbar.tasks": "What a region does",
  "toolbar.history": "Undo and redo",
  "tool.fromMask": "Region from the linked mask",
  "tool.fromMask.none": "Region from mask: link a mask first",
  "brush.size": "Brush size",

  "list.label": "Operations",
  "list.empty": "Draw a region or a point.",
  "list.name": "Name of {name}",
  "list.task": "What {name} does",
  "list.along": "Draw what goes along with {name}: its shadow, its reflection, something it holds",
  "list.colour": "Colour of {name}",
  "list.show": "Show {name}",
  "list.hide": "Hide {name}",
  "report.arrived": "Arrived, {off} px off.",
  "report.unclean": "Arrived, {off} px off, but what it left is not clean.",
  "report.unknown": "Whether it arrived can't be told.",
  "report.missed": "Did not arrive, {off} px off.",

  "numbers.label": "Exact values",
  "numbers.targetX": "X",
  "numbers.targetY": "Y",
  "numbers.targetX.name": "Target, from the left (px)",
  "numbers.targetY.name": "Target, from the top (px)",
  "numbers.shiftX": "ΔX",
  "numbers.shiftY": "ΔY",
  "numbers.shiftX.name": "Move to the right (px)",
  "numbers.shiftY.name": "Move down (px)",
  "numbers.anchorX": "Turn X",
  "numbers.anchorY": "Turn Y",
  "numbers.anchorX.name": "Turning point, from the left (px)",
  "numbers.anchorY.name": "Turning point, from the top (px)",
  "numbers.endX": "End X",
  "numbers.endY": "End Y",
  "numbers.endX.name": "The end that stays, from the left (px)",
  "numbers.endY.name": "The end that stays, from the top (px)",
  "numbers.hold": "Hold the end",
  "numbers.angle": "Angle",
  "numbers.angle.name": "Angle, clockwise (degrees)",
  "numbers.scaleX": "W %",
  "numbers.scaleY": "H %",
  "numbers.scaleX.name": "Width, of what it was (%); below 0 mirrored",
  "numbers.scaleY.name": "Height, of what it was (%); below 0 mirrored",
  "numbers.handleX": "From X",
  "numbers.handleY": "From Y",
  "numbers.handleX.name": "Handle, from the left (px)",
  "numbers.handleY.name": "Handle, from the top (px)",

  "view.label": "View",
  "view.shown": "What is shown",
  "view.input": "Input",
  "view.preview": "Preview",
  "view.result": "Result",
  "view.compare": "Compare before and after",
  "view.split": "{percent} % before",
  "view.progress": "How far the preview has moved",
  "view.progress.value": "{percent} % of the way",
  "view.mask": "Show where the edit may change the picture",

  "menu.more": "More",
  "menu.copy": "Copy the drag",
  "menu.paste": "Paste a drag",
  "menu.export": "Save as a file",
  "menu.import": "Open a file",
  "menu.clear": "Remove everything",
  "prompt.background": "What the picture shows",
  "prompt.editing": "What changes",

  "help.title": "Keys",
  "help.intro": "Draw a region, then drag it to where it should go. Shift keeps to straight lines and steps, Alt with the arrow keys moves the drawn region itself.",
  "help.close": "Close",
  "help.tools": "Tools",
  "help.tasks": "Tasks",
  "help.edit": "Edit",
  "help.move": "Move",
  "help.view": "View",

  "command.toolSelect": "Select",
  "command.toolBrush": "Brush",
  "command.toolEraser": "Eraser",
  "command.toolLasso": "Lasso",
  "command.toolPolygon": "Polygon",
  "command.toolRectangle": "Rectangle",
  "command.toolEllipse": "Ellipse",
  "command.toolPoints": "Points",
  "command.toggleAlong": "Draw what goes along with the region, or a region again",
  "command.brushSmaller": "Smaller brush",
  "command.brushLarger": "Larger brush",
  "command.addRegionCentre": "Region in the middle",
  "command.addPairCentre": "Point in the middle",
  "command.taskRelocation": "Move the region",
  "command.taskRotation": "Rotate the region",
  "command.taskDeformation": "Pull an edge or end",
  "command.taskPin": "Pin the region where it is",
  "command.undo": "Undo",
  "command.redo": "Redo",
  "command.copy": "Copy",
  "command.paste": "Paste",
  "command.duplicate": "Duplicate",
  "command.delete": "Delete",
  "command.toggleVisible": "Show or hide",
  "command.toggleEnd": "Keep the other end in place, or let it go",
  "command.toggleCopy": "Copy it: the original stays",
  "command.flipX": "Flip left and right",
  "command.flipY": "Flip top and bottom",
  "command.raise": "Further up",
  "command.lower": "Further down",
  "command.selectNext": "Select the next",
  "command.selectPrevious": "Select the previous",
  "command.commit": "Finish, or select what is below",
  "command.cancel": "Cancel, deselect",
  "command.nudgeLeft": "To the left (Shift: 10 px)",
  "command.nudgeRight": "To the right (Shift: 10 px)",
  "command.nudgeUp": "Up (Shift: 10 px)",
  "command.nudgeDown": "Down (Shift: 10 px)",
  "command.turnLeft": "Turn to the left (Shift: 15°)",
  "command.turnRight": "Turn to the right (Shift: 15°)",
  "command.scaleLarger": "Larger",
  "command.scaleSmaller": "Smaller",
  "command.fit": "Whole picture",
  "command.zoomIn": "Zoom in",
  "command.zoomOut": "Zoom out",
  "command.panHold": "Hold to move the view",
  "command.loupeHold": "Hold for the loupe",
  "command.viewInput": "Show the input",
  "command.viewPreview": "Show the preview",
  "command.viewResult": "Show the result",
  "command.toggleMarks": "Show or hide the drag on the picture",
  "command.toggleArea": "Show or hide where the edit may change the picture",
  "command.help": "Keyboard help",

  "limit.operations": "A drag holds at most 64 operations. Remove or merge some.",
  "limit.corners": "The outlines have too many corners together. Draw them simpler.",
  "limit.length": "The outlines are too long together. Draw them simpler.",
  "limit.pairs": "A drag holds at most 1,024 points.",
  "refused.value": "This value cannot be used.",
  "refused.missing": "This operation does not exist any more.",
  "refused.points": "Points have no such setting.",
  "refused.region": "Regions have no such setting.",
  "refused.shape": "This is no area: draw a larger one.",
  "refused.pin": "A pinned region stays where it is. Choose another task to move it.",
  "refused.anchor": "This task has no such point or angle.",
  "refused.scale": "Only a region that is moved or rotated scales, flips or is copied.",
  "refused.factor": "A region scales to 10 % at least and 1000 % at most.",
  "refused.offPicture": "The region would be turned off the picture.",
  "refused.picture": "A picture of this size cannot be drawn on.",

  "problem.small": "Covers {pixels} pixels of the picture; at least 4 are needed. Draw it larger.",
  "problem.shrunk": "Scaled, it covers {pixels} pixels of the picture; at least 4 are needed. Shrink it less.",
  "problem.overlap": "Shares {percent} % with {other}, counted on the smaller one; at most 2 % may overlap. Separate or merge them.",
  "problem.pinned": "Lies wholly under pins and cannot move. Make a pin smaller.",
  "problem.anchorOnCentroid": "The turning point lies in the middle of the region. Move it to the joint.",
  "problem.targetOnAnchor": "The target lies on the turning point and gives no direction. Move one of them.",
  "problem.landsOutside": "The region would be turned off the picture. Turn it less, or move the turning point.",
  "problem.twoTargets": "One handle has two targets. Remove one of them.",
  "problem.nearHandles": "Two handles lie within a pixel of each other but go to different places. Move them apart, or remove one.",
  "problem.editable": "The editable area is too small for this picture.",

  "read.empty": "There is no text to read a drag from.",
  "read.tooLong": "The text is too long for a drag.",
  "read.notJson": "The text is not valid JSON at character {at}.",
  "read.version": "This drag has the version {version}; versions 1 and 2 are read here.",
  "read.newer": "{where} has a scale, an angle or a copy, which version 1 does not know; version 2 does.",
  "read.unknownKey": "{where} holds {name}, which does not belong there.",
  "read.value": "{where} is not what it should be.",
  "read.task": "{where}: a target belongs to every task but pin; a rotation needs an anchor, a deformation may have one; only relocation and rotation scale or copy ({task}).",
  "read.repeated": "{where}: two operations have the same.",
});

/** @typedef {(key: string, params?: Record<string, string | number>) => string} Translate */

/** @param {Record<string, string>} [messages]  of another language; what it lacks is English @returns {Translate} */
export function makeTexts(messages = {}) {
  return (key, params = {}) => {
    const text = messages[key] ?? ENGLISH[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => (name in params ? String(params[name]) : whole));
  };
}

/**
 * The texts of a language in what the server's /i18n answers.
 * @param {unknown} i18n @param {string} locale  "zh-TW" takes "zh" if there is nothing nearer
 * @returns {Record<string, string> | undefined}
 */
export function messagesFrom(i18n, locale) {
  for (const language of [locale, locale.split(/[-_]/)[0]]) {
    const messages = entry(entry(i18n, language), "dragfield");
    if (typeof messages === "object" && messages !== null) {
      return Object.fromEntries(Object.entries(messages).filter(([, text]) => typeof text === "string"));
    }
  }
  return undefined;
}

/** @param {unknown} object @param {string} key @returns {unknown} */
function entry(object, key) {
  if (typeof object !== "object" || object === null || !Object.hasOwn(object, key)) return undefined;
  return /** @type {Record<string, unknown>} */ (object)[key];
}
