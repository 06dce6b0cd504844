"""Z-Image and Lumina 2 (`comfy.ldm.lumina`): one stream, text first, the picture's tokens filled up to a multiple behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.lumina.model
from torch import nn

from ....core.model.taps import Tap
from .contract import Family, Shape


class _Lumina(Family):
    name, replaces, patched = "Z-Image", False, False

    def holds(self, network: nn.Module | None) -> bool:
        return type(network) is comfy.ldm.lumina.model.NextDiT

    def shape(self, network: Any) -> Shape:
        return Shape(network.patch_size, network.dim)

    def single(self, network: Any) -> Sequence[nn.Module]:
        return network.layers

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        block = network.layers[tap.index]
        return block.attention.qkv if tap.point == "attn_in" else block.feed_forward

    def first_of_picture(self, network: Any, options: dict[str, Any], length: int, tokens: int) -> int:
        # References stand between the text and the picture.
        multiple = network.pad_tokens_multiple or 1
        return length - -(-tokens // multiple) * multiple


LUMINA = _Lumina()
