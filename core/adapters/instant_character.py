"""InstantCharacter: SigLIP and DINOv2 features of a picture at two scales, through a projector that knows the noise level, to 1,024 tokens.

What does not depend on time, all but the resampler, is done once for a picture. The tokens of each time are kept on the CPU, so that
inversion, drag and denoising over the same times pay for the resampler once, also where there is no room for their keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import LayerNorm, Linear

from .contract import Subject
from .flux_blocks import HEAD, numbered
from .flux_ip_adapter import count_layers
from .resampler import Resampler
from .token_adapter import TokenAdapter
from .tokens import TokenLayout
from .vision import VisionEncoder

SIDE = 384
SIGLIP_LAYERS, DINO_LAYERS = (7, 13, 26), (9, 19, 29)
INNER_HEAD = 64
TIMES_KEPT = 64
_STEADY = ("cross_layer_blocks", "cross_scale_blocks", "proj", "proj_cross_layer", "proj_cross_scale")
"""Parts of the projector that time has nothing to do with."""


class InstantCharacter(TokenAdapter):
    """width: of the features, SigLIP's and DINOv2's together.  inner, queries, depth: of the resampler.  context, model, blocks: what the
    keys and values are made from, the transformer's width, and how many blocks it has.  layers: of each cross branch.

    time_multiplier: what t in [0, 1] is multiplied by before it is embedded: 1000 as trained, 1 as in DragFlow's code.
    time_in_bfloat16: round the multiplied time as the published pipeline does (steps of 4 above 512).
    """

    kind = "InstantCharacter"
    needs = ("siglip", "dinov2")
    depends_on_time = True
    only_encoding = tuple(f"projector.{part}" for part in _STEADY)

    def __init__(
        self, width: int, inner: int, queries: int, context: int, model: int, blocks: int, *, depth: int = 4, layers: int = 4,
        head: int = HEAD, inner_head: int = INNER_HEAD, time_multiplier: float = 1000.0, time_in_bfloat16: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(numbered(blocks), model // head, head, context, TokenLayout(query="learned", key="learned", bias=True))
        self.projector = _Projector(width, inner, queries, context, depth, layers, inner_head)
        self.time_multiplier, self.time_in_bfloat16 = time_multiplier, time_in_bfloat16

    def encode(self, picture: Tensor, encoders: Mapping[str, VisionEncoder]) -> Subject:
        """See `SubjectAdapter`. The picture is stretched to a square, at 384 px and, in four tiles, at 768 px."""
        siglip, dino = encoders["siglip"], encoders["dinov2"]

        def features(square: Tensor, layers: bool) -> list[Tensor]:
            seen = siglip.maps(square, [*SIGLIP_LAYERS, -1] if layers else [-1])
            also = dino.maps(square, [*DINO_LAYERS, -1] if layers else [-1])
            return [torch.cat([a, b.to(a)], dim=-1).to(self.dtype) for a, b in zip(seen, also, strict=True)]

        low, high = (_resized(picture, side) for side in (SIDE, 2 * SIDE))
        *shallow, deep = features(low, True)
        tiles = [high[..., y : y + SIDE, x : x + SIDE] for y in (0, SIDE) for x in (0, SIDE)]
        fine = torch.cat([features(tile, False)[0] for tile in tiles], dim=1)
        return Subject(self.kind, {"context": self.projector.steady(deep, torch.cat(shallow, dim=1), fine)})

    def tokens(self, subject: Subject, t: float) -> Tensor:
        """See TokenAdapter."""
        time = t * self.time_multiplier
        if self.time_in_bfloat16:
            time = float(torch.tensor(time).to(torch.bfloat16))
        context, key = subject.tensors["context"], f"{time:.4f}"
        if key not in subject.by_time:
            made = self.projector.resampler(context, torch.tensor([time], device=context.device))
            for oldest in list(subject.by_time)[: max(0, len(subject.by_time) + 1 - TIMES_KEPT)]:
                del subject.by_time[oldest]
            subject.by_time[key] = made.cpu()
            return made
        return subject.by_time[key].to(context.device)


class _Projector(nn.Module):
    def __init__(self, width: int, inner: int, queries: int, context: int, depth: int, layers: int, inner_head: int) -> None:
        super().__init__()
        self.cross_layer_blocks = nn.ModuleList(_Block(width, inner_head) for _ in range(layers))
        self.cross_scale_blocks = nn.ModuleList(_Block(width, inner_head) for _ in range(layers))
        self.proj, self.proj_cross_layer, self.proj_cross_scale = (_Mlp(width) for _ in range(3))
        self.resampler = Resampler(width, inner, context, queries=queries, depth=depth, head=inner_head, timed=True)

    def steady(self, deep: Tensor, shallow: Tensor, fine: Tensor) -> Tensor:
        """[1, 2n, width] of what the low scale says last (deep [1, n, width]), said on the way, and of the high scale."""
        layer, scale = deep, deep
        for block in self.cross_layer_blocks:
            layer = block(layer, shallow)
        for block in self.cross_scale_blocks:
            scale = block(scale, fine)
        return torch.cat([self.proj(deep) + self.proj_cross_scale(scale), self.proj_cross_layer(layer)], dim=1)


class _Block(nn.Module):
    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (LayerNorm(width, eps=1e-6) for _ in range(3))
        self.attn1, self.attn2 = _Attention(width, head), _Attention(width, head)
        self.ff = nn.Module()
        self.ff.net = nn.ModuleList([_GeGlu(width, 4 * width), nn.Identity(), Linear(4 * width, width)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff.net[2](self.ff.net[0](self.norm3(x)))


class _Attention(nn.Module):
    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.head = head
        self.to_q, self.to_k, self.to_v = (Linear(width, width, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        heads = (y.unflatten(-1, (-1, self.head)).transpose(1, 2) for y in (self.to_q(x), self.to_k(context), self.to_v(context)))
        found = nn.functional.scaled_dot_product_attention(*heads)
        return self.to_out[0](found.transpose(1, 2).flatten(2))


class _GeGlu(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * nn.functional.gelu(gate)


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Linear(width, 2 * width), Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x), approximate="tanh"))


def instant_character(state: Mapping[str, Tensor], head: int = HEAD, inner_head: int = INNER_HEAD) -> InstantCharacter:
    """The adapter of a published file's tensors, sizes read off them, weights not yet in it."""
    inner, width = state["projector.resampler.proj_in.weight"].shape
    model, context = state["attention.layers.0.to_k_ip.weight"].shape
    queries = state["projector.resampler.latents"].shape[1]
    depth = 1 + max(int(key.split(".")[3]) for key in state if key.startswith("projector.resampler.layers."))
    layers = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("projector.cross_layer_blocks."))
    head = state["attention.layers.0.norm_ip_q.scale"].shape[0]
    return InstantCharacter(
        width, inner, queries, context, model, count_layers(state), depth=depth, layers=layers, head=head, inner_head=inner_head
    )


def _resized(picture: Tensor, side: int) -> Tensor:
    if picture.shape[-2:] == (side, side):
        return picture
    return nn.functional.interpolate(picture, size=(side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
