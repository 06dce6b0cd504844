"""Keys and values of a ComfyUI model handed to core's K/V sessions, by the `attn1_patch` or the attention override that ComfyUI offers.

A patch sees keys after normalisation and before position encoding, where core's own backbone shows them before both; queries, keys and
values come from one layer, so that nothing is saved by not projecting them. A replay is bit-identical all the same. Only a blend (eta
strictly between 0 and 1) differs: here normalised keys are mixed.

Convention: q, k, v are [B, heads, tokens, head width]; tokens are text, then the image's, then those of reference latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ...core.model.attention import KeysValues, KVCall
from ...core.model.blocks import Block
from .replaced_forwards import replaced_forwards

NUMBER = "dragfield_block"
"""Where attention finds the block that it is in, see `numbered`."""


def keys_values_patch(call: KVCall, image_tokens: int) -> Callable[..., dict[str, Tensor]]:
    """An attn1_patch that asks `call` for every block's keys and values. image_tokens: of the latent, without reference latents."""

    def patch(q: Tensor, k: Tensor, v: Tensor, *, extra_options: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        kind, index = extra_options["block_type"], extra_options["block_index"]
        if not _concerns(call, (kind, index)):
            return {}
        text = extra_options["img_slice"][0]
        first, end = text if kind == "double" else 0, text + image_tokens
        own = _Hidden(k[:, :, first:end], v[:, :, first:end])
        keys, values = call.keys_values((kind, index), own, _Hidden.flat, 0 if kind == "double" else text)
        return {"k": _put(k, keys, first, end), "v": _put(v, values, first, end)}

    return patch


def keys_values_override(
    call: KVCall,
    image_tokens: int,
    first_of: Callable[[dict[str, Any], int, int], int],
    before: Callable[..., Tensor] | None,
    *,
    crosses: bool = False,
) -> Callable[..., Tensor]:
    """An "optimized_attention_override" that does the same where nothing is patched: inside of `numbered`, after position encoding.

    first_of: where the picture's tokens begin, see `Family.first_of_picture`.  before: the override that runs inside.
    crosses: see `Family`.
    """

    def attend(chosen: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        options = kwargs.get("transformer_options") or {}
        # A second attention to the text finds no number any more.
        block = options.pop(NUMBER, None) if crosses else options.get(NUMBER)
        heads_apart = kwargs.get("skip_reshape", False)
        length = k.shape[2 if heads_apart else 1]
        # Attention over the picture alone, beside one together with the text, is the block's own.
        if block is not None and (crosses or length > image_tokens) and _concerns(call, block):
            k, v = (k, v) if heads_apart else (k.flatten(2)[:, None], v.flatten(2)[:, None])
            text = first_of(options, length, image_tokens)
            first, end = text if block[0] == "double" else 0, text + image_tokens
            own = _Hidden(k[:, :, first:end], v[:, :, first:end])
            keys, values = call.keys_values(block, own, _Hidden.flat, text - first)
            k, v = _put(k, keys, first, end), _put(v, values, first, end)
            k, v = (k, v) if heads_apart else (k[:, 0], v[:, 0])
        return chosen(q, k, v, *args, **kwargs) if before is None else before(chosen, q, k, v, *args, **kwargs)

    return attend


@contextmanager
def numbered(double: Iterable[nn.Module], single: Iterable[nn.Module]) -> Iterator[None]:
    """While inside, attention is told which of these blocks it is in, through their transformer_options; again when one is run again.

    Entered before `checkpointed`, so that this is part of what is run again.
    """
    numbers = {id(block): (kind, i) for kind, blocks in (("double", double), ("single", single)) for i, block in enumerate(blocks)}

    def telling(block: nn.Module) -> Callable:
        forward, number = block.forward, numbers[id(block)]

        def run(*args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Any:
            return forward(*args, transformer_options={**transformer_options, NUMBER: number}, **kwargs)

        return run

    with replaced_forwards((*double, *single), telling):
        yield


@dataclass(frozen=True, eq=False)
class _Hidden:
    """What core calls the hidden state is here K and V themselves, so that any run of tokens is "projected" by taking it."""

    keys: Tensor
    values: Tensor

    def flat(self) -> KeysValues:
        """K, V [B, tokens, width]."""
        keys, values = (rearrange(x, "b heads n d -> b n (heads d)") for x in (self.keys, self.values))
        return keys, values

    @property
    def shape(self) -> torch.Size:
        b, heads, n, d = self.keys.shape
        return torch.Size((b, n, heads * d))

    @property
    def device(self) -> torch.device:
        return self.keys.device

    @property
    def dtype(self) -> torch.dtype:
        return self.keys.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> _Hidden:
        batch, tokens = index
        return _Hidden(self.keys[batch, :, tokens], self.values[batch, :, tokens])


def replaced_blocks(call: KVCall) -> frozenset[Block]:
    """Double blocks whose image tokens get all their keys and values from the bank, so that their own need not be computed."""
    if getattr(call, "eta", None) != 0.0 or getattr(call, "where", None) is not None:
        return frozenset()
    return frozenset(block for block in call.bank.blocks if block[0] == "double" and block in call.entry.blocks)


def _concerns(call: KVCall, block: Block) -> bool:
    """Whether `call` has to be asked: core's own calls leave alone what their bank doesn't remember, and asking means copying."""
    bank = getattr(call, "bank", None)
    return bank is None or block in bank.blocks


def _put(x: Tensor, tokens: Tensor, first: int, end: int) -> Tensor:
    given = rearrange(tokens, "b n (heads d) -> b heads n d", heads=x.shape[1])
    return torch.cat([x[:, :, :first], given.to(x.dtype), x[:, :, end:]], dim=2)
