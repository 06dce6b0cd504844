"""What folders of all kinds of models have in common: configs, weights, autoencoders, and the layout that `dragfield train` writes.

Such a folder has no text encoders, and its vae is a `DemoAutoencoder`; its words are embedded by that model's own embedder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..model.backbone import Autoencoder, Conditioning


class DiffusersAutoencoder:
    """Autoencoder over a diffusers `AutoencoderKL`: z = (posterior mean - shift)·scale, in the module's own dtype."""

    def __init__(self, vae) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.latent_channels = vae.config.latent_channels
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.shift = vae.config.shift_factor or 0.0
        self.scale = vae.config.scaling_factor

    def encode(self, image: Tensor) -> Tensor:
        """See Autoencoder."""
        mean = self.vae.encode(image.to(self.vae.device, self.vae.dtype) * 2 - 1).latent_dist.mode()
        return ((mean - self.shift) * self.scale).float()

    def decode(self, z: Tensor) -> Tensor:
        """See Autoencoder."""
        mean = z.to(self.vae.device, self.vae.dtype) / self.scale + self.shift
        return (self.vae.decode(mean).sample.float() / 2 + 0.5).clamp(0, 1)


def read_autoencoder(folder: Path, device: torch.device | str) -> Autoencoder:
    """The autoencoder of a `vae` folder, in float32."""
    if "_class_name" not in read_config(folder):
        from ..demo.autoencoder import DemoAutoencoder

        return DemoAutoencoder.load(folder).to(device)
    from diffusers import AutoencoderKL

    return DiffusersAutoencoder(read_weights(AutoencoderKL, folder, torch.float32).to(device))


def read_weights(kind: type, folder: Path, dtype: torch.dtype):
    """`kind.from_pretrained`, offline, safetensors only, and never with weights left at random."""
    model, info = kind.from_pretrained(
        folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{folder} lacks {len(missing)} weights, {missing[0]} among them; fetch the model again")
    # What transformers itself skips on purpose (a head that is not used here) is not among them.
    if unknown := sorted(info["unexpected_keys"]):
        raise ValueError(
            f"{folder} holds {len(unknown)} weights that {kind.__name__} does not have, {unknown[0]} among them; give the model that its "
            "config.json describes"
        )
    return model


def read_config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def is_own(folder: Path) -> bool:
    """Whether `dragfield train` wrote a model folder."""
    return not (folder / "text_encoder").exists() and "_class_name" not in read_config(folder / "vae")


def own_prompts(prompts: Sequence[str]) -> list[Conditioning]:
    """The prompts as such a model reads them."""
    from ..demo.text import embed

    return [embed([prompt]) for prompt in prompts]
