"""A dragged end stays connected: what lies behind it is stretched, or pressed together if it is pushed inwards."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from dragfield.core.field import DragField
from dragfield.core.field.geometry import cell_centres, centroid
from dragfield.core.field.stretch import Stretch
from dragfield.core.field.warp import warp
from dragfield.core.instruction.operations import Drag, RegionOperation

SIZE = (64, 48)
BAR = np.s_[20:30, 10:40]
"""A bar from column 10 to 40; its end, columns 32 to 40, is dragged."""


def end(columns: slice = np.s_[32:40], rows: slice = np.s_[20:30]) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[rows, columns] = True
    return mask


def drag_of(mask: np.ndarray, dx: float, dy: float = 0.0, anchor: tuple[float, float] | None = None) -> Drag:
    x, y = centroid(mask)
    return Drag(SIZE, (RegionOperation(mask, "deformation", (x + dx, y + dy), anchor),))


def bar() -> torch.Tensor:
    picture = torch.zeros(1, 1, 48, 64)
    picture[0, 0][BAR] = 1.0
    return picture


@pytest.mark.parametrize(("dx", "dy"), [(10, 0), (-7, 0), (0, 9), (0, -12)])
def test_the_region_itself_moves_rigidly(dx, dy) -> None:
    rigid = DragField.from_drag(drag_of(end(), dx, dy), deformation="rigid")
    stretched = DragField.from_drag(drag_of(end(), dx, dy), stretch_length=1.0)
    there = rigid.moved()
    assert torch.equal(stretched.backward()[there], rigid.backward()[there])
    assert (stretched.moved() & ~there).any()


def test_a_bar_pulled_longer_stays_one_piece() -> None:
    field = DragField.from_drag(drag_of(end(), 10), stretch_length=1.0)
    pulled = warp(bar(), field)[0, 0]
    assert torch.equal(pulled[20:30, 10:50], torch.ones(10, 40))
    assert not field.vacated().any()
    torn = DragField.from_drag(drag_of(end(), 10), deformation="rigid")
    assert int(torn.vacated().sum()) == 80


def test_on_each_line_the_source_ramps_evenly_over_twice_the_drag() -> None:
    field = DragField.from_drag(drag_of(end(), 10), stretch_length=1.0)
    # The band is columns 22 to 32 of the source; it covers columns 22 to 42 of the target.
    line = field.backward()[25]
    assert torch.allclose(line[22:42, 0], 22 + (torch.arange(20) + 0.5) / 2, atol=1e-5)
    assert torch.equal(line[:22, 0], torch.arange(22) + 0.5)
    assert torch.allclose(line[42:50, 0], torch.arange(32, 40) + 0.5)
    assert torch.equal(field.moved()[25].nonzero().squeeze(1), torch.arange(22, 50))
    assert not field.moved()[[19, 30]].any()


def test_more_material_gives_more_gently() -> None:
    field = DragField.from_drag(drag_of(end(), 6), stretch_length=3.0)
    line = field.backward()[25, 14:38, 0]
    assert torch.allclose(line.diff(), torch.full((23,), 18 / 24), atol=1e-5)


def test_an_anchor_is_the_end_that_stays() -> None:
    field = DragField.from_drag(drag_of(end(), 10, anchor=(12.0, 25.0)), stretch_length=1.0)
    line = field.backward()[25, :, 0]
    assert torch.equal(line[:12], torch.arange(12) + 0.5)
    assert torch.allclose(line[12:42].diff(), torch.full((29,), 20 / 30), atol=1e-5)


def test_pushed_towards_its_anchor_the_material_is_pressed_and_the_gap_stays_open() -> None:
    field = DragField.from_drag(drag_of(end(), -10, anchor=(12.0, 25.0)), stretch_length=1.0)
    line = field.backward()[25, :, 0]
    assert torch.allclose(line[12:22].diff(), torch.full((9,), 2.0), atol=1e-5)
    assert torch.equal(field.vacated(), torch.from_numpy(end(np.s_[30:40])))


def test_without_an_anchor_an_end_pushed_inwards_draws_what_was_behind_it_after() -> None:
    field = DragField.from_drag(drag_of(end(), -10), stretch_length=1.0)
    shorter = warp(bar(), field)[0, 0]
    assert not field.vacated().any()
    assert torch.equal(shorter[20:30, 10:30], torch.ones(10, 20))
    assert shorter[20:30, 31:].max() == 0


def test_the_stretch_grows_with_progress_from_nothing() -> None:
    field = DragField.from_drag(drag_of(end(), 10), stretch_length=1.0)
    reach = [int(field.moved(w)[25].sum()) for w in (0.0, 0.1, 0.5, 1.0)]
    assert reach == [8, 10 + 1 + 8, 10 + 5 + 8, 10 + 10 + 8]


@pytest.mark.parametrize("angle", [17, 45, 80, 133, 200, 290])
def test_a_slanted_end_leaves_no_slivers(angle) -> None:
    direction = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    side = np.array([-direction[1], direction[0]])
    centre = np.array([32.0, 24.0])
    corners = [centre + a * direction + b * side for a, b in ((-4, -6), (5, -6), (5, 6), (-4, 6))]
    mask = np.zeros(SIZE[::-1], np.uint8)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    field = DragField.from_drag(drag_of(mask > 0, *(8 * direction)), stretch_length=1.0)
    # Single cells at the outermost corners, of about a hundred that a rigid move would leave open.
    assert int(field.vacated().sum()) <= 5
    # Neighbours across the seam read neighbouring places: along the drag nothing jumps by more than a cell or so.
    along = field.backward().double() @ torch.from_numpy(direction)
    inside = cell_centres((0, 0, *SIZE)) - torch.from_numpy(centre + 4 * direction)
    core = (inside @ torch.from_numpy(side)).abs() < 4
    core &= (inside @ torch.from_numpy(direction)).abs() < 8
    for axis in (0, 1):
        both = core & core.roll(-1, axis)
        assert float((along.roll(-1, axis) - along).abs()[both].max()) < 1.6


def test_it_stops_at_the_border_of_the_picture() -> None:
    field = DragField.from_drag(drag_of(end(np.s_[4:12]), 20), stretch_length=1.0)
    assert float(field.backward()[25].min()) >= 0.5
    touching = DragField.from_drag(drag_of(end(np.s_[0:12]), 20), stretch_length=1.0)
    assert torch.equal(touching.vacated(), torch.from_numpy(end(np.s_[0:12])))


def test_it_carries_nothing_of_another_region() -> None:
    mask, other = end(), end(np.s_[24:30])
    x, y = centroid(other)
    drag = Drag(SIZE, (drag_of(mask, 10).regions[0], RegionOperation(other, "relocation", (x, y + 15))))
    layout = DragField.from_drag(drag, stretch_length=1.0).layout()
    column, row = layout.backward[layout.operation == 0].floor().long().unbind(1)
    assert not torch.from_numpy(other)[row, column].any()


def test_forward_lengthens_what_backward_reads() -> None:
    field = DragField.from_drag(drag_of(end(), 10), stretch_length=1.0)
    forward, moving = field.forward()
    assert torch.equal(moving[25].nonzero().squeeze(1), torch.arange(22, 40))
    assert torch.allclose(forward[25, 22:32, 0].diff(), torch.full((9,), 2.0), atol=1e-5)
    assert torch.allclose(forward[25, 32:40, 0], torch.arange(42, 50) + 0.5)


@pytest.mark.parametrize("length", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_length_is_refused(length) -> None:
    with pytest.raises(ValueError, match="use a positive number"):
        Stretch(length)


@pytest.mark.parametrize(("dx", "dy"), [(12, 9), (-9, 14), (5, -13)])
def test_a_region_of_a_cell_that_no_line_along_the_drag_meets_moves_alone(dx: float, dy: float):
    for x in range(60, 76):
        for y in range(60, 76):
            mask = np.zeros((128, 128), bool)
            mask[y : y + 9, x : x + 9] = True
            centre = centroid(mask)
            field = DragField.from_drag(Drag((128, 128), (RegionOperation(mask, "deformation", (centre[0] + dx, centre[1] + dy)),)))
            target, _ = field.samples(0, 1.0, (16, 16))
            assert (target - torch.tensor(centre) / 8 - torch.tensor([dx, dy]) / 8).norm(dim=1).min() < 1
