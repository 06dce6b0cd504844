"""A cast shadow is measured as the outline of its object, and believed only where that explains what is dark."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dragfield.core.picture.cast_shadow import CastShadow, fit_cast_shadow

SIZE = (96, 112)


def outline(x0=40, y0=40, x1=64, y1=60):
    mask = np.zeros(SIZE, np.float32)
    mask[y0:y1, x0:x1] = 1
    return mask


def scene(shadow=None, mask=None, seed=0):
    """Grainy ground of one hue, a red object on it."""
    mask = outline() if mask is None else mask
    ground = np.array([0.5, 0.6, 0.4], np.float32) * (1 + 0.03 * np.random.default_rng(seed).standard_normal((*SIZE, 1)).astype(np.float32))
    if shadow is not None:
        # Not by the formula that is fitted: an edge that fades evenly, as under a round lamp, and a little light that finds its way in.
        (dx, dy), wide = shadow.offset, int(3 * shadow.softness) | 1
        fallen = cv2.warpAffine(mask, np.float32([[1, 0, dx], [0, 1, dy]]), mask.shape[::-1])
        ground = ground * (1 - shadow.strength * cv2.blur(fallen, (wide, wide)) ** 1.2)[..., None]
    return np.where(mask[..., None] > 0.5, np.array([0.8, 0.1, 0.1], np.float32), ground).astype(np.float32)


@pytest.mark.parametrize("offset", [(6.0, 4.0), (-7.0, 0.0), (0.0, -8.0)], ids=str)
def test_a_shadow_is_found_where_it_falls(offset):
    found = fit_cast_shadow(scene(CastShadow(offset, 2.5, 0.5)), outline(), 12)
    assert found.offset == pytest.approx(offset, abs=1.01)
    assert found.strength == pytest.approx(0.5, abs=0.1)


def test_a_larger_picture_gives_the_same_shadow_in_its_own_pixels():
    picture, mask = scene(CastShadow((6.0, 4.0), 2.5, 0.5)), outline()
    small = fit_cast_shadow(picture, mask, 12)
    large = fit_cast_shadow(*(a.repeat(4, 0).repeat(4, 1) for a in (picture, mask)), 48)
    assert large.offset == pytest.approx(tuple(4 * v for v in small.offset), abs=4)
    assert large.strength == pytest.approx(small.strength, abs=0.08)


def test_ground_without_a_shadow_gives_none():
    assert fit_cast_shadow(scene(), outline(), 12) is None


def test_a_dark_line_in_the_ground_is_no_shadow():
    picture = scene()
    picture[:, 70:73] *= 0.6
    assert fit_cast_shadow(picture, outline(), 12) is None


def test_a_dark_object_of_another_hue_is_not_looked_at():
    shadow = CastShadow((6.0, 4.0), 2.5, 0.5)
    picture = scene(shadow)
    picture[30:38, 30:60] = (0.05, 0.05, 0.4)
    assert fit_cast_shadow(picture, outline(), 12).offset == pytest.approx(shadow.offset, abs=1.01)


@pytest.mark.parametrize("mask", [np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)], ids=("nothing", "all of it"))
def test_nothing_and_everything_cast_no_shadow(mask):
    assert fit_cast_shadow(scene(), mask, 12) is None


def test_no_shadow_takes_all_the_light():
    assert CastShadow((3.0, 3.0), 2.0, 5.0).ratio(outline()).min() == pytest.approx(0.2, abs=0.01)
