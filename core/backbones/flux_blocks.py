"""The two kinds of FLUX block as functions over a diffusers model's own modules.

Each does what `FluxTransformerBlock` and `FluxSingleTransformerBlock` do, operation by operation, so that results
are the same bit for bit. Beyond that a block can be the last one anybody reads (`stop`), in which case it ends there
and computes no text output; it shows its tap points; and it takes its keys and values from whoever remembers them.

Convention: streams are [B, tokens, width]; in a sequence of both, text comes before image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..adapters.contract import SubjectCall
from ..model.attention import KVCall
from ..model.blocks import Block
from ..model.taps import TapPoint


@dataclass(frozen=True, eq=False)
class Call:
    """What stays the same through all blocks of one network call.

    temb: [B, width], embedding of time, guidance and pooled text.  rope: complex [text + image tokens, head width / 2],
    what each token's pairs of channels are turned by.  kv: where blocks get their keys and values.  subject: what adapters add, if any.
    """

    temb: Tensor
    rope: Tensor
    kv: KVCall
    subject: SubjectCall | None = None


@dataclass(frozen=True, eq=False)
class Streams:
    """The two streams after a block, and what it showed at its taps on the way; None where it stopped before."""

    text: Tensor | None
    image: Tensor | None
    attn_in: Tensor | None = None
    mlp_in: Tensor | None = None


def double_block(
    block: nn.Module, index: int, text: Tensor, image: Tensor, call: Call, stop: TapPoint | None = None
) -> Streams:
    """Text and image in streams of their own that attend to each other."""
    attn = block.attn
    attn_in, gate, mlp_shift, mlp_scale, mlp_gate = block.norm1(image, emb=call.temb)
    if stop == "attn_in":
        return Streams(None, None, attn_in)
    text_in, text_gate, text_shift, text_scale, text_mlp_gate = block.norm1_context(text, emb=call.temb)

    k, v = call.kv.keys_values(("double", index), attn_in, partial(_keys_values, attn), 0)
    q = attn.norm_q(_heads(attn.to_q(attn_in), attn))
    k = torch.cat([attn.norm_added_k(_heads(attn.add_k_proj(text_in), attn)), attn.norm_k(_heads(k, attn))], dim=1)
    v = torch.cat([_heads(attn.add_v_proj(text_in), attn), _heads(v, attn)], dim=1)
    if stop is None:
        q = torch.cat([attn.norm_added_q(_heads(attn.add_q_proj(text_in), attn)), q], dim=1)
    mixed = _with_subject(call, ("double", index), q, attn, image.shape[1], _attend(q, k, v, call.rope))
    text_mixed, image_mixed = mixed.split([mixed.shape[1] - image.shape[1], image.shape[1]], dim=1)

    image = image + gate.unsqueeze(1) * attn.to_out[1](attn.to_out[0](image_mixed.contiguous()))
    mlp_in = block.norm2(image) * (1 + mlp_scale[:, None]) + mlp_shift[:, None]
    if stop == "mlp_in":
        return Streams(None, None, attn_in, mlp_in)
    image = image + mlp_gate.unsqueeze(1) * block.ff(mlp_in)
    if call.subject is not None:
        image = call.subject.behind(image)
    if stop == "out":
        return Streams(None, image, attn_in, mlp_in)

    text = text + text_gate.unsqueeze(1) * attn.to_add_out(text_mixed.contiguous())
    text_mlp_in = block.norm2_context(text) * (1 + text_scale[:, None]) + text_shift[:, None]
    text = text + text_mlp_gate.unsqueeze(1) * block.ff_context(text_mlp_in)
    return Streams(_clip_half(text), image, attn_in, mlp_in)


def single_block(
    block: nn.Module, index: int, text: Tensor, image: Tensor, call: Call, stop: TapPoint | None = None
) -> Streams:
    """Text and image in one sequence, attention beside MLP."""
    attn, text_tokens = block.attn, text.shape[1]
    both = torch.cat([text, image], dim=1)
    normed, gate = block.norm(both, emb=call.temb)
    attn_in = normed[:, text_tokens:]
    if stop in ("attn_in", "mlp_in"):
        return Streams(None, None, attn_in, attn_in)

    first = 0 if stop is None else text_tokens
    asking = normed[:, first:]
    k, v = call.kv.keys_values(("single", index), normed, partial(_keys_values, attn), text_tokens)
    mlp = block.act_mlp(block.proj_mlp(asking))
    q = attn.norm_q(_heads(attn.to_q(asking), attn))
    mixed = _attend(q, attn.norm_k(_heads(k, attn)), _heads(v, attn), call.rope)
    mixed = _with_subject(call, ("single", index), q, attn, image.shape[1], mixed)
    out = both[:, first:] + gate.unsqueeze(1) * block.proj_out(torch.cat([mixed, mlp], dim=2))
    out = _clip_half(out)
    text, image = out[:, : text_tokens - first], out[:, text_tokens - first :]
    if call.subject is not None:
        image = call.subject.behind(image)
    return Streams(None if stop == "out" else text, image, attn_in, attn_in)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotary position encoding of x [B, tokens, heads, head width]: pairs of neighbouring channels turn by rope's phases.

    Computed in float32 at least, as the model does, and in float64 where x is. One complex product is a fifth of the time
    of the model's own five real ones, with the same result.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rope[None, :, None]).flatten(-2).to(x.dtype)


def _attend(q: Tensor, k: Tensor, v: Tensor, rope: Tensor) -> Tensor:
    """Attention of q [B, m, heads, d] over k, v [B, n >= m, heads, d]; q are the last m tokens. -> [B, m, heads·d]."""
    q, k = rotate(q, rope[k.shape[1] - q.shape[1] :]), rotate(k, rope)
    out = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
    return out.transpose(1, 2).flatten(2)


def _with_subject(call: Call, block: Block, q: Tensor, attn: nn.Module, image_tokens: int, mixed: Tensor) -> Tensor:
    """The attention's output [B, rows, width] with what adapters add; q [B, rows, heads, d] are the same rows' normalised queries."""
    if call.subject is None:
        return mixed
    return call.subject.mix(block, q.transpose(1, 2), attn.norm_q.weight, mixed.shape[1] - image_tokens, mixed)


def _heads(x: Tensor, attn: nn.Module) -> Tensor:
    return x.unflatten(-1, (-1, attn.head_dim))


def _keys_values(attn: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor]:
    return attn.to_k(hidden), attn.to_v(hidden)


def _clip_half(x: Tensor) -> Tensor:
    return x.clip(-65504, 65504) if x.dtype == torch.float16 else x
