"""A ComfyUI VAE as core's Autoencoder: pictures [B, 3, H, W] in [0, 1] and normalised latents, on the model's device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .latent_layout import with_time_axis, without_time_axis


class ComfyAutoencoder:
    """vae: a VAE as loaders give it.  patcher: the MODEL whose latents it makes; its latent format normalises, on its device they are."""

    def __init__(self, vae: Any, patcher: Any) -> None:
        if vae is None:
            raise ValueError("there is no VAE: this checkpoint has none, so load one (FLUX.1's is ae.safetensors) and connect it")
        self._vae, self._device, self._format = vae, patcher.load_device, patcher.model.latent_format
        self.latent_channels: int = self._format.latent_channels
        self.factor: int = self._format.spacial_downscale_ratio
        channels = getattr(vae, "latent_channels", self.latent_channels)
        if channels != self.latent_channels:
            raise ValueError(
                f"this VAE makes latents of {channels} channels, the MODEL takes {self.latent_channels}: connect the VAE that "
                "belongs to the MODEL"
            )

    def encode(self, image: Tensor) -> Tensor:
        """See core's Autoencoder; z is float32."""
        if image.shape[-2] % self.factor or image.shape[-1] % self.factor:
            raise ValueError(
                f"the picture is {image.shape[-1]} x {image.shape[-2]} px; this VAE takes multiples of {self.factor}: crop or pad it first"
            )
        # A VAE is loaded by its first call, and out of inference mode what it was loaded in would lose its weights.
        with torch.inference_mode():
            z = self._vae.encode(image.movedim(1, -1))
            z = without_time_axis(self._format.process_in(z.to(self._device, torch.float32)))
        return _ordinary(z)

    def decode(self, z: Tensor) -> Tensor:
        """See core's Autoencoder; the picture is on the device of z."""
        with torch.inference_mode():
            z = with_time_axis(z) if self._format.latent_dimensions == 3 else z
            image = self._vae.decode(self._format.process_out(z.float()))
            # A VAE of videos gives frames.
            image = image.flatten(0, 1) if image.ndim == 5 else image
            image = image.movedim(-1, 1).to(z.device, torch.float32).clamp(0.0, 1.0)
        return _ordinary(image)


@torch.inference_mode(False)
def _ordinary(x: Tensor) -> Tensor:
    """A copy that gradients can go past."""
    return x.clone(memory_format=torch.contiguous_format)
