"""What is made of a language model's words about a drag."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from dragfield.core.intent.answer import CANDIDATES, TASKS, AnswerError, Candidate, Intent, read_intent, schema
from dragfield.core.intent.question import SIDE
from dragfield.core.intent.request import make_request

SQUARE = [[[(0.2, 0.2), (0.4, 0.2), (0.4, 0.4), (0.2, 0.4)]]]
OTHER = [[[(0.6, 0.6), (0.8, 0.6), (0.8, 0.8), (0.6, 0.8)]]]
PINNED = [[[(0.0, 0.9), (0.1, 0.9), (0.1, 1.0), (0.0, 1.0)]]]
ONE = DragInstruction((DrawnRegion("relocation", SQUARE, (0.6, 0.5)),), size=(100, 100))
TWO = DragInstruction(
    (DrawnRegion("relocation", SQUARE, (0.5, 0.3)), DrawnRegion("pin", PINNED), DrawnRegion("rotation", OTHER, (0.7, 0.9), (0.6, 0.6))),
    size=(100, 100),
)


def answer(*candidates: dict, background: str = "a dog on a lawn") -> str:
    return json.dumps({"background_prompt": background, "candidates": list(candidates)})


def candidate(prompt: str, *tasks: str, anchor: object = None) -> dict:
    return {"editing_prompt": prompt, "regions": [{"task": task, "anchor": anchor} for task in tasks]}


def test_an_answer_fills_tasks_and_prompts_into_the_drag() -> None:
    intent = read_intent(answer(candidate("the dog is further right", "relocation"), candidate("a longer dog", "deformation")), ONE)
    filled = intent.fill(ONE, 1)
    assert (filled.background_prompt, filled.editing_prompt) == ("a dog on a lawn", "a longer dog")
    assert filled.operations[0].task == "deformation" and filled.operations[0].region == ONE.operations[0].region
    assert intent.fill(ONE).operations[0].task == "relocation"


def test_a_task_goes_to_every_moving_region_and_to_no_pin() -> None:
    filled = read_intent(answer(candidate("x", "deformation", "relocation")), TWO).fill(TWO)
    assert [o.task for o in filled.operations] == ["deformation", "pin", "relocation"]
    assert filled.operations[2].anchor is None


def test_a_region_that_scales_or_is_a_copy_keeps_the_task_that_is_drawn() -> None:
    drawn = DragInstruction((DrawnRegion("relocation", SQUARE, (0.6, 0.5), scale=(2, 2), copy=True),))
    filled = read_intent(answer(candidate("x", "deformation")), drawn).fill(drawn)
    assert filled.operations == drawn.operations and filled.editing_prompt == "x"


def test_a_rotation_takes_the_anchor_that_is_drawn_and_else_the_models() -> None:
    reply = answer(candidate("x", "rotation", "rotation", anchor=[0.3, 0.8]))
    filled = read_intent(reply, TWO).fill(TWO)
    assert filled.operations[0].anchor == (0.3, 0.8) and filled.operations[2].anchor == (0.6, 0.6)


def test_what_cannot_be_done_is_left_out() -> None:
    reply = answer(
        candidate("no anchor at all", "rotation"),
        candidate("anchor on the centroid", "rotation", anchor=[0.3, 0.3]),
        candidate("an unknown task", "teleport"),
        {"editing_prompt": "no regions"},
        "not an object",
        candidate("this one can", "relocation"),
    )
    assert [c.editing_prompt for c in read_intent(reply, ONE).candidates] == ["this one can"]


def test_small_slips_are_mended() -> None:
    wrapped = f"Sure! Here you go:\n```json\n{answer(candidate('  two   lines ', ' Relocation'))}\n```\nHave fun."
    assert read_intent(wrapped, ONE).candidates == (Candidate("two lines", ("relocation",), (None,)),)
    bare = json.dumps({"candidates": [{"editing_prompt": "y", "task": "deformation"}]})
    assert read_intent(bare, ONE).candidates[0].tasks == ("deformation",)


def test_no_more_than_ten_different_candidates_are_kept() -> None:
    reply = answer(*(candidate(f"number {i // 2}", "relocation") for i in range(36)))
    found = read_intent(reply, ONE).candidates
    assert len(found) == CANDIDATES == len(set(found))


@pytest.mark.parametrize(
    "text", ["", "   ", "I can't see a picture.", "{", '{"candidates": 3}', answer(), "[" * 5000 + "]" * 5000, '{"a": NaN}']
)
def test_an_answer_without_a_usable_candidate_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(AnswerError) as refused:
        read_intent(text, ONE)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8) | st.sampled_from(TASKS),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["candidates", "regions", "task", "anchor", "editing_prompt"]), inner, max_size=4),
        max_leaves=12,
    )
)
def test_no_answer_breaks_the_reader(data: object) -> None:
    try:
        intent = read_intent(json.dumps(data), ONE)
    except AnswerError:
        return
    for i in range(len(intent.candidates)):
        DragInstruction.from_json(intent.fill(ONE, i).to_json()).validate()


def test_long_and_unprintable_words_are_cut() -> None:
    reply = answer(candidate("word " * 1000 + "\x00", "relocation"), background="a\x1b[31m b")
    intent = read_intent(reply, ONE)
    assert len(intent.candidates[0].editing_prompt) <= 1000 and intent.background_prompt == "a [31m b"


def test_an_intent_survives_being_written_and_read() -> None:
    reply = answer(candidate("x", "rotation", "rotation", anchor=[0.3, 0.8]), candidate("y", "relocation", "deformation"))
    intent = read_intent(reply, TWO)
    assert read_intent(intent.to_json(), TWO) == intent


def test_a_choice_that_is_not_there_is_refused() -> None:
    intent = Intent("", (Candidate("", ("relocation",)),))
    with pytest.raises(ValueError, match="from 1 to 1"):
        intent.fill(ONE, 1)
    with pytest.raises(ValueError, match="ask again"):
        intent.fill(TWO, 0)


def test_the_request_shows_the_drag_and_names_every_region() -> None:
    picture = np.full((900, 1200, 3), 128, np.uint8)
    request = make_request(picture, TWO)
    assert max(request.picture.shape) == SIDE and request.marked.shape == request.picture.shape
    changed = (request.marked != request.picture).any(-1)
    assert changed.any() and not changed[:20].any()
    assert "region 2" in request.text and "region 3" not in request.text and "(0.700, 0.900)" in request.text
    assert request.schema == schema(2)


def test_a_drag_that_moves_no_region_has_no_intent_to_ask_for() -> None:
    points = DragInstruction((DrawnPoints((((0.1, 0.1), (0.2, 0.2)),)),))
    with pytest.raises(ValueError, match="no region of the drag moves"):
        make_request(np.zeros((10, 10, 3), np.uint8), points)
