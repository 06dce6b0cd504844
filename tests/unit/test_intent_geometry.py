"""Tasks guessed without a language model."""

from __future__ import annotations

import numpy as np
import pytest

from dragfield.core.demo.cases import sample_cases
from dragfield.core.instruction import DragInstruction
from dragfield.core.instruction.operations import RegionOperation
from dragfield.core.intent.geometry import guess, guess_task

GROUND, THING = (60, 140, 70), (200, 60, 40)


def scene() -> np.ndarray:
    """A red bar, x 20..60 and y 40..60, on a green ground of 100 x 100."""
    picture = np.full((100, 100, 3), GROUND, np.uint8)
    picture[40:60, 20:60] = THING
    return picture


def region(rows: slice, columns: slice, target: tuple[float, float], anchor: tuple[float, float] | None = None) -> RegionOperation:
    mask = np.zeros((100, 100), bool)
    mask[rows, columns] = True
    return RegionOperation(mask, "relocation", target, anchor)


@pytest.mark.parametrize("margin", [0, 6])
def test_a_whole_object_is_moved_however_closely_it_is_outlined(margin: int) -> None:
    asked = region(slice(40 - margin, 60 + margin), slice(20 - margin, 60 + margin), (60.0, 50.0))
    assert guess_task(scene(), asked) == "relocation"


def test_the_end_of_an_object_is_pulled() -> None:
    assert guess_task(scene(), region(slice(36, 64), slice(48, 64), (80.0, 50.0))) == "deformation"


def test_an_anchor_means_a_turn() -> None:
    assert guess_task(scene(), region(slice(40, 60), slice(20, 60), (30.0, 20.0), (20.0, 50.0))) == "rotation"


def test_a_region_at_the_border_or_one_that_stays_is_no_exception() -> None:
    assert guess_task(scene(), region(slice(0, 10), slice(0, 10), (50.0, 50.0))) == "relocation"
    assert guess_task(scene(), region(slice(40, 60), slice(20, 60), (40.0, 50.0))) == "relocation"


def test_a_patterned_object_is_told_from_its_ground_by_all_of_its_colours() -> None:
    """Dots, so that what is just inside of the outline differs from what is just outside of it nearly everywhere."""
    picture = scene()
    inside = np.zeros((100, 100), bool)
    inside[40:60, 20:60] = True
    rows, columns = np.indices((100, 100)) // 4
    picture[inside & ((rows + columns) % 2 == 0)] = (250, 240, 200)
    assert guess_task(picture, region(slice(36, 64), slice(48, 64), (80.0, 50.0))) == "deformation"
    assert guess_task(picture, region(slice(38, 62), slice(18, 62), (60.0, 50.0))) == "relocation"


def test_ground_that_goes_on_all_round_is_moved_and_not_pulled() -> None:
    assert guess_task(scene(), region(slice(70, 90), slice(20, 60), (60.0, 80.0))) == "relocation"


def test_drawn_scenes_are_read_right() -> None:
    found = {}
    for case in sample_cases(12, 31):
        drag = DragInstruction.from_drag(case.drag, tolerance=0.5)
        intent = guess((case.source * 255).astype(np.uint8), drag)
        assert intent.fill(drag).operations[0].target == drag.operations[0].target
        found.setdefault(case.drag.regions[0].task, []).append(intent.candidates[0].tasks[0])
    assert set(found["relocation"]) == {"relocation"} and set(found["rotation"]) == {"rotation"}
    assert set(found["deformation"]) == {"deformation"}
