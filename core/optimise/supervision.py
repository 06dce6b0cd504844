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

Convention: that of map_reading.py. A map whose last tokens hang over the picture's edge is larger than the picture: its `extent` is
the picture's (width, height) in tokens, such as 2.5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .map_reading import TILE, Reader, by_tokens, distance, make_reader, scale_of

Layout = Literal["tokens", "shuffled"]
Grid = Literal["latent", "tokens", "cut"]


class Correspondence(Protocol):
    """What supervision reads of a `DragField`: one weight per operation, and where its content comes from."""

    def weights(self) -> Sequence[float]: ...

    def samples(self, op: int, progress: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]: ...


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


_Compared = tuple[float, Reader, Reader]
"""A weight, how an operation's features are read, and how what they should be is."""


class RegionLoss:
    """The loss for one field against fixed reference features, at any progress.

    reference: features of the undragged latent, a list of [B, C, h, w].  grid: (width, height) of the supervised
    positions.  finer: the same features at every latent cell, a list of [B, C, p·h, p·w] or as many as the picture has, for
    layout "tokens"; None: carried content is read between tokens, as published.  extent: (width, height) of the picture in
    tokens; None: the whole map.  enlarged: maps are first enlarged to the grid and then read, as published; not with `finer`.
    tile: places read at a time, see map_reading.py.
    """

    def __init__(
        self,
        field: Correspondence,
        reference: Sequence[Tensor],
        grid: tuple[int, int],
        layout: Layout = "tokens",
        finer: Sequence[Tensor] | None = None,
        extent: tuple[float, float] | None = None,
        *,
        enlarged: bool = False,
        tile: int = TILE,
    ) -> None:
        if finer is not None and layout != "tokens":
            raise ValueError(f"finer reference features are features of tokens: layout = {layout!r} cannot read them, use 'tokens'")
        if finer is not None and enlarged:
            raise ValueError("finer reference features are read as they are: enlarged maps go without them")
        self.field = field
        self.grid = grid
        self.layout = layout
        self.enlarged = enlarged
        self.tile = tile
        self.weights = [float(w) for w in field.weights()]
        self.reference = [feature_rows(f.detach(), layout)[0] for f in reference]
        self.size = feature_rows(reference[0], layout)[1]
        self.finer = None if finer is None else (finer[0].shape[-1], finer[0].shape[-2])
        self.wanted = self.reference if finer is None else [feature_rows(f.detach(), layout)[0] for f in finer]
        rows, columns = reference[0].shape[-2:]
        self.extent = self.size if extent is None else (extent[0] * self.size[0] / columns, extent[1] * self.size[1] / rows)
        self.device = reference[0].device
        self.elements = sum(rows.shape[-1] for rows in self.reference) * grid[0] * grid[1]
        self._at: tuple[float, list[_Compared], Tensor] | None = None

    def __call__(self, features: Sequence[Tensor], progress: float) -> Tensor:
        """Loss per sample [B] of `features` (a list of [B, C, h, w]) at `progress` in [0, 1]; differentiable once."""
        compared, _ = self._prepare(progress)
        return self._distance([feature_rows(f, self.layout)[0] for f in features], compared)

    def undone(self, progress: float) -> Tensor:
        """Loss per sample [B] of the reference features themselves: what it costs when nothing has moved."""
        return self._prepare(progress)[1]

    def _distance(self, rows: Sequence[Tensor], compared: Sequence[_Compared]) -> Tensor:
        if not compared:
            # All of it is behind something: nothing to compare, and nothing to pull at.
            return (0 * rows[0]).sum(dim=(1, 2))
        total = rows[0].new_zeros(rows[0].shape[0], dtype=torch.promote_types(rows[0].dtype, torch.float32))
        for weight, reader, carry in compared:
            for own, wanted in zip(rows, self.wanted, strict=True):
                total = total + weight / self.elements * distance(own, reader, wanted, carry)
        return total

    def _prepare(self, progress: float) -> tuple[list[_Compared], Tensor]:
        # The last progress only: transport changes it every step, intensify never.
        if self._at is None or self._at[0] != progress:
            compared = []
            for op, weight in enumerate(self.weights):
                target, source = self.field.samples(op, progress, self.grid)
                if len(target):
                    compared.append((weight, *self._readers(target.cpu(), source.cpu())))
            self._at = (progress, compared, self._distance(self.reference, compared))
        return self._at[1], self._at[2]

    def _readers(self, target: Tensor, source: Tensor) -> tuple[Reader, Reader]:
        """How features are read where the region is, and how what they should be there is read."""
        if self.finer is None:
            return tuple(
                make_reader(places, self.grid, self.size, self.device, self.extent, enlarged=self.enlarged, tile=self.tile)
                for places in (target, source)
            )
        scale = scale_of(target, self.grid, self.extent)
        centres, source, mass = by_tokens(target * scale, source * scale, self.size)
        # A token that begins at cell n is centred p/2 cells further on, and the reader takes cell n to lie at n + 1/2.
        part = self.finer[0] / self.extent[0]
        source = source * part - (part - 1) / 2
        return (
            make_reader(centres, self.size, self.size, self.device, mass=mass, tile=self.tile),
            make_reader(source, self.finer, self.finer, self.device, mass=mass, tile=self.tile),
        )
