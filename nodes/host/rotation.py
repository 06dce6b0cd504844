"""Rotary position encoding for ComfyUI's FLUX blocks: with a cheap gradient, and with tables made once for a size.

ComfyUI's fused encoding has no backward, nor a kernel for the CPU, and its plain one takes four products and a sum of strided halves,
forward and again backward. The same turn is one complex product. An `attn1_patch` behind all others does it, and leaves the block nothing
to turn. The tables of sines and cosines are those of the tokens' positions, which an edit does not change, yet the network makes them at
every call.

Convention: pe is [B or 1, 1, tokens, head width / 2, 2, 2], for each pair of neighbouring channels the matrix (cos, -sin; sin, cos); ids
are [B, tokens, axes].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from comfy.ldm.flux.layers import EmbedND
from torch import Tensor, nn

from .replaced_forwards import has_forward_of_its_class, replaced_forwards

HAVE_COMPLEX = ("cpu", "cuda")
"""Devices on which complex products are sure to be differentiable."""

TABLES_KEPT = 4
"""Sets of positions remembered at a time: prompts of two lengths, at two sizes."""


class PositionTables:
    """Tables of a network's position embedder, remembered over calls with the same positions.

    Only ComfyUI's own embedder is remembered, which knows nothing but the positions; where another pack put one that looks at the time, or
    where other packs' code runs and might write to the tables, use none of this.
    """

    def __init__(self) -> None:
        self._made: deque[tuple[Tensor, Tensor]] = deque(maxlen=TABLES_KEPT)

    def remembered(self, network: nn.Module) -> AbstractContextManager:
        """While inside, a call of the network makes no table that is there already."""
        return replaced_forwards([network.pe_embedder], self._looked_up)

    def _looked_up(self, embedder: nn.Module) -> Callable | None:
        if type(embedder) is not EmbedND or not has_forward_of_its_class(embedder):
            return None
        make = embedder.forward

        def table(ids: Tensor) -> Tensor:
            for known, pe in self._made:
                if torch.equal(known, ids):
                    return pe
            pe = make(ids)
            self._made.appendleft((ids, pe))
            return pe

        return table


def turning_patch(*, own_encoding: bool = True) -> Callable[..., dict[str, Tensor | None]]:
    """An attn1_patch that turns queries and keys by pe and takes pe away.

    own_encoding: pe is ComfyUI's own for certain; where another pack's patches run before, it is looked at, and left to ComfyUI if it is no
    turn.
    """
    last: list[tuple[Tensor, Tensor | None]] = []

    def patch(q: Tensor, k: Tensor, v: Tensor, *, pe: Tensor | None = None, **_: Any) -> dict[str, Tensor | None]:
        if pe is None or pe.shape[-2:] != (2, 2) or pe.device.type not in HAVE_COMPLEX:
            return {}
        if not last or last[0][0] is not pe:
            # Once for all blocks of a call.
            last[:] = [(pe, torch.complex(pe[..., 0, 0], pe[..., 1, 0]) if own_encoding or _turns(pe) else None)]
        phases = last[0][1]
        return {} if phases is None else {"q": turned(q, phases), "k": turned(k, phases), "pe": None}

    return patch


def _turns(pe: Tensor) -> bool:
    return torch.equal(pe[..., 0, 0], pe[..., 1, 1]) and torch.equal(pe[..., 0, 1], -pe[..., 1, 0])


def turned(x: Tensor, phases: Tensor) -> Tensor:
    """x [B, heads, tokens, head width] with its pairs of channels turned by `phases`, complex [B or 1, 1, tokens, head width / 2].

    Computed in float32 at least; -> like x.
    """
    # Tokens before heads, as attention gives its gradient: in the other order it would be copied first.
    wide = (x if x.dtype == torch.float64 else x.float()).transpose(1, 2)
    pairs = torch.view_as_complex(wide.reshape(*wide.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * phases.transpose(1, 2)).flatten(-2).transpose(1, 2).to(x.dtype)
