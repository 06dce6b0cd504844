"""Handle points on their grid: exact or as published, and hostile ones refused in one sentence."""

from __future__ import annotations

import math

import pytest

from dragfield.core.instruction.operations import PointOperation
from dragfield.core.optimise.handles import check_points, make_handles

PICTURE = (100, 60)


def pair(*numbers: float) -> PointOperation:
    return PointOperation((numbers[0], numbers[1]), (numbers[2], numbers[3]))


def test_points_lie_where_they_are_on_the_grid() -> None:
    handles = make_handles([pair(10, 20, 30.5, 21)], PICTURE)
    assert handles.grid == (50, 30) and handles.now == ((5.0, 10.0),) and handles.targets == ((15.25, 10.5),)
    assert handles.now_px() == ((10.0, 20.0),)
    assert handles.distances_px()[0] == pytest.approx(math.hypot(20.5, 1))


def test_published_rounding_takes_indices_and_rounds_half_to_even() -> None:
    # Pixel indices 11 and 13 are 5.5 and 6.5 on the grid: both round to 6.
    handles = make_handles([pair(11.5, 20.5, 13.5, 20.5)], PICTURE, rounded=True)
    assert handles.now == ((6.5, 10.5),) and handles.targets == ((6.5, 10.5),)


def test_odd_pictures_scale_by_their_own_grid() -> None:
    handles = make_handles([pair(101, 61, 0, 0)], (101, 61))
    assert handles.grid == (50, 30) and handles.now == ((50.0, 30.0),)


def test_the_published_clamp_mistakes_width_for_height() -> None:
    points = [pair(95, 30, 5, 30)]
    right = make_handles(points, PICTURE, clamp="picture")
    wrong = make_handles(points, PICTURE, clamp="transposed")
    assert right.now_px() == ((87.5, 30.0),) and right.targets[0][0] == 6.25
    assert wrong.now_px() == ((47.5, 30.0),)
    assert make_handles(points, PICTURE).now_px() == ((95.0, 30.0),)


def test_steps_are_short_and_never_pass_the_target() -> None:
    handles = make_handles([pair(10, 20, 90, 20), pair(10, 40, 12, 40), pair(50, 50, 50, 50)], PICTURE)
    assert handles.steps(4.0) == ((4.0, 0.0), (1.0, 0.0), (0.0, 0.0))


def test_handles_are_carried_a_share_of_the_way() -> None:
    handles = make_handles([pair(10, 20, 90, 40)], PICTURE)
    assert handles.carried(0.5).now_px() == ((50.0, 30.0),) and handles.carried(0.5).start == handles.start
    assert handles.carried(1.0).residual() == 0.0 and handles.carried(0.0) == handles


def test_residual_is_the_share_of_the_way_left() -> None:
    handles = make_handles([pair(10, 20, 90, 20)], PICTURE)
    assert handles.residual() == 1.0
    assert handles.moved_to([(25.0, 10.0)]).residual() == pytest.approx(0.5)
    assert make_handles([pair(10, 20, 10, 20)], PICTURE).residual() == 0.0


@pytest.mark.parametrize("clamp", ["none", "picture", "transposed"])
def test_points_on_the_border_and_in_a_tiny_picture_stay_on_the_grid(clamp) -> None:
    for size in ((100, 60), (9, 9), (1, 1)):
        handles = make_handles([pair(0, 0, *size)], size, clamp=clamp, rounded=True)
        for x, y in (*handles.now, *handles.targets):
            assert 0 <= x <= handles.grid[0] and 0 <= y <= handles.grid[1]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([], "at least one pair"),
        ([pair(math.nan, 1, 2, 3)], "handle of point 1 is .*nan"),
        ([pair(1, 1, math.inf, 3)], "target of point 1 is .*inf"),
        ([pair(1, 1, 2, 2), pair(5, 5, 101, 3)], r"target of point 2 is \(101, 3\), off the picture of 100x60"),
        ([pair(1, 1, 2, 2), pair(1, 1, 3, 3)], "has two targets: point 2"),
        ([pair(9, 9, 9, 9), pair(1, 1, 2, 2), pair(1.5, 1, 3, 3)], "handles of points 2 and 3 lie 0.5 px apart, but their targets 1.41"),
        ([pair(1, 1, 2, 2)] * 1025, "1,025 pairs of points are too many"),
    ],
)
def test_impossible_points_are_refused(points, words) -> None:
    with pytest.raises(ValueError, match=words):
        make_handles(points, PICTURE)


def test_identical_pairs_are_no_contradiction() -> None:
    check_points([pair(1, 1, 2, 2)] * 200, PICTURE)


def test_an_unknown_clamp_is_refused() -> None:
    with pytest.raises(ValueError, match="clamp = 'edge' is unknown"):
        make_handles([pair(1, 1, 2, 2)], PICTURE, clamp="edge")
