"""What is to be known of a family of models beyond its velocity: where its blocks are, where they read, and what serves their text.

"double" blocks have a stream for the picture and one for the text, "single" blocks one for both. Features are read in one of two ways, and
keys and values in one of two:

- `replaces`: blocks call ComfyUI's `patches_replace["dit"]`; else they are read by hooks.
- `patched`: attention calls `attn1_patch` with the index of the block, and queries, keys and values [B, heads, tokens, head width] before
  position encoding; else they are replaced in `optimized_attention_override`, which sees them after it.

Blocks in which the picture attends to itself alone, and then to the text by another attention (`crosses`), are "double" ones too: no text
stands in their stream.

Taps by default are DragFlow's for FLUX.1, in relative depth (core/model/taps.py): a guess, until somebody measures them on the family.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ....core.model.taps import Tap, taps_at_the_same_depth


@dataclass(frozen=True)
class Shape:
    """patch: latent cells on a token's side.  width: channels of a token.  distilled: whether the network takes a guidance scale."""

    patch: int
    width: int
    distilled: bool = False


class Family(ABC):
    """One family. name: as people call it.  turns: whether position encoding may be done in an attn1_patch (rotation.py).  crosses: whether
    a block's first attention is the picture's to itself, and the text has another.  whole: whether ComfyUI's own class takes whole tokens
    alone, instead of filling up latents with odd sides.

    `network` is the diffusion model, `options` the transformer_options that a block is called with.
    """

    name: str
    turns = False
    replaces = True
    patched = True
    crosses = False
    whole = False

    @abstractmethod
    def holds(self, network: nn.Module | None) -> bool:
        """Whether a diffusion model is of this family."""

    @abstractmethod
    def shape(self, network: Any) -> Shape: ...

    def double(self, network: Any) -> Sequence[nn.Module]:
        return ()

    def single(self, network: Any) -> Sequence[nn.Module]:
        return ()

    def taps(self, double: int, single: int) -> tuple[Tap, ...]:
        """Where drags read, of so many blocks, unless told otherwise."""
        return taps_at_the_same_depth(double, single)

    @abstractmethod
    def layer(self, network: Any, tap: Tap) -> nn.Module:
        """What reads the picture's tokens at a tap inside of a block ("attn_in", "mlp_in"), first thing in its forward's arguments."""

    def first_of_picture(self, network: Any, options: dict[str, Any], length: int, tokens: int) -> int:
        """Where the picture's `tokens` begin in a stream of `length` tokens that holds the text too."""
        return 0 if self.crosses else options["img_slice"][0]

    def picture(self, output: Any) -> Tensor:
        """The picture's stream in what a block gives; asked of families that are read by hooks."""
        return output

    def of_text_alone(self, network: Any, index: int) -> tuple[nn.Module, ...]:
        """What a double block runs behind its attention for the text alone, of as many channels out as in."""
        return ()

    def fused(self, network: Any, index: int) -> nn.Module | None:
        """The layer of a double block that makes the picture's queries, keys and values at once, queries first; None: there is none."""
        return None
