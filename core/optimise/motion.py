"""Motion supervision: the window a step ahead of each handle shall look as the window around it did at first (DirectDrag section 4).

    L = sum_i (2 r)² · mean over u in [-r, r]² and channels of | F(p_i + d_i + u) - F_0(p_i0 + u) |

with F_0 from the undragged latent at the same noise level (GoodDrag's information-preserving form, not the paper's Eq. 3-4, which compare
with the features of the moment).

Convention: positions in cells of the handles' grid, see tracking.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..field.bodies import SHARE, turns
from ..field.warp import sample
from ..instruction.operations import Point
from .handles import Handles
from .tracking import Reading, read

Patches = list[list[Tensor]]
"""Per handle and map, features [1, C, (2r + 1)²], row-major."""


def reference_patches(maps: Sequence[Tensor], handles: Handles, radius: int, reading: Reading = "direct", turned: bool = False) -> Patches:
    """What each handle looked like where it was at first: all that is kept of the reference pass.

    turned: as it looks when it has turned as its body does at the end of the drag (not published), see `bodies.turns`.
    """
    angles, span = [0.0] * len(handles), handles.mapped or handles.grid
    if turned:
        starts, ends = (torch.tensor(places, dtype=torch.float64) for places in (handles.start, handles.targets))
        angles = turns(starts, ends, SHARE * min(handles.grid))
    with torch.no_grad():
        found = [feature.detach() for feature in maps]
        return [
            _read_turned(found, place, radius, span, angle) if angle else read(found, place, radius, span, reading)
            for place, angle in zip(handles.start, angles, strict=True)
        ]


def _read_turned(maps: Sequence[Tensor], centre: Point, radius: int, grid: tuple[float, float], angle: float) -> list[Tensor]:
    """`read` of a window that stands upright once all has turned by `angle`."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    cosine, sine = math.cos(angle), math.sin(angle)
    at = torch.stack((centre[0] + cosine * x + sine * y, centre[1] - sine * x + cosine * y), dim=-1)
    found = []
    for feature in maps:
        feature = feature if feature.dtype == torch.float64 else feature.float()
        scale = torch.tensor([feature.shape[-1] / grid[0], feature.shape[-2] / grid[1]])
        found.append(sample(feature, (at * scale).to(feature)).flatten(2))
    return found


def queries(patches: Patches) -> list[list[Tensor]]:
    """The centre of each patch, [1, C] per handle and map: what tracking looks for."""
    return [[patch[..., patch.shape[-1] // 2] for patch in of_maps] for of_maps in patches]


def motion_loss(
    maps: Sequence[Tensor],
    patches: Patches,
    handles: Handles,
    radius: int,
    longest_step: float,
    arrived: Callable[[float], bool],
    reading: Reading = "direct",
) -> Tensor:
    """L above, d_i at most `longest_step` cells; handles that have `arrived`, by their distance in cells, take no part. -> float32 []"""
    total, span = torch.zeros((), device=maps[0].device), handles.mapped or handles.grid
    for patch, place, step, distance in zip(patches, handles.now, handles.steps(longest_step), handles.distances(), strict=True):
        if arrived(distance):
            continue
        near = read(maps, (place[0] + step[0], place[1] + step[1]), radius, span, reading)
        apart = sum((new - old).abs().sum() for new, old in zip(near, patch, strict=True))
        total = total + max(4 * radius * radius, 1) / sum(old.numel() for old in patch) * apart
    return total
