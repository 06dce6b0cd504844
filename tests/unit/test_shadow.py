"""A thing is carried with its shadow: nothing of it stays, it arrives with the shadow that belongs there, the rest is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dragfield.core.cast_shadow import CastShadow
from dragfield.core.field import DragField
from dragfield.core.masks import grow
from dragfield.core.operations import Drag, PointOperation, RegionOperation
from dragfield.core.shadow import carry, clean_plate, warp_with_shadows

SIZE = (128, 96)
SHADOW = CastShadow((6.0, 5.0), 2.5, 0.5)
RED, GROUND = np.array([0.8, 0.1, 0.1], np.float32), np.array([0.55, 0.6, 0.5], np.float32)


def box(x0, y0, x1, y1):
    mask = np.zeros(SIZE[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


def scene(thing=None):
    """Ground with a red thing that casts a shadow, or the empty ground."""
    ground = np.broadcast_to(GROUND, (*SIZE[::-1], 3)) * (1 + 0.02 * np.random.default_rng(0).standard_normal((*SIZE[::-1], 1)))
    if thing is None:
        return ground.astype(np.float32)
    shaded = ground * SHADOW.ratio(thing.astype(np.float32))[..., None]
    return np.where(thing[..., None], RED, shaded).astype(np.float32)


THING, LANDED = box(24, 30, 48, 50), box(74, 34, 98, 54)


def relocated(**changes):
    region = grow(THING, 2)
    return DragField.from_drag(replace(Drag(SIZE, (RegionOperation(region, "relocation", (86.0, 44.0)),)), **changes))


def test_a_carried_thing_looks_as_if_it_had_always_been_there():
    result = warp_with_shadows(scene(THING), relocated(), 12)
    assert np.abs(result - scene(LANDED)).mean() < 0.015
    assert np.abs(result - scene(LANDED)).max(-1)[grow(THING, 12)].mean() < 0.03


def test_a_turned_thing_keeps_the_direction_of_its_shadow():
    region = grow(THING, 2)
    # A quarter turn about a point below: the centroid (36, 40) goes to (66, 70) about (36, 70).
    field = DragField.from_drag(Drag(SIZE, (RegionOperation(region, "rotation", (66.0, 70.0), (36.0, 70.0)),)))
    expected = scene(box(56, 58, 76, 82))
    assert np.abs(warp_with_shadows(scene(THING), field, 12) - expected).mean() < 0.015


def test_a_dragged_end_takes_the_whole_thing_along():
    end = box(40, 28, 50, 52)
    field = DragField.from_drag(Drag(SIZE, (RegionOperation(end, "deformation", (65.0, 40.0)),)), deformation="stretch", stretch_length=0.5)
    assert np.abs(warp_with_shadows(scene(THING), field, 12) - scene(box(24, 30, 68, 50))).mean() < 0.015


def test_the_plate_is_the_empty_ground():
    plate = clean_plate(scene(THING), relocated(), 12)
    assert np.abs(plate.image - scene()).max(-1)[grow(THING, 14)].mean() < 0.04
    assert np.allclose(plate.image[~plate.changed], scene(THING)[~plate.changed], atol=0.02)
    assert np.allclose(plate.image[~grow(THING, 20)], scene(THING)[~grow(THING, 20)], atol=1e-6)


def test_what_is_stretched_stays_on_the_plate():
    end = box(40, 28, 50, 52)
    field = DragField.from_drag(Drag(SIZE, (RegionOperation(end, "deformation", (65.0, 40.0)),)), deformation="stretch")
    plate = clean_plate(scene(THING), field, 12)
    assert np.array_equal(plate.image, scene(THING)) and not plate.changed.any()


def test_far_from_the_drag_the_picture_is_left_alone():
    picture, near = scene(THING), grow(THING | LANDED, 30)
    assert np.allclose(warp_with_shadows(picture, relocated(), 12)[~near], picture[~near], atol=1e-3)
    assert np.array_equal(picture, scene(THING))


def test_pins_and_what_is_not_editable_keep_every_pixel():
    pin, editable = box(84, 0, 90, 96), ~box(0, 0, 30, 96)
    drag = Drag(SIZE, (RegionOperation(grow(THING, 2), "relocation", (86.0, 44.0)), RegionOperation(pin, "pin")), editable=editable)
    done = carry(scene(THING), DragField.from_drag(drag), 12)
    fixed = pin | ~editable
    assert np.array_equal(done.image[fixed], scene(THING)[fixed]) and not done.moved[fixed].any()


def test_points_move_what_is_around_them():
    field = DragField.from_drag(Drag(SIZE, points=(PointOperation((36.0, 40.0), (46.0, 40.0)),)))
    done = carry(scene(THING), field, 12)
    assert done.moved[40, 46] == 1 and np.allclose(done.image[40, 46], scene(THING)[40, 36], atol=0.1)


def test_what_moved_in_and_what_stayed_is_known():
    known = carry(scene(THING), relocated(), 12).known()
    assert known[box(80, 40, 92, 48)].min() == pytest.approx(1)
    assert not known[box(30, 36, 42, 44)].any()
    assert (known[~grow(THING | LANDED, 30)] == 1).all()
