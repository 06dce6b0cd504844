"""The instruction's form as JSON Schema (draft 2020-12): keys and limits stand there once, the checks say in sentences what breaks them.

web/drag/form.mjs holds the same for the canvas, written from here (tests/web/test_form.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def instruction_schema() -> dict[str, Any]:
    """The schema of docs/instruction.md's JSON, version 1. Its description says what no schema can."""
    return json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))


def _given(form: dict[str, Any]) -> dict[str, Any]:
    """Of a form that may also be null, the other one."""
    return form["anyOf"][0]


_FORM = instruction_schema()
_PARTS = _FORM["$defs"]

TOP = tuple(_FORM["properties"])
PROMPTS = tuple(_given(_FORM["properties"]["prompts"])["properties"])
REGION, POINTS = (tuple(_PARTS[kind]["properties"]) for kind in ("region", "points"))
REQUIRED = {kind: tuple(key for key in _PARTS[kind]["required"] if key != "kind") for kind in ("region", "points")}
MAX_OPERATIONS: int = _given(_FORM["properties"]["operations"])["maxItems"]
MAX_PAIRS: int = _PARTS["points"]["properties"]["pairs"]["maxItems"]
"""Handle points of an instruction, all operations together."""
MAX_VERTICES: int = _PARTS["outline"]["items"]["items"]["maxItems"]
"""Vertices of all outlines of an instruction together; a painted region needs a few hundred."""
MAX_NAME: int = _given(_PARTS["label"])["maxLength"]
MAX_PROMPT: int = _given(_given(_FORM["properties"]["prompts"])["properties"]["editing"])["maxLength"]
MAX_SIDE: int = _given(_FORM["properties"]["size"])["items"]["maximum"]
BESIDE: tuple[float, float] = (_PARTS["beside"]["items"]["minimum"], _PARTS["beside"]["items"]["maximum"])
"""How far from the picture an anchor may lie, normalised."""
