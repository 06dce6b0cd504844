"""A thing's shadow goes where the thing goes: found beside the region, lifted off the old place, laid down at the new one.

A region is drawn around a thing, never around its shadow, so a plain warp leaves the shadow behind and the filled hole inherits its
dark rim. Here the ground around the region is estimated from farther away; what is darker than that estimate but of the same hue, and
touches the region, is taken as cast shadow, held as a ratio (shadowed / lit). Dividing by it lights the old place with its texture kept;
multiplying the moved ratio in darkens the new one. It is a guess to start from, not a claim about the light.

Convention: pictures are float [H, W, 3] in [0, 1]; masks bool [H, W]; lengths px of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .field import DragField
from .masks import grow
from .moves import RegionMove
from .preview import fill_hole

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
DARKER, DARKEST = 0.93, 0.2
"""Ratio to the lit ground between which a pixel may be shadow."""
SAME_HUE = 0.25
"""Largest difference of colour / brightness to the ground for it to be the same ground."""


@dataclass(frozen=True, eq=False)
class Shadow:
    """ratio: float32 [H, W] in [0.2, 1], how much light is left; 1 outside of `where`.  where: bool [H, W]."""

    ratio: np.ndarray
    where: np.ndarray


def find_shadow(image: np.ndarray, region: np.ndarray, reach: float) -> Shadow:
    """The cast shadow within `reach` px of a region, which itself is not looked at. Nothing found: a ratio of 1 everywhere."""
    band = grow(region, reach) & ~region
    ground = fill_hole(image, region | band, ~(region | band))
    light, lit = image @ LUMA, np.maximum(ground @ LUMA, 1e-3)
    ratio = (light / lit).astype(np.float32)
    hue = np.abs(image / np.maximum(light, 1e-3)[..., None] - ground / lit[..., None]).max(-1)
    dark = (band & (ratio < DARKER) & (ratio > DARKEST) & (hue < SAME_HUE)).astype(np.uint8)
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels = cv2.connectedComponents(dark)
    touching = np.unique(labels[grow(region, 3) & (dark > 0)])
    where = np.isin(labels, touching[touching > 0])
    if where.any():
        where = grow(where, 3) & band
    smooth = cv2.GaussianBlur(ratio, (0, 0), 2)
    return Shadow(np.where(where, np.clip(smooth, DARKEST, 1), 1).astype(np.float32), where)


@dataclass(frozen=True, eq=False)
class CleanPlate:
    """The picture with what moves lifted off, its shadow too, and the holes filled roughly.

    image: float32 [H, W, 3].  changed: bool [H, W], where it differs from the picture.  shadows: per region of the field.
    """

    image: np.ndarray
    changed: np.ndarray
    shadows: tuple[Shadow, ...]


def clean_plate(image: np.ndarray, field: DragField, reach: float) -> CleanPlate:
    """Lift the field's regions and their shadows within `reach` px. What is stretched or pulled by points is left where it is."""
    shadows = tuple(find_shadow(image, move.mask, reach) for move in field.regions)
    lit = image.astype(np.float32)
    for shadow in shadows:
        lit = lit / shadow.ratio[..., None]
    lit = np.clip(lit, 0, 1)
    lifted = np.logical_or.reduce([move.mask for move in field.regions if move.stretch is None] or [np.zeros(image.shape[:2], bool)])
    plate = fill_hole(lit, lifted, ~lifted) if lifted.any() and not lifted.all() else lit
    changed = np.logical_or.reduce([lifted, *(shadow.where for shadow in shadows)])
    return CleanPlate(plate, changed, shadows)


def warp_with_shadows(image: np.ndarray, field: DragField, reach: float) -> np.ndarray:
    """The picture with the field applied, shadows of its regions carried along, holes filled roughly. -> [H, W, 3], a new array.

    reach: how far from its region a shadow is looked for, px. Pinned and uneditable pixels are left as they are.
    """
    layout = field.layout()
    moved, vacated = layout.moved.numpy(), layout.vacated.numpy()
    plate = clean_plate(image, field, reach)
    result = plate.image
    known = ~(moved | vacated | plate.changed)
    if vacated.any() and known.any():
        result = fill_hole(result, vacated, known)
    for move, shadow in zip(field.regions, plate.shadows, strict=True):
        if shadow.where.any():
            result = result * np.where(moved, 1, _carried(move, shadow, field.size))[..., None]
    source = layout.backward.numpy() - 0.5
    warped = cv2.remap(image.astype(np.float32), source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    result = np.where(moved[..., None], warped, result)
    for fixed, keep in ((field.pinned, True), (field.editable, False)):
        if fixed is not None:
            result[fixed == keep] = image[fixed == keep]
    return result.astype(np.float32)


def _carried(move: RegionMove, shadow: Shadow, size: tuple[int, int]) -> np.ndarray:
    """The ratio where it lies after the move, softened over a pixel. float32 [H, W]."""
    along = DragField(size, (RegionMove(move.mask | shadow.where, move.motion, None, move.name),)).layout()
    source = along.backward.numpy() - 0.5
    ratio = cv2.remap(shadow.ratio, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
    return cv2.GaussianBlur(np.where(along.moved.numpy(), ratio, 1).astype(np.float32), (0, 0), 1.0)
