"""Reading windows of feature maps around handles, and finding each handle again by its features (DirectDrag section 5).

A map is never enlarged to the grid of the handles: a window of (2r + 1)² grid cells is read from the few map cells under it by a small
matrix, the same numbers for a fraction of the memory. The matrix is a product of one along x and one along y.

Convention: positions are (x, y) in cells of the handles' grid (width, height), cell centres at + 0.5; maps of other sizes are read at the
same relative place (align_corners=False), with the border repeated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..field.geometry import Size
from ..instruction.operations import Point

Reading = Literal["direct", "two_step"]
Outside = Literal["excluded", "zeros"]


def read(maps: Sequence[Tensor], centre: Point, radius: int, grid: tuple[float, float], reading: Reading = "direct") -> list[Tensor]:
    """The (2·radius + 1)² positions around `centre` of each map [B, C, h, w], row-major.

    "direct" reads a map bilinearly at each position. "two_step" reads it at the cells of the grid around the position and blends those
    bilinearly: what reading the map enlarged to the grid gives, as published.  grid: as many cells of it as the maps cover.
    -> a list of [B, C, (2·radius + 1)²], float32 at least; differentiable with respect to the maps.
    """
    found, known = [], {}
    for feature in maps:
        size = (feature.shape[-1], feature.shape[-2])
        if size not in known:
            known[size] = [_along(c, radius, n, cells, reading) for c, n, cells in zip(centre, grid, size, strict=True)]
        (x0, along_x), (y0, along_y) = known[size]
        under = feature[:, :, y0 : y0 + along_y.shape[1], x0 : x0 + along_x.shape[1]].flatten(2)
        under = under if under.dtype == torch.float64 else under.float()
        weights = torch.from_numpy(np.kron(along_y, along_x).T).to(under)
        found.append(under @ weights)
    return found


@torch.no_grad()
def track(
    maps: Sequence[Tensor],
    queries: Sequence[Sequence[Tensor]],
    places: Sequence[Point],
    grid: Size,
    radius: int = 12,
    reading: Reading = "direct",
    mapped: tuple[float, float] | None = None,
    outside: Outside = "excluded",
) -> tuple[Point, ...]:
    """Each handle's new place: within `radius` cells of the old one, along rows and columns, where features differ least.

    maps: [1, C, h, w] each.  queries: per handle and map, the features [1, C] that it had at first.  places: where the handles are now.
    mapped: how many cells of the grid the maps cover, see `Handles`.
    The distance is the sum of absolute differences over all channels; of equals the first in row-major order wins.
    outside: places off the grid are no candidates, or ("zeros", published) have no feature at all, so that a handle of little feature may
    leave the picture. -> as many places, whole cells from the old ones.
    """
    if not places:
        return ()
    steps = np.arange(-radius, radius + 1, dtype=np.float64)
    best = []
    for place, query in zip(places, queries, strict=True):
        near = read(maps, place, radius, mapped or grid, reading)
        distance = sum((found - own[..., None]).abs().sum(dim=(0, 1)) for found, own in zip(near, query, strict=True))
        inside = [(c + steps >= 0) & (c + steps <= n) for c, n in zip(place, grid, strict=True)]
        allowed = torch.from_numpy(np.logical_and.outer(inside[1], inside[0]).ravel())
        beyond = distance.new_tensor(math.inf) if outside == "excluded" else sum(own.abs().sum() for own in query).to(distance)
        best.append(torch.where(allowed.to(distance.device), distance, beyond).argmin())
    # One transfer for all handles: reading each would wait for the device as often.
    indices = torch.stack(best).tolist()
    side = 2 * radius + 1
    return tuple((x + index % side - radius, y + index // side - radius) for index, (x, y) in zip(indices, places, strict=True))


def _along(centre: float, radius: int, grid: float, cells: int, reading: Reading) -> tuple[int, np.ndarray]:
    """Along one axis of `grid` cells, how 2·radius + 1 positions around `centre` read a map of `cells` cells.

    -> the first map cell that is read, and float64 [2·radius + 1, u] over the u cells from there on.
    """
    if reading == "direct":
        return _linear(centre + np.arange(-radius, radius + 1, dtype=np.float64), grid, cells)
    base = math.floor(centre - 0.5)
    first, weights = _linear(np.clip(base + 0.5 + np.arange(-radius, radius + 2, dtype=np.float64), 0.5, grid - 0.5), grid, cells)
    share = centre - 0.5 - base
    return first, (1 - share) * weights[:-1] + share * weights[1:]


def _linear(positions: np.ndarray, grid: float, cells: int) -> tuple[int, np.ndarray]:
    at = np.clip(positions * cells / grid - 0.5, 0, cells - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, cells - 1)
    first = int(low[0])
    weights, line = np.zeros((len(at), int(high[-1]) - first + 1)), np.arange(len(at))
    weights[line, low - first] += 1 - (at - low)
    weights[line, high - first] += at - low
    return first, weights
