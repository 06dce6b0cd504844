"""Which blocks of FLUX.1 the published adapters number how."""

from __future__ import annotations

from ..model.blocks import Block

HEAD = 128
"""Width of FLUX.1's attention heads."""


def numbered(count: int) -> list[Block]:
    """Block of attention i = 0 .. count - 1: double blocks first, then single ones, a third being double (FLUX.1: 19 of 57)."""
    double = count // 3
    return [("double", i) for i in range(double)] + [("single", i) for i in range(count - double)]
