"""What an edit starts from: the object is where it goes, ground is where it was, all else is left alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from dragfield.core.field import DragField
from dragfield.core.field.masks import grow
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.picture.cutout import cut_out
from dragfield.core.picture.evidence import carry, clean_plate

SIZE = (128, 96)
RED = np.array([0.8, 0.1, 0.1], np.float32)


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


OBJECT, LANDED = box(24, 30, 48, 50), box(74, 34, 98, 54)


def ground() -> np.ndarray:
    """Grain of two scales."""
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.standard_normal((24, 32, 1)), np.ones((4, 4, 1)))
    return (np.array([0.55, 0.6, 0.5]) + 0.03 * coarse + 0.02 * rng.standard_normal((96, 128, 1))).astype(np.float32)


def scene(where: np.ndarray) -> np.ndarray:
    return np.where(where[..., None], RED, ground()).astype(np.float32)


def relocated(region: np.ndarray = OBJECT, **changes) -> DragField:
    return DragField.from_drag(replace(Drag(SIZE, (RegionOperation(region, "relocation", (86.0, 44.0)),)), **changes))


def test_the_object_arrives_and_ground_is_where_it_was() -> None:
    done = carry(scene(OBJECT), relocated())
    assert np.allclose(done.image[LANDED], RED, atol=1e-6)
    left = done.image[grow(OBJECT, 1)]
    assert np.abs(left - RED).max(axis=-1).min() > 0.2, "nothing red is left, rim included"
    assert np.abs(left.mean(0) - ground().mean((0, 1))).max() < 0.02
    assert 0.5 < left.std() / ground()[60:90, 60:120].std() < 1.5, "with the ground's own grain"


def test_far_from_the_drag_every_bit_is_kept_and_what_arrived_is_not_written_to() -> None:
    picture, near = scene(OBJECT), grow(OBJECT | LANDED, 2)
    done = carry(picture, relocated())
    assert np.array_equal(done.image[~near], picture[~near])
    assert np.array_equal(picture, scene(OBJECT))


def test_pins_and_what_is_not_editable_keep_every_pixel() -> None:
    pin, editable = box(84, 0, 90, 96), ~box(0, 0, 30, 96)
    drag = Drag(SIZE, (RegionOperation(OBJECT, "relocation", (86.0, 44.0)), RegionOperation(pin, "pin")), editable=editable)
    done = carry(scene(OBJECT), DragField.from_drag(drag))
    fixed = pin | ~editable
    assert np.array_equal(done.image[fixed], scene(OBJECT)[fixed]) and not done.moved[fixed].any()


def test_points_move_what_is_around_them() -> None:
    field = DragField.from_drag(Drag(SIZE, points=(PointOperation((36.0, 40.0), (46.0, 40.0)),)))
    done = carry(scene(OBJECT), field)
    assert done.moved[40, 46] == 1 and np.allclose(done.image[40, 46], scene(OBJECT)[40, 36], atol=0.1)


def test_what_moved_in_and_what_stayed_is_known_and_what_was_made_up_is_not() -> None:
    known = carry(scene(OBJECT), relocated()).known()
    assert known[LANDED].min() == pytest.approx(1) and not known[box(30, 36, 42, 44)].any()
    assert (known[~grow(OBJECT | LANDED, 2)] == 1).all()


def test_the_plate_is_the_empty_ground_and_what_is_stretched_stays_on_it() -> None:
    plate = clean_plate(scene(OBJECT), relocated())
    assert np.abs(plate.image - ground()).mean() < 0.01 and np.array_equal(plate.image[~plate.changed], scene(OBJECT)[~plate.changed])
    end = Drag(SIZE, (RegionOperation(box(40, 28, 50, 52), "deformation", (65.0, 40.0)),))
    plate = clean_plate(scene(OBJECT), DragField.from_drag(end, deformation="stretch"))
    assert np.array_equal(plate.image, scene(OBJECT)) and not plate.changed.any()


@dataclass
class Below:
    """A shadow of half the light, straight below the object, wherever that is."""

    def lifted(self, alpha: np.ndarray) -> np.ndarray:
        shade = np.ones_like(alpha)
        shade[50:56, 24:48] = 0.5
        return shade

    def laid_down(self, alpha: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(alpha > 0.5)
        shade = np.ones_like(alpha)
        shade[rows.max() + 1 : rows.max() + 7, columns.min() : columns.max() + 1] = 0.5
        return shade


def test_a_shadow_that_is_told_is_lifted_with_the_object_and_laid_down_with_it() -> None:
    picture = scene(OBJECT)
    picture[50:56, 24:48] *= 0.5
    done = carry(picture, relocated(), find_shadow=lambda image, alpha: Below())
    expected = scene(LANDED)
    expected[54:60, 74:98] *= 0.5
    assert np.allclose(done.image[54:60, 74:98], expected[54:60, 74:98], atol=1e-5)
    assert np.abs(done.image[52:56, 24:48] - ground()[52:56, 24:48]).max() < 1e-5
    assert carry(picture, relocated()).image[53, 36].mean() == pytest.approx(picture[53, 36].mean()), "nobody looks for one unasked"


def test_a_region_is_taken_as_drawn_unless_its_edges_are_to_be_snapped() -> None:
    loose = grow(OBJECT, 5)
    assert np.array_equal(cut_out(scene(OBJECT), loose), loose.astype(np.float32))
    snapped = cut_out(scene(OBJECT), loose, "snapped")
    found = snapped > 0.5
    assert (found & OBJECT).sum() / (found | OBJECT).sum() > 0.9
    carried = carry(scene(OBJECT), relocated(loose), edges="snapped")
    beside = grow(LANDED, 4) & ~grow(LANDED, 2)
    assert np.allclose(carried.image[beside], scene(OBJECT)[beside], atol=0.02), "no ground came along"
    with pytest.raises(ValueError, match="use 'drawn' or 'snapped'"):
        cut_out(scene(OBJECT), loose, "soft")
