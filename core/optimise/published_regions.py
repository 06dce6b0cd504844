"""Where DragFlow's published code compares features, to the cell: its rounding, its grids, its ties (DragFlow 3.2, Eq. 18-21).

A `DragField` says where content goes exactly, and lays operations over each other. The published code differs in four ways, each of which
changes the loss by more than rounding errors, and with it every step of the drag:

1. centroid, target and anchor are rounded to whole cells of the cut map, up to half a cell off, up to a degree of a turn;
2. feature maps are first enlarged to the cut map and then read between its cells (`RegionLoss(enlarged=True)`);
3. which cells belong to the moved region is decided by float32 `affine_grid` and `grid_sample`: where a softened mask is one half exactly,
   their rounding errors decide;
4. masks and points stay in the picture's own pixels, even where the working picture is a little smaller because sides have to be multiples
   of 16; every operation counts by itself, what another one covers included.

Convention: the cut map has (width, height) cells, their centres at +0.5; grids are backward maps, from where the region is to where its
content comes from.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..field.geometry import Motion, Size, cell_centres
from ..field.masks import region_weights, resample
from ..field.moves import motion_of
from ..instruction.operations import Drag


class PublishedRegions:
    """The correspondence of a drag's regions as the published code has it, on one grid: `cut`."""

    def __init__(self, drag: Drag, cut: Size, *, rounded: bool = True) -> None:
        """drag: in the picture's own pixels.  cut: (width, height) of the cut map, `cut_shape` of the working picture.

        rounded: whole cells for centroid, target and anchor.
        Raises ValueError for points, which the published regions' code does not drag, for regions that scale, turn on their way or are
        copies and for pins in front, which it does not know, and for a drag without a region that moves.
        """
        if drag.points:
            raise ValueError(
                "the published DragFlow drags regions, and this drag has points: draw a region instead, or use the preset 'tuned'"
            )
        moving = [region for region in drag.regions if region.task != "pin"]
        if any(region.scale != (1, 1) or region.angle or region.copy for region in moving):
            raise ValueError(
                "the published DragFlow shifts or turns a region, and this drag scales, mirrors or copies one, or turns it on its way: use "
                "the preset 'tuned'"
            )
        if any(region.front for region in drag.regions):
            raise ValueError(
                "the published DragFlow knows nothing that stands in front, and this drag has a pin that does: use the preset 'tuned'"
            )
        if not moving:
            raise ValueError("the drag has no region that moves: draw one and say where it goes")
        self.cut, self._span = cut, (0.0, 1.0)
        self._motions = [motion_of(region, rounded_at=cut if rounded else None) for region in moving]
        self._masks = [resample(region.body, cut) for region in moving]
        self._names = [region.name or f"region {i + 1}" for i, region in enumerate(moving)]
        self._areas = [float(np.count_nonzero(region.body)) / region.mask.size for region in moving]

    def between(self, begin: float, end: float) -> PublishedRegions:
        """See `DragField.between`."""
        part = copy(self)
        part._span = begin, end
        return part

    def moves(self) -> bool:
        """Whether any region goes anywhere, once rounded."""
        return any(motion.shift != (0.0, 0.0) or motion.angle for motion in self._motions)

    def weights(self) -> tuple[float, ...]:
        """Share gamma_i of each region in the loss, by its area in the picture's own pixels (Eq. 22-24)."""
        return region_weights(self._areas)

    def grid(self, op: int, progress: float) -> Tensor:
        """Where each cell's content comes from, normalised to [-1, 1] with align_corners=False. -> float32 [h, w, 2]."""
        begin, end = self._span
        theta = normalised(self._motions[op], begin + progress * (end - begin), self.cut)
        return affine_grid(theta[None], [1, 1, self.cut[1], self.cut[0]], align_corners=False)[0]

    def cells(self, op: int, progress: float) -> Tensor:
        """The cells of the moved region: its softened mask, carried along, above one half. -> bool [h, w]."""
        soft = self._masks[op][None, None]
        carried = grid_sample(soft, self.grid(op, progress)[None], mode="bilinear", padding_mode="zeros", align_corners=False)
        return carried[0, 0] > 0.5

    def samples(self, op: int, progress: float, size: Size) -> tuple[Tensor, Tensor]:
        """See `DragField.samples`. On the cut map: as published; on another grid: its cells below which one of those lies."""
        cells = self.cells(op, progress)
        if not cells.any():
            raise ValueError(f"{self._names[op]} cannot be seen at progress {progress:g}: it has left the picture; move its target inside")
        if size != self.cut:
            rows, columns = cells.nonzero(as_tuple=True)
            there = torch.zeros(size[1], size[0], dtype=torch.bool)
            there[rows * size[1] // self.cut[1], columns * size[0] // self.cut[0]] = True
            centres = cell_centres((0, 0, *size), torch.float32)[there]
            return centres, centres
        target = cell_centres((0, 0, *size), torch.float32)[cells]
        extent = torch.tensor(self.cut, dtype=torch.float32)
        return target, (self.grid(op, progress)[cells] + 1) / 2 * extent


def normalised(motion: Motion, progress: float, size: Size) -> Tensor:
    """The backward map of a motion in coordinates from -1 to 1, as `affine_grid` takes it. -> float32 [2, 3].

    A shift is rounded to float32 where the published code does, before it is normalised: at a tie its last bit counts.
    """
    w, h = size
    if not motion.angle:
        scale = np.float32(w) / np.float32(motion.frame[0]), np.float32(h) / np.float32(motion.frame[1])
        x, y = (np.float32(progress) * np.float32(s) * k for s, k in zip(motion.shift, scale, strict=True))
        return torch.tensor([[1.0, 0.0, -2 * x / np.float32(w)], [0.0, 1.0, -2 * y / np.float32(h)]], dtype=torch.float32)
    backward = np.vstack([motion.backward(progress, size), (0.0, 0.0, 1.0)])
    to_cells = np.array([[w / 2, 0, w / 2], [0, h / 2, h / 2], [0, 0, 1]])
    return torch.tensor((np.linalg.inv(to_cells) @ backward @ to_cells)[:2], dtype=torch.float32)
