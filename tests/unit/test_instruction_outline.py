"""Outlines and masks: filling is exact, tracing is its inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dragfield.core.instruction.guarded_json import InstructionError
from dragfield.core.instruction.outline import fill, outline

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)).filter(np.any)
coordinate = st.integers(0, 40).map(lambda n: n / 40)
rings = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=7).map(tuple)


@given(masks)
@settings(max_examples=300, deadline=None)
def test_filling_the_outline_of_a_mask_gives_the_mask_at_any_multiple_of_its_size(mask: np.ndarray) -> None:
    height, width = mask.shape
    polygons = outline(mask)
    for k in (1, 3):
        filled, (rows, columns) = fill(polygons, (k * width, k * height))
        assert np.array_equal(filled, np.kron(mask, np.ones((k, k), bool)))
        rest = filled.copy()
        rest[rows, columns] = False
        assert not rest.any()


@given(rings, st.integers(1, 23), st.integers(1, 23))
@settings(max_examples=200, deadline=None)
def test_a_pixel_is_inside_when_a_ray_from_its_centre_crosses_the_ring_an_odd_number_of_times(
    ring: tuple, width: int, height: int
) -> None:
    filled, _ = fill(((ring,),), (width, height))
    corners = np.array(ring) * (width, height)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            crossings, on_edge = 0, False
            for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                if (x0 <= x) != (x1 <= x):
                    crossing = y0 + (x - x0) * (y1 - y0) / (x1 - x0)
                    crossings += crossing < y
                    on_edge |= abs(crossing - y) < 1e-9
            assert on_edge or filled[row, column] == crossings % 2


@given(st.lists(coordinate, min_size=2, max_size=6), st.integers(5, 40))
@settings(max_examples=100, deadline=None)
def test_neighbours_that_share_an_edge_share_no_pixel_and_leave_no_gap(edge: list, side: int) -> None:
    line = [(x, i / (len(edge) - 1)) for i, x in enumerate(edge)]
    left = fill(((((0.0, 0.0), *line, (0.0, 1.0)),),), (side, side))[0]
    right = fill(((((1.0, 0.0), *line, (1.0, 1.0)),),), (side, side))[0]
    assert not (left & right).any()
    assert (left | right).all()


def test_holes_are_empty_and_overlapping_polygons_are_united() -> None:
    outer = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    hole = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    ring, _ = fill(((outer, hole),), (8, 8))
    assert ring.sum() == 64 - 16 and not ring[2:6, 2:6].any()
    united, _ = fill(((outer,), (hole,)), (8, 8))
    assert united.all()


@pytest.mark.parametrize("tolerance", [1.0, 2.0, 4.0])
def test_simplified_outlines_stay_within_their_tolerance(tolerance: float) -> None:
    y, x = np.mgrid[:200, :200]
    disk = np.hypot(x - 99.5, y - 99.5) < 80
    found, _ = fill(outline(disk, tolerance), (200, 200))
    radius = np.hypot(x - 99.5, y - 99.5)[found != disk]
    assert np.all(np.abs(radius - 80) <= tolerance + 1)
    assert len(outline(disk, tolerance)[0][0]) < len(outline(disk)[0][0]) / 3


def test_masks_without_an_outline_are_refused() -> None:
    with pytest.raises(InstructionError, match="the mask of 4 x 3 px is empty"):
        outline(np.zeros((3, 4), bool))
    noise = np.random.default_rng(0).random((300, 300)) < 0.5
    with pytest.raises(InstructionError, match="more than 20,000 corners; smooth the mask"):
        outline(noise)
    with pytest.raises(InstructionError, match="wider than the tolerance of 50 px"):
        outline(np.ones((4, 4), bool), 50)
