"""An adapter of the usual kind: encoders, a projector to subject tokens, and keys and values of them in every block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..model.blocks import Block
from .contract import Subject
from .tokens import TokenAttention, TokenLayout


class TokenAdapter(nn.Module):
    """Base of the adapters here. A subclass sets `kind`, `needs` and `projector`, and provides `encode`; one that depends on time
    `tokens` too.
    """

    kind: str
    needs: tuple[str, ...]
    depends_on_time = False
    only_encoding: tuple[str, ...] = ("projector",)

    def __init__(self, blocks: Sequence[Block], heads: int, head_width: int, context: int, layout: TokenLayout) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.place, self.text_rows, self.blocks = layout.place, layout.text_rows, frozenset(blocks)
        self.attention = TokenAttention(blocks, heads, head_width, context, layout)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def tokens(self, subject: Subject, t: float) -> Tensor:
        """[1, n, context] at time t in [0, 1]."""
        return subject.tensors["tokens"]

    def keys_values(self, subject: Subject, t: float) -> dict[Block, tuple[Tensor, Tensor]]:
        """See `SubjectAdapter`."""
        return self.attention(self.tokens(subject, t).to(self.dtype))

    def query(self, block: Block, q: Tensor, scale: Tensor | None) -> Tensor:
        """See `SubjectAdapter`."""
        return self.attention.query(block, q, scale)
