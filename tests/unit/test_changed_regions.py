"""A region that is scaled, mirrored, turned on its way or copied: what an edit starts from is what Pillow draws with the cut-out alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from dragfield.core.field import DragField
from dragfield.core.field.geometry import centroid
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.picture.evidence import carry, clean_plate
from dragfield.core.picture.preview import preview

SIZE, MIDDLE, TARGET = (192, 144), (48, 60), (124.0, 74.0)
CHANGES = {
    "larger": ((2.0, 2.0), 0.0),
    "wider": ((1.7, 1.0), 0.0),
    "smaller": ((0.5, 0.5), 0.0),
    "much smaller": ((0.25, 0.25), 0.0),
    "flat": ((1.2, 0.4), 0.0),
    "mirrored": ((-1.0, 1.0), 0.0),
    "upside down and larger": ((1.5, -1.5), 0.0),
    "turned": ((1.0, 1.0), 35.0),
    "mirrored, smaller, turned": ((-0.5, 0.5), -60.0),
}


def leaf() -> np.ndarray:
    """A shape without any symmetry whose centroid is MIDDLE, to a pixel."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    cv2.fillPoly(mask, [np.array([(28, 52), (46, 38), (66, 46), (70, 66), (44, 82), (40, 70), (30, 72)])], 1)
    x, y = centroid(mask > 0)
    return np.roll(mask, (round(MIDDLE[1] - y), round(MIDDLE[0] - x)), (0, 1)) > 0


LEAF = leaf()


def picture() -> np.ndarray:
    """Fine stripes on a leaf, on a grey ground: left and right, above and below are told apart, and so is what is not averaged."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    stripes = np.stack((0.5 + 0.35 * np.sin(x * 1.4), 0.5 + 0.35 * np.sin(y / 4), (x - 20) / 80), -1)
    return np.where(LEAF[..., None], stripes, 0.55).clip(0, 1).astype(np.float32)


def drawn_by_pillow(scale: tuple[float, float], angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The cut-out alone, on a sheet of its own: resized, flipped, turned, put down. -> colours [H, W, 3], how much is there [H, W]."""
    (x, y), pad = centroid(LEAF), 60
    # A square around the centroid, to a pixel, so that every step keeps it in the middle.
    left, top = round(x) - pad, round(y) - pad
    sheet = np.zeros((2 * pad, 2 * pad, 4), np.float32)
    rows, columns = np.mgrid[:2 * pad, :2 * pad] + np.array([top, left])[:, None, None]
    inside = (rows >= 0) & (rows < SIZE[1]) & (columns >= 0) & (columns < SIZE[0])
    at = rows.clip(0, SIZE[1] - 1), columns.clip(0, SIZE[0] - 1)
    sheet[..., 3] = LEAF[at] & inside
    # Times what is there, so that nothing beside it is mixed in.
    sheet[..., :3] = picture()[at] * sheet[..., 3:]
    channels = []
    for channel in np.moveaxis(sheet, -1, 0):
        one = Image.fromarray(channel)
        how = Image.BILINEAR if min(map(abs, scale)) >= 1 else Image.BOX
        one = one.resize((round(2 * pad * abs(scale[0])), round(2 * pad * abs(scale[1]))), how)
        one = one.transpose(Image.FLIP_LEFT_RIGHT) if scale[0] < 0 else one
        one = one.transpose(Image.FLIP_TOP_BOTTOM) if scale[1] < 0 else one
        wide = Image.new("F", (4 * pad, 4 * pad))
        wide.paste(one, ((4 * pad - one.width) // 2, (4 * pad - one.height) // 2))
        # Pillow turns counter-clockwise for positive angles.
        channels.append(np.asarray(wide.rotate(-angle, Image.BILINEAR)))
    done = np.stack(channels, -1)
    canvas = np.zeros((SIZE[1] + 8 * pad, SIZE[0] + 8 * pad, 4), np.float32)
    column, row = round(TARGET[0]) - 2 * pad + 4 * pad, round(TARGET[1]) - 2 * pad + 4 * pad
    canvas[row : row + 4 * pad, column : column + 4 * pad] = done
    done = canvas[4 * pad : 4 * pad + SIZE[1], 4 * pad : 4 * pad + SIZE[0]]
    return done[..., :3] / np.maximum(done[..., 3:], 1e-6), done[..., 3]


def field_of(scale: tuple[float, float], angle: float, copy: bool = False) -> DragField:
    """Moved so that the sheet's middle, a little beside the centroid, comes to lie on the target."""
    beside = np.array(centroid(LEAF)) - np.round(centroid(LEAF))
    turn = np.radians(angle)
    moved = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ (beside * scale)
    target = TARGET[0] + moved[0], TARGET[1] + moved[1]
    return DragField.from_drag(Drag(SIZE, (RegionOperation(LEAF, "relocation", target, scale=scale, angle=angle, copy=copy),)))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("start", ["evidence", "preview"])
def test_a_changed_region_is_what_pillow_draws(name: str, start: str) -> None:
    scale, angle = CHANGES[name]
    field = field_of(scale, angle)
    found = carry(picture(), field).image if start == "evidence" else preview(picture(), field)
    colours, there = drawn_by_pillow(scale, angle)
    rim = cv2.dilate(cv2.morphologyEx((there > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), np.ones((3, 3))) > 0
    assert not ((field.moved().numpy() != (there > 0.5)) & ~rim).any()
    solid = (there > 0.99) & ~rim
    assert solid.sum() > 10
    assert np.abs(found - colours)[solid].mean() < 0.03


@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_lands_as_what_moves_and_around_it_every_pixel_stays(name: str) -> None:
    moved, copied = field_of(*CHANGES[name]), field_of(*CHANGES[name], copy=True)
    landed = moved.moved().numpy()
    before = picture()
    for made in (carry(before, copied), carry(before, copied, edges="snapped")):
        assert not made.changed[LEAF & ~landed].any()
    done = carry(before, copied).image
    assert np.array_equal(done[~landed], before[~landed])
    assert np.allclose(done[landed], carry(before, moved).image[landed])
    plate = clean_plate(before, copied)
    assert np.array_equal(plate.image, before) and not plate.changed.any()


def test_what_shrinks_without_being_averaged_would_show_other_stripes() -> None:
    """The test above can fail: read at the middle of each pixel, stripes of a few pixels become coarse ones."""
    field = field_of(*CHANGES["much smaller"])
    backward = field.backward().numpy()
    bare = cv2.remap(picture(), backward[..., 0] - 0.5, backward[..., 1] - 0.5, cv2.INTER_LINEAR)
    colours, there = drawn_by_pillow(*CHANGES["much smaller"])
    solid = cv2.erode((there > 0.99).astype(np.uint8), np.ones((3, 3))) > 0
    assert np.abs(bare - colours)[solid].mean() > 0.04
