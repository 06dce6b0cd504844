"""A diffusers `FluxTransformer2DModel` as a FlowBackbone.

The model's own forward is neither called nor replaced: this file walks over its modules (flux_blocks.py). That gives
early exit behind the last tap, keys and values to read or to supply per block, and no text output in a block nobody
reads any more, while the velocity stays bit-identical to the model's own in float32. In half precision the time
embedding is computed in float32, where the model's own forward first rounds t (bfloat16 knows t = 0.8555 and 0.8594,
not 0.856).

Convention: a token is one 2x2 cell of the latent, its channel 4·c + 2·ph + pw for channel c and cell row ph, column pw;
tokens run row by row; position ids are (0, row, column), text ids zero. A latent with an odd side goes on at its right
or bottom with its own first cells, as in ComfyUI, and what the model says of them is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..adapters.contract import Injections
from ..model.attention import OWN_KEYS_VALUES, KVSession
from ..model.backbone import Conditioning, token_grid
from ..model.taps import BlockKind, Tap, TapPoint, last_tap, resolve_taps
from .flux_blocks import Call, Streams, double_block, single_block

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

PATCH = 2
ROPE_SIZES_KEPT = 8


def pack(z: Tensor) -> Tensor:
    """Latent [B, C, h, w] -> tokens [B, ceil(h/2) ceil(w/2), 4C]."""
    if z.shape[-2] % PATCH or z.shape[-1] % PATCH:
        z = F.pad(z, (0, -z.shape[-1] % PATCH, 0, -z.shape[-2] % PATCH), mode="circular")
    return rearrange(z, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=PATCH, pw=PATCH)


def unpack(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens [B, ceil(h/2) ceil(w/2), 4C] -> latent [B, C, h, w] of size (h, w)."""
    z = rearrange(tokens, "b (h w) (c ph pw) -> b c (h ph) (w pw)", h=-(-size[0] // PATCH), ph=PATCH, pw=PATCH)
    return z[..., : size[0], : size[1]]


class DiffusersFlux:
    """FlowBackbone over `FluxTransformer2DModel`: any depth, width and rotary axes, with or without guidance embedding.

    model: is put into eval mode and its parameters stop requiring gradients, for good (hand over a copy of a model
    that is still being trained); nothing else of it is changed.  checkpoint_blocks: recompute each block's
    activations in the backward pass instead of keeping them: about a third more time for a fraction of the memory.  subjects: adapters at
    work in every call; `with_subjects` gives a second backbone over the same model.
    """

    def __init__(
        self, model: FluxTransformer2DModel, *, checkpoint_blocks: bool = False, subjects: Injections | None = None
    ) -> None:
        taken, given = model.config.in_channels, model.proj_out.out_features
        if taken % PATCH**2 or given != taken:
            raise ValueError(
                f"this transformer takes {taken} channels per token and gives {given}: a drag needs one that predicts "
                f"the very latent it takes, packed {PATCH}x{PATCH} (fill, depth and canny variants do not)"
            )
        blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
        if any(getattr(block.attn, "fused_projections", False) for block in blocks):
            raise ValueError("this transformer's q, k and v are fused: call unfuse_qkv_projections() on it first")
        self.model = model.eval().requires_grad_(False)
        self.checkpoint_blocks = checkpoint_blocks
        self.latent_channels = taken // PATCH**2
        self.patch = PATCH
        self.double_blocks = len(model.transformer_blocks)
        self.single_blocks = len(model.single_transformer_blocks)
        self.width = model.inner_dim
        self.guidance_distilled = bool(model.config.guidance_embeds)
        self._ropes: dict[tuple[int, int, int, torch.device], Tensor] = {}
        self.subjects = subjects
        if subjects is not None:
            attn = blocks[0].attn
            subjects.check(dict.fromkeys(self._order(), (attn.heads, attn.head_dim)))

    def with_subjects(self, subjects: Injections | None) -> DiffusersFlux:
        """The same model with other adapters at work, or with none; this backbone stays as it is."""
        return DiffusersFlux(self.model, checkpoint_blocks=self.checkpoint_blocks, subjects=subjects)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.x_embedder.bias.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.model.x_embedder.bias.dtype

    def velocity(
        self, z: Tensor, t: float, cond: Conditioning, *, guidance: float | Tensor = 1.0, kv: KVSession | None = None
    ) -> Tensor:
        """See FlowBackbone."""
        streams, call = self._enter(z, t, cond, guidance, kv)
        for kind, index in self._order():
            streams = self._block(kind, index, streams, call)
        tokens = self.model.proj_out(self.model.norm_out(streams.image, call.temb))
        v = unpack(tokens, (z.shape[-2], z.shape[-1]))
        return v if v.dtype == torch.float64 else v.float()

    def features(
        self,
        z: Tensor,
        t: float,
        cond: Conditioning,
        *,
        taps: Sequence[Tap],
        guidance: float | Tensor = 1.0,
        kv: KVSession | None = None,
    ) -> list[Tensor]:
        """See FlowBackbone."""
        resolved = resolve_taps(taps, self.double_blocks, self.single_blocks)
        end = last_tap(resolved)
        found: dict[Tap, Tensor] = {}
        streams, call = self._enter(z, t, cond, guidance, kv)
        for kind, index in self._order():
            last = (kind, index) == (end.kind, end.index)
            streams = self._block(kind, index, streams, call, end.point if last else None)
            found[Tap(kind, index, "attn_in")] = streams.attn_in
            found[Tap(kind, index, "mlp_in")] = streams.mlp_in
            found[Tap(kind, index, "out")] = streams.image
            # Only what is asked for may live on: a kept activation is memory that autograd would otherwise free.
            found = {tap: tokens for tap, tokens in found.items() if tap in resolved}
            if last:
                break
        return [rearrange(found[tap], "b (h w) c -> b c h w", h=token_grid(z, PATCH)[0]) for tap in resolved]

    def _order(self) -> list[tuple[BlockKind, int]]:
        return [("double", i) for i in range(self.double_blocks)] + [("single", i) for i in range(self.single_blocks)]

    def _enter(
        self, z: Tensor, t: float, cond: Conditioning, guidance: float | Tensor, kv: KVSession | None
    ) -> tuple[Streams, Call]:
        self._check(z, cond)
        batch, model = z.shape[0], self.model
        image = model.x_embedder(pack(z.to(self.device, self.dtype)))
        text = model.context_embedder(cond.txt.to(self.device, self.dtype).expand(batch, -1, -1))
        pooled = cond.pooled.to(self.device, self.dtype).expand(batch, -1)
        scalars = [t, guidance] if self.guidance_distilled else [t]
        temb = model.time_text_embed(*(_per_sample(x, batch, self.device) * 1000 for x in scalars), pooled)
        grid = token_grid(z, PATCH)
        rope = self._rope(text.shape[1], *grid)
        subject = None if self.subjects is None else self.subjects.begin(t, grid, like=image)
        return Streams(text, image), Call(temb, rope, OWN_KEYS_VALUES if kv is None else kv.begin(t), subject)

    def _check(self, z: Tensor, cond: Conditioning) -> None:
        if z.ndim != 4 or z.shape[1] != self.latent_channels:
            raise ValueError(f"this model takes latents [B, {self.latent_channels}, h, w], got {list(z.shape)}")
        if cond.pooled is None:
            raise ValueError("this model needs a pooled text embedding [B, P] too: set Conditioning.pooled")

    def _rope(self, text_tokens: int, rows: int, columns: int) -> Tensor:
        key = (text_tokens, rows, columns, self.device)
        if key not in self._ropes:
            if len(self._ropes) >= ROPE_SIZES_KEPT:
                self._ropes.pop(next(iter(self._ropes)))
            # Even when first asked for in inference mode, whose tensors no later backward pass could use.
            with torch.inference_mode(False):
                self._ropes[key] = self._make_rope(text_tokens, rows, columns)
        return self._ropes[key]

    def _make_rope(self, text_tokens: int, rows: int, columns: int) -> Tensor:
        ids = torch.zeros(text_tokens + rows * columns, len(self.model.pos_embed.axes_dim), device=self.device)
        grid = ids[text_tokens:].view(rows, columns, -1)
        grid[..., -2] = torch.arange(rows, device=self.device)[:, None]
        grid[..., -1] = torch.arange(columns, device=self.device)[None, :]
        cos, sin = self.model.pos_embed(ids)  # each [tokens, head width], every number twice
        return torch.complex(cos[:, ::2], sin[:, ::2])

    def _block(
        self, kind: BlockKind, index: int, streams: Streams, call: Call, stop: TapPoint | None = None
    ) -> Streams:
        blocks, run = (
            (self.model.transformer_blocks, double_block)
            if kind == "double"
            else (self.model.single_transformer_blocks, single_block)
        )
        if not (self.checkpoint_blocks and torch.is_grad_enabled()):
            return run(blocks[index], index, streams.text, streams.image, call, stop)

        def tensors(text: Tensor, image: Tensor) -> tuple[Tensor | None, ...]:
            after = run(blocks[index], index, text, image, call, stop)
            return after.text, after.image, after.attn_in, after.mlp_in

        return Streams(*checkpoint(tensors, streams.text, streams.image, use_reentrant=False))


def _per_sample(value: float | Tensor, batch: int, device: torch.device) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float32, device=device).expand(batch)
