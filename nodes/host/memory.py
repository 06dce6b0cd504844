"""How much memory a gradient through a FLUX model takes besides the weights, measured on ComfyUI's own blocks.

With frozen layers and PyTorch's attention a block keeps about 14 (double) or 15 (single) token-by-width tensors for the backward pass. With
checkpointing it keeps its two inputs, and one block at a time is in full.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

KEPT_BY_DOUBLE = 14
KEPT_BY_SINGLE = 15
KEPT_BY_CHECKPOINT = 2


@dataclass(frozen=True)
class Walk:
    """One pass through a model.

    tokens: text and image (reference latents too), times the batch.  width: channels of a token.  double, single: blocks up to the last
    tap.
    """

    tokens: int
    width: int
    double: int
    single: int
    dtype: torch.dtype


def activation_bytes(walk: Walk, *, checkpointed: bool = False) -> int:
    """Bytes that autograd keeps for the backward pass of `walk`."""
    stream = walk.tokens * walk.width * walk.dtype.itemsize
    if not checkpointed:
        return stream * (KEPT_BY_DOUBLE * walk.double + KEPT_BY_SINGLE * walk.single)
    return stream * (KEPT_BY_CHECKPOINT * (walk.double + walk.single) + max(KEPT_BY_DOUBLE, KEPT_BY_SINGLE))
