"""Did a drag arrive? Measured on the two pictures alone, without a model and without knowing the truth.

What should have moved is looked for in the edited picture: its warped self near the target, the thing as it was at its old place. The
measures are honest about what they see: a thing that changed its look is reported as such, not as missing.

Convention: pictures are numpy float32 [H, W, 3] in [0, 1]; distances in px of the picture; masks bool [H, W].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .field import DragField
from .geometry import centroid
from .masks import default_point_radius, disc
from .operations import Drag, Point
from .preview import preview

SIDE = 256
"""Longest side of the window in which a thing is looked for; larger ones are scaled down."""
VISIBLE = 0.02
"""Mean difference of colours below which two places can't be told apart."""
STEPS = 10


@dataclass(frozen=True)
class Arrival:
    """What became of one operation.

    way: how far it was to go.  off: how far from its target it was found.  reached: the part of the way that fits best, 0 to 1.
    likeness: how much the target looks like what was to come there, 0 as before the edit, 1 exactly; None where that looks alike.
    left: how much of the old look is still at the place left, 0 none, 1 all; None where that can't be seen.
    """

    name: str
    way: float
    off: float
    reached: float
    likeness: float | None
    left: float | None
    tolerance: float

    @property
    def arrived(self) -> bool:
        return self.off <= self.tolerance and self.reached >= 0.85 and (self.likeness is None or self.likeness >= 0.3)

    @property
    def advice(self) -> str:
        """What to change; "" where nothing has to be."""
        if self.likeness is not None and self.likeness < 0.1 and self.reached < 0.15:
            return "nothing has moved: use the method dragfield or start from Latent Warp, or give the optimizer more transport iterations"
        if not self.arrived and self.off > self.tolerance and self.reached >= 0.85:
            return "it is near, but not exactly there: more intensify iterations, or start from Latent Warp"
        if not self.arrived and self.off > self.tolerance:
            return "it stopped on the way: more transport iterations, a start from Latent Warp, or attention 'own' while denoising"
        if not self.arrived:
            return "it is there but looks different: lower the guidance, hold_attention on, or say in the prompt what it is"
        if self.left is not None and self.left > 0.5:
            return "a copy stayed at the old place: renew_vacated on, or a larger margin of the mask"
        return ""


def arrivals(before: np.ndarray, after: np.ndarray, drag: Drag) -> list[Arrival]:
    """One for each moving region, then one for each point of the drag."""
    pins = tuple(region for region in drag.regions if region.task == "pin")
    tolerance = max(3.0, 0.02 * min(drag.size))
    found = []
    for i, region in enumerate(r for r in drag.regions if r.task != "pin"):
        alone = replace(drag, regions=(replace(region, name=region.name or f"region {i + 1}"), *pins), points=())
        found.append(_region(before, after, alone, tolerance))
    radius = default_point_radius(drag.size)
    for i, point in enumerate(drag.points):
        patch = disc(drag.size, point.handle, radius)
        way = math.dist(point.handle, point.target)
        shift = (point.target[0] - point.handle[0], point.target[1] - point.handle[1])
        dx, dy = _found(before, patch, after, shift, way + radius)
        gone = 1.0 if way == 0 else ((shift[0] + dx) * shift[0] + (shift[1] + dy) * shift[1]) / way**2
        found.append(Arrival(f"point {i + 1}", way, math.hypot(dx, dy), min(max(gone, 0.0), 1.0), None, None, tolerance))
    return found


def _region(before: np.ndarray, after: np.ndarray, alone: Drag, tolerance: float) -> Arrival:
    # What stretches behind a deformed region is expected too, but it is the region itself that is looked for.
    field, rigid = DragField.from_drag(alone, deformation="stretch"), DragField.from_drag(alone)
    expected = preview(before, field)
    landed = rigid.moved().numpy()
    start = centroid(alone.regions[0].mask)
    end = centroid(landed) if landed.any() else start
    way = math.dist(start, end)
    dx, dy = _found(expected, landed, after, (0.0, 0.0), way + 8) if landed.any() else (way, 0.0)
    fits = []
    for step in range(STEPS + 1):
        there = rigid.moved(step / STEPS).numpy()
        fits.append(_difference(preview(before, field, progress=step / STEPS), after, there) if there.any() else math.inf)
    # Where a copy stayed behind, several places fit: the farthest along the way counts.
    reached = max(step for step, fit in enumerate(fits) if fit <= min(fits) + VISIBLE / 2) / STEPS
    return Arrival(
        field.operations[0], way, math.hypot(dx, dy), reached, _closer(after, before, expected, landed),
        _closer(after, expected, before, field.vacated().numpy()), tolerance,
    )  # fmt: skip


def _closer(picture: np.ndarray, away: np.ndarray, towards: np.ndarray, where: np.ndarray) -> float | None:
    """How much nearer the picture is to one than to another: 0 like `away`, 1 like `towards`; None where those look alike."""
    if not where.any() or _difference(away, towards, where) < VISIBLE:
        return None
    far, near = _difference(picture, away, where), _difference(picture, towards, where)
    return far / max(far + near, 1e-6)


def _difference(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(a[where] - b[where]).mean())


def _found(picture: np.ndarray, mask: np.ndarray, after: np.ndarray, shift: Point, reach: float) -> Point:
    """Where `picture` under `mask`, shifted, fits best in `after`, as (dx, dy) px from there, looked for within `reach`."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (y0, y1), (x0, x1) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    reach = int(min(reach, max(after.shape[:2]) / 2)) + 1
    scale = min(1.0, SIDE / (max(y1 - y0, x1 - x0) + 2 * reach))
    sx, sy = round(shift[0]), round(shift[1])
    # Beyond the picture there is grey: a thing may hang over its edge.
    border = cv2.copyMakeBorder(after, *[reach + max(abs(sx), abs(sy))] * 4, cv2.BORDER_CONSTANT, value=(0.5, 0.5, 0.5))
    pad = reach + max(abs(sx), abs(sy))
    window = border[y0 + sy + pad - reach : y1 + sy + pad + reach, x0 + sx + pad - reach : x1 + sx + pad + reach]
    thing, weight = picture[y0:y1, x0:x1], mask[y0:y1, x0:x1].astype(np.float32)
    if scale < 1.0:
        small = [cv2.resize(x, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for x in (window, thing, weight)]
        window, thing, weight = small
    fit = cv2.matchTemplate(window, thing, cv2.TM_SQDIFF, mask=np.repeat(weight[..., None], 3, axis=2))
    rows, columns = np.nonzero(fit <= fit.min() + (VISIBLE / 2) ** 2 * 3 * weight.sum())
    away = np.stack((columns - (fit.shape[1] - 1) / 2, rows - (fit.shape[0] - 1) / 2), axis=-1)
    # Of places that fit alike, the nearest.
    return tuple((away[np.argmin((away**2).sum(-1))] / scale).tolist())
