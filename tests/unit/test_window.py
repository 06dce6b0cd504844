"""Crop and stitch of Drag Edit: the window holds the drag, and what comes back is the picture where nothing may change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dragfield.core.edits.dragfield import open_mask
from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.picture.window import Window, crop, crop_drag, stitch, window_around


def relocation(size: tuple[int, int], box: tuple[int, int, int, int], target: tuple[float, float]) -> Drag:
    mask = np.zeros((size[1], size[0]), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return Drag(size, (RegionOperation(mask, "relocation", target),))


def window_of(drag: Drag, longest: int) -> Window:
    return window_around(open_mask(DragField.from_drag(drag), 0.0), drag, longest)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(40, 300), height=st.integers(40, 300), longest=st.integers(32, 200),
    x=st.floats(0.05, 0.9), y=st.floats(0.05, 0.9), tx=st.floats(0.05, 0.95), ty=st.floats(0.05, 0.95),
)  # fmt: skip
def test_a_window_holds_the_drag_and_is_worked_at_in_multiples_of_16(
    width: int, height: int, longest: int, x: float, y: float, tx: float, ty: float
) -> None:
    left, top = int(x * (width - 6)), int(y * (height - 6))
    drag = relocation((width, height), (left, top, left + 6, top + 6), (tx * width, ty * height))
    window = window_of(drag, longest)
    assert 0 <= window.x and window.x + window.width <= width and 0 <= window.y and window.y + window.height <= height
    assert all(side % 16 == 0 and 16 <= side <= longest + 15 for side in window.work)
    assert drag.regions[0].mask.sum() == drag.regions[0].mask[window.rows, window.columns].sum()
    moved = DragField.from_drag(drag).moved().numpy()
    assert moved.sum() == moved[window.rows, window.columns].sum()


def test_a_picture_that_fits_is_taken_whole() -> None:
    assert window_of(relocation((96, 64), (10, 10, 20, 20), (50.0, 30.0)), 1024) == Window(0, 0, 96, 64, (96, 64))


def test_another_target_nearby_sees_the_same_window() -> None:
    drags = [relocation((1000, 800), (400, 300, 440, 340), (500.0 + move, 330.0)) for move in (0, 6, 12)]
    assert len({window_of(drag, 256) for drag in drags}) == 1


def test_a_cropped_drag_moves_the_same_pixels() -> None:
    drag = relocation((200, 160), (90, 80, 110, 100), (130.0, 70.0))
    drag = Drag(drag.size, drag.regions, (PointOperation((80.5, 60.5), (84.5, 64.5)),), editable=np.ones((160, 200), dtype=bool))
    window = Window(64, 48, 96, 64, (96, 64))
    small = crop_drag(drag, window)
    whole = DragField.from_drag(drag).layout()
    part = DragField.from_drag(small).layout()
    rows, columns = window.rows, window.columns
    assert torch.equal(part.operation == 0, (whole.operation == 0)[rows, columns])
    shifted = whole.backward[rows, columns] - torch.tensor([window.x, window.y])
    assert torch.allclose(part.backward[part.operation == 0], shifted[part.operation == 0])
    assert small.points[0].handle == (16.5, 12.5) and small.editable.shape == (64, 96)


@pytest.mark.parametrize("work", [(48, 32), (96, 64)])
@pytest.mark.parametrize("fade", [0.0, 3.0])
def test_stitching_leaves_every_other_pixel_bit_for_bit(work: tuple[int, int], fade: float) -> None:
    picture = torch.rand(1, 3, 100, 140, generator=torch.Generator().manual_seed(0))
    window = Window(20, 16, 96, 64, work)
    mask = np.zeros((work[1], work[0]), dtype=bool)
    mask[8:16, 8:20] = True
    edited = torch.zeros(1, 3, work[1], work[0])
    result, weight = stitch(picture, edited, mask, window, fade)
    assert torch.equal(result[..., torch.from_numpy(weight == 0)], picture[..., torch.from_numpy(weight == 0)])
    assert (result[..., torch.from_numpy(weight == 1)] == 0).all() and (weight == 1).any()
    assert (weight > 0).sum() < weight.size / 4


def test_a_window_in_its_own_size_is_cut_out_exactly() -> None:
    picture = torch.rand(1, 3, 40, 50)
    assert torch.equal(crop(picture, Window(2, 8, 32, 16, (32, 16))), picture[..., 8:24, 2:34])


def test_a_picture_smaller_than_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 px"):
        window_of(relocation((60, 12), (2, 2, 8, 8), (20.0, 5.0)), 256)
