"""Cases: the question is a drag that a user would make, and the answer is drawn, not guessed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from dragfield.core.demo.cases import CYCLE, DemoCase, sample_cases
from dragfield.core.demo.scenes import reach
from dragfield.core.field import DragField
from dragfield.core.field.geometry import centroid
from dragfield.core.field.masks import adaptive_gradient_mask

TASKS = ("relocation", "rotation", "deformation")


@lru_cache
def cases() -> tuple[DemoCase, ...]:
    return tuple(sample_cases(12, 40))


def of(task: str) -> list[DemoCase]:
    return [case for case in cases() if case.task == task]


def distance(a, b) -> float:
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def test_tasks_come_two_to_one_to_one() -> None:
    assert [case.task for case in cases()] == list(CYCLE) * 3
    assert {task: CYCLE.count(task) for task in TASKS} == {"relocation": 2, "rotation": 1, "deformation": 1}


def test_the_same_seed_gives_the_same_cases_however_many_are_drawn() -> None:
    again = list(sample_cases(3, 40))
    assert [(c.scene, c.moved, c.anchor) for c in again] == [(c.scene, c.moved, c.anchor) for c in cases()[:3]]
    assert np.array_equal(again[1].truth, cases()[1].truth)
    assert [c.scene for c in sample_cases(3, 41)] != [c.scene for c in again]


@pytest.mark.parametrize("task", TASKS)
def test_the_drag_carries_the_region_to_where_the_moved_object_is(task: str) -> None:
    for case in of(task):
        if case.scene.posts:
            continue  # What a post hides of the object shifts its visible centroid.
        target = case.drag.regions[0].target
        assert distance(target, centroid(case.landed)) < 1.5
        moved = DragField.from_drag(case.drag, deformation="rigid").moved().numpy()
        assert (moved & case.landed).sum() > 0.9 * (moved | case.landed).sum()


def test_drags_are_as_long_as_promised() -> None:
    assert all(30 <= np.hypot(*case.shift) <= 90 for case in of("relocation"))
    assert all(25 <= abs(case.turn) <= 75 for case in of("rotation"))
    assert all(0.8 <= np.hypot(*case.shift) / case.object.radius <= 1.4 for case in of("deformation"))


def test_a_moved_object_stays_in_the_picture_and_clear_of_the_others() -> None:
    for case in cases():
        moved, others = case.moved, (t for i, t in enumerate(case.scene.objects) if i != case.index)
        room = reach(moved)
        assert room < moved.x < 256 - room and room < moved.y < 256 - room
        assert all(distance((moved.x, moved.y), (o.x, o.y)) > room + reach(o) for o in others)


def test_the_region_covers_what_it_is_about_and_little_else() -> None:
    for case in cases():
        stands = np.abs(case.source - case.plate).max(-1) > 0.03
        assert case.region.dtype == bool and case.region.sum() > 100
        assert (stands & case.region).sum() > 0.6 * case.region.sum()
        if case.task != "deformation":
            assert (stands & case.region).sum() > 0.3 * stands.sum()


def test_the_region_of_a_deformation_is_one_end_of_the_object() -> None:
    for case in of("deformation"):
        obj = case.object
        along = np.array([np.cos(np.deg2rad(obj.angle)), np.sin(np.deg2rad(obj.angle))])
        assert (np.array(centroid(case.region)) - (obj.x, obj.y)) @ along > 0.3 * obj.radius
        assert case.moved.stretch > 0 and obj.stretch == 0


def test_outside_of_the_mask_the_truth_is_the_source() -> None:
    errors = []
    for case in cases():
        outside = ~adaptive_gradient_mask(case.drag, margin=20)
        errors.append(np.abs(case.truth - case.source).max(-1)[outside].max())
    # A long shadow may leave the mask here and there; the picture as a whole must not change.
    assert np.mean(np.array(errors) < 0.02) >= 0.75
    assert max(errors) < 0.2


def test_the_plate_is_the_source_and_the_truth_without_the_object() -> None:
    for case in cases():
        for picture, mask in ((case.source, case.region), (case.truth, case.landed)):
            difference = np.abs(picture - case.plate).max(-1)
            assert np.median(difference[mask]) > 0.1
            assert (difference > 0.02).mean() < 0.25


def test_a_turn_further_by_nothing_is_the_truth() -> None:
    for case in of("rotation"):
        assert np.array_equal(case.truth_with(0), case.truth)
        assert np.abs(case.truth_with(12) - case.truth).mean() > 1e-3
        back = case.truth_with(-case.turn)
        assert np.abs(back - case.source).max() < 0.01


def test_the_anchor_of_a_rotation_stays_where_it_is() -> None:
    for case in of("rotation"):
        before, after = ((t.x, t.y) for t in (case.object, case.moved))
        assert distance(before, case.anchor) == pytest.approx(distance(after, case.anchor), abs=1e-3)
        assert distance(before, case.anchor) > 0.5 * case.object.radius


def test_a_case_at_half_the_size_is_the_same_drag_in_half_the_pixels() -> None:
    # What is hardly visible may differ by a pixel, and another scene be drawn for it.
    pairs = [p for p in zip(cases()[:4], sample_cases(4, 40, size=128), strict=True) if p[0].scene == p[1].scene]
    assert len(pairs) >= 3
    for large, small in pairs:
        full, half = large.drag.regions[0], small.drag.regions[0]
        assert small.drag.size == (128, 128) and small.source.shape == (128, 128, 3)
        assert distance(np.array(full.target) / 2, half.target) < 1.0


def test_the_prompt_of_a_drag_is_the_caption() -> None:
    assert all(case.drag.background_prompt == case.scene.caption for case in cases())
