"""A model with its prompt, whichever kind it is: what dragging, denoising and a readout head ask of it at a noise level.

    sampler = sampler_of(backbone, prompt)
    walk = sampler.walk(z, t)                     # FireFlow on a flow, DDIM on a model that predicts noise
    walk = sampler.step(walk, to)                 # walk.z: the latent at `to`

Timesteps of a UNet and times of a flow are both called t and passed through; only the sampler knows which. Latents [B, C, h, w] as
everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..model.attention import KVSession
from ..model.backbone import Conditioning, FlowBackbone, NoiseBackbone
from ..model.taps import taps_of
from ..model.unet_taps import default_unet_taps, readout_taps
from .ddim import DDIMState, ddim_step, ddim_walk_step
from .ddim_inversion import noise_of
from .inversion import velocity_of
from .solvers import FlowState, fireflow_step

FLOW_EMBEDDING = 256


class Walk(Protocol):
    """One point of a walk. slope: what the next step starts from besides z; None: nothing.  nfe: network evaluations so far."""

    t: float
    z: Tensor
    nfe: int

    @property
    def slope(self) -> Tensor | None: ...


class Sampler(Protocol):
    """A model with its prompt.

    drag_taps: where a point drag compares features.  readout_taps: what a readout head reads.  embedding_dim: width of `embedding`.
    flow: whether t is a time in [0, 1] (True) or a timestep.
    """

    drag_taps: tuple[Any, ...]
    readout_taps: tuple[Any, ...]
    embedding_dim: int
    flow: bool
    device: torch.device

    def answer(self, z: Tensor, t: float) -> Tensor:
        """What the network itself says: a velocity, or noise. Shaped like z."""
        ...

    def features(self, z: Tensor, t: float, taps: Sequence[Any]) -> list[Tensor]:
        """Maps [B, C_k, h_k, w_k] at `taps`; nothing behind the last one is computed."""
        ...

    def features_and_next(self, z: Tensor, t: float, to: float, taps: Sequence[Any]) -> tuple[list[Tensor], Tensor]:
        """The same and the latent after a step from t to `to`, both differentiable with respect to z."""
        ...

    def embedding(self, t: float) -> Tensor:
        """What a readout head is told of t. [1, embedding_dim], no gradient."""
        ...

    def mirrored(self, t: float) -> float:
        """As far from pure noise as t is from the picture."""
        ...

    def noised(self, z0: Tensor, t: float, noise: Tensor) -> Tensor:
        """The latent at t of a picture z0 mixed with `noise` of unit variance."""
        ...

    def signal(self, t: float) -> float:
        """How much of z0 is in a latent at t: the factor of z0 in `noised`."""
        ...

    def walk(self, z: Tensor, t: float, slope: Tensor | None = None) -> Walk:
        """The beginning of a walk. slope: what an earlier walk to here ended with, see `Walk`."""
        ...

    def step(self, walk: Walk, to: float, kv: KVSession | None = None) -> Walk:
        """One step on, either way. kv: instead of the sampler's own."""
        ...


@dataclass(frozen=True, eq=False)
class NoiseSampler:
    """A `Sampler` of a UNet; `kv` as in its methods."""

    backbone: NoiseBackbone
    cond: Conditioning
    kv: KVSession | None = None
    flow = False

    @property
    def drag_taps(self) -> tuple[Any, ...]:
        return default_unet_taps(self.backbone.up_resnets)

    @property
    def readout_taps(self) -> tuple[Any, ...]:
        return readout_taps(self.backbone.up_resnets)

    @property
    def embedding_dim(self) -> int:
        return self.backbone.time_embed_dim

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    def answer(self, z: Tensor, t: float) -> Tensor:
        return self.backbone.noise(z, int(t), self.cond, kv=self.kv)

    def features(self, z: Tensor, t: float, taps: Sequence[Any]) -> list[Tensor]:
        return self.backbone.features(z, int(t), self.cond, taps=taps, kv=self.kv)

    def features_and_next(self, z: Tensor, t: float, to: float, taps: Sequence[Any]) -> tuple[list[Tensor], Tensor]:
        eps, found = self.backbone.noise_and_features(z, int(t), self.cond, taps=taps, kv=self.kv)
        return found, ddim_step(z, eps, self.backbone.schedule, int(t), int(to))

    def embedding(self, t: float) -> Tensor:
        return self.backbone.time_embedding(int(t))

    def mirrored(self, t: float) -> float:
        return len(self.backbone.schedule) - 1 - t

    def noised(self, z0: Tensor, t: float, noise: Tensor) -> Tensor:
        a = self.backbone.schedule.at(int(t))
        return math.sqrt(a) * z0 + math.sqrt(1 - a) * noise

    def signal(self, t: float) -> float:
        return math.sqrt(self.backbone.schedule.at(int(t)))

    def walk(self, z: Tensor, t: float, slope: Tensor | None = None) -> DDIMState:
        return DDIMState(int(t), z)

    @torch.no_grad()
    def step(self, walk: DDIMState, to: float, kv: KVSession | None = None) -> DDIMState:
        return ddim_walk_step(noise_of(self.backbone, self.cond, kv or self.kv), self.backbone.schedule, walk, int(to))


@dataclass(frozen=True, eq=False)
class FlowSampler:
    """A `Sampler` of a flow-matching transformer; `guidance` and `kv` as in its methods.

    A transformer has no features apart from its taps, so a readout head reads those of the drag, and time reaches it as a sinusoidal
    embedding.
    """

    backbone: FlowBackbone
    cond: Conditioning
    guidance: float = 1.0
    kv: KVSession | None = None
    flow = True

    @property
    def drag_taps(self) -> tuple[Any, ...]:
        return taps_of(self.backbone)

    @property
    def readout_taps(self) -> tuple[Any, ...]:
        return self.drag_taps

    @property
    def embedding_dim(self) -> int:
        return FLOW_EMBEDDING

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    def answer(self, z: Tensor, t: float) -> Tensor:
        return self.backbone.velocity(z, t, self.cond, guidance=self.guidance, kv=self.kv)

    def features(self, z: Tensor, t: float, taps: Sequence[Any]) -> list[Tensor]:
        return self.backbone.features(z, t, self.cond, taps=taps, guidance=self.guidance, kv=self.kv)

    def features_and_next(self, z: Tensor, t: float, to: float, taps: Sequence[Any]) -> tuple[list[Tensor], Tensor]:
        v = self.answer(z, t)
        return self.features(z, t, taps), z + (to - t) * v

    def embedding(self, t: float) -> Tensor:
        return sinusoidal(1000 * t, FLOW_EMBEDDING).to(self.backbone.device)

    def mirrored(self, t: float) -> float:
        return 1 - t

    def noised(self, z0: Tensor, t: float, noise: Tensor) -> Tensor:
        return (1 - t) * z0 + t * noise

    def signal(self, t: float) -> float:
        return 1 - t

    def walk(self, z: Tensor, t: float, slope: Tensor | None = None) -> FlowState:
        return FlowState(t, z, slope, 0, 0)

    @torch.no_grad()
    def step(self, walk: FlowState, to: float, kv: KVSession | None = None) -> FlowState:
        return fireflow_step(velocity_of(self.backbone, self.cond, self.guidance, kv or self.kv), walk, to)


def is_flow(backbone: NoiseBackbone | FlowBackbone) -> bool:
    """Whether a backbone is asked for a velocity; else it predicts noise."""
    return hasattr(backbone, "velocity")


def sampler_of(
    backbone: NoiseBackbone | FlowBackbone, cond: Conditioning, *, guidance: float = 1.0, kv: KVSession | None = None
) -> NoiseSampler | FlowSampler:
    """The sampler of a backbone of either kind."""
    if is_flow(backbone):
        return FlowSampler(backbone, cond, guidance, kv)
    return NoiseSampler(backbone, cond, kv)


def sinusoidal(t: float, width: int) -> Tensor:
    """Cosines and sines of t at `width` / 2 frequencies from 1 down to 1/10000. -> float32 [1, width]."""
    angles = t * torch.exp(-math.log(10000.0) * torch.arange(width // 2, dtype=torch.float32) / (width // 2))
    return torch.cat((angles.cos(), angles.sin()))[None]
