"""Reading feature maps at any places, tile by tile, and how far two maps are from each other there.

A map of a large picture, read at every latent cell that a large region covers, takes far more memory as numbers read than the map itself,
and read by one matrix it takes the square of that. So places are taken in runs of TILE: each run is a small dense matrix over the cells
it touches, what it reads is compared at once, and the comparison's gradient is formed along with it. Nothing that is read outlives its run.

Convention: places are (x, y) in units of a grid (width, height), cell centres at +0.5; maps of another resolution are read at the same
relative place, bilinearly, with the border repeated (align_corners=False). Maps come as rows: [B, h·w, C], row-major.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..device import sent_to

TILE = 256
"""Places read at a time."""


@dataclass(frozen=True, eq=False)
class Tile:
    """Places read together, as a dense matrix over the cells they touch.

    cells: [U], each once, row-major in the map.  columns: [U], where those stand in the reader's own list.  weights: [n, U].
    A matrix product, and each cell listed once, keep the gradient deterministic on every device, which scattered additions are not.
    """

    cells: Tensor
    columns: Tensor
    weights: Tensor

    def read(self, rows: Tensor, places: Tensor) -> Tensor:
        """rows [B, ., C] at places [U] -> [B, n, C], in float32 at least."""
        picked = rows[:, places]
        picked = picked if picked.dtype == torch.float64 else picked.float()
        return self.weights.to(picked.dtype) @ picked


@dataclass(frozen=True, eq=False)
class Reader:
    """Bilinear reading of N places. cells: [U], row-major in the map, each once: all that is touched."""

    cells: Tensor
    tiles: tuple[Tile, ...]


def make_reader(
    places: Tensor,
    grid: tuple[int, int],
    size: tuple[int, int],
    device: torch.device,
    extent: tuple[float, float] | None = None,
    *,
    mass: Tensor | None = None,
    enlarged: bool = False,
    tile: int = TILE,
) -> Reader:
    """A reader of `places` [N, 2] in units of `grid` (width, height) on a map of `size` (width, height).

    extent: how much of the map the grid spans, (width, height) in cells of the map; None: all of it.
    mass: [N], a positive factor of what is read at each place; None: 1.  enlarged: the map is first enlarged to the grid, bilinearly, and
    then read between the grid's cells, as published; at their centres that is the same.  tile: places read at a time; fewest cells are
    touched twice when neighbours follow each other.
    """
    scale = scale_of(places, grid, extent or size)
    if enlarged:
        corners, shares = _bilinear_twice(places, grid, scale, size)
        cells, columns = _numbered(corners, shares)
    else:
        cells, columns, shares = _touched(places * scale - 0.5, size)
    if mass is not None:
        shares = shares * mass.to(shares)[:, None]
    tiles = []
    for column, share in zip(columns.split(tile), shares.split(tile), strict=True):
        touched, at = _numbered(column, share)
        weights = torch.zeros(len(share), len(touched), dtype=shares.dtype).scatter_add_(1, at, share)
        tiles.append(Tile(*(sent_to(part, device, non_blocking=True) for part in (cells[touched], touched, weights))))
    return Reader(cells.to(device, non_blocking=True), tuple(tiles))


def distance(own: Tensor, reader: Reader, wanted: Tensor, carry: Reader) -> Tensor:
    """sum | reader(own) - carry(wanted) | over places and channels. own, wanted: [B, ., C] -> [B], in float32 at least.

    reader, carry: of as many places, in tiles of one size. Differentiable once, with respect to `own`.
    """
    return _Distance.apply(own[:, reader.cells], wanted, list(zip(reader.tiles, carry.tiles, strict=True)))


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, wanted: Tensor, tiles: Sequence[tuple[Tile, Tile]]) -> Tensor:
        dtype = torch.promote_types(own.dtype, torch.float32)
        total = torch.zeros(own.shape[0], device=own.device, dtype=dtype)
        slope = torch.zeros_like(own, dtype=dtype) if ctx.needs_input_grad[0] else None
        for mine, other in tiles:
            apart = mine.read(own, mine.columns) - other.read(wanted, other.cells).to(dtype)
            total += apart.abs().sum(dim=(1, 2))
            if slope is not None:
                slope[:, mine.columns] += mine.weights.to(dtype).T @ apart.sign_()
        ctx.dtype = own.dtype
        ctx.save_for_backward(slope)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (grad[:, None, None] * slope).to(ctx.dtype), None, None


def by_tokens(target: Tensor, source: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens places `target` [N, 2] lie on, and where those tokens' content comes from, as that of the places comes from `source`.

    In units of a map of `size` (width, height). -> tokens' centres [U, 2], row-major; their sources [U, 2]; how many places each stands
    for, [U]; float64.
    The displacement is taken on from the targets to the tokens' centres by the affine map that fits best: exactly for a region that is
    shifted or turned, and exactly 0 where nothing moves.
    """
    target, shift = target.double(), (source - target).double()
    cells, columns, shares = _touched(target - 0.5, size)
    mass = shares.new_zeros(len(cells)).index_add_(0, columns.flatten(), shares.flatten())
    centres = torch.stack([cells % size[0], cells // size[0]], dim=-1).double() + 0.5
    middle = target.mean(0)

    def trend(at: Tensor) -> Tensor:
        return torch.cat([at - middle, at.new_ones(len(at), 1)], dim=1)

    # gelsd: regions one cell thin leave the map undetermined across, and then the smallest one is meant.
    slope = torch.linalg.lstsq(trend(target), shift, driver="gelsd").solution
    off = shares[..., None] * (shift - trend(target) @ slope)[:, None]
    rest = off.new_zeros(len(cells), 2).index_add_(0, columns.flatten(), off.flatten(0, 1)) / mass.clamp_min(1e-12)[:, None]
    return centres, centres + trend(centres) @ slope + rest, mass


def scale_of(places: Tensor, grid: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    """Cells of a map per cell of the grid, [2]: of the picture alone, which a map may reach beyond."""
    return places.new_tensor([extent[0] / grid[0], extent[1] / grid[1]])


def _touched(at: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Row-major cells [U] that places `at` are read from; for each place four numbers of such cells [N, 4], and their shares."""
    corners, shares = _bilinear(at, size)
    return *_numbered(corners, shares), shares


def _numbered(cells: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Those of `cells` that have a share, each once and in order, and the number of each cell among them (any, for one without)."""
    used = cells[shares > 0].unique()
    return used, torch.searchsorted(used, cells).clamp_max(len(used) - 1)


def _bilinear(at: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row-major cells [N, 4] around places `at` [N, 2] of a map of `size`, counted in cells from the first, and their shares."""
    limit = at.new_tensor([size[0] - 1, size[1] - 1])
    at = at.clamp_min(0.0).minimum(limit)
    low = at.floor()
    high = (low + 1).minimum(limit)
    along = at - low
    corners, shares = [], []
    for x, share_x in ((low[:, 0], 1 - along[:, 0]), (high[:, 0], along[:, 0])):
        for y, share_y in ((low[:, 1], 1 - along[:, 1]), (high[:, 1], along[:, 1])):
            corners.append(y * size[0] + x)
            shares.append(share_x * share_y)
    return torch.stack(corners, dim=1).long(), torch.stack(shares, dim=1)


def _bilinear_twice(places: Tensor, grid: tuple[int, int], scale: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row-major cells [N, 16] of a map of `size`, and their shares, of places [N, 2] between the cells of a grid that it is enlarged to."""
    nodes, shares = _bilinear(places - 0.5, grid)
    centres = torch.stack([nodes % grid[0], nodes // grid[0]], dim=-1).to(places.dtype) + 0.5
    corners, parts = _bilinear(centres.flatten(0, 1) * scale - 0.5, size)
    return corners.view(len(places), 16), (parts.view(len(places), 4, 4) * shares[..., None]).flatten(1)
