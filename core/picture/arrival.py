"""Did a drag arrive? Measured on the two pictures alone, without a model and without knowing the truth.

What should have moved is looked for in the edited picture: its warped self near the target, the object as it was at its old place. The
measures are honest about what they see: an object that changed its look is reported as such, not as missing.

Convention: pictures are numpy float32 [H, W, 3] in [0, 1]; distances in px of the picture; masks bool [H, W].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from ..field import DragField
from ..field.geometry import centroid
from ..field.masks import default_point_radius, disc
from ..instruction.operations import Drag, Point
from .preview import fill_hole, preview
from .vacated_ground import SMEARED, detail_left

SIDE = 256
"""Longest side of the window in which an object is looked for; larger ones are scaled down."""
VISIBLE = 0.02
"""Mean difference of colours below which two places can't be told apart."""
STEPS = 10


LOST = 0.4
"""Of the difference between an object and the ground at its target: what differs more from the best place found is not the object."""

HIDDEN = 0.95
"""Of what is hidden to more than this, too little is seen to tell anything by."""
SHOWN = 0.25
"""On its way, places are compared that show at least this part of what its target shows."""

Verdict = Literal["arrived", "near", "wrong place", "on the way", "still", "lost", "smashed", "unknown"]


@dataclass(frozen=True)
class Arrival:
    """What became of one operation.

    distance: how far it was to go, px.  off: how far from its target it was found.  reached: the part of it that fits best, 0 to 1.
    likeness: how much the target looks like what was to come there, 0 as before the edit, 1 exactly; None where that looks alike.
    left: how much of the old look is still at the place left, 0 none, 1 all; None where that can't be seen.
    unlike: how little the best place found looks like it, 0 it does, 1 as little as the ground at the target; None where those look alike.
    detail: how much of the fine detail around it the ground left has, 1 as much; None where there is none to compare with.
    behind: whether it was found on this side of its target.
    copied: whether it was to stay at its old place as well: `left` is then how much of it is still there, not covered by the copy.
    hidden: how much of it is behind pins where it goes, 0 to 1. That is not looked for.
    """

    name: str
    distance: float
    off: float
    reached: float
    likeness: float | None
    left: float | None
    tolerance: float
    unlike: float | None = None
    detail: float | None = None
    behind: bool = True
    copied: bool = False
    hidden: float = 0.0

    @property
    def arrived(self) -> bool:
        return self.off <= self.tolerance and self.reached >= 0.85 and (self.likeness is None or self.likeness >= 0.3)

    @property
    def covered(self) -> bool:
        """Whether pins hide too much of it, where it goes, to tell anything."""
        return self.hidden > HIDDEN

    @property
    def verdict(self) -> Verdict:
        """In one word.

        near: within half of its distance of the target.  wrong place: something like it is elsewhere.  on the way: it stopped there.
        still: nothing has moved.  lost: nothing like it is found.  smashed: it is there, but looks different.  unknown: it looks like
        the ground at its target, or is hidden there, so nothing can be told.
        """
        if self.covered:
            return "unknown"
        if self.likeness is None and (self.left is None or self.copied) and self.unlike is None and self.distance > 0:
            return "unknown"
        if self.arrived:
            return "arrived"
        if self.likeness is not None and self.likeness < 0.1 and self.reached < 0.15:
            return "still"
        if self.off <= self.tolerance and self.reached >= 0.85:
            return "smashed"
        if self.unlike is not None and self.unlike > LOST:
            # Nothing like it is anywhere: has the ground at the target changed into something else?
            return "smashed" if self.likeness is not None and self.likeness > 0.25 else "lost"
        # Found where the drag would have passed: as far from the target as is left of the way.
        amiss = abs(self.off - (1 - self.reached) * self.distance)
        if self.behind and self.reached < 0.85 and amiss <= max(self.tolerance, 0.2 * self.distance):
            return "on the way" if self.reached >= 0.15 else "still"
        return "near" if self.off <= 0.5 * self.distance else "wrong place"

    @property
    def stayed(self) -> bool:
        """Whether it is still at the old place, which it was to leave."""
        return not self.copied and self.left is not None and self.left > 0.5

    @property
    def erased(self) -> bool:
        """Whether the original of a copy is no longer as it was."""
        return self.copied and self.left is not None and self.left < 0.5

    @property
    def smeared(self) -> bool:
        """Whether the ground it left is a blur among detail."""
        return not self.stayed and self.detail is not None and self.detail < SMEARED

    @property
    def good(self) -> bool:
        """Arrived, and nothing is wrong with what it left."""
        return self.verdict == "arrived" and not self.stayed and not self.erased and not self.smeared


def arrivals(before: np.ndarray, after: np.ndarray, drag: Drag) -> list[Arrival]:
    """One for each moving region, then one for each point of the drag."""
    pins = tuple(region for region in drag.regions if region.task == "pin")
    tolerance = max(3.0, 0.02 * min(drag.size))
    found = []
    for i, region in enumerate(r for r in drag.regions if r.task != "pin"):
        alone = replace(drag, regions=(replace(region, name=region.name or f"region {i + 1}"), *pins), points=())
        found.append(_region(before, after, alone, tolerance))
    radius = default_point_radius(drag.size)
    pinned = np.logical_or.reduce([region.mask for region in pins]) if pins else None
    bent = bent_moved = None
    if any(point.selected is not None and point.handle != point.target for point in drag.points):
        alone = DragField.from_drag(replace(drag, regions=pins, points=tuple(p for p in drag.points if p.selected is not None)))
        bent, bent_moved = preview(before, alone), alone.moved().numpy()
    for i, point in enumerate(drag.points):
        patch, name = disc(drag.size, point.handle, radius), f"point {i + 1}"
        distance = math.dist(point.handle, point.target)
        shift = (point.target[0] - point.handle[0], point.target[1] - point.handle[1])
        whole = int(patch.sum())
        if pinned is not None and distance > 0:
            patch &= ~pinned & ~_shifted(pinned, (-shift[0], -shift[1]))
        hidden = 1 - int(patch.sum()) / whole
        if hidden > HIDDEN:
            found.append(Arrival(name, distance, 0.0, 0.0, None, None, tolerance, hidden=hidden))
            continue
        there = disc(drag.size, point.target, radius)
        if bent is not None and point.selected is not None:
            # Where it lies it may have been turned.
            expected, there = bent, there & bent_moved
            (dx, dy), fit = _found(expected, there, after, (0.0, 0.0), distance + radius) if there.any() else ((distance, 0.0), math.inf)
        else:
            expected = cv2.warpAffine(before, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), drag.size)
            there = there if pinned is None else there & ~pinned
            (dx, dy), fit = _found(before, patch, after, shift, distance + radius)
        gone = 1.0 if distance == 0 else ((shift[0] + dx) * shift[0] + (shift[1] + dy) * shift[1]) / distance**2
        unlike = _unlike(fit, expected, before, there)
        reached = min(max(gone, 0.0), 1.0)
        found.append(Arrival(name, distance, math.hypot(dx, dy), reached, None, None, tolerance, unlike, behind=gone <= 1, hidden=hidden))
    return found


def _region(before: np.ndarray, after: np.ndarray, alone: Drag, tolerance: float) -> Arrival:
    # What stretches behind a deformed region is expected too, but it is the region itself that is looked for.
    field, rigid = DragField.from_drag(alone), DragField.from_drag(alone, deformation="rigid")
    expected = preview(before, field)
    layout = rigid.layout()
    landed = layout.moved.numpy()
    start = centroid(alone.regions[0].mask)
    end = centroid(landed) if landed.any() else start
    hidden = 0.0
    if rigid.pinned is not None:
        whole = DragField(rigid.size, rigid.regions).moved().numpy()
        hidden = 1 - float((landed & whole).sum()) / max(1, int(whole.sum()))
        if landed.any() and hidden > 0:
            # Of what is seen, as far as that goes.
            start = tuple(layout.backward[layout.moved].double().mean(dim=0).tolist())
    distance = math.dist(start, end)
    (dx, dy), fit = _found(expected, landed, after, (0.0, 0.0), distance + 8) if landed.any() else ((distance, 0.0), math.inf)
    fits = []
    for step in range(STEPS + 1):
        there = rigid.moved(step / STEPS).numpy()
        shown = there.any() and (not hidden or there.sum() >= SHOWN * landed.sum())
        fits.append(_difference(preview(before, field, progress=step / STEPS), after, there) if shown else math.inf)
    # Where a copy stayed behind, several places fit: the farthest along the way counts.
    reached = max(step for step, fit in enumerate(fits) if fit <= min(fits) + VISIBLE / 2) / STEPS
    vacated, copied = (field.layout().vacated & ~field.layout().revealed).numpy(), alone.regions[0].copy
    if copied:
        original = alone.regions[0].body & ~landed
        left = _closer(after, fill_hole(before, original, ~(alone.regions[0].body | landed)), before, original)
    else:
        left = _closer(after, expected, before, vacated)
    return Arrival(
        field.operations[0], distance, math.hypot(dx, dy), reached, _closer(after, before, expected, landed), left, tolerance,
        _unlike(fit, expected, before, landed), detail_left(before, after, vacated, landed | alone.regions[0].mask),
        dx * (end[0] - start[0]) + dy * (end[1] - start[1]) <= 0, copied, hidden,
    )  # fmt: skip


def _shifted(mask: np.ndarray, by: Point) -> np.ndarray:
    """A mask bool [H, W] shifted by whole pixels; nothing comes from beyond the picture."""
    matrix = np.float32([[1, 0, round(by[0])], [0, 1, round(by[1])]])
    return cv2.warpAffine(mask.astype(np.uint8), matrix, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0


def _unlike(fit: float, expected: np.ndarray, ground: np.ndarray, where: np.ndarray) -> float | None:
    """A fit by the difference of what was to come from what was there."""
    if not where.any() or _difference(expected, ground, where) < VISIBLE:
        return None
    return fit / float(np.sqrt(((expected - ground)[where] ** 2).mean()))


def _closer(picture: np.ndarray, away: np.ndarray, towards: np.ndarray, where: np.ndarray) -> float | None:
    """How much nearer the picture is to one than to another: 0 like `away`, 1 like `towards`; None where those look alike."""
    if not where.any() or _difference(away, towards, where) < VISIBLE:
        return None
    far, near = _difference(picture, away, where), _difference(picture, towards, where)
    return far / max(far + near, 1e-6)


def _difference(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(a[where] - b[where]).mean())


def _found(picture: np.ndarray, mask: np.ndarray, after: np.ndarray, shift: Point, reach: float) -> tuple[Point, float]:
    """Where `picture` under `mask`, shifted, fits best in `after`, as (dx, dy) px from there, looked for within `reach`; and how badly."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (y0, y1), (x0, x1) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    reach = int(min(reach, max(after.shape[:2]) / 2)) + 1
    scale = min(1.0, SIDE / (max(y1 - y0, x1 - x0) + 2 * reach))
    sx, sy = round(shift[0]), round(shift[1])
    # Beyond the picture there is grey: an object may hang over its edge.
    border = cv2.copyMakeBorder(after, *[reach + max(abs(sx), abs(sy))] * 4, cv2.BORDER_CONSTANT, value=(0.5, 0.5, 0.5))
    pad = reach + max(abs(sx), abs(sy))
    window = border[y0 + sy + pad - reach : y1 + sy + pad + reach, x0 + sx + pad - reach : x1 + sx + pad + reach]
    patch, weight = picture[y0:y1, x0:x1], mask[y0:y1, x0:x1].astype(np.float32)
    if scale < 1.0:
        small = [cv2.resize(x, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for x in (window, patch, weight)]
        window, patch, weight = small
    fit = cv2.matchTemplate(window, patch, cv2.TM_SQDIFF, mask=np.repeat(weight[..., None], 3, axis=2))
    rows, columns = np.nonzero(fit <= fit.min() + (VISIBLE / 2) ** 2 * 3 * weight.sum())
    away = np.stack((columns - (fit.shape[1] - 1) / 2, rows - (fit.shape[0] - 1) / 2), axis=-1)
    # Of places that fit alike, the nearest.
    nearest = tuple((away[np.argmin((away**2).sum(-1))] / scale).tolist())
    return nearest, math.sqrt(max(float(fit.min()), 0.0) / (3 * float(weight.sum())))
