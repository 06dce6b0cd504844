"""Region supervision: how far features are from the reference features carried along by the field (DragFlow Eq. 1).

    L = Σ_i γ_i · 1/(C·h_c·w_c) · Σ_{p in moved region i} Σ_c | F(c, p) - F_0(c, source_i(p)) |

summed over the moved region only: pixels outside it contribute nothing to the published full-map mean, so leaving
them out gives the same value and the same gradient. An affine region is one case of source_i; any displacement field
will do.

Convention: positions are (x, y) in units of a grid (width, height), cell centres at +0.5; maps of another resolution
are read at the same relative place, bilinearly, with the border repeated (align_corners=False).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from einops import rearrange
from torch import Tensor

Layout = Literal["tokens", "shuffled"]
Grid = Literal["latent", "tokens", "cut"]


class Correspondence(Protocol):
    """What supervision reads of a `DragField`: one weight per operation, and where its content comes from."""

    def weights(self) -> Sequence[float]: ...

    def samples(self, op: int, progress: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, eq=False)
class Reader:
    """Bilinear reading of N positions as a dense matrix over the cells they touch.

    cells: [U] indices into a row-major grid.  weights: [N, U]. A matrix product, and each cell listed once, keep the
    gradient deterministic on every device, which scattered additions are not.
    """

    cells: Tensor
    weights: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """rows [B, h·w, C] -> [B, N, C], in float32 at least."""
        picked = rows[:, self.cells]
        picked = picked if picked.dtype == torch.float64 else picked.float()
        return self.weights.to(picked.dtype) @ picked


def make_reader(positions: Tensor, grid: tuple[int, int], size: tuple[int, int], device: torch.device) -> Reader:
    """A reader of `positions` [N, 2] in units of `grid` (width, height) on a map of `size` (width, height)."""
    scale = positions.new_tensor([size[0] / grid[0], size[1] / grid[1]])
    limit = positions.new_tensor([size[0] - 1, size[1] - 1])
    at = (positions * scale - 0.5).clamp_min(0.0).minimum(limit)
    low = at.floor()
    high = (low + 1).minimum(limit)
    along = at - low
    corners, shares = [], []
    for x, share_x in ((low[:, 0], 1 - along[:, 0]), (high[:, 0], along[:, 0])):
        for y, share_y in ((low[:, 1], 1 - along[:, 1]), (high[:, 1], along[:, 1])):
            corners.append(y * size[0] + x)
            shares.append(share_x * share_y)
    cells, column = torch.stack(corners, dim=1).long().unique(return_inverse=True)
    weights = torch.zeros(len(positions), len(cells), dtype=positions.dtype)
    weights.scatter_add_(1, column, torch.stack(shares, dim=1))
    return Reader(cells.to(device, non_blocking=True), weights.to(device, non_blocking=True))


def cut_shape(picture: tuple[int, int]) -> tuple[int, int]:
    """The published grid for a working picture of (width, height) px: 1/4, 1/3 or 1/2 by its mean side."""
    mean = (picture[0] + picture[1]) / 2
    scale = 4 if mean > 1000 else 3 if mean > 600 else 2
    return picture[0] // scale, picture[1] // scale


def feature_rows(feature: Tensor, layout: Layout) -> tuple[Tensor, tuple[int, int]]:
    """Feature map [B, C, h, w] -> rows [B, cells, channels] and the (width, height) of their grid.

    "tokens": a row per token. "shuffled": tokens pixel-shuffled by 2 as published, four cells of C/4 channels each; an
    arbitrary interleave of hidden channels, kept because the published loss depends on it.
    """
    h, w = feature.shape[-2:]
    if layout == "tokens":
        return rearrange(feature, "b c h w -> b (h w) c"), (w, h)
    return rearrange(feature, "b (c ph pw) h w -> b (h ph w pw) c", ph=2, pw=2), (2 * w, 2 * h)


class RegionLoss:
    """The loss for one field against fixed reference features, at any progress.

    reference: features of the undragged latent, a list of [B, C, h, w].  grid: (width, height) of the supervised
    positions.
    """

    def __init__(
        self, field: Correspondence, reference: Sequence[Tensor], grid: tuple[int, int], layout: Layout = "tokens"
    ) -> None:
        self.field = field
        self.grid = grid
        self.layout = layout
        self.weights = [float(w) for w in field.weights()]
        self.reference = [feature_rows(f.detach(), layout) for f in reference]
        self.size = self.reference[0][1]
        self.device = reference[0].device
        self.elements = sum(rows.shape[-1] for rows, _ in self.reference) * grid[0] * grid[1]
        self._at: tuple[float, list[tuple[float, Reader, list[Tensor]]], Tensor] | None = None

    def __call__(self, features: Sequence[Tensor], progress: float) -> Tensor:
        """Loss per sample [B] of `features` (a list of [B, C, h, w]) at `progress` in [0, 1]; differentiable."""
        targets, _ = self._prepare(progress)
        return self._distance([feature_rows(f, self.layout)[0] for f in features], targets)

    def undone(self, progress: float) -> Tensor:
        """Loss per sample [B] of the reference features themselves: what it costs when nothing has moved."""
        return self._prepare(progress)[1]

    def _distance(self, rows: Sequence[Tensor], targets: list[tuple[float, Reader, list[Tensor]]]) -> Tensor:
        total = rows[0].new_zeros(rows[0].shape[0], dtype=torch.promote_types(rows[0].dtype, torch.float32))
        for weight, reader, wanted in targets:
            for own, want in zip(rows, wanted, strict=True):
                total = total + weight / self.elements * (reader(own) - want).abs().sum(dim=(1, 2))
        return total

    def _prepare(self, progress: float) -> tuple[list[tuple[float, Reader, list[Tensor]]], Tensor]:
        # The last progress only: transport changes it every step, intensify never.
        if self._at is None or self._at[0] != progress:
            targets = []
            for op, weight in enumerate(self.weights):
                target, source = self.field.samples(op, progress, self.grid)
                if len(target) == 0:
                    continue
                carry = make_reader(source.cpu(), self.grid, self.size, self.device)
                reader = make_reader(target.cpu(), self.grid, self.size, self.device)
                targets.append((weight, reader, [carry(rows) for rows, _ in self.reference]))
            undone = self._distance([rows for rows, _ in self.reference], targets)
            self._at = (progress, targets, undone)
        return self._at[1], self._at[2]
