"""Wan 2.x from text (`comfy.ldm.wan`), of one frame: the picture's stream alone, into which each block looks the text up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.wan.model
from torch import nn

from ....core.model.taps import Tap
from .contract import Family, Shape


class _Wan(Family):
    name, patched, crosses = "Wan", False, True

    def holds(self, network: nn.Module | None) -> bool:
        # Others of its kind (VACE, camera, sound, a picture to begin with) have more streams.
        return type(network) is comfy.ldm.wan.model.WanModel and network.model_type == "t2v"

    def shape(self, network: Any) -> Shape:
        return Shape(network.patch_size[-1], network.dim)

    def double(self, network: Any) -> Sequence[nn.Module]:
        return network.blocks

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        block = network.blocks[tap.index]
        return block.self_attn.q if tap.point == "attn_in" else block.ffn


WAN = _Wan()
