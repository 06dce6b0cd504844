"""Krea 2 (`comfy.ldm.krea2`): one stream of text, picture and references; groups of heads share their keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.krea2.model
from torch import nn

from ....core.model.taps import Tap
from .contract import Family, Shape


class _Krea2(Family):
    name, replaces = "Krea 2", False

    def holds(self, network: nn.Module | None) -> bool:
        return isinstance(network, comfy.ldm.krea2.model.SingleStreamDiT)

    def shape(self, network: Any) -> Shape:
        return Shape(network.patch, network.last.norm.scale.shape[0])

    def single(self, network: Any) -> Sequence[nn.Module]:
        return network.blocks

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        block = network.blocks[tap.index]
        return block.attn.wq if tap.point == "attn_in" else block.mlp


KREA_2 = _Krea2()
