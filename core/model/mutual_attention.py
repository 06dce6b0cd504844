"""Mutual self-attention (MasaCtrl; DirectDrag section 1): the edited picture looks at the original's keys and values.

In the chosen blocks every picture asks with its own queries, and finds the keys and values of the original. Two ways:

    pair = torch.cat([original, edited])                             # both denoised side by side, in one batch
    backbone.noise(pair, t, cond, kv=mutual_attention(blocks))

    bank = KVBank(blocks)                                            # or the original first, once, and remembered
    backbone.noise(original, t, cond, kv=bank.capture())
    backbone.noise(edited, t, cond, kv=bank.replay("matched"))       # the session is kept over all steps

Convention: the original is the first sample of a batch; a block is a pair such as ("self", 10), self-attentions counted in
order of execution.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from .attention import KeysValues, KVCall, KVSession, Project
from .backbone import NoiseBackbone
from .blocks import Block


def mutual_blocks(backbone: NoiseBackbone, first: int | None = None) -> frozenset[Block]:
    """The self-attentions from number `first` on; None takes the later two thirds of the decoder's.

    For SD 1.5 these are 10 to 15, all of its last two up blocks, as published.
    """
    count = backbone.attention_blocks
    if first is None:
        first = backbone.decoder_attention + (count - backbone.decoder_attention) // 3
    if not 0 <= first < count:
        raise ValueError(f"self-attention {first} is not in this model of {count}: use 0 to {count - 1}")
    return frozenset(("self", i) for i in range(first, count))


def mutual_attention(blocks: Iterable[Block]) -> KVSession:
    """A session in which every sample of a batch attends to the keys and values of the first, in `blocks`."""
    return _Mutual(frozenset(blocks))


@dataclass(frozen=True)
class _Mutual:
    blocks: frozenset[Block]

    def begin(self, t: float) -> KVCall:
        return self

    def keys_values(self, block: Block, hidden: Tensor, project: Project, text_tokens: int) -> KeysValues:
        if block not in self.blocks:
            return project(hidden)
        keys, values = project(hidden[:1])
        return keys.expand(hidden.shape[0], -1, -1), values.expand(hidden.shape[0], -1, -1)
