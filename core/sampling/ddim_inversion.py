"""A picture carried to its noise by DDIM once, to be edited many times (DirectDrag section 2).

    inversion = invert_ddim(backbone, autoencoder.encode(image), cond)
    path = reconstruct_ddim(backbone, inversion, cond)             # path[-1] is nearly inversion.z0

The twin of inversion.py for models that predict noise. Walking `path` backwards is a reconstruction that costs nothing and
is exact; `reconstruct_ddim` asks the network again, and shows how far it really returns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.attention import KVBank, KVSession
from ..model.backbone import Conditioning, NoiseBackbone
from ..model.blocks import Block
from ..model.noise_schedule import NoiseSchedule, flow_latent, flow_time, noise_latent
from ..progress import ALONE, RunContext
from .ddim import PICTURE, DDIMState, Noise, Timesteps, ddim_times, ddim_walk_step, steps_walked


@dataclass(frozen=True)
class DDIMSettings:
    """How a picture is carried to its noise. One inversion serves every edit with equal settings.

    steps, strength: of the whole walk, and how much of it is gone (DirectDrag: 50 and 0.75, hence 38 steps to timestep 741).
    kv_blocks: self-attentions whose keys and values are remembered on the way, such as `mutual_blocks(backbone)`; none by
    default.
    """

    steps: int = 50
    strength: float = 0.75
    kv_blocks: Iterable[Block] = ()

    @property
    def walked(self) -> int:
        """How many steps that are."""
        return steps_walked(self.steps, self.strength)


@dataclass(frozen=True, eq=False)
class DDIMInversion:
    """A picture on its way to noise.

    z0: [1, C, h, w].  times: descending timesteps, from `t` to PICTURE.  path: the latent at each of them, path[-1] is z0.
    bank: keys and values seen on the way, one entry a network call, named by the timestep the network was told.  schedule: of the model.
    """

    z0: Tensor
    times: Timesteps
    path: tuple[Tensor, ...]
    bank: KVBank
    settings: DDIMSettings
    nfe: int
    schedule: NoiseSchedule
    flow = False

    @property
    def t(self) -> int:
        return self.times[0]

    @property
    def z(self) -> Tensor:
        """The inverted latent, at timestep t."""
        return self.path[0]

    def index_at(self, t: int) -> int:
        """Index of the sampling time nearest to timestep t; the picture's for any t below 0."""
        if t < 0:
            return len(self.times) - 1
        return min(range(len(self.times) - 1), key=lambda i: abs(self.times[i] - t))

    def level(self, index: int) -> float:
        """Time of a flow that has as much noise as there is at an index, in [0, 1]; 0 for the picture."""
        return flow_time(self.schedule, self.times[index])

    def to_flow(self, z: Tensor, index: int) -> Tensor:
        """A latent of that index as a flow has it, (1 - t) picture + t noise."""
        return flow_latent(z, self.level(index))

    def from_flow(self, z: Tensor, index: int) -> Tensor:
        """The other way."""
        return noise_latent(z, self.level(index))

    def sigma(self, index: int) -> float:
        """How much noise there is to one part of the picture, as ComfyUI's samplers count it."""
        a = self.schedule.at(self.times[index])
        return math.sqrt((1 - a) / a)

    def noise(self, index: int = 0, z: Tensor | None = None) -> Tensor:
        """The noise that, mixed with the picture's latent, gives z, or path[index] for None: (z - sqrt(a) z_0) / sqrt(1 - a)."""
        a = self.schedule.at(self.times[index])
        return ((self.path[index] if z is None else z) - math.sqrt(a) * self.z0) / math.sqrt(1 - a)


@torch.no_grad()
def invert_ddim(
    backbone: NoiseBackbone,
    z0: Tensor,
    cond: Conditioning,
    settings: DDIMSettings = DDIMSettings(),
    *,
    run: RunContext = ALONE,
) -> DDIMInversion:
    """Carry a latent z0 [1, C, h, w] to its noise by DDIM, one evaluation a step."""
    times = ddim_times(backbone.schedule, settings.steps, settings.strength)
    bank = KVBank(settings.kv_blocks)
    noise = noise_of(backbone, cond, bank.capture() if bank.blocks else None)
    state, path = DDIMState(PICTURE, z0), [z0]
    for done, to in enumerate(times[-2::-1], start=1):
        run.check()
        state = ddim_walk_step(noise, backbone.schedule, state, to)
        path.append(state.z)
        run.tell("invert", done, len(times) - 1, state.z)
    return DDIMInversion(z0, times, tuple(reversed(path)), bank, settings, state.nfe, backbone.schedule)


@torch.no_grad()
def reconstruct_ddim(
    backbone: NoiseBackbone,
    inversion: DDIMInversion,
    cond: Conditioning,
    *,
    kv: KVSession | None = None,
    run: RunContext = ALONE,
) -> tuple[Tensor, ...]:
    """Denoise the inverted latent itself: the latent at each of `inversion.times`, the last being the reconstruction of z0.

    kv: a session for all steps; with `KVBank(blocks).capture()` the walk remembers what mutual self-attention needs.
    """
    noise = noise_of(backbone, cond, kv)
    state = DDIMState(inversion.t, inversion.z)
    path = [state.z]
    for to in inversion.times[1:]:
        run.check()
        state = ddim_walk_step(noise, backbone.schedule, state, to)
        path.append(state.z)
    return tuple(path)


def noise_of(backbone: NoiseBackbone, cond: Conditioning, kv: KVSession | None) -> Noise:
    return lambda z, t, level: backbone.noise(z, t, cond, level=level, kv=kv)
