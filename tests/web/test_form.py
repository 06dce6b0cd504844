"""Keys and limits of a drag stand once: web/drag/form.mjs, which the canvas checks by, says what core's schema and checks say.

After a change of core/instruction/schema.json write it anew: DRAGFIELD_WRITE_SCHEMAS=1 and run this file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import get_args

from dragfield.core.instruction import checks, drag_instruction, guarded_json, schema
from dragfield.core.instruction.operations import Task

FORM = Path(__file__).parents[2] / "web" / "drag" / "form.mjs"
HEAD = """/** What a drag may hold: core/instruction/schema.json, written for the canvas by tests/web/test_form.py. */
"""


def form() -> str:
    lists = {"TOP": schema.TOP, "PROMPTS": schema.PROMPTS, "REGION": schema.REGION, "POINTS": schema.POINTS, "TASKS": get_args(Task),
             "BESIDE": schema.BESIDE}  # fmt: skip
    numbers = {
        **{name: getattr(schema, name) for name in vars(schema) if name.startswith(("MAX_", "MIN_"))},
        "MAX_PIXELS": checks.MAX_PIXELS, "MAX_LENGTH": drag_instruction.MAX_LENGTH, "MAX_TEXT": guarded_json.MAX_TEXT,
        "MAX_DEPTH": guarded_json.MAX_DEPTH, "MAX_DIGITS": guarded_json.MAX_DIGITS,
    }  # fmt: skip
    lines = [f"export const {name} = Object.freeze(/** @type {{const}} */ ({json.dumps(values)}));" for name, values in lists.items()]
    lines += [f"export const {name} = {value:.16g};" for name, value in numbers.items()]
    return HEAD + "\n".join(lines) + "\n"


def test_the_canvas_checks_by_cores_form() -> None:
    if os.environ.get("DRAGFIELD_WRITE_SCHEMAS"):
        FORM.write_text(form(), encoding="utf-8")
    assert FORM.read_text(encoding="utf-8") == form()
