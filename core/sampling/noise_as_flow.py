"""A model that predicts noise in the place of a flow, so that regions are dragged on Stable Diffusion's UNets too.

    flow = NoiseAsFlow(backbone)
    velocity = flow.velocity(flow_latent(z, flow_time(schedule, step)), flow_time(schedule, step), prompt)

Both mix a picture z_0 with noise n. A flow has (1 - t) z_0 + t n, the other sqrt(a) z_0 + sqrt(1 - a) n: the same latent up to a factor, at
the time t where

    t / (1 - t) = sqrt((1 - a) / a),      z_flow = z · (1 - t) / sqrt(a) = z · sqrt((1 - t)² + t²)

and n - z_0, the flow's velocity, is (n - z_flow) / (1 - t). The network is told the timestep whose own t is nearest, at most half a step of
a thousand away.

Convention: latents that come in and go out are the flow's; t in [0, 1), where 1 would be pure noise. The picture (DDIM's timestep below 0)
is at t = 0, where both have the same latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..model.attention import KVSession
from ..model.backbone import Conditioning, NoiseBackbone
from ..model.noise_schedule import flow_time, noise_latent
from ..model.unet_taps import UNetTap, default_unet_taps


class NoiseAsFlow:
    """FlowBackbone over a NoiseBackbone. Taps are `UNetTap`s, of one resolution where a drag compares them.

    Keys and values are not offered: they are named by blocks of a transformer.
    """

    patch, double_blocks, single_blocks, guidance_distilled = 1, 1, 0, False

    def __init__(self, backbone: NoiseBackbone) -> None:
        self.backbone = backbone
        self.latent_channels = backbone.latent_channels
        self.taps = default_unet_taps(backbone.up_resnets)
        self.width = backbone.channels(self.taps[0])
        self._times = torch.tensor([flow_time(backbone.schedule, t) for t in range(len(backbone.schedule))], dtype=torch.float64)

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @property
    def dtype(self) -> torch.dtype:
        return self.backbone.dtype

    def timestep(self, t: float) -> int:
        """The timestep whose level of noise is nearest to that of time t. Raises ValueError outside of [0, 1)."""
        if not 0 <= t < 1:
            raise ValueError(f"time {t:g} has no picture left that a noise prediction could speak of: use 0 to below 1 (skip a step)")
        return int((self._times - t).abs().argmin())

    def velocity(self, z: Tensor, t: float, cond: Conditioning, *, guidance: float = 1.0, kv: KVSession | None = None) -> Tensor:
        """See FlowBackbone; `guidance` says nothing to such a model."""
        at = self.timestep(t)
        return (self.backbone.noise(noise_latent(z, t), at, cond, kv=kv) - z) / (1 - t)

    def features(
        self, z: Tensor, t: float, cond: Conditioning, *, taps: Sequence[Any], guidance: float = 1.0, kv: KVSession | None = None
    ) -> list[Tensor]:
        """See FlowBackbone, each map at its own resolution. Refuses a transformer's taps."""
        foreign = [tap for tap in taps if not isinstance(tap, UNetTap)]
        if foreign:
            raise ValueError(f"tap {foreign[0]} is a transformer's, this is a UNet: name UNetTaps")
        return self.backbone.features(noise_latent(z, t), self.timestep(t), cond, taps=taps, kv=kv)
