"""PuLID-FLUX v0.9: a face's identity, in a cross-attention behind every second double block and every fourth single one.

Unlike the others, it asks with what the image stream holds behind the block: img += strength · CA(LN img, identity). What it reads of a
face (ArcFace's vector and EVA02-CLIP-L's, and five of the latter's layers) comes from an encoder "face" (face.py).

Convention: an identity is [B, 1280], a layer [B, n, 1024]; tokens are [2, 32, 2048], the face's and the negative prompt's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import LayerNorm, Linear

from ..model.blocks import Block
from .contract import Subject
from .flux_blocks import HEAD
from .placing import beside
from .resampler import HEAD as INNER_HEAD
from .resampler import _layer as resampler_layer
from .resampler import _run as run_layer

RENAMES = ((r"pulid_encoder\.(.+)", r"projector.\1"), (r"pulid_ca\.(\d+)\.(.+)", r"attention.layers.\1.\2"))
BLOCKS: tuple[Block, ...] = (*(("double", i) for i in range(0, 19, 2)), *(("single", i) for i in range(0, 38, 4)))
SCALES, TOKENS = 5, 5
"""Layers of the face encoder that are read, and tokens that its vector becomes."""


class FaceEncoder(Protocol):
    """What PuLID asks for."""

    def face(self, picture: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Of the largest face in [1, 3, H, W]: ArcFace's raw vector beside EVA-CLIP's of length 1, [1, 1280], and the streams that enter
        EVA-CLIP's blocks 4, 8, 12, 16 and 20, each [1, 577, 1024].
        """
        ...


class PulidFlux(nn.Module):
    """width: of the projector.  given: of the identity.  context: of the tokens.  model: of the transformer.  queries: learned tokens.

    head: width of its own attention's heads, and of the model's.  inner_head: of the projector's.
    """

    kind = "PuLID-FLUX"
    needs = ("face",)
    place = "stream"
    text_rows = False
    depends_on_time = False
    negative_row = True
    only_encoding = ("projector",)
    blocks = frozenset(BLOCKS)

    def __init__(
        self, width: int, given: int, context: int, model: int, queries: int, *, head: int = HEAD, inner_head: int = INNER_HEAD
    ) -> None:
        super().__init__()
        self.heads, self.head_width = model // head, head
        self.projector = _IdFormer(width, given, context, queries, inner_head)
        self.attention = nn.Module()
        self.attention.layers = nn.ModuleList(_CrossAttention(context, model) for _ in BLOCKS)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def encode(self, picture: Tensor, encoders: Mapping[str, FaceEncoder]) -> Subject:
        """See `SubjectAdapter`. The negative prompt sees a face of zeros."""
        vector, layers = encoders["face"].face(picture)
        both, *all_layers = (torch.cat([x, torch.zeros_like(x)]).to(self.dtype) for x in (vector, *layers))
        return Subject(self.kind, {"tokens": self.projector(both, all_layers)})

    def keys_values(self, subject: Subject, t: float) -> dict[Block, tuple[Tensor, Tensor]]:
        """See `SubjectAdapter`."""
        tokens, made = subject.tensors["tokens"].to(self.dtype), {}
        for block, layer in zip(BLOCKS, self.attention.layers, strict=True):
            both = layer.to_kv(layer.norm1(tokens)).chunk(2, dim=-1)
            made[block] = tuple(x.unflatten(-1, (-1, self.head_width)).transpose(1, 2) for x in both)
        return made

    def query(self, block: Block, q: Tensor, scale: Tensor | None) -> Tensor:
        """See `SubjectAdapter`; q is the stream [B, rows, width]."""
        layer = self._layer(block)
        asked = layer.to_q(layer.norm2(q.to(self.dtype)))
        return asked.unflatten(-1, (-1, self.head_width)).transpose(1, 2).to(q.dtype)

    def finish(self, block: Block, answer: Tensor) -> Tensor:
        """[B, rows, inner] to the stream's width."""
        return self._layer(block).to_out(answer.to(self.dtype)).to(answer.dtype)

    def _layer(self, block: Block) -> _CrossAttention:
        return self.attention.layers[BLOCKS.index(block)]


class _IdFormer(nn.Module):
    """Learned tokens and the identity's ask one layer of the face encoder after the other."""

    def __init__(self, width: int, given: int, context: int, queries: int, head: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(1, queries, width))
        self.proj_out = nn.Parameter(torch.zeros(width, context))
        self.layers = nn.ModuleList(resampler_layer(width, head, False) for _ in range(2 * SCALES))
        for scale in range(SCALES):
            self.add_module(f"mapping_{scale}", _mapping(width, width, width))
        self.id_embedding_mapping = _mapping(given, width, TOKENS * width)

    def forward(self, vector: Tensor, layers: Sequence[Tensor]) -> Tensor:
        identity = self.id_embedding_mapping(vector).unflatten(-1, (TOKENS, -1))
        z = torch.cat([beside(self.latents, vector).expand(vector.shape[0], -1, -1), identity], dim=1)
        for scale, seen in enumerate(layers):
            given = torch.cat([identity, getattr(self, f"mapping_{scale}")(seen)], dim=1)
            for layer in self.layers[2 * scale : 2 * scale + 2]:
                z = run_layer(layer, given, z, None)
        return z[:, : self.latents.shape[1]] @ beside(self.proj_out, z)


class _CrossAttention(nn.Module):
    def __init__(self, context: int, model: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(context), LayerNorm(model)
        self.to_q = Linear(model, context, bias=False)
        self.to_kv = Linear(context, 2 * context, bias=False)
        self.to_out = Linear(context, model, bias=False)


def _mapping(given: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        Linear(given, width), LayerNorm(width), nn.LeakyReLU(), Linear(width, width), LayerNorm(width), nn.LeakyReLU(),
        Linear(width, out),
    )  # fmt: skip


def pulid_flux(state: Mapping[str, Tensor], head: int = HEAD, inner_head: int = INNER_HEAD) -> PulidFlux:
    """The adapter of a published file's tensors, sizes read off them, weights not yet in it."""
    width, context = state["projector.proj_out"].shape
    given = state["projector.id_embedding_mapping.0.weight"].shape[1]
    model, queries = state["attention.layers.0.to_q.weight"].shape[1], state["projector.latents"].shape[1]
    return PulidFlux(width, given, context, model, queries, head=head, inner_head=inner_head)
