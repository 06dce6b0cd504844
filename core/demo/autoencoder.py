"""The demo models' convolutional autoencoder: 256 x 256 x 3 pixels <-> 32 x 32 x C latents with unit variance per channel.

Most of the work happens at 1/8 and 1/4 of the resolution, where a CPU is fast: pixels enter and leave by a pixel shuffle of 4. The
bottleneck is a batch norm without affine part, so that latents are normalised by construction and noise of a known size can be added to
them in training: it makes neighbouring latents decode alike, which matters as much to dragging as fidelity does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Conv2d, GroupNorm


@dataclass(frozen=True)
class AutoencoderConfig:
    latent_channels: int = 16
    width: int = 128
    """Channels at 1/8 of the resolution."""
    wide: int = 64
    """Channels at 1/4 of the resolution."""
    encoder_blocks: tuple[int, int] = (1, 3)
    """Residual blocks at 1/4 and 1/8."""
    decoder_blocks: tuple[int, int] = (4, 3)
    """Residual blocks at 1/8 and 1/4."""


class ResBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(8, channels)
        self.conv1 = Conv2d(channels, channels, 3, padding=1)
        self.norm2 = GroupNorm(8, channels)
        self.conv2 = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class DemoAutoencoder(nn.Module):
    """`core.backbone.Autoencoder` for the demo models.

    encode: [B, 3, H, W] in [0, 1] -> [B, C, H/8, W/8], mean 0 and variance 1 per channel over scenes. H, W are multiples of 8.
    decode: the inverse, clamped to [0, 1].
    """

    factor = 8

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or AutoencoderConfig()
        self.latent_channels = c.latent_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            Conv2d(48, c.wide, 3, padding=1),
            *(ResBlock(c.wide) for _ in range(c.encoder_blocks[0])),
            Conv2d(c.wide, c.width, 2, stride=2),
            *(ResBlock(c.width) for _ in range(c.encoder_blocks[1])),
            GroupNorm(8, c.width),
            nn.SiLU(),
            Conv2d(c.width, c.latent_channels, 1),
        )
        self.normalise = nn.BatchNorm2d(c.latent_channels, affine=False, momentum=0.01)
        self.decoder = nn.Sequential(
            Conv2d(c.latent_channels, c.width, 3, padding=1),
            *(ResBlock(c.width) for _ in range(c.decoder_blocks[0])),
            Conv2d(c.width, 4 * c.wide, 1),
            nn.PixelShuffle(2),
            *(ResBlock(c.wide) for _ in range(c.decoder_blocks[1])),
            GroupNorm(8, c.wide),
            nn.SiLU(),
            Conv2d(c.wide, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, image: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """Training pass: (reconstruction, unclamped; latents) with Gaussian noise of `noise` standard deviations on the latents."""
        z = self.normalise(self.encoder(image * 2 - 1))
        noisy = z + noise * torch.randn_like(z) if noise else z
        return self.decoder(noisy) * 0.5 + 0.5, z

    def encode(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(f"The picture is {width} x {height} px; the demo autoencoder needs multiples of 8. Crop or pad it first.")
        return self.normalise(self.encoder(image.to(self.dtype) * 2 - 1)).to(image.dtype)

    def decode(self, z: Tensor) -> Tensor:
        return (self.decoder(z.to(self.dtype)) * 0.5 + 0.5).clamp(0, 1).to(z.dtype)

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder[0].weight.dtype

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors (float16) to `folder`."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=1) + "\n")
        state = {k: v.half().contiguous() for k, v in self.state_dict().items() if not k.endswith("num_batches_tracked")}
        save_file(state, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path) -> DemoAutoencoder:
        """Read what `save` wrote, strictly, as a frozen float32 module in eval mode."""
        from safetensors.torch import load_file

        config = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads((folder / "config.json").read_text()).items()}
        model = cls(AutoencoderConfig(**config))
        state = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
        state["normalise.num_batches_tracked"] = torch.tensor(0)
        model.load_state_dict(state, strict=True)
        return model.eval().requires_grad_(False)
