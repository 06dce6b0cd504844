"""A hole is filled with ground that the picture shows elsewhere: its texture, no rim, nothing else touched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dragfield.core.picture.ground_fill import SHARE, fill_ground
from dragfield.core.picture.preview import fill_hole


def bricks(height: int = 120, width: int = 160, tilt: float = 0.0) -> np.ndarray:
    """A ground that repeats every 16 x 10 px, lighter to one side."""
    y, x = np.mgrid[:height, :width]
    mortar = ((x + 8 * (y // 10 % 2)) % 16 < 2) | (y % 10 < 2)
    picture = np.where(mortar[..., None], [0.7, 0.7, 0.65], [0.55, 0.3, 0.25]) + tilt * (x / width - 0.5)[..., None]
    return picture.astype(np.float32)


def hole(height: int = 120, width: int = 160) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (22, 17), 20, 0, 360, 1, -1)
    return mask > 0


def fine(picture: np.ndarray, where: np.ndarray) -> float:
    return float(((picture - cv2.GaussianBlur(picture, (0, 0), 2)) ** 2)[where].mean())


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_what_repeats_goes_on_under_the_hole(tilt: float) -> None:
    truth, gap = bricks(tilt=tilt), hole()
    smooth, copied = fill_hole(truth, gap, ~gap), fill_ground(truth, gap, ~gap)
    # A fifth of it is the smooth fill, on purpose.
    assert np.abs(copied - truth)[gap].mean() < 1.05 * (1 - SHARE) * np.abs(smooth - truth)[gap].mean() + 0.01
    assert 0.6 < fine(copied, gap) / fine(truth, ~gap) < 1.4
    assert fine(smooth, gap) < 0.2 * fine(truth, ~gap)


def test_only_the_hole_differs_and_what_arrived_is_not_written_to() -> None:
    picture, gap = bricks(), hole()
    before = picture.copy()
    done = fill_ground(picture, gap, ~gap)
    assert np.array_equal(done[~gap], before[~gap]) and np.array_equal(picture, before)
    assert done.dtype == picture.dtype and 0 <= done.min() and done.max() <= 1


def test_eight_bits_are_filled_as_fractions_are() -> None:
    picture, gap = np.rint(bricks() * 255).astype(np.uint8), hole()
    done = fill_ground(picture, gap, ~gap)
    assert done.dtype == np.uint8
    assert np.abs(done / 255 - fill_ground(picture / np.float32(255), gap, ~gap)).max() < 2 / 255


def test_nothing_is_copied_from_the_hole_or_from_what_is_not_known() -> None:
    """An object of a colour that the ground does not have, and one beside it that is not ground either."""
    picture, gap = bricks(), hole()
    picture[gap] = (0, 1, 0)
    other = np.zeros_like(gap)
    other[10:40, 10:40] = True
    picture[other] = (0, 0, 1)
    done = fill_ground(picture, gap, ~gap & ~other)
    assert done[gap][:, 1].max() < 0.85 and done[gap][:, 2].max() < 0.8
    assert np.array_equal(done[other], picture[other])


def test_a_hole_as_large_as_the_ground_is_filled_all_the_same() -> None:
    picture = bricks()
    gap = np.zeros(picture.shape[:2], bool)
    gap[8:112, 8:152] = True
    done = fill_ground(picture, gap, ~gap)
    assert np.isfinite(done).all() and np.array_equal(done[~gap], picture[~gap])


def test_without_any_ground_it_is_the_smooth_fill() -> None:
    picture, everything = bricks(), np.ones((120, 160), bool)
    assert np.array_equal(fill_ground(picture, everything, ~everything), fill_hole(picture, everything, ~everything))
    nothing = ~everything
    assert np.array_equal(fill_ground(picture, nothing, everything), picture)


def test_twice_is_the_same() -> None:
    rng = np.random.default_rng(0)
    picture, gap = rng.random((90, 130, 3), np.float32), hole(90, 130)
    assert np.array_equal(fill_ground(picture, gap, ~gap), fill_ground(picture, gap, ~gap))
