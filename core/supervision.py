"""Region supervision: how far features are from the reference features carried along by the field (DragFlow Eq. 1).

    L = sum_i gamma_i · 1/(C·h_c·w_c) · sum_{p in moved region i} sum_c | F(c, p) - F_0(c, source_i(p)) |

summed over the moved region only: pixels outside it contribute nothing to the published full-map mean, so leaving
them out gives the same value and the same gradient. An affine region is one case of source_i; any displacement field
will do.

A token covers several latent cells, and what it holds depends on where in it the content lies. Features carried by less
than a token, read between tokens, are therefore blurred: a mixture of two tokens is not the token half way between them.
`RegionLoss` can be given finer reference features, of the same latent shifted by each part of a token, so that content is
compared with itself as the network would see it there, token by token:

    L = sum_i gamma_i · 1/(C·h_c·w_c) · sum_{tokens u} a_u · sum_c | F(c, u) - F_0(c, source_i(centre of u)) |

with a_u how much of the moved region reads token u. Content shifted by any number of cells costs nothing then; read between
tokens it costs nearly as much as content that has not moved at all.

Convention: positions are (x, y) in units of a grid (width, height), cell centres at +0.5; maps of another resolution
are read at the same relative place, bilinearly, with the border repeated (align_corners=False). A map whose last tokens hang
over the picture's edge is larger than the picture: its `extent` is the picture's (width, height) in tokens, such as 2.5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
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


@dataclass(frozen=True, eq=False)
class Picker:
    """Reading of whole tokens: cells [U], indices into a row-major grid, each once; mass [U], what each counts."""

    cells: Tensor
    mass: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """rows [B, h·w, C] -> [B, U, C], times the mass, in float32 at least."""
        picked = rows[:, self.cells]
        return self.weighted(picked if picked.dtype == torch.float64 else picked.float())

    def weighted(self, picked: Tensor) -> Tensor:
        """[B, U, C] times the mass."""
        return self.mass.to(picked.dtype)[:, None] * picked


def make_reader(
    positions: Tensor, grid: tuple[int, int], size: tuple[int, int], device: torch.device, extent: tuple[float, float] | None = None
) -> Reader:
    """A reader of `positions` [N, 2] in units of `grid` (width, height) on a map of `size` (width, height).

    extent: how much of the map the grid spans, (width, height) in cells of the map; None: all of it.
    """
    corners, shares = _bilinear(positions * _scale(positions, grid, extent or size) - 0.5, size)
    cells, column = corners.unique(return_inverse=True)
    weights = torch.zeros(len(positions), len(cells), dtype=positions.dtype)
    weights.scatter_add_(1, column, shares)
    return Reader(cells.to(device, non_blocking=True), weights.to(device, non_blocking=True))


def at_tokens(target: Tensor, source: Tensor, reader: Reader, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where the content of the tokens that `reader` touches comes from, and how much of the region each token stands for.

    target, source: [N, 2], what moves and whence, in units of a map of `size` (width, height); reader: of those targets on that map.
    -> source positions [U, 2] of its cells' centres, float64; mass [U], its shares summed. The displacement is taken on from
    the targets to the centres by the affine map that fits best: exactly for a region that is shifted or turned, and exactly 0
    where nothing moves.
    """
    target, shift = target.double(), (source - target).double()
    shares = reader.weights.to("cpu", torch.float64)
    mass = shares.sum(0)
    cells = reader.cells.cpu()
    centres = torch.stack([cells % size[0], cells // size[0]], dim=-1) + 0.5
    middle = target.mean(0)

    def trend(at: Tensor) -> Tensor:
        return torch.cat([at - middle, at.new_ones(len(at), 1)], dim=1)

    # gelsd: regions one cell thin leave the map undetermined across, and then the smallest one is meant.
    slope = torch.linalg.lstsq(trend(target), shift, driver="gelsd").solution
    rest = shares.T @ (shift - trend(target) @ slope) / mass.clamp_min(1e-12)[:, None]
    return centres + trend(centres.double()) @ slope + rest, mass


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


@torch.no_grad()
def cell_features(
    features: Callable[[Tensor], Sequence[Tensor]],
    z: Tensor,
    own: Sequence[Tensor],
    patch: int,
    should_stop: Callable[[], bool] | None = None,
) -> list[Tensor] | None:
    """Features of tokens that begin at every cell of the latent z [B, C, h, w], not only at every patch-th. -> [B, C, h, w] each.

    features: one pass of the network.  own: its outcome for z itself. The latent is shifted by each part of a token, its
    last cells repeated; what a token sees of itself and around it is then what a shifted picture shows.
    should_stop: asked before every pass; True gives None.
    """
    h, w = z.shape[-2:]
    finer = [f.new_zeros(*f.shape[:2], h, w) for f in own]
    for dy, dx in itertools.product(range(patch), range(patch)):
        found = own
        if dx or dy:
            if should_stop is not None and should_stop():
                return None
            found = features(F.pad(z, (0, dx, 0, dy), mode="replicate")[..., dy:, dx:])
        for whole, f in zip(finer, found, strict=True):
            part = whole[..., dy::patch, dx::patch]
            part.copy_(f.detach()[..., : part.shape[-2], : part.shape[-1]])
    return finer


class RegionLoss:
    """The loss for one field against fixed reference features, at any progress.

    reference: features of the undragged latent, a list of [B, C, h, w].  grid: (width, height) of the supervised
    positions.  finer: the same features at every latent cell, a list of [B, C, p·h, p·w] or as many as the picture has, for
    layout "tokens"; None: carried content is read between tokens, as published.  extent: (width, height) of the picture in
    tokens; None: the whole map.
    """

    def __init__(
        self,
        field: Correspondence,
        reference: Sequence[Tensor],
        grid: tuple[int, int],
        layout: Layout = "tokens",
        finer: Sequence[Tensor] | None = None,
        extent: tuple[float, float] | None = None,
    ) -> None:
        if finer is not None and layout != "tokens":
            raise ValueError(f"finer reference features are features of tokens: layout = {layout!r} cannot read them, use 'tokens'")
        self.field = field
        self.grid = grid
        self.layout = layout
        self.weights = [float(w) for w in field.weights()]
        self.reference = [feature_rows(f.detach(), layout) for f in reference]
        self.finer = None if finer is None else [f.detach() for f in finer]
        self.size = self.reference[0][1]
        rows, columns = reference[0].shape[-2:]
        self.extent = self.size if extent is None else (extent[0] * self.size[0] / columns, extent[1] * self.size[1] / rows)
        self.device = reference[0].device
        self.elements = sum(rows.shape[-1] for rows, _ in self.reference) * grid[0] * grid[1]
        self._at: tuple[float, list[tuple[float, Reader | Picker, list[Tensor]]], Tensor] | None = None

    def __call__(self, features: Sequence[Tensor], progress: float) -> Tensor:
        """Loss per sample [B] of `features` (a list of [B, C, h, w]) at `progress` in [0, 1]; differentiable."""
        targets, _ = self._prepare(progress)
        return self._distance([feature_rows(f, self.layout)[0] for f in features], targets)

    def undone(self, progress: float) -> Tensor:
        """Loss per sample [B] of the reference features themselves: what it costs when nothing has moved."""
        return self._prepare(progress)[1]

    def _distance(self, rows: Sequence[Tensor], targets: list[tuple[float, Reader | Picker, list[Tensor]]]) -> Tensor:
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
                targets.append((weight, *self._compared(target.cpu(), source.cpu())))
            undone = self._distance([rows for rows, _ in self.reference], targets)
            self._at = (progress, targets, undone)
        return self._at[1], self._at[2]

    def _compared(self, target: Tensor, source: Tensor) -> tuple[Reader | Picker, list[Tensor]]:
        """How features are read where the region is, and what they should be there."""
        reader = make_reader(target, self.grid, self.size, self.device, self.extent)
        if self.finer is None:
            carry = make_reader(source, self.grid, self.size, self.device, self.extent)
            return reader, [carry(rows) for rows, _ in self.reference]
        scale = _scale(target, self.grid, self.extent)
        source, mass = at_tokens(target * scale, source * scale, reader, self.size)
        picker = Picker(reader.cells, mass.to(self.device))
        finer = (self.finer[0].shape[-1], self.finer[0].shape[-2])
        # A token that begins at cell n is centred p/2 cells further on, and the reader takes cell n to lie at n + 1/2.
        part = finer[0] / self.extent[0]
        carry = make_reader(source * part - (part - 1) / 2, finer, finer, self.device)
        return picker, [picker.weighted(carry(feature_rows(f, "tokens")[0])) for f in self.finer]


def _scale(positions: Tensor, grid: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    """Cells of a map per cell of the grid, [2]: of the picture alone, which a map may reach beyond."""
    return positions.new_tensor([extent[0] / grid[0], extent[1] / grid[1]])


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
