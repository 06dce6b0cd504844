"""A small autoencoder of a real model's latents, read from files in the layout of TAESD, so that what happens to real latents of
photographs can be measured on a CPU: TAEF2 for FLUX.2's latents, 32 channels at 1/8.

Two files, `*_encoder.safetensors` and `*_decoder.safetensors`, hold numbered layers of a plain sequence; widths and whether a block has a
pooled branch are read off the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

GROUPS = 4


class TinyAutoencoder:
    """An `Autoencoder` of core's contract: pictures [B, 3, H, W] in [0, 1], latents [B, C, H/8, W/8]."""

    factor = 8

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential) -> None:
        self.encoder, self.decoder = encoder.eval().requires_grad_(False), decoder.eval().requires_grad_(False)
        self.latent_channels = encoder[-1].out_channels

    @classmethod
    def load(cls, folder: Path) -> TinyAutoencoder:
        """From a folder with one file of each kind. Raises ValueError for files that are not there or not of this layout."""
        from safetensors.torch import load_file

        halves = []
        for name in ("encoder", "decoder"):
            found = sorted(folder.glob(f"*_{name}.safetensors"))
            if len(found) != 1:
                raise ValueError(f"{folder} holds {len(found)} files *_{name}.safetensors; give one of each in TAESD's layout")
            halves.append(_sequence({key: value.float() for key, value in load_file(found[0]).items()}, name, found[0].name))
        return cls(*halves)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        return self.encoder(image.float())

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        # Latents far out are squashed, as the decoder was trained.
        return self.decoder(3 * torch.tanh(z.float() / 3)).clamp(0, 1)


class _Block(nn.Module):
    def __init__(self, width: int, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(*(part for _ in range(3) for part in (_conv(width, width), nn.ReLU())))[:-1]
        wide = GROUPS * width
        to, back = nn.Conv2d(width, wide, 1, bias=False), nn.Conv2d(wide, width, 1, bias=False)
        self.pool = nn.Sequential(to, nn.GroupNorm(GROUPS, wide), nn.ReLU(), back) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(x + self.conv(x))


def _conv(width: int, out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(width, out, 3, stride, 1, bias=bias)


def _sequence(weights: Mapping[str, Tensor], kind: str, name: str) -> nn.Sequential:
    """The layers that numbered weights belong to; what has no weights lies between them."""
    numbers = {int(key.split(".")[0]) for key in weights}
    layers: list[nn.Module] = []
    for number in range(max(numbers) + 1):
        if number not in numbers:
            # Of the decoder: first nothing here (`decode` squashes), then an activation, then a doubling before each convolution.
            layers.append(nn.Identity() if number == 0 else nn.ReLU() if number == 2 else nn.Upsample(scale_factor=2))
        elif f"{number}.conv.0.weight" in weights:
            layers.append(_Block(weights[f"{number}.conv.0.weight"].shape[0], f"{number}.pool.0.weight" in weights))
        else:
            out, width = weights[f"{number}.weight"].shape[:2]
            bias = f"{number}.bias" in weights
            # The encoder's convolutions without a bias are those that halve.
            layers.append(_conv(width, out, stride=2 if kind == "encoder" and not bias else 1, bias=bias))
    made = nn.Sequential(*layers)
    try:
        made.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{name} is no {kind} of TAESD's layout: {str(error).splitlines()[1].strip()}") from None
    return made
