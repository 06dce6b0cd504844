"""A picture carried to its noise by DDIM once, to be edited many times (DirectDrag section 2).

    inversion = invert_ddim(backbone, autoencoder.encode(image), cond)
    path = reconstruct_ddim(backbone, inversion, cond)             # path[-1] is nearly inversion.z0

The twin of inversion.py for models that predict noise. Walking `path` backwards is a reconstruction that costs nothing and
is exact; `reconstruct_ddim` asks the network again, and shows how far it really returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..model.attention import KVBank, KVSession
from ..model.backbone import Conditioning, NoiseBackbone
from ..model.blocks import Block
from ..progress import Progress, Report, stop_if, tell
from .ddim import PICTURE, DDIMState, Noise, Timesteps, ddim_times, ddim_walk_step


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


@dataclass(frozen=True, eq=False)
class DDIMInversion:
    """A picture on its way to noise.

    z0: [1, C, h, w].  times: descending timesteps, from `t` to PICTURE.  path: the latent at each of them, path[-1] is z0.
    bank: keys and values seen on the way, one entry a network call, named by the timestep the network was told.
    """

    z0: Tensor
    times: Timesteps
    path: tuple[Tensor, ...]
    bank: KVBank
    settings: DDIMSettings
    nfe: int

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


@torch.no_grad()
def invert_ddim(
    backbone: NoiseBackbone,
    z0: Tensor,
    cond: Conditioning,
    settings: DDIMSettings = DDIMSettings(),
    *,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> DDIMInversion:
    """Carry a latent z0 [1, C, h, w] to its noise by DDIM, one evaluation a step."""
    times = ddim_times(backbone.schedule, settings.steps, settings.strength)
    bank = KVBank(settings.kv_blocks)
    noise = noise_of(backbone, cond, bank.capture() if bank.blocks else None)
    state, path = DDIMState(PICTURE, z0), [z0]
    for done, to in enumerate(times[-2::-1], start=1):
        stop_if(should_stop)
        state = ddim_walk_step(noise, backbone.schedule, state, to)
        path.append(state.z)
        tell(report, Progress("invert", done, len(times) - 1, state.z))
    return DDIMInversion(z0, times, tuple(reversed(path)), bank, settings, state.nfe)


@torch.no_grad()
def reconstruct_ddim(
    backbone: NoiseBackbone,
    inversion: DDIMInversion,
    cond: Conditioning,
    *,
    kv: KVSession | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> tuple[Tensor, ...]:
    """Denoise the inverted latent itself: the latent at each of `inversion.times`, the last being the reconstruction of z0.

    kv: a session for all steps; with `KVBank(blocks).capture()` the walk remembers what mutual self-attention needs.
    """
    noise = noise_of(backbone, cond, kv)
    state = DDIMState(inversion.t, inversion.z)
    path = [state.z]
    for to in inversion.times[1:]:
        stop_if(should_stop)
        state = ddim_walk_step(noise, backbone.schedule, state, to)
        path.append(state.z)
    return tuple(path)


@torch.no_grad()
def masked_ddim(
    backbone: NoiseBackbone,
    z: Tensor,
    cond: Conditioning,
    times: Sequence[int],
    mask: Tensor | None,
    path: Sequence[Tensor],
    *,
    looks: Iterable[Block] = (),
    source: Conditioning | None = None,
    own_share: float = 0.0,
) -> Iterator[DDIMState]:
    """DDIM from z along descending `times`; after each step the latent outside of `mask` is the path's. The twin of edit.masked_denoise.

    mask: bool [h, w], None to leave everything to the model.  path: latents at `times`.
    looks: self-attentions, such as `mutual_blocks(backbone)`, that find the keys and values of the path's own latent at that time, for one
        more evaluation a step.  source: the prompt of that latent; None: cond.  own_share: how much of their own they keep, in [0, 1].
    Yields the states after each step.
    """
    bank = KVBank(looks)
    state = DDIMState(times[0], z)
    for to, before, after in zip(times[1:], path, path[1:], strict=False):
        kv = None
        if bank.blocks:
            bank.entries.clear()
            backbone.noise(before, state.t, source or cond, kv=bank.capture())
            kv = bank.hold(eta=own_share)
        state = ddim_walk_step(noise_of(backbone, cond, kv), backbone.schedule, state, to)
        kept = state.z if mask is None else torch.where(mask, state.z, after)
        state = replace(state, z=kept, nfe=state.nfe + bool(bank.blocks))
        yield state


def noise_of(backbone: NoiseBackbone, cond: Conditioning, kv: KVSession | None) -> Noise:
    return lambda z, t, level: backbone.noise(z, t, cond, level=level, kv=kv)
