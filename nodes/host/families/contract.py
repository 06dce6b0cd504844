"""What is to be known of a family of models beyond its velocity: where its blocks are, where they read, and what serves their text.

"double" blocks have a stream for the picture and one for the text, "single" blocks one for both, text first. Two ways lead inside:

- patched: blocks call ComfyUI's `patches_replace["dit"]` and `attn1_patch` with the index of the block, image tokens behind `img_slice[0]`
  text tokens, queries, keys and values [B, heads, tokens, head width] before position encoding;
- else hooks on the blocks, and `optimized_attention_override`, which sees them after position encoding.

Taps by default are DragFlow's for FLUX.1, in relative depth
(core/model/taps.py): a guess, until somebody measures them on the family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from ....core.model.taps import Tap


@dataclass(frozen=True)
class Shape:
    """patch: latent cells on a token's side.  width: channels of a token.  distilled: whether the network takes a guidance scale."""

    patch: int
    width: int
    distilled: bool


class Family(Protocol):
    """One family. name: as people call it.

    turns: whether position encoding may be done in an attn1_patch (rotation.py).  patched: which way leads inside, see above.
    """

    name: str
    turns: bool
    patched: bool

    def holds(self, network: nn.Module | None) -> bool:
        """Whether a diffusion model is of this family."""
        ...

    def shape(self, network: Any) -> Shape: ...

    def double(self, network: Any) -> Sequence[nn.Module]: ...

    def single(self, network: Any) -> Sequence[nn.Module]: ...

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        """What reads the picture's tokens at a tap inside of a block ("attn_in", "mlp_in"), first thing in its forward's arguments."""
        ...

    def of_text_alone(self, network: Any, index: int) -> tuple[nn.Module, ...]:
        """What a double block runs behind its attention for the text alone, of as many channels out as in."""
        ...

    def fused(self, network: Any, index: int) -> nn.Module | None:
        """The layer of a double block that makes the picture's queries, keys and values at once, queries first; None: there is none."""
        ...

    def first_of_picture(self, network: Any, length: int, tokens: int) -> int:
        """Where the picture's `tokens` begin in a single block's stream of `length`; asked of families that are not patched."""
        ...
