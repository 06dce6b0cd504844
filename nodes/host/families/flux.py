"""FLUX.1 (dev, schnell, Kontext, Fill, Krea), FLUX.2, LongCat-Image, and Chroma, whose blocks are FLUX's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.chroma.model
import comfy.ldm.flux.model
from torch import nn

from ....core.model.taps import Tap, default_taps
from .contract import Family, Shape


class _Flux(Family):
    name, turns = "FLUX", True

    def holds(self, network: nn.Module | None) -> bool:
        return isinstance(network, comfy.ldm.flux.model.Flux | comfy.ldm.chroma.model.Chroma)

    def shape(self, network: Any) -> Shape:
        return Shape(network.patch_size, network.params.hidden_size, bool(getattr(network.params, "guidance_embed", False)))

    def double(self, network: Any) -> Sequence[nn.Module]:
        return network.double_blocks

    def single(self, network: Any) -> Sequence[nn.Module]:
        return network.single_blocks

    def taps(self, double: int, single: int) -> tuple[Tap, ...]:
        return default_taps(double)

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        if tap.kind == "single":
            return network.single_blocks[tap.index].linear1
        block = network.double_blocks[tap.index]
        return block.img_attn.qkv if tap.point == "attn_in" else block.img_mlp

    def of_text_alone(self, network: Any, index: int) -> tuple[nn.Module, ...]:
        block = network.double_blocks[index]
        return block.txt_attn.proj, block.txt_mlp

    def fused(self, network: Any, index: int) -> nn.Module | None:
        return network.double_blocks[index].img_attn.qkv


FLUX = _Flux()
