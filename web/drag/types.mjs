/**
 * The shapes that travel between the modules of the drag canvas. Types only; nothing here runs.
 *
 * Convention: points are [x, y], x to the right and y down. They are normalised, (0, 0) and (1, 1) the outer corners of
 * the picture, unless a name says px: picture pixels, in which the centre of pixel (column c, row r) is (c + 0.5, r + 0.5).
 *
 * @typedef {[number, number]} Point
 * @typedef {[number, number]} Size  [width, height] px
 * @typedef {Point[]} Ring  not closed: the last point is not the first again
 * @typedef {Ring[]} Polygon  its outside, then its holes; even-odd
 * @typedef {Polygon[]} Outline  the union of its polygons
 * @typedef {[number, number, number, number, number, number]} Matrix
 *   [a, b, c, d, e, f]: x' = a x + b y + c, y' = d x + e y + f
 * @typedef {{x0: number, y0: number, x1: number, y1: number}} Bounds
 *
 * @typedef {"relocation" | "rotation" | "deformation" | "pin"} Task
 *
 * @typedef {object} Region
 * @property {string} id  unique in its drag
 * @property {"region"} kind
 * @property {string} name  free, may be empty
 * @property {number} colour  index into PALETTE
 * @property {boolean} visible  false: kept, but takes no part in the edit
 * @property {Task} task
 * @property {Outline} region  never empty
 * @property {Point | null} target  null for a pin only
 * @property {Point | null} anchor  of a rotation: what it turns about; of a deformation, if any: the end that stays
 * @property {Outline} [along]  what goes with the region: its shadow, its reflection, something it holds; not of a pin
 * @property {Point} [scale]  factors about the centroid along x and y, before any turn; negative ones mirror; never [1, 1]
 * @property {number} [angle]  degrees by which a relocation also turns about the centroid; never 0
 * @property {true} [copy]  the original stays, and a copy of it goes
 * @property {true} [front]  of a pin: it stands in front, and what moves passes behind it
 *
 * @typedef {object} Points
 * @property {string} id
 * @property {"points"} kind
 * @property {string} name
 * @property {number} colour
 * @property {boolean} visible
 * @property {[Point, Point][]} pairs  handle and target; never empty
 * @property {Outline} [selected]  what they take along; without it, it is looked for on the picture
 *
 * @typedef {Region | Points} Operation
 *
 * @typedef {object} Document  what is saved and undone
 * @property {Size | null} size  px of the picture it was drawn on
 * @property {Operation[]} operations  the user's list; an earlier one lies below a later one
 * @property {string} background  prompt: what the picture shows
 * @property {string} editing  prompt: what changes
 * @property {Outline | null} editable  where the picture may change at all
 *
 * @typedef {"select" | "brush" | "eraser" | "lasso" | "polygon" | "rectangle" | "ellipse" | "points" | "bend"} ToolName
 *
 * @typedef {"region" | "along" | "selected" | "front"} Part
 *
 * @typedef {object} Hand  what the user holds; neither saved nor undone
 * @property {string | null} selection  id of the selected operation
 * @property {number | null} pair  index of the selected pair of a points operation
 * @property {ToolName} tool
 * @property {Task} task  of regions drawn next
 * @property {Part} part  what is drawn next: a region, what goes along with the selected one, what the selected points take along, or a pin in front
 * @property {number} brush  radius as a fraction of the picture's shorter side
 *
 * @typedef {Document & Hand} State
 *
 * Document actions. Points are normalised, `by` of nudge and the values of setNumber are px, degrees or percent.
 * @typedef {{type: "add", operation: Operation}
 *   | {type: "remove", id: string}
 *   | {type: "duplicate", id: string}
 *   | {type: "reorder", id: string, to: number}
 *   | {type: "rename", id: string, name: string}
 *   | {type: "show", id: string, visible: boolean}
 *   | {type: "recolour", id: string, colour: number}
 *   | {type: "retask", id: string, task: Task}
 *   | {type: "moveTarget", id: string, to: Point}
 *   | {type: "moveAnchor", id: string, to: Point | null}
 *   | {type: "turn", id: string, angle: number}
 *   | {type: "rescale", id: string, scale: Point, target?: Point}
 *   | {type: "flip", id: string, axis: 0 | 1}
 *   | {type: "copy", id: string, copy: boolean}
 *   | {type: "front", id: string, front: boolean}
 *   | {type: "moveOutline", id: string, by: Point}
 *   | {type: "nudge", id: string, by: Point, part?: "target" | "outline" | "anchor"}
 *   | {type: "setOutline", id: string, outline: Outline | null}
 *   | {type: "setAlong", id: string, outline: Outline | null}
 *   | {type: "setSelected", id: string, outline: Outline | null}
 *   | {type: "addPair", id: string | null, handle: Point, target: Point}
 *   | {type: "movePair", id: string, index: number, end: "handle" | "target", to: Point}
 *   | {type: "removePair", id: string, index: number}
 *   | {type: "setNumber", id: string, field: NumberField, value: number}
 *   | {type: "prompts", background?: string, editing?: string}
 *   | {type: "editable", outline: Outline | null}
 *   | {type: "picture", size: Size | null}
 *   | {type: "replace", document: Document}
 *   | {type: "clear"}} DocumentAction
 * @typedef {{type: "select", id: string | null, pair?: number | null}
 *   | {type: "tool", tool: ToolName}
 *   | {type: "task", task: Task}
 *   | {type: "part", part: Part}
 *   | {type: "brush", radius: number}} HandAction  what history does not record
 * @typedef {DocumentAction | HandAction} Action
 * @typedef {"targetX" | "targetY" | "shiftX" | "shiftY" | "anchorX" | "anchorY" | "angle" | "scaleX" | "scaleY" | "handleX" | "handleY"} NumberField
 *
 * @typedef {{key: string, params?: Record<string, string | number>}} Reason  a text of texts.mjs
 * @typedef {{state: State, reason: Reason | null}} Result
 */

export {};
