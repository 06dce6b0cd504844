"""A cast shadow as the dark pixels beside a region, for shadows that do not repeat its outline.

The ground around the region is estimated from farther away; what is darker than that estimate but of the same hue, and touches the region,
is taken as cast shadow and held as a ratio (shadowed / lit). It is moved as if it were part of the region, and what the region hid of it
stays unknown. Dark patterns of the ground pass for shadow too: where the outline explains the shadow (cast_shadow.py), that is better.

Convention: pictures are float [H, W, 3] in [0, 1]; masks bool [H, W]; lengths px of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .cast_shadow import LUMA, SAME_HUE
from .field import DragField
from .geometry import Size
from .masks import grow
from .moves import RegionMove
from .preview import fill_hole

DARKER, DARKEST = 0.93, 0.2
"""Ratio to the lit ground between which a pixel may be shadow."""


@dataclass(frozen=True, eq=False)
class Shadow:
    """ratio: float32 [H, W] in [0.2, 1], how much light is left; 1 outside of `where`.  where: bool [H, W]."""

    ratio: np.ndarray
    where: np.ndarray

    def carried(self, move: RegionMove, size: Size) -> np.ndarray:
        """The ratio where it lies after the region's move, softened over a pixel. float32 [H, W]."""
        along = DragField(size, (RegionMove(move.mask | self.where, move.motion, None, move.name),)).layout()
        source = along.backward.numpy() - 0.5
        ratio = cv2.remap(self.ratio, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
        return cv2.GaussianBlur(np.where(along.moved.numpy(), ratio, 1).astype(np.float32), (0, 0), 1.0)


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
