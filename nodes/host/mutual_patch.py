"""Mutual self-attention on a MODEL: in any sampler, a picture asks with its own queries and finds the original's keys and values.

The original goes through the network once at each time that is left, and what its self-attentions project is remembered: one tensor a
block, half of keys and values. On a clone of the MODEL an `attn1_patch` then hands that over in place of the sampler's own; the model
projects it, so that other packs' patches and LoRAs work on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.model.attention import KeysValues, Project
from ...core.model.backbone import Conditioning
from ...core.model.blocks import Block
from ...core.model.noise_schedule import NoiseSchedule
from .comfy_unet import ComfyUNet
from .conditioning import ComfyConditioning
from .unet_layout import Layout, layout_of, unet_of

Placement = Literal["device", "cpu"]


@dataclass(frozen=True, eq=False)
class Originals:
    """What the self-attentions `blocks` of the original pictures project, [pictures, tokens, channels], by timestep and block."""

    blocks: frozenset[Block]
    placement: Placement = "device"
    at: dict[int, dict[Block, Tensor]] = field(default_factory=dict)

    def begin(self, t: float) -> _Watched:
        """Of a core K/V session: the next call's time is t."""
        return _Watched(self, self.at.setdefault(int(t), {}))


@dataclass(frozen=True, eq=False)
class _Watched:
    originals: Originals
    kept: dict[Block, Tensor]

    def keys_values(self, block: Block, hidden: Tensor, project: Project, text_tokens: int) -> KeysValues:
        if block in self.originals.blocks:
            one = hidden.detach().to("cpu" if self.originals.placement == "cpu" else hidden.device, copy=True)
            self.kept[block] = torch.cat([self.kept[block], one]) if block in self.kept else one
        return project(hidden)


def watch(
    backbone: ComfyUNet, paths: Iterable[Sequence[Tensor]], times: Sequence[int], prompt: ComfyConditioning | Conditioning,
    blocks: frozenset[Block], placement: Placement = "device", step: Callable[[int], None] | None = None,
) -> Originals:  # fmt: skip
    """Remember each original, given as its latents [1, C, h, w] at `times`. step(done): told after every call; may raise."""
    originals, done = Originals(blocks, placement), 0
    with torch.no_grad(), backbone.session():
        for path in paths:
            for z, t in zip(path, times, strict=True):
                backbone.noise(z, t, prompt, kv=originals)
                done += 1
                if step is not None:
                    step(done)
    return originals


def with_originals(patcher: Any, originals: Originals, schedule: NoiseSchedule) -> Any:
    """A clone of the MODEL whose chosen self-attentions look at the originals, at each noise level those of the nearest time."""
    changed = patcher.clone()
    changed.set_model_attn1_patch(_Patch(originals, schedule, layout_of(unet_of(patcher))))
    return changed


class _Patch:
    """An attn1_patch."""

    def __init__(self, originals: Originals, schedule: NoiseSchedule, layout: Layout) -> None:
        self._originals, self._layout = originals, layout
        self._levels = {t: _log_sigma(schedule.at(t)) for t in originals.at}

    def __call__(self, n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        block = self._layout.block(extra)
        if block not in self._originals.blocks:
            return n, context, value
        level = math.log(max(float(extra["sigmas"][0]), 1e-6))
        nearest = min(self._levels, key=lambda t: abs(self._levels[t] - level))
        hidden = self._originals.at[nearest][block]
        if n.shape[0] % hidden.shape[0] or n.shape[1] != hidden.shape[1]:
            raise ValueError(
                f"Mutual Self-Attention remembers {hidden.shape[0]} pictures of {hidden.shape[1]} tokens, the sampler asks for "
                f"{n.shape[0]} of {n.shape[1]}: sample the latent that was inverted, at its size and without area prompts"
            )
        # A sampler stacks the pictures once for each prompt it guides with.
        shared = hidden.to(n.device, n.dtype).repeat(n.shape[0] // hidden.shape[0], 1, 1)
        return n, shared, shared


def _log_sigma(a: float) -> float:
    return 0.5 * math.log((1 - a) / a)
