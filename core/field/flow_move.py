"""A move that is told place by place: optical flow, a mesh, depth, or any formula, in the place of a region's motion.

    move = FlowMove(mask, displacement)                      # what moves, and by how many px each of its places
    field = DragField(size, regions=(move,))                 # every method takes it

Convention: as moves.py; a displacement is (x, y) px of the picture, told at the source: what is at p goes to p + d(p), and at progress w it
has got to p + w d(p).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .geometry import Size, cell_centres
from .masks import resample
from .moves import INSIDE, Departure, Landing, OneOperation
from .warp import sample

ROUNDS = 24
"""How often the way back is corrected: a field that shrinks or stretches by a half is then known to a hundredth of a pixel."""
OFF = 0.5
"""Cells by which a source may miss its target; more is where the field folds over itself, or nothing comes from."""


@dataclass(frozen=True, eq=False)
class FlowMove(OneOperation):
    """mask: bool [H, W], what moves.  displacement: float32 [H, W, 2], px, of each of its places; what it says elsewhere continues it.

    Raises ValueError for another shape than the mask's, and for numbers that are none.
    """

    mask: np.ndarray
    displacement: np.ndarray
    name: str = "flow"
    rigid, stretch = False, None

    def __post_init__(self) -> None:
        if self.displacement.shape != (*self.mask.shape, 2):
            raise ValueError(
                f"the displacement has the shape {list(self.displacement.shape)} and the mask {list(self.mask.shape)}: give (x, y) px for "
                "each of the mask's pixels"
            )
        if not np.isfinite(self.displacement).all():
            raise ValueError("the displacement holds numbers that are none (nan or infinite): give px for every pixel")

    def leaving(self, size: Size) -> Tensor:
        """Cells that move away. -> bool [h, w]"""
        return resample(self.mask, size) > INSIDE

    def landing(self, progress: float, size: Size) -> Landing:
        """Cells that what moves has reached, and where it comes from: p = x - w d(p), by iteration."""
        window, displacement = (0, 0, *size), progress * self._displacement(size)
        goal = cell_centres(window)
        source = goal - sample(displacement, goal)[0].permute(1, 2, 0)
        for _ in range(ROUNDS):
            source = goal - sample(displacement, source)[0].permute(1, 2, 0)
        missed = (source + sample(displacement, source)[0].permute(1, 2, 0) - goal).norm(dim=-1)
        share = sample(resample(self.mask, size)[None, None].double(), source, padding="zeros")[0, 0]
        solid = (share > INSIDE) & (missed < OFF)
        return Landing(window, source, solid, torch.zeros_like(solid), 0)

    def departure(self, progress: float, size: Size) -> Departure:
        """Where its cells go."""
        window = (0, 0, *size)
        goal = cell_centres(window) + progress * self._displacement(size)[0].permute(1, 2, 0)
        return Departure(window, goal, self.leaving(size))

    def _displacement(self, size: Size) -> Tensor:
        """In cells of the grid. -> float64 [1, 2, h, w]"""
        height, width = self.mask.shape
        scale = torch.tensor([size[0] / width, size[1] / height], dtype=torch.float64)
        scaled = torch.from_numpy(np.ascontiguousarray(self.displacement)).double() * scale
        centres = cell_centres((0, 0, *size)) / scale
        return sample(scaled.permute(2, 0, 1)[None], centres)
