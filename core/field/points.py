"""What handle points do to the picture around them: they carry it along, the nearer the more.

Three ways to spread a few displacements over every cell, for n pairs of handle h_i and target t_i, d_i = t_i - h_i:
- "idw", inverse distance (Inpaint4Drag): v(p) = sum_i w_i d_i / sum_i w_i, w_i = 1 / (|p - h_i| + 1e-4). One pair
  shifts.
- "nearest", winner takes all (LazyDrag): v(p) = d_i of the nearest handle.
- "latent_warp" (the LWF of FastDrag and DirectDrag): "idw" with each d_i fading to zero towards a circle:
  lambda_i = 1 - |p - h_i| / |P - h_i| with P where the ray from h_i through p meets the circle around the box of the
  area.
The backward map is the same formula with handles and targets exchanged: exact at the points, on the circle and for
shifts, and defined everywhere, which the inverse of a forward map is not.

Convention: positions are (x, y) in cells of the grid asked for, cell centres at (c + 0.5, r + 0.5); distances in those
cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..choices import check_choice
from ..instruction.operations import PointOperation
from .geometry import Size, cell_centres, checked_point
from .masks import disc, resample
from .moves import INSIDE, Departure, Landing, Window
from .warp import sample

PointMode = Literal["idw", "nearest", "latent_warp"]

EPSILON = 1e-4


@dataclass(frozen=True, eq=False)
class PointMoves:
    """All handle points of a drag, acting together.

    picture: (width, height) px that the points refer to.
    area: bool [H, W], what the points may move. None: with fading the whole picture, otherwise a disc of `radius` px
        around each handle, which then moves like a region.
    fading: whether displacements fade towards the circle. None: only for "latent_warp". True with "nearest" is
        LazyDrag's drag. What fading displacements take from is covered by its stretched surroundings: nothing is
        vacated.
    reach: px beyond all handles and targets at which fading displacements end where there is no area; None fades them towards the
        picture's own circle.
    """

    picture: Size
    points: Sequence[PointOperation]
    radius: float
    mode: PointMode = "idw"
    area: np.ndarray | None = None
    fading: bool | None = None
    reach: float | None = None

    def __post_init__(self) -> None:
        check_choice("point_mode", self.mode, PointMode)
        if not 0 < self.radius < math.inf:
            raise ValueError(f"a point radius of {self.radius} px reaches nothing: use a positive number")
        for point in self.points:
            checked_point(point.handle, "handle of a point")
            checked_point(point.target, "target of a point")

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(f"point {i + 1}" for i in range(len(self.points)))

    @property
    def areas(self) -> tuple[float, ...]:
        """Fraction of the picture in each point's disc, our stand-in for s_i of DragFlow Eq. 22."""
        share = math.pi * self.radius**2 / (self.picture[0] * self.picture[1])
        return (min(1.0, share),) * len(self.points)

    @property
    def solid(self) -> bool:
        """Whether all that they move goes as a region does, with an outline of its own."""
        return False

    @property
    def fades(self) -> bool:
        return self.mode == "latent_warp" if self.fading is None else self.fading

    def leaving(self, size: Size) -> Tensor:
        """Cells that content is taken away from: the area, or none where the field only stretches. -> bool [h, w]."""
        area = self._area(size) > INSIDE
        return torch.zeros_like(area) if self.fades else area

    def landing(self, progress: float, size: Size) -> Landing:
        """Cells of the area that something else is drawn into (fading), or whose source lies in it (not fading)."""
        x0, y0, x1, y1 = window = self._window(size)
        centres = cell_centres(window)
        offset, nearest = self.pull(progress, size, centres)
        source = centres + offset
        area = self._area(size)
        if self.fades:
            inside = ((source >= 0) & (source <= torch.tensor(size))).all(dim=-1)
            loose = inside & (area[y0:y1, x0:x1] > INSIDE) & (offset.abs().amax(dim=-1) > 1e-6)
        else:
            loose = sample(area[None, None], source, padding="zeros")[0, 0] > INSIDE
        return Landing(window, source, torch.zeros_like(loose), loose, nearest)

    def departure(self, progress: float, size: Size) -> Departure:
        """Where each cell of the area goes: the published direction of the formulas."""
        x0, y0, x1, y1 = window = self._window(size)
        centres = cell_centres(window)
        offset, _ = self.push(progress, size, centres)
        return Departure(window, centres + offset, self._area(size)[y0:y1, x0:x1] > INSIDE)

    def patch(self, index: int, progress: float, size: Size) -> tuple[Tensor, Tensor]:
        """Cells within `radius` px of where point `index` has got to, nearest to it of all; and the sources of all.

        -> bool [h, w] with at least one cell, and float64 [h, w, 2].
        """
        handles, displacements = self._pairs(size)
        centres = cell_centres((0, 0, *size))
        offset, nearest = self.pull(progress, size, centres)
        at = handles[index] + displacements[index] * progress
        cell = torch.tensor(self.picture, dtype=torch.float64) / torch.tensor(size)
        close = ((centres - at) * cell).norm(dim=-1) <= self.radius
        return (close & (nearest == index)) | (centres.floor() == at.floor()).all(dim=-1), centres + offset

    def pull(self, progress: float, size: Size, at: Tensor) -> tuple[Tensor, Tensor]:
        """Backward displacement [..., 2] at positions [..., 2], and which point is nearest [...]."""
        handles, displacements = self._pairs(size)
        return self._spread(at, handles + displacements * progress, -displacements * progress, size)

    def push(self, progress: float, size: Size, at: Tensor) -> tuple[Tensor, Tensor]:
        """Forward displacement, the published direction; shapes as in `pull`."""
        handles, displacements = self._pairs(size)
        return self._spread(at, handles, displacements * progress, size)

    def _spread(self, at: Tensor, origins: Tensor, displacements: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        circle = self._circle(size) if self.fades else None
        x, y = (v.contiguous() for v in at.unbind(-1))
        moved_x, moved_y, total = (torch.zeros_like(x) for _ in range(3))
        best = torch.full_like(x, math.inf)
        nearest = torch.zeros_like(x, dtype=torch.int64)
        # One pair after the other: a hundred pairs on a large picture would not fit side by side.
        for i, (origin, displacement) in enumerate(zip(origins.tolist(), displacements.tolist(), strict=True)):
            ray_x, ray_y = x - origin[0], y - origin[1]
            distance = torch.hypot(ray_x, ray_y)
            closer = distance < best
            best, nearest = torch.where(closer, distance, best), nearest.masked_fill(closer, i)
            share = closer.to(x.dtype) if self.mode == "nearest" else 1.0 / (distance + EPSILON)
            if self.mode == "nearest":
                moved_x, moved_y, total = (v.masked_fill(closer, 0.0) for v in (moved_x, moved_y, total))
            total += share
            if circle is not None:
                share = share * _fade(ray_x, ray_y, distance, origin, *circle)
            moved_x += share * displacement[0]
            moved_y += share * displacement[1]
        return torch.stack((moved_x / total, moved_y / total), dim=-1), nearest

    def _circle(self, size: Size) -> tuple[Tensor, float]:
        """Centre and radius of the circle through the corner cells' centres of the box around the area (FastDrag).

        It grows to hold every handle and target; the formula is undefined for points outside. With a `reach` and no area, the circle
        around handles and targets, that much wider.
        """
        handles, displacements = self._pairs(size)
        ends = torch.cat((handles, handles + displacements))
        if self.area is None and self.reach is not None:
            centre = (ends.amin(dim=0) + ends.amax(dim=0)) / 2
            cells = max(side / whole for side, whole in zip(size, self.picture, strict=True))
            return centre, float((ends - centre).norm(dim=1).max()) + self.reach * cells
        area = self._area(size) > INSIDE
        columns, rows = area.any(dim=0).nonzero() + 0.5, area.any(dim=1).nonzero() + 0.5
        low = torch.cat((columns[0], rows[0])).double()
        high = torch.cat((columns[-1], rows[-1])).double()
        centre = (low + high) / 2
        furthest = float((ends - centre).norm(dim=1).max())
        return centre, max(float((high - centre).norm()), furthest + 1.0)

    def _pairs(self, size: Size) -> tuple[Tensor, Tensor]:
        """Handles [n, 2] and displacements [n, 2] in cells."""
        scale = torch.tensor(size, dtype=torch.float64) / torch.tensor(self.picture)
        handles = torch.tensor([p.handle for p in self.points], dtype=torch.float64) * scale
        return handles, torch.tensor([p.target for p in self.points], dtype=torch.float64) * scale - handles

    def _area(self, size: Size) -> Tensor:
        """Soft mask [h, w] of what the points may move. Raises ValueError if no cell of the grid is in it."""
        if self.area is None and self.fades:
            return torch.ones(size[1], size[0])
        area = self.area
        if area is None:
            area = np.logical_or.reduce([disc(self.picture, p.handle, self.radius) for p in self.points])
        soft = resample(area, size)
        if not (soft > INSIDE).any():
            raise ValueError(
                f"the area that the points move is smaller than one cell of a grid of {size[0]}x{size[1]}: enlarge the "
                f"editable area or the point radius ({self.radius:g} px), or work on a finer grid"
            )
        return soft

    def _window(self, size: Size) -> Window:
        """Cells that can show content of the area: its box, also shifted by each pair."""
        area = self._area(size) > INSIDE
        columns, rows = area.any(dim=0).nonzero(), area.any(dim=1).nonzero()
        _, displacements = self._pairs(size)
        (left, up), (right, down) = displacements.amin(dim=0).tolist(), displacements.amax(dim=0).tolist()
        x0 = max(0, math.floor(int(columns[0]) - 1 + min(0.0, left)))
        y0 = max(0, math.floor(int(rows[0]) - 1 + min(0.0, up)))
        x1 = min(size[0], math.ceil(int(columns[-1]) + 2 + max(0.0, right)))
        y1 = min(size[1], math.ceil(int(rows[-1]) + 2 + max(0.0, down)))
        return x0, y0, x1, y1


def _fade(x: Tensor, y: Tensor, distance: Tensor, handle: Sequence[float], centre: Tensor, reach: float) -> Tensor:
    """lambda of the latent warp: 1 at the handle, falling linearly along each ray to 0 on the circle, 0 beyond.

    x, y, distance: from the handle to each cell. At the handle itself, where the published code divides 0 by 0 and
    loses the cell, lambda is its limit 1.
    """
    ox, oy = handle[0] - float(centre[0]), handle[1] - float(centre[1])
    along = (x * ox + y * oy) / distance.clamp(min=1e-9)
    to_circle = (along.square() + (reach**2 - ox * ox - oy * oy)).sqrt() - along
    return (1.0 - distance / to_circle).clamp(min=0.0)
