"""demo-unet: a small Stable-Diffusion-style UNet of diffusers' own class, and the autoencoder of its 4-channel latents.

Layout of the folder: unet/{config.json, diffusion_pytorch_model.safetensors} as diffusers writes it, vae/ as `DemoAutoencoder.save`
does, and README.md, the model card. Prompts are the words of text.py, which the UNet's cross-attention reads as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..backbones.unet import DiffusersUNet
from .autoencoder import AutoencoderConfig, DemoAutoencoder
from .text import WIDTH

WEIGHTS = Path(__file__).parent / "weights" / "demo-unet"

CONFIG = {
    "sample_size": 32, "in_channels": 4, "out_channels": 4, "block_out_channels": (64, 64, 64), "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 2, "cross_attention_dim": WIDTH, "norm_num_groups": 32,
}  # fmt: skip
"""2.1 M parameters. Attention at 16 x 16 and 8 x 8 only, as in SDXL: at 32 x 32 it makes a training step on a CPU several times as long."""

AUTOENCODER = AutoencoderConfig(latent_channels=4, width=64, wide=40, encoder_blocks=(0, 1), decoder_blocks=(2, 2))
"""0.34 M parameters: what is left of 5 MB beside the UNet."""

LATENT_NOISE = 0.1
"""Standard deviation of the noise on latents while the autoencoder trains; with so few channels 0.2 would cost too much detail."""


@dataclass(frozen=True, eq=False)
class DemoUNet:
    backbone: DiffusersUNet
    autoencoder: DemoAutoencoder


def build():
    """A fresh, randomly initialised UNet (diffusers UNet2DConditionModel)."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**CONFIG)


def load(folder: Path = WEIGHTS, device: str = "cpu", dtype: torch.dtype = torch.float32) -> DemoUNet:
    """Read the bundled model (or one trained by `dragfield train`). Raises FileNotFoundError with what to do when it is not there."""
    from diffusers import UNet2DConditionModel

    if not (folder / "unet" / "config.json").exists():
        raise FileNotFoundError(f"No demo UNet in {folder}: reinstall the package, or train one with `dragfield train`.")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, use_safetensors=True, low_cpu_mem_usage=False)
    return DemoUNet(DiffusersUNet(unet.to(device)), DemoAutoencoder.load(folder / "vae").to(device))
