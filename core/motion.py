"""Motion supervision: the window a step ahead of each handle shall look as the window around it did at first (DirectDrag section 4).

    L = sum_i (2 r)² · mean over u in [-r, r]² and channels of | F(p_i + d_i + u) - F_0(p_i0 + u) |

with F_0 from the undragged latent at the same noise level (GoodDrag's information-preserving form, not the paper's Eq. 3-4, which compare
with the features of the moment).

Convention: positions in cells of the handles' grid, see tracking.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .handles import Handles
from .tracking import Reading, read

Patches = list[list[Tensor]]
"""Per handle and map, features [1, C, (2r + 1)²], row-major."""


def reference_patches(maps: Sequence[Tensor], handles: Handles, radius: int, reading: Reading = "direct") -> Patches:
    """What each handle looked like where it was at first: all that is kept of the reference pass."""
    with torch.no_grad():
        return [read([found.detach() for found in maps], place, radius, handles.grid, reading) for place in handles.start]


def queries(patches: Patches) -> list[list[Tensor]]:
    """The centre of each patch, [1, C] per handle and map: what tracking looks for."""
    return [[patch[..., patch.shape[-1] // 2] for patch in of_maps] for of_maps in patches]


def motion_loss(
    maps: Sequence[Tensor],
    patches: Patches,
    handles: Handles,
    radius: int,
    longest_step: float,
    arrive_within: float | None,
    reading: Reading = "direct",
) -> Tensor:
    """L above, d_i at most `longest_step` cells; handles within `arrive_within` cells of their targets take no part
    (None: all do). -> float32 []"""
    total = torch.zeros((), device=maps[0].device)
    for patch, place, way, distance in zip(patches, handles.now, handles.steps(longest_step), handles.distances(), strict=True):
        if arrive_within is not None and distance <= arrive_within:
            continue
        near = read(maps, (place[0] + way[0], place[1] + way[1]), radius, handles.grid, reading)
        apart = sum((new - old).abs().sum() for new, old in zip(near, patch, strict=True))
        total = total + max(4 * radius * radius, 1) / sum(old.numel() for old in patch) * apart
    return total
