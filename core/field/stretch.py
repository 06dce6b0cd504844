"""Keeping a dragged end connected: the material next to a moved region is stretched or pressed along the drag.

DragFlow moves a deformed region rigidly and leaves the gap behind it to the model. Here the gap is covered by what lies
just behind the region: on every line along the drag, the piece from a fixed far point to the region's edge is mapped
linearly onto the piece from that far point to the moved edge. With e the region's near edge, d the way moved and f the
far point, backward: s -> f + (s - f) (e - f) / (e + d - f). It is continuous at both ends: the identity at f, the
region's own shift at e + d.

Convention: `along` runs in the direction of the drag and `across` at a right angle to it, both in cells of the grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .geometry import Point
from .warp import sample


@dataclass(frozen=True)
class Stretch:
    """Which material gives.

    length: how much of it behind the region's trailing edge, as a multiple of the drag's length (> 0); 1 doubles it at
        the end.
    fixed: a place (x, y), in fractions of the picture's width and height, that stays: the material between it and the
        region gives, whatever its length. In front of the region it is pressed together instead, and the gap behind
        stays open.
    """

    length: float = 1.0
    fixed: Point | None = None

    def __post_init__(self) -> None:
        if not 0 < self.length < math.inf:
            raise ValueError(f"a stretch over {self.length} drag lengths is impossible: use a positive number")

    def pull(self, soft: Tensor, shift: Point, progress: float, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Backward: which cells show stretched material, and where it comes from.

        soft: [h, w], the source region on the grid.  shift: (x, y) cells at progress 1.  centres: [..., 2].
        -> bool [...] and source positions [..., 2]. Cells up to one inside of the moved region's edge are claimed too,
           so that no sliver stays open where its outline runs between cells; the region itself has to be painted over
           them.
        """
        ramp = self._ramp(soft, shift, progress, centres)
        if ramp is None:
            return torch.zeros(centres.shape[:-1], dtype=torch.bool), centres
        band = ramp.valid & (ramp.at > 0) & (ramp.at < ramp.after + 1)
        return band, centres + (ramp.at * (ramp.before / ramp.after - 1))[..., None] * ramp.outward

    def push(self, soft: Tensor, shift: Point, progress: float, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Forward: which cells belong to material that gives, and where it goes. Shapes as in `pull`."""
        ramp = self._ramp(soft, shift, progress, centres)
        if ramp is None:
            return torch.zeros(centres.shape[:-1], dtype=torch.bool), centres
        band = ramp.valid & (ramp.at > 0) & (ramp.at < ramp.before)
        return band, centres + (ramp.at * (ramp.after / ramp.before - 1))[..., None] * ramp.outward

    def reach(self, corners: Tensor, shift: Point, size: tuple[int, int]) -> Tensor:
        """Corners [n, 2] of the region's box moved by the far end of the band: the window has to hold them too."""
        direction = _direction(shift)
        offset = -self.length * math.hypot(*shift)
        if self.fixed is not None:
            offsets = (torch.tensor(self.fixed) * torch.tensor(size) - corners) @ direction
            offset = float(offsets[offsets.abs().argmax()])
        return corners + offset * direction

    def _ramp(self, soft: Tensor, shift: Point, progress: float, centres: Tensor) -> _Ramp | None:
        distance = math.hypot(*shift)
        if distance * progress < 1e-6:
            return None
        size = soft.shape[1], soft.shape[0]
        direction = _direction(shift)
        across = torch.stack((-direction[1], direction[0]))
        rows, columns = (soft > 0.5).nonzero().unbind(1)
        region = torch.stack((columns + 0.5, rows + 0.5), dim=1).double()
        along = centres @ direction
        fixed = None
        side = 1.0
        if self.fixed is not None:
            fixed = float(torch.tensor(self.fixed, dtype=torch.float64) * torch.tensor(size) @ direction)
            side = 1.0 if fixed < float((region @ direction).mean()) else -1.0
        found = _edge(soft, region @ direction, region @ across, direction, across, side, centres @ across)
        if found is None:
            return None
        near, valid = found
        if fixed is None:
            # No further back than the picture goes: what lies beyond its border cannot be stretched.
            far = torch.maximum(near - self.length * distance, along - _room_behind(centres, direction, size))
        else:
            far = torch.full_like(near, fixed)
        before, after = (near - far) * side, (near + progress * distance - far) * side
        # Less than a cell of material cannot give.
        valid = valid & (before >= 1) & (after >= 1)
        return _Ramp((along - far) * side, before.clamp(min=1), after.clamp(min=1), valid, direction * side)


class _Ramp(NamedTuple):
    """Per cell, measured from the far point towards the region: where it is, how long the piece was and becomes."""

    at: Tensor
    before: Tensor
    after: Tensor
    valid: Tensor
    outward: Tensor


def _direction(shift: Point) -> Tensor:
    return torch.tensor(shift, dtype=torch.float64) / math.hypot(*shift)


def _edge(
    soft: Tensor, along: Tensor, across: Tensor, direction: Tensor, sideways: Tensor, side: float, at: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Where the region begins, seen from behind (side 1) or from the front (-1), on the line through each cell.

    The soft mask is read on a grid of lines one cell apart; the edge is where it crosses one half, between two
    readings.
    -> position along the drag, and whether the line meets the region; None where none does, because it lies between the lines.
    """
    lines = torch.arange(math.floor(float(across.min())) - 1, math.ceil(float(across.max())) + 2).double() + 0.5
    steps = torch.arange(math.floor(float(along.min())) - 2, math.ceil(float(along.max())) + 3).double() + 0.5
    if side < 0:
        steps = steps.flip(0)
    values = sample(
        soft[None, None], lines[:, None, None] * sideways + steps[None, :, None] * direction, padding="zeros"
    )[0, 0]
    inside = values > 0.5 + 1e-6
    meets = inside.any(dim=1)
    if not meets.any():
        return None
    first = inside.int().argmax(dim=1).clamp(min=1)
    row = torch.arange(len(lines))
    here, before = values[row, first], values[row, first - 1]
    crossing = steps[first] - side * (here - 0.5) / (here - before).clamp(min=1e-6)

    index = (at - lines[0]).round()
    valid = (index >= 0) & (index < len(lines))
    valid = valid & meets[index.clamp(0, len(lines) - 1).long()]
    edge = np.interp(at.numpy(), lines[meets].numpy(), crossing[meets].numpy())
    return torch.from_numpy(edge), valid


def _room_behind(centres: Tensor, direction: Tensor, size: tuple[int, int]) -> Tensor:
    """How far back along the drag each cell can look before it leaves the outermost cell centres."""
    room = torch.full(centres.shape[:-1], math.inf, dtype=torch.float64)
    for axis in (0, 1):
        step = float(direction[axis])
        if abs(step) > 1e-9:
            behind = centres[..., axis] - 0.5 if step > 0 else size[axis] - 0.5 - centres[..., axis]
            room = torch.minimum(room, behind / abs(step))
    return room
