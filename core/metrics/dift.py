"""DIFT (Tang et al. 2023): features of a Stable Diffusion UNet on a noised picture, by which places of two pictures are matched.

Stable Diffusion 2.1, t = 261, output of up_blocks[1] (1280 channels at a sixteenth of the picture), mean over 8 noises: so all drag papers.
They differ in the rest, and numbers of one protocol can't be set beside another's (matching.py). Published code draws its noise on from a
global seed, so that a value depends on what was judged before; here the noise is seeded by each sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones.unet import DiffusersUNet
from ..model.backbone import Autoencoder, Conditioning
from ..model.unet_taps import UNetTap

TIMESTEP, TAP, ENSEMBLE = 261, UNetTap("up", 1), 8


class Dift:
    """words: prompts encoded for the UNet, by their text; `encode` adds to them.  folder: where its text encoder is; None: nowhere."""

    def __init__(
        self, backbone: DiffusersUNet, autoencoder: Autoencoder, words: dict[str, Conditioning] | None = None, folder: Path | None = None
    ) -> None:
        self.backbone, self.autoencoder, self.folder = backbone, autoencoder, folder
        self.words = dict(words or {})

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", prompts: Iterable[str] = ("",)) -> Dift:
        """Of a model folder in diffusers layout, float32. prompts: encoded before the UNet is read."""
        from ..backbones.unet_folder import encode_unet_prompts, load_unet_models

        texts = list(dict.fromkeys(("", *prompts)))
        words = dict(zip(texts, encode_unet_prompts(folder, texts, device), strict=True))
        return cls(*load_unet_models(folder, device), words, folder)

    def encode(self, prompt: str) -> Conditioning:
        """The prompt for the UNet. Raises: ValueError for one that was not encoded, without a text encoder."""
        if prompt not in self.words:
            from ..backbones.unet_folder import encode_unet_prompts

            if self.folder is None:
                raise ValueError(f"the prompt {prompt!r} was not encoded: give it to Dift with the others")
            (self.words[prompt],) = encode_unet_prompts(self.folder, [prompt], self.backbone.device)
        return self.words[prompt]

    @torch.no_grad()
    def features(self, picture: Tensor, noise: torch.Generator, *, prompt: str = "", sampled: bool = True) -> Tensor:
        """picture: [1, 3, H, W] in [0, 1].  noise: on the CPU; what is drawn moves it on.  sampled: the posterior is sampled for each
        noise, else its mean is taken; autoencoders that are not diffusers' have a mean alone.  -> float32 [C, h, w] on the UNet's device.
        """
        kept = self.backbone.schedule.at(TIMESTEP)
        cond, total = self.encode(prompt), 0.0
        posterior = self._posterior(picture)
        for _ in range(ENSEMBLE):
            z = posterior(noise) if sampled else posterior(None)
            drawn = torch.randn(z.shape, generator=noise).to(z.device)
            noisy = kept**0.5 * z + (1 - kept) ** 0.5 * drawn
            (found,) = self.backbone.features(noisy, TIMESTEP, cond, taps=[TAP])
            total = total + found[0].float() / ENSEMBLE
        return total

    def _posterior(self, picture: Tensor):
        """The latent as a function of a generator: sampled, or the mean for None."""
        vae = getattr(self.autoencoder, "vae", None)
        if vae is None:
            # The bundled one takes whole cells only.
            factor = self.autoencoder.factor
            size = tuple(max(factor, side // factor * factor) for side in picture.shape[-2:])
            whole = picture if size == tuple(picture.shape[-2:]) else F.interpolate(picture, size, mode="bilinear", antialias=True)
            z = self.autoencoder.encode(whole.to(self.backbone.device))
            return lambda noise: z
        wrapped = self.autoencoder
        told = vae.encode(picture.to(vae.device, vae.dtype) * 2 - 1).latent_dist

        def latent(noise: torch.Generator | None) -> Tensor:
            drawn = told.mean if noise is None else told.mean + told.std * torch.randn(told.mean.shape, generator=noise).to(told.mean)
            return ((drawn - wrapped.shift) * wrapped.scale).float()

        return latent
