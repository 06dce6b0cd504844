"""What a method may ask of a model: the contracts between the drag methods (core) and whatever runs the network.

A backbone is anything with these attributes and methods; none has to inherit from the Protocols. Shapes, units and
ranges below are the contract. `core/backbones/` implements it for diffusers models, `nodes/host/` for a ComfyUI MODEL.

Convention: latents z are [B, C, h, w], normalised as the transformer sees them (after the autoencoder's shift and
scale); z_t = (1 - t)·z_0 + t·noise with t in [0, 1]; the velocity is dz/dt = noise - data. A picture is [B, 3, H, W]
in [0, 1] with H = factor·h, W = factor·w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .attention import KVSession
from .taps import Tap


@dataclass(frozen=True, eq=False)
class Conditioning:
    """An encoded prompt.

    txt: [B or 1, L, D] token embeddings (FLUX.1: T5, D = 4096).  pooled: [B or 1, P] (FLUX.1: CLIP, P = 768), or
    None for models without one.
    """

    txt: Tensor
    pooled: Tensor | None = None

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditioning:
        """The same prompt on another device or in another dtype."""
        pooled = None if self.pooled is None else self.pooled.to(device=device, dtype=dtype)
        return Conditioning(self.txt.to(device=device, dtype=dtype), pooled)


@runtime_checkable
class FlowBackbone(Protocol):
    """A flow-matching transformer with frozen weights.

    An implementer must provide
      latent_channels  C of the latents (FLUX.1: 16)
      patch            latent cells per token side (FLUX.1: 2); h and w of every latent are multiples of it
      double_blocks, single_blocks   how many of each; they bound the indices of taps and of K/V blocks
      width            channels of a token, hence of a tap
      guidance_distilled   True when `guidance` reaches the network; otherwise it is ignored
      device, dtype    where and in what the network computes
    and the two methods below. Neither may leave a trace in the model: the next ordinary call gives the same output bit
    for bit. Both must be deterministic, differentiable with respect to z, and must build no graph for anything else.
    """

    latent_channels: int
    patch: int
    double_blocks: int
    single_blocks: int
    width: int
    guidance_distilled: bool
    device: torch.device
    dtype: torch.dtype

    def velocity(
        self, z: Tensor, t: float, cond: Conditioning, *, guidance: float | Tensor = 1.0, kv: KVSession | None = None
    ) -> Tensor:
        """dz/dt at (z [B, C, h, w], t): a tensor of z's shape, float32 (float64 when the model computes in it).

        t: in [0, 1], not multiplied by 1000.  guidance: the distilled scale, one number or [B].  kv: a session from
        `KVBank` whose `begin(t)` is called once per call, and whose keys and values the blocks then use.
        """
        ...

    def features(
        self,
        z: Tensor,
        t: float,
        cond: Conditioning,
        *,
        taps: Sequence[Tap],
        guidance: float | Tensor = 1.0,
        kv: KVSession | None = None,
    ) -> list[Tensor]:
        """Image-token features at `taps`, in their order: a list of [B, width, h/patch, w/patch] in the model's dtype.

        Computes nothing behind the last tap: no later block, and in the last block no text output.
        """
        ...


@runtime_checkable
class Autoencoder(Protocol):
    """Pictures to normalised latents and back.

    An implementer must provide `latent_channels`, `factor` (pixels per latent cell, 8 for FLUX.1) and the two methods.
    """

    latent_channels: int
    factor: int

    def encode(self, image: Tensor) -> Tensor:
        """image [B, 3, H, W] in [0, 1], H and W multiples of factor -> z [B, C, H/factor, W/factor], normalised.

        Deterministic: the mean of the posterior where there is one.
        """
        ...

    def decode(self, z: Tensor) -> Tensor:
        """z [B, C, h, w], normalised -> image [B, 3, factor·h, factor·w] in [0, 1], float32."""
        ...
