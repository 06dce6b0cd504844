"""What tests of edits share: a tiny random FLUX that counts its passes, a tiny autoencoder, a picture and drags of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from dragfield.core.backbones.flux import DiffusersFlux
from dragfield.core.demo.autoencoder import AutoencoderConfig, DemoAutoencoder
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.model.backbone import Conditioning


class Counted:
    """A FlowBackbone that counts its network passes."""

    def __init__(self, inner: DiffusersFlux) -> None:
        self.inner, self.passes = inner, 0

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def velocity(self, *args, **kwargs) -> Tensor:
        self.passes += 1
        return self.inner.velocity(*args, **kwargs)

    def features(self, *args, **kwargs) -> list[Tensor]:
        self.passes += 1
        return self.inner.features(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class TinyWorld:
    """A picture [1, 3, 64, 96] with two prompts, and models for it: 4-channel latents of 8 x 12, 24 tokens."""

    backbone: Counted
    autoencoder: DemoAutoencoder
    image: Tensor
    source: Conditioning
    target: Conditioning

    def drag(self, dx: float = 32.0, dy: float = 8.0, task: str = "relocation", **drag) -> Drag:
        """Carry (or, with the same target, turn) a square of 24 px by (dx, dy)."""
        mask = np.zeros((64, 96), bool)
        mask[16:40, 16:40] = True
        anchor = (28.0, 48.0) if task == "rotation" else None
        return Drag((96, 64), (RegionOperation(mask, task, (28.0 + dx, 28.0 + dy), anchor),), **drag)

    @property
    def models(self) -> tuple[Counted, DemoAutoencoder]:
        return self.backbone, self.autoencoder


@pytest.fixture(scope="session")
def tiny_flux() -> DiffusersFlux:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=6, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=64, pooled_projection_dim=64, guidance_embeds=True, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)  # a fresh model's output layer is all but zero
    return DiffusersFlux(model)


@pytest.fixture(scope="session")
def tiny_autoencoder() -> DemoAutoencoder:
    torch.manual_seed(0)
    config = AutoencoderConfig(latent_channels=4, width=16, wide=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1))
    model = DemoAutoencoder(config).train()
    for _ in range(200):
        model(torch.rand(4, 3, 32, 32))  # until its running statistics are those of noise
    return model.eval().requires_grad_(False)


@pytest.fixture
def tiny(tiny_flux: DiffusersFlux, tiny_autoencoder: DemoAutoencoder) -> TinyWorld:
    g = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 64, 96, generator=g)
    prompts = [Conditioning(torch.randn(1, 5, 64, generator=g), torch.randn(1, 64, generator=g)) for _ in range(2)]
    return TinyWorld(Counted(tiny_flux), tiny_autoencoder, image, *prompts)
