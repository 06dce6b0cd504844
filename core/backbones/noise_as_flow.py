"""A model that predicts noise in the place of a flow, so that DragFlow and dragfield run on Stable Diffusion's UNets too.

    flow = NoiseAsFlow(backbone)
    edit = dragflow(flow, autoencoder, image, drag, prompt, settings=replace(settings, drag=on_unet(settings.drag, flow)))

Both mix a picture z_0 with noise n. A flow has (1 - t) z_0 + t n, the other sqrt(a) z_0 + sqrt(1 - a) n: the same latent up to a factor, at
the time t where

    t / (1 - t) = sqrt((1 - a) / a),      z_flow = z · (1 - t) / sqrt(a) = z · sqrt((1 - t)² + t²)

and n - z_0, the flow's velocity, is (n - z_flow) / (1 - t). The network is told the timestep whose own t is nearest, at most half a step of
a thousand away.

Convention: latents that come in and go out are the flow's; t in [0, 1), where 1 would be pure noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..attention import KVSession
from ..backbone import Conditioning, NoiseBackbone
from ..region_drag import RegionDragSettings
from ..unet_taps import UNetTap, default_unet_taps


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
        steps = len(backbone.schedule)
        kept = torch.tensor([backbone.schedule.at(t) for t in range(steps)], dtype=torch.float64)
        ratio = ((1 - kept) / kept).sqrt()
        self._times = ratio / (1 + ratio)

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
        return (self.backbone.noise(self._preserving(z, t), at, cond, kv=kv) - z) / (1 - t)

    def features(
        self, z: Tensor, t: float, cond: Conditioning, *, taps: Sequence[Any], guidance: float = 1.0, kv: KVSession | None = None
    ) -> list[Tensor]:
        """See FlowBackbone, each map at its own resolution. Refuses a transformer's taps."""
        foreign = [tap for tap in taps if not isinstance(tap, UNetTap)]
        if foreign:
            raise ValueError(f"tap {foreign[0]} is a transformer's, this is a UNet: use `on_unet(settings, backbone)`, or name UNetTaps")
        return self.backbone.features(self._preserving(z, t), self.timestep(t), cond, taps=taps, kv=kv)

    @staticmethod
    def _preserving(z: Tensor, t: float) -> Tensor:
        """The latent as a model of constant variance sees it."""
        return z / math.sqrt((1 - t) ** 2 + t**2)


def on_unet(settings: RegionDragSettings, flow: NoiseAsFlow) -> RegionDragSettings:
    """Settings of a region drag for a UNet: its own taps where none are named; its maps are one value a latent cell already."""
    return replace(settings, taps=settings.taps or flow.taps, reference_grid="tokens")
