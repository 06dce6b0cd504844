"""The projector that most subject adapters share: learned queries read picture features through a few attention layers (Perceiver style).

With a time embedding it is InstantCharacter's, whose queries are modulated by the noise level; without, it is IP-Adapter plus's.
Parameter names are those of the published files.

Convention: tokens are [B, n, channels]; times t are in [0, 1] times the multiplier the checkpoint was trained with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import LayerNorm, Linear

from .placing import beside

HEAD = 64


class Resampler(nn.Module):
    """[B, n, given] -> [B, queries, out].

    width: of the queries, a multiple of `head`.  head: width of an attention head (64 published).  timed: queries modulated by time.
    """

    def __init__(
        self, given: int, width: int, out: int, *, queries: int, depth: int = 4, head: int = HEAD, timed: bool = False
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, queries, width) / width**0.5)
        self.proj_in = Linear(given, width)
        self.proj_out = Linear(width, out)
        self.norm_out = LayerNorm(out)
        self.layers = nn.ModuleList(_layer(width, head, timed) for _ in range(depth))
        self.time_embedding = _TimeEmbedding(width) if timed else None

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """x: [B, n, given].  t: [B], only for a timed one."""
        y, q = self.proj_in(x), beside(self.latents, x).expand(x.shape[0], -1, -1)
        time = None
        if self.time_embedding is not None:
            if t is None:
                raise ValueError("this projector depends on time: give t")
            time = self.time_embedding(t).to(y.dtype)
            y = y + time[:, None]
        for layer in self.layers:
            q = _run(layer, y, q, time)
        return self.norm_out(self.proj_out(q))


def _layer(width: int, head: int, timed: bool) -> nn.ModuleList:
    """Attention, MLP and, where timed, their modulation; a list because the published keys number them."""
    mlp = nn.Sequential(LayerNorm(width), Linear(width, 4 * width, bias=False), nn.GELU(), Linear(4 * width, width, bias=False))
    parts = [_Attention(width, head), mlp]
    return nn.ModuleList([*parts, nn.Sequential(nn.SiLU(), Linear(width, 4 * width))] if timed else parts)


def _run(layer: nn.ModuleList, y: Tensor, q: Tensor, time: Tensor | None) -> Tensor:
    attention, mlp = layer[0], layer[1]
    if time is None:
        q = q + attention(y, q)
        return q + mlp(q)
    shift, scale, mlp_shift, mlp_scale = layer[2](time)[:, None].chunk(4, dim=-1)
    q = q + attention(y, q, shift, scale)
    normed = mlp[0](q) * (1 + mlp_scale) + mlp_shift
    return q + mlp[3](mlp[2](mlp[1](normed)))


class _Attention(nn.Module):
    """The queries attend to the features and to themselves."""

    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.head = head
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.to_q = Linear(width, width, bias=False)
        self.to_kv = Linear(width, 2 * width, bias=False)
        self.to_out = Linear(width, width, bias=False)

    def forward(self, y: Tensor, q: Tensor, shift: Tensor | float = 0.0, scale: Tensor | float = 0.0) -> Tensor:
        asking = self.norm2(q) * (1 + scale) + shift
        keys, values = self.to_kv(torch.cat([self.norm1(y), asking], dim=1)).chunk(2, dim=-1)
        heads = (x.unflatten(-1, (-1, self.head)).transpose(1, 2) for x in (self.to_q(asking), keys, values))
        found = nn.functional.scaled_dot_product_attention(*heads)
        return self.to_out(found.transpose(1, 2).flatten(2))


class _TimeEmbedding(nn.Module):
    """Sinusoid of 320 channels, cosines first, through two linear layers."""

    CHANNELS = 320

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(self.CHANNELS, width), Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        half = self.CHANNELS // 2
        rates = torch.exp(-math.log(10_000.0) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
        angles = t.float()[:, None] * rates
        wave = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.linear_1.weight.dtype)
        return self.linear_2(nn.functional.silu(self.linear_1(wave)))
