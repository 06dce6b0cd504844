"""Keys and values of every block made from one run of subject tokens: the attention half of the FLUX adapters.

The published ones differ in four switches (`TokenLayout`). RMS normalisations: "rms" is x / sqrt(mean x^2 + 1e-5) without weight;
"learned" is weight·x / (sqrt(mean x^2) + 1e-6), as InstantCharacter's.

Convention: tokens are [B, n, context]; keys and values [B, heads, n, head width].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import Linear

from ..model.blocks import Block
from .contract import Place
from .placing import beside

Norm = Literal["none", "rms", "learned"]


@dataclass(frozen=True)
class TokenLayout:
    """How an adapter of this family is wired.

    place, text_rows: see `SubjectAdapter`.  bias: of the key and value projections.  query: "learned" takes the block's own normalisation
    out of its queries and puts the adapter's in; "none" asks with them as they are.
    """

    place: Place = "attention"
    text_rows: bool = False
    bias: bool = False
    query: Literal["none", "learned"] = "none"
    key: Norm = "none"
    value: Literal["none", "rms"] = "none"


class TokenAttention(nn.Module):
    """to_k, to_v and the norms of every block, in the order of `blocks`; child i of `layers` belongs to block i."""

    def __init__(self, blocks: Sequence[Block], heads: int, head_width: int, context: int, layout: TokenLayout) -> None:
        super().__init__()
        self.blocks, self.heads, self.head_width, self.layout = tuple(blocks), heads, head_width, layout
        width = heads * head_width
        self.layers = nn.ModuleList()
        for _ in blocks:
            layer = nn.ModuleDict({"to_k_ip": Linear(context, width, layout.bias), "to_v_ip": Linear(context, width, layout.bias)})
            if layout.query == "learned":
                layer["norm_ip_q"] = LearnedRms(head_width)
            if layout.key == "learned":
                layer["norm_ip_k"] = LearnedRms(head_width)
            self.layers.append(layer)

    def forward(self, tokens: Tensor) -> dict[Block, tuple[Tensor, Tensor]]:
        return {block: self._block(layer, tokens) for block, layer in zip(self.blocks, self.layers, strict=True)}

    def query(self, block: Block, q: Tensor, scale: Tensor | None) -> Tensor:
        """See `SubjectAdapter`. A weight of (nearly) zero in `scale` hides its channel for good, so it must have none."""
        if self.layout.query == "none":
            return q
        # The adapter's norm divides by the length again, so it doesn't matter that the block's own has.
        raw = q if scale is None else q / scale.to(q.dtype)
        return self.layers[self.blocks.index(block)]["norm_ip_q"](raw)

    def _block(self, layer: nn.ModuleDict, tokens: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = (
            layer[name](tokens).unflatten(-1, (self.heads, self.head_width)).transpose(1, 2) for name in ("to_k_ip", "to_v_ip")
        )
        if self.layout.key == "learned":
            keys = layer["norm_ip_k"](keys)
        elif self.layout.key == "rms":
            keys = rms(keys)
        return keys, rms(values) if self.layout.value == "rms" else values


class LearnedRms(nn.Module):
    """weight·x / (root mean square of x + 1e-6), over the last dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        return (beside(self.scale, x) * (wide / (wide.square().mean(-1, keepdim=True).sqrt() + 1e-6)).to(x.dtype)).to(x.dtype)


def rms(x: Tensor, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean x^2 + eps), over the last dimension."""
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return (wide * (wide.square().mean(-1, keepdim=True) + eps).rsqrt()).to(x.dtype)
