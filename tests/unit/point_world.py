"""Models so small that what a point drag should do with them is plain to see."""

from __future__ import annotations

import torch
from torch import Tensor

from dragfield.core.instruction.operations import PointOperation
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.noise_schedule import scaled_linear
from dragfield.core.model.unet_taps import UNetTap

PICTURE = (128, 96)
COND = Conditioning(torch.zeros(1, 1, 4))
RIGHT = (PointOperation((44.0, 50.0), (76.0, 50.0)),)


class ConvBackbone:
    """A NoiseBackbone whose features are a 3x3 convolution of the latent and whose noise is the latent, a little smoothed."""

    latent_channels, prediction, up_resnets, attention_blocks, decoder_attention, time_embed_dim = 4, "epsilon", (1, 1), 2, 1, 8
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, width: int = 24) -> None:
        g = torch.Generator().manual_seed(0)
        self.schedule = scaled_linear()
        self.mix = torch.randn(width, 4, 3, 3, generator=g) / 6
        self.smooth = torch.eye(4)[..., None, None] * 0.9
        self.calls: list[tuple[str, int, tuple]] = []

    def _maps(self, z: Tensor, taps) -> list[Tensor]:
        return [torch.nn.functional.conv2d(z, self.mix.to(z.dtype), padding=1).tanh() * (1 + tap.index) for tap in taps]

    def noise(self, z, t, cond, *, level=None, kv=None) -> Tensor:
        self.calls.append(("noise", int(t), ()))
        if kv is not None:
            kv.begin(t)
        return torch.nn.functional.conv2d(z, self.smooth.to(z.dtype))

    def features(self, z, t, cond, *, taps, kv=None) -> list[Tensor]:
        self.calls.append(("features", int(t), tuple(taps)))
        return self._maps(z, taps)

    def noise_and_features(self, z, t, cond, *, taps, level=None, kv=None):
        self.calls.append(("both", int(t), tuple(taps)))
        return torch.nn.functional.conv2d(z, self.smooth.to(z.dtype)), self._maps(z, taps)

    def time_embedding(self, t) -> Tensor:
        return torch.full((1, 8), float(t) / 1000)

    def channels(self, tap: UNetTap) -> int:
        return self.mix.shape[0]


class FlowConv:
    """The same as a FlowBackbone with 2x2 tokens."""

    latent_channels, patch, double_blocks, single_blocks, width, guidance_distilled = 4, 2, 2, 0, 32, False
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.mix = torch.randn(32, 16, generator=torch.Generator().manual_seed(0)) / 4

    def velocity(self, z, t, cond, *, guidance=1.0, kv=None) -> Tensor:
        return 0.1 * z

    def features(self, z, t, cond, *, taps, guidance=1.0, kv=None) -> list[Tensor]:
        cells = torch.nn.functional.pixel_unshuffle(z, 2)
        return [torch.einsum("dc,bchw->bdhw", self.mix, cells).tanh() for _ in taps]


def latent(seed: int = 1, h: int = 12, w: int = 16) -> Tensor:
    """A latent of a PICTURE."""
    return torch.randn(1, 4, h, w, generator=torch.Generator().manual_seed(seed))
