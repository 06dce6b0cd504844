"""Keys and values of a ComfyUI FLUX model handed to core's K/V sessions, through the `attn1_patch` that ComfyUI offers.

A patch sees keys after normalisation and before position encoding, where core's own backbone shows them before both; queries, keys and
values come from one layer, so that nothing is saved by not projecting them. A replay is bit-identical all the same. Only a blend (eta
strictly between 0 and 1) differs: here normalised keys are mixed.

Convention: q, k, v are [B, heads, tokens, head width]; tokens are text, then the image's, then those of reference latents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ...core.attention import KeysValues, KVCall


def keys_values_patch(call: KVCall, image_tokens: int) -> Callable[..., dict[str, Tensor]]:
    """An attn1_patch that asks `call` for every block's keys and values. image_tokens: of the latent, without reference latents."""

    def patch(q: Tensor, k: Tensor, v: Tensor, *, extra_options: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        kind, index = extra_options["block_type"], extra_options["block_index"]
        text = extra_options["img_slice"][0]
        first, end = text if kind == "double" else 0, text + image_tokens
        # What core calls the hidden state here is K and V side by side, so that any run of tokens can be "projected" by splitting it.
        own = torch.cat([_flat(k[:, :, first:end]), _flat(v[:, :, first:end])], dim=-1)
        keys, values = call.keys_values((kind, index), own, _split, 0 if kind == "double" else text)
        return {"k": _put(k, keys, first, end), "v": _put(v, values, first, end)}

    return patch


def _split(hidden: Tensor) -> KeysValues:
    keys, values = hidden.chunk(2, dim=-1)
    return keys, values


def _flat(x: Tensor) -> Tensor:
    return rearrange(x, "b heads n d -> b n (heads d)")


def _put(x: Tensor, tokens: Tensor, first: int, end: int) -> Tensor:
    given = rearrange(tokens, "b n (heads d) -> b heads n d", heads=x.shape[1])
    return torch.cat([x[:, :, :first], given.to(x.dtype), x[:, :, end:]], dim=2)
