"""Kandinsky 5 (`comfy.ldm.kandinsky5`), the one for pictures: the picture's stream alone, into which each block looks the text up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.kandinsky5.model
from torch import nn

from ....core.model.taps import Tap
from .contract import Family, Shape


class _Kandinsky5(Family):
    name, replaces, patched, crosses, whole = "Kandinsky 5", False, False, True, True

    def holds(self, network: nn.Module | None) -> bool:
        # The ones for videos see a picture to begin with beside their latent.
        return type(network) is comfy.ldm.kandinsky5.model.Kandinsky5 and network.visual_embed_dim == 4 * network.in_visual_dim

    def shape(self, network: Any) -> Shape:
        return Shape(network.patch_size[-1], network.model_dim)

    def double(self, network: Any) -> Sequence[nn.Module]:
        return network.visual_transformer_blocks

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        block = network.visual_transformer_blocks[tap.index]
        return block.self_attention.to_query if tap.point == "attn_in" else block.feed_forward


KANDINSKY_5 = _Kandinsky5()
