/** What a drag may hold: core/instruction/schema.json, written for the canvas by tests/web/test_form.py. */
export const TOP = Object.freeze(/** @type {const} */ (["version", "size", "operations", "prompts", "editable"]));
export const PROMPTS = Object.freeze(/** @type {const} */ (["background", "editing"]));
export const REGION = Object.freeze(/** @type {const} */ (["kind", "id", "name", "visible", "task", "region", "target", "anchor", "along"]));
export const POINTS = Object.freeze(/** @type {const} */ (["kind", "id", "name", "visible", "pairs"]));
export const TASKS = Object.freeze(/** @type {const} */ (["relocation", "rotation", "deformation", "pin"]));
export const BESIDE = Object.freeze(/** @type {const} */ ([-1, 2]));
export const MAX_OPERATIONS = 64;
export const MAX_PAIRS = 1024;
export const MAX_VERTICES = 20000;
export const MAX_NAME = 200;
export const MAX_PROMPT = 10000;
export const MAX_SIDE = 16384;
export const MAX_PIXELS = 67108864;
export const MAX_LENGTH = 500;
export const MAX_TEXT = 2000000;
export const MAX_DEPTH = 10;
export const MAX_DIGITS = 18;
