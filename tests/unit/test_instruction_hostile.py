"""Whatever arrives as a drag either means something or is an InstructionError; nothing else ever comes out."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragfield.core.formats import points_json
from dragfield.core.formats.plain_pickle import load_plain
from dragfield.core.instruction import DragInstruction, InstructionError
from dragfield.core.instruction.on_picture import MIN_PIXELS

EFFORT = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALID = {
    "version": 1, "size": [64, 48], "prompts": {"background": "a", "editing": "b"},
    "editable": [[[[0, 0], [1, 0], [1, 1], [0, 1]]]],
    "operations": [
        {"id": "a", "name": "cup", "kind": "region", "task": "relocation", "target": [0.5, 0.5], "visible": True,
         "region": [[[[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]], [[0.2, 0.2], [0.3, 0.2], [0.3, 0.3]]]]},
        {"kind": "region", "task": "rotation", "target": [0.9, 0.7], "anchor": [0.7, 0.9],
         "region": [[[[0.6, 0.5], [0.8, 0.5], [0.7, 0.7]]]]},
        {"kind": "region", "task": "pin", "region": [[[[0.0, 0.8], [0.2, 0.8], [0.1, 1.0]]]]},
        {"kind": "points", "pairs": [[[0.2, 0.7], [0.3, 0.6]]]},
    ],
}
WORDS = sorted({"version", "size", "operations", "kind", "region", "points", "pairs", "task", "target", "anchor", "pin",
                "relocation", "rotation", "deformation", "editable", "prompts", "editing", "id", "name", "visible",
                "_x"})
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(0, 1), st.floats(), st.floats(0, 1), st.sampled_from(WORDS),
    st.text(max_size=4), st.sampled_from([10**400, -(10**19), 1e308, 5e-324, -0.0, "\ud800", "\x00"]))
anything = st.recursive(scalars, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=4)),
    max_leaves=20)


spots = st.tuples(*[st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])] * 2)
regions = st.lists(st.lists(st.lists(spots, min_size=3, max_size=6), min_size=1, max_size=2), min_size=1, max_size=2)
pairs = st.lists(st.tuples(spots, spots), min_size=1, max_size=3)
drawn = st.one_of(
    st.fixed_dictionaries({"kind": st.just("points"), "pairs": pairs}),
    st.fixed_dictionaries({"kind": st.just("region"), "task": st.just("pin"), "region": regions}),
    st.fixed_dictionaries({"kind": st.just("region"), "task": st.sampled_from(["relocation", "deformation"]),
                           "region": regions, "target": spots}),
    st.fixed_dictionaries({"kind": st.just("region"), "task": st.just("rotation"), "region": regions, "target": spots,
                           "anchor": spots}),
)


def survives(source: Any) -> DragInstruction | None:
    """Parse; what parses must travel unchanged and become a sound Drag or be refused on the picture."""
    try:
        instruction = DragInstruction.from_json(source)
    except InstructionError as error:
        sound(error)
        return None
    text = instruction.to_json()
    assert DragInstruction.from_json(text) == instruction
    assert DragInstruction.from_json(text).to_json() == text
    text.encode("utf-8")
    for width, height in ((64, 48), (7, 90), (1, 1)):
        try:
            drag = instruction.rasterise(width, height)
        except InstructionError as error:
            sound(error)
            continue
        taken = np.zeros((height, width), int)
        for region in drag.regions:
            assert region.mask.shape == (height, width) and region.mask.dtype == bool
            assert region.mask.sum() >= MIN_PIXELS
            assert (region.target is None) == (region.task == "pin")
            assert region.anchor is not None or region.task != "rotation"
            assert region.anchor is None or region.task in ("rotation", "deformation")
            taken += region.mask & (region.task != "pin")
        assert taken.max(initial=0) <= 1
        points = [p for o in drag.points for p in (o.handle, o.target)]
        for x, y in [r.target for r in drag.regions if r.target] + points:
            assert 0 <= x < width and 0 <= y < height and math.isfinite(x + y)
    return instruction


def sound(error: InstructionError) -> None:
    message = str(error)
    message.encode("utf-8")
    assert message and "\n" not in message and len(message) < 400


def places(data: Any) -> list[tuple]:
    """Every (container, key) of a JSON value."""
    found = []
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        found += [(data, key), *places(value)]
    return found


def test_the_valid_instruction_of_these_tests_is_valid() -> None:
    instruction = survives(copy.deepcopy(VALID))
    assert instruction is not None
    assert len(instruction.rasterise(64, 48).regions) == 3


@given(st.data())
@EFFORT
def test_a_mutated_instruction_means_something_or_is_refused(data: st.DataObject) -> None:
    mutated = copy.deepcopy(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(mutated)))
        action = data.draw(st.sampled_from(["replace", "remove", "repeat", "move", "rename"]))
        if action == "replace":
            container[key] = data.draw(anything)
        elif action == "remove":
            del container[key]
        elif action == "repeat" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif action == "move" and isinstance(container[key], float):
            container[key] = data.draw(st.floats(-0.2, 1.2))
        elif action == "rename" and isinstance(container, dict):
            container[data.draw(st.sampled_from(WORDS))] = container.pop(key)
        if not places(mutated):
            break
    survives(mutated)
    survives(json.dumps(mutated))


@given(st.lists(drawn, max_size=3))
@EFFORT
def test_a_well_formed_drawing_always_parses_and_is_drawn_or_refused(operations: list) -> None:
    instruction = survives({"version": 1, "operations": operations})
    if instruction is None:
        thin = [ring for o in operations if "region" in o for polygon in o["region"] for ring in polygon
                if len(set(ring)) < 3 or ring[0] == ring[-1]]
        assert thin


@given(anything)
@EFFORT
def test_arbitrary_json_is_refused_or_means_something(value: Any) -> None:
    survives(value)
    survives(json.dumps(value))
    survives({"version": 1, "operations": [value] if not isinstance(value, list) else value})


@given(st.binary(max_size=200) | st.text(max_size=200), st.integers(0, 400), st.integers(0, 400))
@EFFORT
def test_random_text_and_bytes_are_refused_or_mean_something(noise: str | bytes, start: int, stop: int) -> None:
    survives(noise)
    whole = json.dumps(VALID)
    survives(whole[:start] + (noise if isinstance(noise, str) else noise.decode("latin-1")) + whole[max(start, stop):])
    survives(whole.encode()[:start] + (noise if isinstance(noise, bytes) else noise.encode("utf-8", "surrogatepass")))


@given(st.one_of(anything, st.lists(st.fixed_dictionaries({"x": st.floats(-5, 70), "y": scalars}), max_size=3)),
       st.booleans())
@EFFORT
def test_point_lists_are_refused_or_make_a_drag(value: Any, tracks: bool) -> None:
    text = json.dumps(value)
    try:
        instruction = points_json.read(text, None if tracks else text, (64, 48))
    except InstructionError as error:
        sound(error)
    else:
        assert survives(instruction.to_json()) == instruction


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(st.binary(max_size=120), st.integers(0, 200), st.integers(0, 300))
@EFFORT
def test_a_damaged_pickle_is_refused_or_plain(noise: bytes, start: int, length: int) -> None:
    whole = pickle.dumps({"prompt": "p", "points": [(1, 2), (3, 4)], "mask": np.eye(3, dtype=np.uint8)}, protocol=2)
    for data in (noise, whole[:start] + noise + whole[start + length:]):
        try:
            load_plain(data, "meta_data.pkl")
        except InstructionError as error:
            sound(error)
