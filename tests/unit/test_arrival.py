"""Drag Report's measures, on pictures where the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.picture.arrival import Arrival, arrivals
from dragfield.core.picture.preview import preview

SIZE = (120, 90)


@pytest.fixture
def scene() -> tuple[np.ndarray, Drag]:
    """A patterned box on a smooth ground, to be moved 40 px to the right."""
    rng = np.random.default_rng(0)
    ground = np.linspace(0.3, 0.5, SIZE[0], dtype=np.float32)[None, :, None].repeat(SIZE[1], 0).repeat(3, 2)
    picture = ground.copy()
    picture[30:50, 20:44] = np.kron(rng.random((5, 6, 3)), np.ones((4, 4, 1))).astype(np.float32)
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    mask[30:50, 20:44] = True
    return picture, Drag(SIZE, (RegionOperation(mask, "relocation", (72.0, 40.0)),))


def the(found: list[Arrival]) -> Arrival:
    assert len(found) == 1
    return found[0]


def test_a_perfect_edit_has_arrived_and_needs_no_advice(scene: tuple[np.ndarray, Drag]) -> None:
    picture, drag = scene
    one = the(arrivals(picture, preview(picture, DragField.from_drag(drag)), drag))
    assert one.arrived and one.verdict == "arrived" and one.good
    assert one.distance == pytest.approx(40, abs=0.5) and one.off < 1 and one.reached == 1.0
    assert one.likeness > 0.95 and one.left < 0.05


def test_no_edit_has_not_arrived(scene: tuple[np.ndarray, Drag]) -> None:
    picture, drag = scene
    one = the(arrivals(picture, picture.copy(), drag))
    assert not one.arrived and one.reached == 0.0 and one.likeness < 0.05 and one.left > 0.95
    assert one.off == pytest.approx(40, abs=2) and one.verdict == "still"


def test_half_of_the_way_is_found_as_half_of_the_way(scene: tuple[np.ndarray, Drag]) -> None:
    picture, drag = scene
    one = the(arrivals(picture, preview(picture, DragField.from_drag(drag), progress=0.5), drag))
    assert not one.arrived and one.reached == 0.5 and one.off == pytest.approx(20, abs=2)
    assert one.verdict == "on the way"


def test_a_copy_that_stayed_is_seen(scene: tuple[np.ndarray, Drag]) -> None:
    picture, drag = scene
    both = preview(picture, DragField.from_drag(drag), fill=False)
    one = the(arrivals(picture, both, drag))
    assert one.arrived and one.left > 0.95 and one.stayed and not one.good


def test_a_copy_is_judged_by_what_landed_and_by_the_original_that_stays(scene: tuple[np.ndarray, Drag]) -> None:
    picture, drag = scene
    copied = replace(drag, regions=(replace(drag.regions[0], copy=True),))
    one = the(arrivals(picture, preview(picture, DragField.from_drag(copied)), copied))
    assert one.good and one.copied and one.left == 1.0 and not one.stayed and not one.erased
    # Moved instead of copied: there, but the original is gone.
    moved = the(arrivals(picture, preview(picture, DragField.from_drag(drag)), copied))
    assert moved.arrived and moved.erased and not moved.good
    assert the(arrivals(picture, picture.copy(), copied)).verdict == "still"


@pytest.mark.parametrize("how", [{"scale": (1.5, 1.5)}, {"scale": (-1.0, 1.0)}, {"scale": (0.5, 0.7), "angle": 40.0}])
def test_a_region_that_changes_is_looked_for_as_it_was_to_become(scene: tuple[np.ndarray, Drag], how: dict) -> None:
    picture, drag = scene
    changed = replace(drag, regions=(replace(drag.regions[0], **how),))
    good = the(arrivals(picture, preview(picture, DragField.from_drag(changed)), changed))
    assert good.good and good.off < 1 and good.reached == 1.0 and good.likeness > 0.95
    # Moved there unchanged it looks different, and in place nothing has moved.
    plain = the(arrivals(picture, preview(picture, DragField.from_drag(drag)), changed))
    assert not plain.good or plain.likeness < 0.8
    assert the(arrivals(picture, picture.copy(), changed)).verdict == "still"


def test_a_point_is_followed_to_where_its_surroundings_are(scene: tuple[np.ndarray, Drag]) -> None:
    picture, drag = scene
    points = Drag(SIZE, points=(PointOperation((32.0, 40.0), (72.0, 40.0)),))
    moved = preview(picture, DragField.from_drag(drag))
    assert the(arrivals(picture, moved, points)).arrived
    assert not the(arrivals(picture, picture, points)).arrived


def test_an_object_at_the_edge_of_the_picture_is_judged_too(scene: tuple[np.ndarray, Drag]) -> None:
    picture, drag = scene
    edge = Drag(SIZE, (RegionOperation(drag.regions[0].mask, "relocation", (115.0, 40.0)),))
    assert the(arrivals(picture, preview(picture, DragField.from_drag(edge)), edge)).off < 2


def edited(picture: np.ndarray, at: tuple[int, int] | None, ground: np.ndarray) -> np.ndarray:
    """The ground with the box of the scene at (x, y), or without it."""
    after = ground.copy()
    if at is not None:
        x, y = at
        after[y : y + 20, x : x + 24] = picture[30:50, 20:44]
    return after


def test_each_way_of_failing_has_a_word_of_its_own(scene: tuple[np.ndarray, Drag]) -> None:
    picture, drag = scene
    ground = picture.copy()
    ground[30:50, 20:44] = picture[60:80, 20:44]
    noise = np.random.default_rng(1).random((20, 24, 3)).astype(np.float32)
    smashed = edited(picture, (60, 30), ground)
    smashed[30:50, 60:84] = 0.25 * smashed[30:50, 60:84] + 0.75 * noise
    found = {
        name: the(arrivals(picture, after, drag)).verdict
        for name, after in {
            "arrived": edited(picture, (60, 30), ground),
            "near": edited(picture, (68, 34), ground),
            "wrong place": edited(picture, (20, 60), ground),
            "lost": ground,
            "smashed": smashed,
            "still": picture,
        }.items()
    }
    assert found == {name: name for name in found}


def test_an_object_like_the_ground_can_t_be_told() -> None:
    flat = np.full((90, 120, 3), 0.5, dtype=np.float32)
    mask = np.zeros((90, 120), dtype=bool)
    mask[30:50, 20:44] = True
    one = the(arrivals(flat, flat, Drag(SIZE, (RegionOperation(mask, "relocation", (72.0, 40.0)),))))
    assert one.verdict == "unknown" and not one.good


def test_a_smeared_hole_is_seen_and_one_with_the_ground_s_detail_is_clean() -> None:
    """On ground with grain: the hole filled with more of it, and with its mean."""
    rng = np.random.default_rng(2)
    ground = (0.4 + 0.2 * rng.random((180, 240, 1))).astype(np.float32).repeat(3, 2)
    picture = ground.copy()
    picture[60:100, 40:88] = np.kron(rng.random((5, 6, 3)), np.ones((8, 8, 1))).astype(np.float32)
    mask = np.zeros((180, 240), dtype=bool)
    mask[60:100, 40:88] = True
    drag = Drag((240, 180), (RegionOperation(mask, "relocation", (164.0, 80.0)),))
    clean, smeared = ground.copy(), ground.copy()
    for after in (clean, smeared):
        after[60:100, 140:188] = picture[60:100, 40:88]
    smeared[60:100, 40:88] = 0.5
    good, bad = (the(arrivals(picture, after, drag)) for after in (clean, smeared))
    assert good.good and not good.smeared
    assert bad.arrived and bad.smeared and not bad.good


def test_points_that_turn_what_is_selected_are_looked_for_as_it_is_turned() -> None:
    rng = np.random.default_rng(2)
    before = np.full((120, 160, 3), 0.5, np.float32)
    mask = np.zeros((120, 160), bool)
    mask[50:70, 60:100] = True
    before[mask] = rng.random((int(mask.sum()), 3))
    pairs = (PointOperation((65.0, 60.0), (80.0, 45.0), mask), PointOperation((95.0, 60.0), (80.0, 75.0), mask))
    drag = Drag((160, 120), points=pairs)
    turned = preview(before, DragField.from_drag(drag))
    assert [one.verdict for one in arrivals(before, turned, drag)] == ["arrived", "arrived"]
    assert not any(one.arrived for one in arrivals(before, before, drag))
