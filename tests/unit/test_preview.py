"""The instant preview: what moves lands, what is kept stays bit for bit, what is vacated takes its surroundings."""

from __future__ import annotations

import numpy as np
import pytest

from dragfield.core.field import DragField
from dragfield.core.field.geometry import centroid
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.picture.preview import fill_hole, overlay, preview

SIZE = (72, 56)


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


def shifted(mask: np.ndarray, dx: float, dy: float) -> RegionOperation:
    x, y = centroid(mask)
    return RegionOperation(mask, "relocation", (x + dx, y + dy))


def noise(kind: str) -> np.ndarray:
    values = np.random.default_rng(0).random((56, 72, 3))
    return np.rint(values * 255).astype(np.uint8) if kind == "uint8" else values.astype(kind)


REGION = box(10, 12, 26, 30)
DRAG = Drag(SIZE, (shifted(REGION, 30, 11),))
KINDS = ["uint8", "float32", "float64"]


@pytest.mark.parametrize("kind", KINDS)
def test_moved_pixels_land_and_kept_pixels_stay_bit_for_bit(kind) -> None:
    picture, field = noise(kind), DragField.from_drag(DRAG)
    before = picture.copy()
    result = preview(picture, field)
    assert result.dtype == picture.dtype and result.shape == picture.shape
    assert np.array_equal(picture, before) and not np.shares_memory(result, picture)
    moved, kept = field.moved().numpy(), field.kept().numpy()
    assert np.array_equal(result[kept], picture[kept])
    assert np.allclose(result[moved], picture[REGION], atol=1e-6)


def test_a_zero_drag_gives_the_picture_back() -> None:
    picture = noise("uint8")
    assert np.array_equal(preview(picture, DragField.from_drag(DRAG), progress=0.0), picture)
    assert np.array_equal(preview(picture, DragField.from_drag(Drag(SIZE))), picture)


@pytest.mark.parametrize("kind", KINDS)
def test_the_vacated_place_takes_the_colour_around_it_and_not_of_what_left(kind) -> None:
    white = 255 if kind == "uint8" else 1.0
    picture = np.full((56, 72, 3), 0.25 * white).astype(kind)
    picture[REGION] = white
    field = DragField.from_drag(Drag(SIZE, (shifted(REGION, 9, 4),)))
    result = preview(picture, field)
    assert np.allclose(result[field.vacated().numpy()], picture[0, 0], atol=0.01 * white)
    assert (result[field.moved().numpy()] == white).all()


def test_without_filling_the_vacated_place_shows_what_was_there() -> None:
    picture, field = noise("uint8"), DragField.from_drag(DRAG)
    gone = field.vacated().numpy()
    assert np.array_equal(preview(picture, field, fill=False)[gone], picture[gone])


@pytest.mark.parametrize("region", [box(0, 0, 20, 20), box(0, 0, 72, 55), box(0, 10, 72, 50), box(71, 0, 72, 56)])
def test_holes_at_the_border_and_nearly_everywhere_are_filled_within_range(region) -> None:
    picture = noise("float32")
    target = 8 if region[:, :60].any() else -8
    field = DragField.from_drag(Drag(SIZE, (shifted(region, target, 0),)))
    result = preview(picture, field)
    assert np.isfinite(result).all()
    assert result.min() >= picture.min() - 1e-5 and result.max() <= picture.max() + 1e-5


def test_a_picture_that_moves_as_a_whole_is_filled_from_itself() -> None:
    picture = np.full((56, 72, 3), 90, np.uint8)
    field = DragField.from_drag(Drag(SIZE, (shifted(np.ones((56, 72), bool), 12, 0),)))
    assert not field.kept().any()
    assert (preview(picture, field) == 90).all()


def test_a_fill_follows_a_gradient() -> None:
    ramp = np.repeat(np.linspace(0, 1, 72, dtype=np.float32)[None, :, None], 56, axis=0).repeat(3, axis=2)
    hole = box(30, 20, 44, 36)
    filled = fill_hole(np.where(hole[..., None], np.float32(9), ramp), hole, ~hole)
    assert np.abs(filled - ramp)[hole].max() < 0.12
    assert np.array_equal(filled[~hole], ramp[~hole])


def test_fill_reads_known_pixels_only() -> None:
    picture = np.full((56, 72, 3), 0.5, np.float32)
    hole, unknown = box(30, 20, 44, 36), box(26, 16, 30, 40)
    picture[unknown] = 7.0
    filled = fill_hole(picture, hole, ~(hole | unknown))
    assert np.allclose(filled[hole], 0.5, atol=1e-5) and (filled[unknown] == 7.0).all()
    nothing = fill_hole(noise("float32"), hole, np.zeros_like(hole))
    assert np.allclose(nothing[hole], noise("float32").mean(axis=(0, 1)), atol=1e-5)


def test_holes_of_odd_shapes_are_filled() -> None:
    for height, width in ((1, 40), (40, 1), (1, 1), (300, 7)):
        picture = np.random.default_rng(1).random((height, width, 3)).astype(np.float32)
        hole = np.zeros((height, width), bool)
        hole[: max(1, height // 2), : max(1, width // 2)] = True
        assert np.isfinite(fill_hole(picture, hole, ~hole)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_overlay_draws_on_a_copy(kind) -> None:
    picture = np.full((56, 72, 3), 0).astype(kind)
    before = picture.copy()
    regions = (
        DRAG.regions[0],
        RegionOperation(box(2, 40, 12, 50), "pin"),
        RegionOperation(box(40, 2, 50, 12), "rotation", (60.0, 30.0), (40.0, 25.0)),
    )
    drawn = overlay(picture, Drag(SIZE, regions, (PointOperation((60, 48), (66, 50)),)))
    assert np.array_equal(picture, before) and drawn.dtype == picture.dtype and drawn.shape == picture.shape
    seen = drawn.max(axis=2) > 0
    for x, y in ((10, 20), (40, 30), (33, 26), (2, 45), (40, 25), (60, 48), (66, 50)):
        assert seen[y - 2 : y + 3, x - 2 : x + 3].any(), (x, y)
    assert not seen[50:, 20:36].any()


def test_pictures_of_another_kind_are_refused() -> None:
    field = DragField.from_drag(DRAG)
    for picture in (np.zeros((72, 56, 3), np.uint8), np.zeros((56, 72), np.uint8), np.zeros((56, 72, 4), np.uint8)):
        with pytest.raises(ValueError, match="resize one to the other"):
            preview(picture, field)
    with pytest.raises(ValueError, match="give uint8, or float"):
        preview(np.zeros((56, 72, 3), np.int32), field)
