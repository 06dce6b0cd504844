"""The published JSON Schema of the instruction and the checks that speak in sentences agree: one takes what the other takes.

The canvas is held to the same texts by tests/web (vectors/texts.json and vectors/mutants.json, which core's verdicts are written to).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragfield.core.instruction import DragInstruction, InstructionError, instruction_schema
from dragfield.core.instruction.checks import MAX_PIXELS
from dragfield.core.instruction.drag_instruction import MAX_LENGTH, VERSION
from dragfield.core.instruction.drawn import TASKS
from dragfield.core.instruction.schema import MAX_ANGLE, MAX_PAIRS, MAX_PROMPT, MAX_SCALE, MAX_VERTICES, MIN_SCALE

jsonschema = pytest.importorskip("jsonschema")
VECTORS = Path(__file__).parents[1] / "web" / "vectors"
BEYOND = re.compile(
    "not a number of JSON|repeats the id|megapixels|all outlines together|handle points; at most|a ring needs at least 3|surrogate|nests|"
    "digits|twice|not JSON"
)
"""What no schema can say, or what is no JSON at all: see the schema's own description."""
FORM = jsonschema.Draft202012Validator(instruction_schema())
BOX = [[[[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]], [[0.2, 0.2], [0.3, 0.2], [0.3, 0.3]]]]
WHOLE = {
    "version": 2, "size": [64, 48], "prompts": {"background": "a", "editing": "b"}, "editable": [[[[0, 0], [1, 0], [1, 1], [0, 1]]]],
    "operations": [
        {"id": "a", "name": "cup", "kind": "region", "task": "relocation", "target": [0.5, 0.5], "visible": True, "region": BOX,
         "along": BOX, "scale": [-1.5, 0.5], "angle": 30, "copy": True},
        {"kind": "region", "task": "rotation", "target": [0.9, 0.7], "anchor": [1.7, -0.9], "region": BOX, "scale": [1, 2], "angle": None},
        {"kind": "region", "task": "deformation", "target": [0.9, 0.7], "anchor": None, "region": BOX},
        {"kind": "region", "task": "pin", "region": BOX, "_why": {"a": 1}, "front": True},
        {"kind": "points", "pairs": [[[0.2, 0.7], [0.3, 0.6]]], "visible": False, "selected": BOX},
    ],
}  # fmt: skip
KEYS = [
    "version", "size", "operations", "prompts", "editable", "kind", "task", "region", "target", "anchor", "along", "pairs", "id", "_x",
    "tasks", "scale", "angle", "copy", "selected", "front",
]  # fmt: skip
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 20_000), st.floats(-3, 3, allow_nan=False),
    st.sampled_from([*TASKS, "region", "points", "", "x" * 201]),
    st.sampled_from([[], {}, [0.5, 0.5], [1.5, 0.5], [1, 1], [-2, 11], BOX, [BOX]]).map(lambda value: json.loads(json.dumps(value))),
)  # fmt: skip


def places(value: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += places(inner, (*path, key))
    return found


@st.composite
def mutants(draw: st.DrawFn) -> dict[str, Any]:
    """A sound instruction with one to three places of it taken away, replaced or added to."""
    made = json.loads(json.dumps(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        *keys, last = draw(st.sampled_from(places(made)))
        at = made
        for key in keys:
            at = at[key]
        do = draw(st.sampled_from(["replace", "remove", "add"]))
        if do == "remove":
            del at[last]
        elif do == "replace":
            at[last] = draw(leaves)
        elif isinstance(at, dict):
            at[draw(st.sampled_from(KEYS))] = draw(leaves)
        else:
            at.insert(last, draw(leaves))
        if not places(made):
            break
    # A version is a whole number, however it is written; nobody writes 1.0.
    if isinstance(made.get("version"), float):
        made["version"] = 3
    return made


def taken(data: Any) -> tuple[bool, str]:
    """Whether the instruction is read, and else the sentence."""
    try:
        DragInstruction.from_json(json.dumps(data))
    except InstructionError as error:
        return False, str(error)
    return True, ""


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutants())
def test_the_schema_takes_what_the_checks_take(data: dict[str, Any]) -> None:
    read, sentence = taken(data)
    if not read and BEYOND.search(sentence):
        return
    assert FORM.is_valid(data) == read, sentence or [error.message for error in FORM.iter_errors(data)]


def test_the_sound_one_is_taken_by_both_and_every_plain_text_of_the_canvas_is_judged_alike() -> None:
    assert taken(WHOLE) == (True, "") and FORM.is_valid(WHOLE)
    judged = 0
    for case in json.loads((VECTORS / "texts.json").read_text(encoding="utf-8")):
        try:
            data = json.loads(case["text"])
        except ValueError:
            continue
        read, sentence = taken(data)
        if read or not BEYOND.search(sentence):
            judged += 1
            assert FORM.is_valid(data) == read, (case["name"], sentence)
    assert judged > 30


def test_what_stands_elsewhere_too_is_the_schemas() -> None:
    form = instruction_schema()
    assert form["$defs"]["region"]["properties"]["task"]["enum"] == list(TASKS)
    prompts = form["properties"]["prompts"]["anyOf"][0]["properties"].values()
    assert {prompt["anyOf"][0]["maxLength"] for prompt in prompts} == {MAX_PROMPT} and max(form["properties"]["version"]["enum"]) == VERSION
    factors, turn = form["$defs"]["factor"]["anyOf"], form["$defs"]["region"]["properties"]["angle"]["anyOf"][0]
    assert (factors[1]["minimum"], factors[1]["maximum"]) == (-MAX_SCALE, -MIN_SCALE) and turn["minimum"] == -MAX_ANGLE
    # In words, since they are about a drag as a whole.
    assert all(str(int(number)) in form["description"] for number in (MAX_PIXELS, MAX_VERTICES, MAX_LENGTH, MAX_PAIRS))
