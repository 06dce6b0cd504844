"""A cast shadow as the outline of its object, shifted and softened: measured beside it, drawn again wherever it goes.

Off unless asked for. On drawn scenes, whose shadows are made so, it gains 5 dB; on real frames it claims shadows that are none and loses
3 dB beside the object (docs/performance.md).

Seen from above, or a little away from a wall, an object's shadow repeats its outline. Knowing shift, softness and strength is worth more
than knowing the dark pixels: the part that the object hid is known too, an object that turns or stretches casts another shadow in the same
direction, and dark patterns of the ground do not count as shadow. Where the outline explains too little of what is dark, nothing is
claimed.

The fit is least squares of brightness / ground on the softened outline, at every shift at once (by Fourier transforms).

Convention: pictures are float32 [H, W, 3] in [0, 1]; outlines float32 [H, W] in [0, 1]; offsets (x, y) px of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from ..choices import check_choice
from ..field.geometry import Point
from ..field.masks import grow
from .preview import fill_hole

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FIT_SIDE = 256
"""Longest side of the picture that is fitted; larger ones are shrunk, so that a fit costs the same whatever the picture."""
SOFTNESS = (1.5, 2.5, 4.0, 6.0)
"""Standard deviations tried, px of the fitted picture."""
DARKEST, BRIGHTEST = 0.2, 1.3
"""Ratio to the lit ground between which a pixel may be ground, in shadow or not."""
SAME_HUE = 0.25
"""Largest difference of colour / brightness to the ground for it to be the same ground."""
WEAKEST, EXPLAINED = 0.08, 0.12
"""Least strength, and least share of the variance around an object that its shadow has to explain, for it to be believed."""


@dataclass(frozen=True)
class CastShadow:
    """offset: (x, y) px from the object to its shadow.  softness: deviation of its edge, px.  strength: share of light it takes."""

    offset: Point
    softness: float
    strength: float

    def lifted(self, alpha: np.ndarray) -> np.ndarray:
        """See `evidence.Shadow`."""
        return self.ratio(alpha)

    def laid_down(self, alpha: np.ndarray) -> np.ndarray:
        """See `evidence.Shadow`: the same shift and softness, whatever the light there."""
        return self.ratio(alpha)

    def ratio(self, outline: np.ndarray) -> np.ndarray:
        """How much light is left around an object. outline: float32 [H, W] in [0, 1].  -> float32 [H, W] in [0.2, 1]."""
        move = np.array([[1, 0, self.offset[0]], [0, 1, self.offset[1]]], np.float32)
        shifted = cv2.warpAffine(outline, move, outline.shape[::-1])
        return 1 - min(self.strength, 1 - DARKEST) * cv2.GaussianBlur(shifted, (0, 0), self.softness)


Shadows = Literal["none", "detected"]


def shadow_finder(shadows: Shadows, reach: float) -> Callable[[np.ndarray, np.ndarray], CastShadow | None] | None:
    """How shadows are found (`evidence.FindShadow`), within `reach` px of an object; None: they are not looked for.

    Raises ValueError for another word than "none" and "detected".
    """
    check_choice("shadows", shadows, Shadows)
    return None if shadows == "none" else lambda image, alpha: fit_cast_shadow(image, alpha, reach)


def fit_cast_shadow(image: np.ndarray, outline: np.ndarray, reach: float) -> CastShadow | None:
    """The shadow of an object, shifted by at most `reach` px; None if there is none, or not one of this kind.

    The ground's own brightness is filled in from beyond the shadow's reach. What has another hue than the ground is not looked at.
    """
    shrink = min(1.0, FIT_SIDE / max(outline.shape))
    if shrink < 1:
        size = tuple(max(1, round(n * shrink)) for n in outline.shape[::-1])
        image, outline = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (image, outline))
    reach = reach * shrink
    inside = outline > 0.5
    if not inside.any() or reach < 1:
        return None
    near = grow(inside, reach + 8)
    band = near & ~grow(inside, 1.5)
    if near.all():
        return None
    ground = fill_hole(image, near, ~near)
    light, lit = image @ LUMA, np.maximum(ground @ LUMA, 1e-3)
    ratio = (light / lit).astype(np.float32)
    hue = np.abs(image / np.maximum(light, 1e-3)[..., None] - ground / lit[..., None]).max(-1)
    seen = band & (ratio > DARKEST) & (ratio < BRIGHTEST) & (hue < SAME_HUE)
    if seen.sum() < 50:
        return None
    rows, columns = np.nonzero(grow(inside, 2 * reach + 12))
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    found = _best_shift(np.where(seen, ratio, 0)[window], seen[window].astype(np.float32), outline[window], int(reach))
    if found is None:
        return None
    (dx, dy), softness, strength, explained = found
    if strength < WEAKEST or explained < EXPLAINED:
        return None
    return CastShadow((dx / shrink, dy / shrink), softness / shrink, strength)


def _best_shift(
    ratio: np.ndarray, seen: np.ndarray, outline: np.ndarray, reach: int
) -> tuple[Point, float, float, float] | None:
    """Regress ratio = lit (1 - strength * shifted outline) on seen pixels, for each shift and softness. -> the best; what it explains."""
    shape = tuple(cv2.getOptimalDFTSize(n + reach + 2) for n in outline.shape)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    allowed = dx * dx + dy * dy <= reach * reach
    where, values = (np.fft.rfft2(a, shape) for a in (seen, ratio))
    count, total = float(seen.sum()), float(ratio.sum())
    variance = max(float((ratio**2).sum()) - total * total / count, 1e-6)
    best, found = 0.0, None
    for softness in SOFTNESS:
        soft = cv2.GaussianBlur(outline, (0, 0), softness)
        once, twice = (np.conj(np.fft.rfft2(a, shape)) for a in (soft, soft * soft))
        shade, shade2, product = (np.fft.irfft2(a, shape)[dy, dx] for a in (where * once, where * twice, values * once))
        spread = np.maximum(shade2 - shade * shade / count, 1e-3)
        together = product - shade * total / count
        gain = np.where(allowed & (together < 0) & (spread > 1), together * together / spread, 0)
        k = np.unravel_index(gain.argmax(), gain.shape)
        if gain[k] <= best:
            continue
        best, slope = float(gain[k]), float(together[k] / spread[k])
        lit = (total - slope * float(shade[k])) / count
        found = (float(dx[k]), float(dy[k])), softness, -slope / max(lit, 1e-3), best / variance
    return found if found and math.isfinite(found[2]) else None
