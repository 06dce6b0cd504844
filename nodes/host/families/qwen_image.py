"""Qwen-Image and Qwen-Image-Edit: double blocks alone, latents with a time axis, keys before rotary encoding in the attention patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.qwen_image.model
from torch import nn

from ....core.model.taps import Tap
from .contract import Family, Shape


class _QwenImage(Family):
    name = "Qwen-Image"

    def holds(self, network: nn.Module | None) -> bool:
        return isinstance(network, comfy.ldm.qwen_image.model.QwenImageTransformer2DModel)

    def shape(self, network: Any) -> Shape:
        return Shape(network.patch_size, network.inner_dim)

    def double(self, network: Any) -> Sequence[nn.Module]:
        return network.transformer_blocks

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        block = network.transformer_blocks[tap.index]
        return block.attn.to_q if tap.point == "attn_in" else block.img_mlp

    def of_text_alone(self, network: Any, index: int) -> tuple[nn.Module, ...]:
        block = network.transformer_blocks[index]
        return block.attn.to_add_out, block.txt_mlp


QWEN_IMAGE = _QwenImage()
