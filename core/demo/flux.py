"""demo-flux: a small FLUX transformer of diffusers' own class, its autoencoder and its text embedder, as one bundle on disk.

Layout of the folder: transformer/{config.json, diffusion_pytorch_model.safetensors} as diffusers writes it, vae/ as `DemoAutoencoder.save`
does, and README.md, the model card.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..backbones.flux import DiffusersFlux
from .autoencoder import DemoAutoencoder

WEIGHTS = Path(__file__).parent / "weights" / "demo-flux"

CONFIG = {
    "patch_size": 1, "in_channels": 64, "num_layers": 4, "num_single_layers": 6, "attention_head_dim": 48, "num_attention_heads": 4,
    "joint_attention_dim": 64, "pooled_projection_dim": 64, "guidance_embeds": True, "axes_dims_rope": (8, 20, 20),
}  # fmt: skip
"""Width 192 = 4 heads of 48; 9.0 M parameters; 16-channel latents in 2 x 2 patches."""


@dataclass(frozen=True, eq=False)
class DemoFlux:
    backbone: DiffusersFlux
    autoencoder: DemoAutoencoder


def build():
    """A fresh, randomly initialised transformer (diffusers FluxTransformer2DModel)."""
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(**CONFIG)


def load(folder: Path = WEIGHTS, device: str = "cpu", dtype: torch.dtype = torch.float32) -> DemoFlux:
    """Read the bundled model (or one trained by `dragfield train`). Raises FileNotFoundError with what to do when it is not there."""
    from diffusers import FluxTransformer2DModel

    if not (folder / "transformer" / "config.json").exists():
        raise FileNotFoundError(f"No demo model in {folder}: reinstall the package, or train one with `dragfield train`.")
    transformer = FluxTransformer2DModel.from_pretrained(
        folder / "transformer", torch_dtype=dtype, use_safetensors=True, low_cpu_mem_usage=False
    )
    autoencoder = DemoAutoencoder.load(folder / "vae").to(device)
    return DemoFlux(DiffusersFlux(transformer.to(device).eval()), autoencoder)
