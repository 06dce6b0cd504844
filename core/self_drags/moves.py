"""Objects that move over ground that is known, because the picture shows it elsewhere or showed it before.

Convention: pictures are uint8 [H, W, 3]; masks bool [H, W]; points and shifts (x, y) px as in `operations.py`, y down; angles in degrees,
positive clockwise on the screen. Shifts are whole pixels, so that what moved is the same numbers again.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from ..field.geometry import centroid
from ..instruction.operations import Drag, RegionOperation
from ..picture.ground_fill import fill_ground
from .contract import SelfDrag, check, plus, shifted

TRIES = 24
"""Places, and ways of an object, that are looked at for one drag."""
NEAREST, FARTHEST = 1.0, 4.0
"""How far a piece moves, in its radii."""
RIM = 3
"""Pixels around an object's mask that are taken for its own when it is taken away: masks are a little small."""


def over_repeated_ground(picture: np.ndarray, *, repeat: Literal["mirror", "shift"] = "mirror", seed: int = 0) -> SelfDrag:
    """A piece of the picture's right half lies on its left half, which is there twice, and moves off what it hid.

    repeat: how the left half is repeated beside itself.  seed: of the piece's form, place and way.
    -> a drag on a picture of the same height and of the same width (one px less if that is odd). What the piece hides, before and after, is
       to be seen at its other place.
    """
    check(picture)
    if repeat not in ("mirror", "shift"):
        raise ValueError(f"repeat {repeat!r} is unknown: use mirror or shift")
    rng = np.random.default_rng(seed)
    height, half = picture.shape[0], picture.shape[1] // 2
    left = picture[:, :half]
    ground = np.hstack([left, left[:, ::-1] if repeat == "mirror" else left])
    radius = min(height, half) / 6
    form = _blob(radius, rng)
    tall, wide = form.shape
    cuts = [(picture.shape[1] - half + x, y) for x, y in _corners(half - wide, height - tall, rng)]
    piece = max((picture[y : y + tall, x : x + wide] for x, y in cuts), key=lambda one: float(one[form].std(axis=0).sum()))

    def contrast(place: tuple[int, int]) -> float:
        """How far the piece stands out from the ground that it would lie on."""
        x, y = place
        return float(np.abs(ground[y : y + tall, x : x + wide][form] - piece[form].astype(float)).mean())

    # All places are in the left half: what is hidden there is shown in the right one.
    places = _corners(half - wide, height - tall, rng)
    pairs = [(a, b) for a in places for b in places if NEAREST * radius <= math.dist(a, b) <= FARTHEST * radius]
    if pairs:
        first, last = max(pairs, key=lambda two: min(map(contrast, two)))
    else:
        first, last = max(((a, b) for a in places for b in places), key=lambda two: math.dist(*two))
    pictures, masks = [], []
    for x, y in (first, last):
        mask = np.zeros(ground.shape[:2], bool)
        mask[y : y + tall, x : x + wide] = form
        laid = ground.copy()
        laid[mask] = piece[form]
        pictures.append(laid)
        masks.append(mask)
    region = RegionOperation(masks[0], "relocation", plus(centroid(masks[0]), np.subtract(last, first)))
    return _move_drag(f"over_{repeat}", pictures[0], pictures[1], region, masks[1])


def brought_back(picture: np.ndarray, mask: np.ndarray, *, seed: int = 0) -> SelfDrag:
    """An object of the picture stands elsewhere, and the drag brings it to where it was: the truth is the picture itself.

    mask: bool [H, W], the object.  seed: of where it is taken.
    Raises ValueError for an empty mask or one of another size, and if the object finds no place beside itself.
    """
    check(picture, mask)
    if not mask.any():
        raise ValueError("the object's mask is empty: select an object, or give no mask")
    rng = np.random.default_rng(seed)
    own = cv2.dilate(mask.astype(np.uint8), np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)).astype(bool)
    ys, xs = np.nonzero(mask)
    size = math.hypot(np.ptp(xs) + 1, np.ptp(ys) + 1)
    fitting = []
    for _ in range(8 * TRIES):
        length, angle = size * rng.uniform(0.4, 1.5), rng.uniform(0, 2 * math.pi)
        shift = np.array([round(length * math.cos(angle)), round(length * math.sin(angle))])
        moved = np.array([[xs.min(), ys.min()], [xs.max(), ys.max()]]) + shift
        if (moved[0] >= 0).all() and (moved[1] < mask.shape[::-1]).all() and not (shifted(mask, shift) & own).any():
            fitting.append(shift)
    if not fitting:
        raise ValueError(f"the object is {np.ptp(xs) + 1} x {np.ptp(ys) + 1} px and finds no free place in a picture of {mask.shape[1]} x "
                         f"{mask.shape[0]} px: select a smaller one")
    shift = fitting[0]
    away = shifted(mask, shift)
    source = fill_ground(picture, own, ~own)
    source[away] = picture[mask]
    region = RegionOperation(away, "relocation", plus(centroid(away), -shift))
    return _move_drag("brought_back", source, picture.copy(), region, mask.copy(), own)


def _move_drag(
    name: str, source: np.ndarray, truth: np.ndarray, region: RegionOperation, landed: np.ndarray, own: np.ndarray | None = None
) -> SelfDrag:
    editable = region.mask | landed if own is None else region.mask | landed | own
    drag = Drag((landed.shape[1], landed.shape[0]), (region,), editable=editable)
    return SelfDrag(name, source, drag, truth, landed, region.mask & ~landed)


def _corners(right: int, bottom: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    return [(int(rng.integers(0, right + 1)), int(rng.integers(0, bottom + 1))) for _ in range(TRIES)]


def _blob(radius: float, rng: np.random.Generator) -> np.ndarray:
    """A roundish form that is no disc, cut to its box: bool [h, w], within 2 radius + 1 px a side."""
    angle = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    wobble = sum(rng.uniform(0.05, 0.12) * np.cos(k * angle + rng.uniform(0, 2 * math.pi)) for k in (2, 3, 4))
    reach = radius * np.clip(1 + wobble, 0, 1.36) / 1.36
    side = 2 * math.ceil(radius) + 1
    outline = np.rint(np.stack([np.cos(angle), np.sin(angle)], -1) * reach[:, None] + side // 2).astype(np.int32)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [outline], 1)
    ys, xs = np.nonzero(mask)
    return mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].astype(bool)
