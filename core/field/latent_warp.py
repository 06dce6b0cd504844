"""The latent warp: carry an inverted latent a little of the way before any optimisation (FastDrag; DirectDrag section 7).

Every latent cell goes where the "latent_warp" displacement of points.py pushes it, times a ratio. Published: whole cells,
rounded, the first in row-major order wins where two meet, and what nothing reached is filled from its four neighbours along
row and column. A drag that moves no cell by half of its width then does nothing (with the published ratio of 0.15 every drag
below 27 px); "interpolated" moves by fractions of a cell instead.

spread = "bodies" is not published: discs around the handles move rigidly, see bodies.py, and ground closes behind them.

Convention: latents [B, C, h, w]; points in px of the picture; cell (c, r) has its centre at (c + 0.5, r + 0.5) in cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..choices import check_choices
from ..device import sent_to
from ..instruction.operations import PointOperation
from .bodies import SHARE, carry_bodies
from .geometry import Size, cell_centres
from .masks import resample
from .points import PointMoves
from .warp import sample, splat


@dataclass(frozen=True)
class LatentWarpSettings:
    """How a latent is carried. The defaults are the preset `tuned`; `PUBLISHED` is what the published code did.

    ratio: share of each drag that the latent is carried, in [0, 1] (DirectDrag 0.15, FastDrag 1).
    motion: "rounded" moves whole cells; "interpolated" reads four cells and restores the variance that blending takes.
    limit_at_handle: whether a cell with a handle exactly in its centre moves with it (lambda's limit is 1) or is lost, as the
        published 0/0 loses it.
    fill: of what nothing reached: "pure" reads cells that were reached; "in_place" also reads what it filled before (published).
    spread: "faded" moves the whole picture, the farther from the handles the less (published); "bodies" the discs around them, as they
        are.  radius: of those discs, as a share of the picture's shorter side; make it hold an object and its shadow.
    """

    ratio: float = 0.15
    motion: Literal["rounded", "interpolated"] = "interpolated"
    limit_at_handle: bool = True
    fill: Literal["pure", "in_place"] = "pure"
    spread: Literal["faded", "bodies"] = "faded"
    radius: float = SHARE

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio <= 1.0:
            raise ValueError(f"the warp ratio is {self.ratio}: use 0 (no warp) to 1 (all the way; published 0.15)")
        check_choices(self)
        if not 0 < self.radius <= 1:
            raise ValueError(f"a radius of {self.radius} of the picture's shorter side holds no body: use more than 0, at most 1")


PUBLISHED = LatentWarpSettings(motion="rounded", limit_at_handle=False, fill="in_place")


def latent_warp(
    z: Tensor,
    points: Sequence[PointOperation],
    picture: Size,
    settings: LatentWarpSettings = LatentWarpSettings(),
    *,
    signal: Tensor | None = None,
    area: np.ndarray | None = None,
) -> Tensor:
    """The latent with its cells carried along the drags of `points`. -> [B, C, h, w], a new tensor.

    picture: (width, height) px that the points refer to.
    signal: like z, what of it is no noise (the picture's latent, scaled as at z's noise level); None: nothing. "interpolated"
    blends it as it is and the rest, the noise, so that its variance stays.
    area: bool [H, W] of the picture, the cells that are carried (FastDrag: the user's mask); None: all (DirectDrag).
    Raises ValueError without points or for points that are not finite.
    """
    if not points:
        raise ValueError("a latent warp needs at least one pair of handle and target: add a point")
    size = (z.shape[-1], z.shape[-2])
    if settings.spread == "bodies":
        return _bodies(z, points, picture, settings, signal, area)
    moves = PointMoves(picture, points, 1.0, "latent_warp", area)
    centres = cell_centres((0, 0, *size))
    carried = torch.ones(size[1], size[0], dtype=torch.bool) if area is None else resample(area, size) > 0
    if settings.motion == "interpolated":
        offset, _ = moves.pull(settings.ratio, size, centres)
        drawn = blend(z, sent_to(centres + offset, z.device), signal)
        return torch.where(carried.to(z.device), drawn, z)

    offset, _ = moves.push(settings.ratio, size, centres)
    sources = carried
    if not settings.limit_at_handle:
        handles = torch.tensor([p.handle for p in points], dtype=torch.float64) * (torch.tensor(size) / torch.tensor(picture).double())
        on_handle = (centres[..., None, :] == handles).all(dim=-1).any(dim=-1)
        sources = carried & ~on_handle
    goal = centres + offset
    goal = torch.stack((goal[..., 0].clamp(0.5, size[0] - 0.5), goal[..., 1].clamp(0.5, size[1] - 0.5)), dim=-1)
    out, reached = splat(z, sent_to(goal, z.device), source=sources)
    still = ~carried.to(z.device) & ~reached
    out, known = torch.where(still, z, out), reached | still
    return fill_pure(out, known, z) if settings.fill == "pure" else fill_in_place(out, known)


def _bodies(
    z: Tensor, points: Sequence[PointOperation], picture: Size, settings: LatentWarpSettings, signal: Tensor | None, area: np.ndarray | None
) -> Tensor:
    """Discs carried as they are; where they stood the signal is filled from around them, under the noise that was there."""
    size = (z.shape[-1], z.shape[-2])
    carried = carry_bodies(points, picture, size, settings.radius * min(picture), settings.ratio)
    allowed = torch.ones(size[1], size[0], dtype=torch.bool) if area is None else resample(area, size) > 0
    source, landed, left = (sent_to(v, z.device) for v in (carried.source, carried.landed & allowed, carried.left & allowed))
    moved = blend(z, source, signal) if settings.motion == "interpolated" else sample(z, source, mode="nearest")
    still = z if signal is None else signal.to(z)
    ground = fill_pure(still, ~left, still) if settings.fill == "pure" else fill_in_place(still, ~left)
    return torch.where(landed, moved, torch.where(left, z - still + ground, z))


def blend(z: Tensor, source: Tensor, signal: Tensor | None = None) -> Tensor:
    """z [B, C, h, w] read bilinearly at `source` [h, w, 2] in cells, borders repeated, its noise as loud as before.

    Averaging cells with weights w leaves white noise the share sum(w²) of its variance, so what is not signal is divided by the root of
    that.
    """
    height, width = z.shape[-2:]
    x, y = (source - 0.5).unbind(-1)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    signal = torch.zeros_like(z) if signal is None else signal.to(z)
    flat, squares, mixed = torch.cat((z - signal, signal)).flatten(2), torch.zeros_like(x), 0.0
    for column, row, weight in (
        (x0, y0, (1 - fx) * (1 - fy)), (x0 + 1, y0, fx * (1 - fy)), (x0, y0 + 1, (1 - fx) * fy), (x0 + 1, y0 + 1, fx * fy),
    ):  # fmt: skip
        index = row.clamp(max=height - 1).long() * width + column.clamp(max=width - 1).long()
        mixed = mixed + flat[:, :, index] * weight.to(z.dtype)
        squares = squares + weight.square()
    noise, smooth = mixed.chunk(2)
    return smooth + noise / squares.sqrt().to(z.dtype)


def fill_pure(z: Tensor, known: Tensor, otherwise: Tensor) -> Tensor:
    """Every unknown cell from the nearest known ones left, right, above and below, weighted by inverse distance (BNNI).

    z, otherwise: [B, C, h, w].  known: bool [h, w].  A cell with no known one in its row and column takes `otherwise`.
    """
    if bool(known.all()):
        return z
    height, width = known.shape
    rows, columns = (~known).nonzero().unbind(1)
    number_x, number_y = (torch.arange(n, device=z.device) for n in (width, height))
    # The nearest known index before each cell is a running maximum, the nearest after it a running minimum.
    left = torch.where(known, number_x, -1).cummax(dim=1).values[rows, columns]
    right = torch.where(known, number_x, width).flip(1).cummin(dim=1).values.flip(1)[rows, columns]
    above = torch.where(known, number_y[:, None], -1).cummax(dim=0).values[rows, columns]
    below = torch.where(known, number_y[:, None], height).flip(0).cummin(dim=0).values.flip(0)[rows, columns]
    total, out = torch.zeros(len(rows), device=z.device, dtype=z.dtype), 0.0
    for x, y, found in (
        (left, rows, left >= 0), (right, rows, right < width), (columns, above, above >= 0), (columns, below, below < height),
    ):  # fmt: skip
        distance = (x - columns).abs() + (y - rows).abs()
        weight = torch.where(found, 1.0 / distance, 0.0).to(z.dtype)
        out = out + z[..., y.clamp(0, height - 1), x.clamp(0, width - 1)] * weight
        total = total + weight
    filled = torch.where(total > 0, out / total.clamp_min(1e-12), otherwise[..., rows, columns])
    z = z.clone()
    z[..., rows, columns] = filled
    return z


def fill_in_place(z: Tensor, known: Tensor) -> Tensor:
    """The same in row-major order, what was filled before counting as known: the published directional smear.

    A cell with no known one in its row and column stays zero.
    """
    z, known = z.clone(), known.cpu().numpy().copy()
    for row, column in np.argwhere(~known):
        total, out = 0.0, 0.0
        for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
            line = known[row, :] if dx else known[:, column]
            at, step = (column, dx) if dx else (row, dy)
            ahead = np.flatnonzero(line[at + 1 :] if step > 0 else line[:at][::-1])
            if len(ahead):
                distance = int(ahead[0]) + 1
                out = out + z[..., row + dy * distance, column + dx * distance] / distance
                total += 1.0 / distance
        if total:
            z[..., row, column] = out / total
            known[row, column] = True
    return z
