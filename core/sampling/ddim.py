"""DDIM: the noise schedule of Stable Diffusion, and the deterministic walk along it, both ways (DirectDrag section 2).

A step leads from one timestep to another, either way, by

    z_0 = (z_a - sqrt(1 - a)·e) / sqrt(a)         a: share of the picture at the level of z
    z_b = sqrt(b)·z_0 + sqrt(1 - b)·e             e: noise that the network sees in z_a

Denoising asks the network at the level it stands on. Inversion asks at the level it goes to, as published, with the
latent of the level it stands on: nearly the same value, one step early.

    times = ddim_times(schedule, steps=50, strength=0.75)               # 741, 721, ..., 1, PICTURE
    *_, inverted = ddim(noise, schedule, z0, times[::-1])               # picture -> 741
    *_, picture = ddim(noise, schedule, inverted.z, times)              # 741 -> picture

Convention: timesteps are whole numbers, 0 the cleanest; any below 0 stands for the picture itself, whose level counts
as that of timestep 0 (diffusers' set_alpha_to_one = False). noise(z, t, level) -> like z: the network asked at timestep t for
a latent of timestep `level`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..model.noise_schedule import NoiseSchedule

Timesteps = tuple[int, ...]
Noise = Callable[[Tensor, int, int], Tensor]

PICTURE = -1
"""The timestep of the picture itself."""


def steps_walked(steps: int, strength: float) -> int:
    """round(steps·strength), halves up; at least 1."""
    return max(1, math.floor(steps * strength + 0.5))


def ddim_times(schedule: NoiseSchedule, steps: int = 50, strength: float = 1.0) -> Timesteps:
    """Descending timesteps and then PICTURE: round(steps·strength) steps, evenly spaced from the clean end.

    strength: share of the whole walk, in (0, 1]; 0.75 of 50 steps are 38, from timestep 741 (DirectDrag section 1).
    """
    if not 1 <= steps <= len(schedule):
        raise ValueError(f"a walk of {steps} steps makes no sense: use 1 to {len(schedule)} (the published setting is 50)")
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"strength = {strength} is outside (0, 1]: 0.75 is the published share of the walk")
    # Half up, as published for 37.5; Python's round would go to the even neighbour (the same here, not always).
    count = steps_walked(steps, strength)
    stride = len(schedule) // steps
    offset = min(schedule.offset, len(schedule) - 1 - stride * (steps - 1))
    return tuple(offset + stride * k for k in reversed(range(count))) + (PICTURE,)


def ddim_step(z: Tensor, eps: Tensor, schedule: NoiseSchedule, at: int, to: int) -> Tensor:
    """z [B, C, h, w] of timestep `at`, carried to timestep `to` with the noise eps in it; either way, differentiable in both."""
    b = schedule.at(to)
    return math.sqrt(b) * clean(z, eps, schedule, at) + math.sqrt(1 - b) * eps


def clean(z: Tensor, eps: Tensor, schedule: NoiseSchedule, at: int) -> Tensor:
    """The picture's latent that z of timestep `at` holds if its noise is eps."""
    a = schedule.at(at)
    return (z - math.sqrt(1 - a) * eps) / math.sqrt(a)


@dataclass(frozen=True, eq=False)
class DDIMState:
    """One point of a walk.

    t: timestep, below 0 for the picture.  z: latent there, [B, C, h, w].  eps: noise that led here (None at the start).
    nfe: network evaluations so far.  step: how many steps led here.
    """

    t: int
    z: Tensor
    eps: Tensor | None = None
    nfe: int = 0
    step: int = 0
    slope = None


def ddim_walk_step(noise: Noise, schedule: NoiseSchedule, state: DDIMState, to: int) -> DDIMState:
    """From state.t to timestep `to`, one evaluation, at the noisier of the two."""
    eps = noise(state.z, max(state.t, to), state.t)
    return DDIMState(to, ddim_step(state.z, eps, schedule, state.t, to), eps, state.nfe + 1, state.step + 1)


def ddim(noise: Noise, schedule: NoiseSchedule, z: Tensor, times: Sequence[int]) -> Iterator[DDIMState]:
    """Along `times`, rising (inversion) or falling (denoising): len(times) states, len(times) - 1 evaluations in all."""
    state = DDIMState(times[0], z)
    yield state
    for to in times[1:]:
        state = ddim_walk_step(noise, schedule, state, to)
        yield state
