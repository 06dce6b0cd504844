"""What one operation does to the picture: a region that moves by one affine map, with or without material that gives beside it.

A *move* answers on any grid, at any progress: which cells its content leaves, which cells it lands on and where their
content comes from, and where its content goes. `DragField` lays several over each other. Handle points are another
kind, in points.py, and moves that are told place by place a third, in flow_move.py.

Convention: positions are (x, y) in cells of the grid asked for, `size` (w, h); cell centres at (c + 0.5, r + 0.5). A
window (x0, y0, x1, y1) is in whole cells, end exclusive, so that the cost follows the region and not the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..instruction.operations import RegionOperation
from .geometry import Motion, Size, cell_centres, centroid, checked_point, rotation_angle, round_to_cell, rounded_centroid, transform
from .masks import resample
from .stretch import Stretch
from .warp import sample

Window = tuple[int, int, int, int]

INSIDE = 0.5 + 1e-6
"""A cell belongs to a soft mask above one half (DragFlow: R > 0.5). Halving a mask leaves many cells on exactly one
half; the margin keeps rounding from deciding about them, so that a shift by whole cells keeps every cell."""


class Landing(NamedTuple):
    """Backward view of a move, inside a window of h x w cells."""

    window: Window
    source: Tensor
    """float64 [h, w, 2]: where each cell's content comes from; meaningful where solid or loose."""
    solid: Tensor
    """bool [h, w]: moved rigidly."""
    loose: Tensor
    """bool [h, w]: carried along or stretched; yields to what is solid."""
    operation: Tensor | int
    """Which of the move's operations a cell belongs to: int64 [h, w], or one number for all."""


class Departure(NamedTuple):
    """Forward view of a move: where the content of the cells in a window goes."""

    window: Window
    goal: Tensor
    """float64 [h, w, 2]."""
    moving: Tensor
    """bool [h, w]."""


class OneOperation:
    """What is the same of every move that one operation with a mask makes."""

    mask: np.ndarray
    name: str

    @property
    def operations(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def areas(self) -> tuple[float, ...]:
        """Fraction of the picture that the region covers, s_i of DragFlow Eq. 22."""
        return (float(np.count_nonzero(self.mask)) / self.mask.size,)


@dataclass(frozen=True, eq=False)
class RegionMove(OneOperation):
    """A region that moves as a whole (DragFlow 3.2).

    mask: bool [H, W], the source region on the picture.  motion: how it moves.  stretch: what gives beside it (None:
        nothing).  copy: whether it stays at its old place as well.
    """

    mask: np.ndarray
    motion: Motion
    stretch: Stretch | None = None
    name: str = "region"
    copy: bool = False
    _seen: dict[Size, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def rigid(self) -> bool:
        """Whether all of it moves as one piece, which can be cut out and laid down."""
        return self.stretch is None

    def leaving(self, size: Size) -> Tensor:
        """Cells of the source region. -> bool [h, w]. Raises ValueError if it is smaller than one cell of the grid."""
        return self._soft(size) > INSIDE

    def landing(self, progress: float, size: Size) -> Landing:
        """Cells whose backward source lies in the region: bilinear soft mask > 0.5, zero outside (DragFlow 4.1).

        A region about one cell thin can fall between cells on its way; the cells that hold most of it then stand for
        it. Of a region that shrinks, a cell's share is the mean over all of it that the cell takes in, not what is at its middle.
        Raises ValueError if the region is smaller than one cell, or has left the picture.
        """
        soft = self._soft(size)
        box = _corners(soft > INSIDE)
        corners = transform(self.motion.forward(progress, size), box)
        shift = self._shift(size)
        if self.stretch is not None:
            corners = torch.cat((corners, box, self.stretch.reach(box, shift, size)))
        window = _window(corners, size)
        centres = cell_centres(window)
        source = transform(self.motion.backward(progress, size), centres)
        factors = self.motion.factors(progress)
        share = self._share(soft, window, factors, self.motion.backward(progress, size))
        solid = share > INSIDE
        if not solid.any():
            most = float(share.max()) if share.numel() else 0.0
            if most < 0.25 * min(1.0, abs(factors[0] * factors[1])):
                raise ValueError(
                    f"{self.name} has left the picture at progress {progress:g} on a grid of {size[0]}x{size[1]}: "
                    "move its target inside"
                )
            solid = share > (most - 1e-6 if min(map(abs, factors)) >= 1 else most / 2)
        loose = torch.zeros_like(solid)
        if self.stretch is not None:
            band, pulled = self.stretch.pull(soft, shift, progress, centres)
            loose = band & ~solid
            source = torch.where(loose[..., None], pulled, source)
        return Landing(window, source, solid, loose, 0)

    def departure(self, progress: float, size: Size) -> Departure:
        """Where the region's cells, and those of the material that gives, go."""
        soft = self._soft(size)
        moving = soft > INSIDE
        corners = _corners(moving)
        shift = self._shift(size)
        if self.stretch is not None:
            corners = torch.cat((corners, self.stretch.reach(corners, shift, size)))
        x0, y0, x1, y1 = window = _window(corners, size)
        centres = cell_centres(window)
        goal = transform(self.motion.forward(progress, size), centres)
        moving = moving[y0:y1, x0:x1]
        if self.stretch is not None:
            band, pushed = self.stretch.push(soft, shift, progress, centres)
            goal = torch.where((band & ~moving)[..., None], pushed, goal)
            moving = moving | band
        return Departure(window, goal, moving)

    def _share(self, soft: Tensor, window: Window, factors: tuple[float, float], backward: np.ndarray) -> Tensor:
        """How much of each cell of the window the region fills. -> [h, w]"""
        columns, rows = (max(1, math.ceil(1 / abs(factor))) for factor in factors)
        centres, share = cell_centres(window), torch.zeros((), dtype=soft.dtype)
        for i in range(columns):
            for k in range(rows):
                beside = torch.tensor([(i + 0.5) / columns - 0.5, (k + 0.5) / rows - 0.5], dtype=torch.float64)
                share = share + sample(soft[None, None], transform(backward, centres + beside), padding="zeros")[0, 0]
        return share / (columns * rows)

    def _shift(self, size: Size) -> tuple[float, float]:
        (sx, sy), (fx, fy) = self.motion.shift, self.motion.frame
        return sx / fx * size[0], sy / fy * size[1]

    def _soft(self, size: Size) -> Tensor:
        # Every iteration of a drag asks for the same grid: the last one is remembered.
        if size in self._seen:
            return self._seen[size]
        soft = resample(self.mask, size)
        if not (soft > INSIDE).any():
            raise ValueError(
                f"{self.name} is smaller than one cell of a grid of {size[0]}x{size[1]}: draw it larger or work on a "
                "finer grid"
            )
        self._seen.clear()
        self._seen[size] = soft
        return soft


def motion_of(operation: RegionOperation, *, rounded_at: Size | None = None) -> Motion:
    """The motion that a region operation asks for.

    Relocation and deformation shift the centroid onto the target; a relocation may turn about it. Rotation turns the centroid about the
    anchor into the direction of the target; how far the target is from the anchor does not count. Both may scale about the centroid.

    rounded_at: None computes exactly on the picture. A size (w, h) does what the published code does on its cut map of
        that
        size: the mask is resampled, and centroid, target and anchor are rounded to whole cells,
        each of which may be off by half a cell.
    Raises ValueError if the task needs a target or an anchor that is missing, not finite, or that leaves the angle
    undefined, for a factor of 0, and for a deformation that scales or is a copy.
    """
    if operation.task not in ("relocation", "deformation", "rotation"):
        raise ValueError(f"{operation.task!r} does not move a region: use relocation, rotation or deformation")
    if not all(factor and math.isfinite(factor) for factor in operation.scale) or not math.isfinite(operation.angle):
        raise ValueError(f"a region cannot scale by {operation.scale} and turn by {operation.angle}: use finite numbers, factors not 0")
    if operation.task == "deformation" and (operation.scale != (1, 1) or operation.angle or operation.copy):
        raise ValueError("a deformation pulls an end of something and cannot scale, turn or copy it: use relocation")
    picture = operation.mask.shape[1], operation.mask.shape[0]
    frame = rounded_at or picture

    def placed(point: tuple[float, float]) -> tuple[float, float]:
        return point if rounded_at is None else round_to_cell(point, picture, frame)

    if rounded_at is None:
        start = centroid(operation.mask)
    else:
        start = rounded_centroid(resample(operation.mask, frame).numpy())
    target = placed(checked_point(operation.target, f"target of a {operation.task}"))
    if operation.task == "rotation":
        anchor = placed(checked_point(operation.anchor, "anchor of a rotation"))
        return Motion(frame, angle=rotation_angle(start, target, anchor), anchor=anchor, scale=operation.scale, centre=start)
    return Motion(frame, (target[0] - start[0], target[1] - start[1]), operation.angle, start, operation.scale, start)


def _corners(inside: Tensor) -> Tensor:
    """Corners [4, 2] of the box around the cells of a mask, one cell wider: bilinear shares reach that far."""
    columns, rows = inside.any(dim=0).nonzero(), inside.any(dim=1).nonzero()
    x0, x1, y0, y1 = int(columns[0]) - 1, int(columns[-1]) + 2, int(rows[0]) - 1, int(rows[-1]) + 2
    return torch.tensor([[x0, y0], [x1, y0], [x0, y1], [x1, y1]], dtype=torch.float64)


def _window(corners: Tensor, size: Size) -> Window:
    """The whole cells around the corners, cut to the grid; may be empty."""
    (x0, y0), (x1, y1) = corners.amin(dim=0).tolist(), corners.amax(dim=0).tolist()
    x0, x1 = (min(max(v, 0), size[0]) for v in (math.floor(x0), math.ceil(x1)))
    y0, y1 = (min(max(v, 0), size[1]) for v in (math.floor(y0), math.ceil(y1)))
    return x0, y0, x1, y1
