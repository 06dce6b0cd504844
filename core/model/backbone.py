"""What a method may ask of a model: the contracts between the drag methods (core) and whatever runs the network.

A backbone is anything with these attributes and methods; none has to inherit from the Protocols. Shapes, units and
ranges below are the contract. `core/backbones/` implements it for diffusers models, `nodes/host/` for a ComfyUI MODEL.

Convention: latents z are [B, C, h, w], normalised as the transformer sees them (after the autoencoder's shift and
scale); z_t = (1 - t)·z_0 + t·noise with t in [0, 1]; the velocity is dz/dt = noise - data. A picture is [B, 3, H, W]
in [0, 1] with H = factor·h, W = factor·w. Of a NoiseBackbone, t is one of its integer timesteps instead and
z_t = sqrt(a_t)·z_0 + sqrt(1 - a_t)·noise, with a_t from its `schedule` (ddim.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from .attention import KVSession
from .noise_schedule import NoiseSchedule
from .taps import Tap
from .unet_taps import UNetTap


@dataclass(frozen=True, eq=False)
class Conditioning:
    """An encoded prompt.

    txt: [B or 1, L, D] token embeddings (FLUX.1: T5, D = 4096).  pooled: [B or 1, P] (FLUX.1: CLIP, P = 768), or
    None for models without one.
    """

    txt: Tensor
    pooled: Tensor | None = None

    @property
    def tokens(self) -> int:
        """How many tokens the text has."""
        return self.txt.shape[1]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditioning:
        """The same prompt on another device or in another dtype."""
        pooled = None if self.pooled is None else self.pooled.to(device=device, dtype=dtype)
        return Conditioning(self.txt.to(device=device, dtype=dtype), pooled)


def token_grid(z: Tensor, patch: int) -> tuple[int, int]:
    """(rows, columns) of the tokens that a latent z [..., h, w] makes; the last ones may hang over its edge."""
    return -(-z.shape[-2] // patch), -(-z.shape[-1] // patch)


@runtime_checkable
class FlowBackbone(Protocol):
    """A flow-matching transformer with frozen weights.

    An implementer must provide
      latent_channels  C of the latents (FLUX.1: 16)
      patch            latent cells per token side (FLUX.1: 2); a latent that does not divide into whole tokens is padded
                       at its right and bottom by its own first cells, and what is computed for the padding left out
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
        """Image-token features at `taps`, in their order: a list of [B, width, *token_grid] in the model's dtype.

        Computes nothing behind the last tap: no later block, and in the last block no text output.
        """
        ...


@runtime_checkable
class NoiseBackbone(Protocol):
    """A UNet that predicts noise (Stable Diffusion 1.x, 2.x, XL), with frozen weights.

    An implementer must provide
      latent_channels  C of the latents (4)
      schedule         noise level of every timestep, a `NoiseSchedule`
      prediction       what the network itself predicts; the methods below give noise either way
      up_resnets       ResNet blocks in each up block ((3, 3, 3, 3) for SD 1.5); they bound the indices of taps
      attention_blocks self-attentions in order of execution (SD 1.5: 16); K/V blocks are ("self", 0 .. that - 1)
      decoder_attention the first of them that belongs to an up block (SD 1.5: 7)
      time_embed_dim   width of `time_embedding` (SD 1.5: 1280)
      device, dtype    where and in what the network computes
    and the methods below. None may leave a trace in the model: the next ordinary call gives the same output bit for
    bit. All must be deterministic, differentiable with respect to z, and must build no graph for anything else.
    Latents may have any size, odd ones too.

    Shared arguments.  z: [B, C, h, w].  t: the timestep the network is told, an int, or int64 [B] for one a sample.
    level: the timestep whose noise z really carries where that is not t (DDIM inversion asks at the next timestep); below 0
    is the picture; None means t. Only networks that predict v need it, to turn v into noise.  kv: a session whose
    `begin(float(t))` is called once per call; t must then be one int.
    """

    latent_channels: int
    schedule: NoiseSchedule
    prediction: Literal["epsilon", "v_prediction"]
    up_resnets: tuple[int, ...]
    attention_blocks: int
    decoder_attention: int
    time_embed_dim: int
    device: torch.device
    dtype: torch.dtype

    def noise(
        self, z: Tensor, t: int | Tensor, cond: Conditioning, *, level: int | None = None, kv: KVSession | None = None
    ) -> Tensor:
        """The noise in z: a tensor of z's shape, float32 (float64 when the model computes in it)."""
        ...

    def features(
        self, z: Tensor, t: int | Tensor, cond: Conditioning, *, taps: Sequence[UNetTap], kv: KVSession | None = None
    ) -> list[Tensor]:
        """Feature maps at `taps`, in their order: a list of [B, C_k, h_k, w_k], each at its own resolution, in the model's dtype.

        Computes nothing behind the last tap.
        """
        ...

    def noise_and_features(
        self,
        z: Tensor,
        t: int | Tensor,
        cond: Conditioning,
        *,
        taps: Sequence[UNetTap],
        level: int | None = None,
        kv: KVSession | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """What `noise` and `features` give, from one forward pass."""
        ...

    def time_embedding(self, t: int | Tensor) -> Tensor:
        """The network's own embedding of the timestep, [1 or B, time_embed_dim], without gradient: readout heads take it."""
        ...

    def channels(self, tap: UNetTap) -> int:
        """C_k of the map at `tap`."""
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
