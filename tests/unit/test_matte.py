"""A generous region is cut down to its thing, and the end of a thing leads to the whole of it."""

from __future__ import annotations

import numpy as np
import pytest

from dragfield.core.masks import grow
from dragfield.core.matte import matte, nearest_colour, whole_thing

SIZE = (80, 96)
RED, GREY = np.array([0.8, 0.1, 0.1], np.float32), np.array([0.5, 0.5, 0.55], np.float32)


def box(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


THING = box(30, 30, 60, 50)


def scene(thing=THING, colour=RED):
    picture = np.where(thing[..., None], colour, GREY).astype(np.float32)
    return picture * (1 + 0.02 * np.random.default_rng(0).standard_normal((*SIZE, 1)).astype(np.float32))


def test_a_rim_of_ground_is_given_back():
    alpha = matte(scene(), grow(THING, 2))
    assert alpha[THING].min() > 0.9 and alpha[~THING].max() < 0.1


def test_nothing_is_added_to_a_region():
    region = box(36, 34, 54, 46)
    alpha = matte(scene(), region)
    assert (alpha[~region] == 0).all() and (alpha[region] == 1).all()


def test_what_looks_like_its_ground_is_believed():
    region = grow(THING, 2)
    assert np.array_equal(matte(scene(colour=GREY), region), region.astype(np.float32))


def test_an_end_leads_to_the_whole_thing():
    found = whole_thing(scene(), box(50, 28, 62, 52), 24)
    assert found[THING].all() and not (found & ~grow(THING, 3)).any()


def test_a_shadow_is_not_part_of_the_thing():
    picture = scene()
    picture[50:56, 30:60] *= 0.5
    found = whole_thing(picture, box(50, 28, 62, 52), 24)
    assert not found[54:, 30:48].any()


@pytest.mark.parametrize("thing", [box(0, 30, 96, 50), np.ones(SIZE, bool)], ids=("runs through the picture", "fills it"))
def test_what_does_not_stand_alone_is_no_thing(thing):
    assert whole_thing(scene(thing), box(50, 28, 62, 52), 24) is None


def test_the_nearest_colour_leaves_what_is_known():
    picture = scene()
    filled = nearest_colour(picture, THING)
    assert np.array_equal(filled[THING], picture[THING])
    assert np.allclose(filled[~THING], RED, atol=0.1)
