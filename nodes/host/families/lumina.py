"""Z-Image and Lumina 2 (`comfy.ldm.lumina`): one stream, text first, the picture's tokens filled up to a multiple behind it.

No attention patches and no block replacements are called in it: its blocks are read by hooks, and keys and values, which are seen after
position encoding, replaced in the attention override.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.lumina.model
from torch import nn

from ....core.model.taps import Tap
from .contract import Shape


class _Lumina:
    name, turns, patched = "Z-Image", False, False

    def holds(self, network: nn.Module | None) -> bool:
        return type(network) is comfy.ldm.lumina.model.NextDiT

    def shape(self, network: Any) -> Shape:
        return Shape(network.patch_size, network.dim, False)

    def double(self, network: Any) -> Sequence[nn.Module]:
        return ()

    def single(self, network: Any) -> Sequence[nn.Module]:
        return network.layers

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        block = network.layers[tap.index]
        return block.attention.qkv if tap.point == "attn_in" else block.feed_forward

    def of_text_alone(self, network: Any, index: int) -> tuple[nn.Module, ...]:
        return ()

    def fused(self, network: Any, index: int) -> nn.Module | None:
        return None

    def first_of_picture(self, network: Any, length: int, tokens: int) -> int:
        multiple = network.pad_tokens_multiple or 1
        return length - -(-tokens // multiple) * multiple


LUMINA = _Lumina()
