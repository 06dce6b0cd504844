"""IP-Adapters for the UNets of Stable Diffusion 1.5 and SDXL: base (light, vit-G and vit-h too), plus, plus-face and full-face.

In every cross-attention the block's own queries ask the subject's tokens too, and the answer joins what was found in the text, in front of
the output projection: A(q, K_text, V_text) + strength · A(q, K_subject, V_subject). No norms, no positions, no dependence on time.

Convention: blocks are ("cross", n), n counting cross-attentions in the order of execution: down, middle, up. Files number all attentions,
the odd ones being cross-attentions, in the order down, up, middle. Tokens and keys have two rows, the subject's and the negative prompt's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import LayerNorm, Linear

from ..model.blocks import Block
from .contract import Subject
from .resampler import HEAD, Resampler
from .vision import CLIP, VisionEncoder

PARTS = {"SD 1.5": (6, 9, 1), "SDXL": (24, 36, 10)}
"""Cross-attentions in the down blocks, the up blocks and the middle."""
HEADS, HEAD_WIDTH = 8, 64
"""SD 1.5 has always 8 heads, SDXL heads of always 64."""


class UNetIpAdapter(nn.Module):
    """base: "SD 1.5" or "SDXL".  context: width of the tokens.  widths: of each cross-attention, in the file's order.  given: width of what
    the projector takes.  pooled: whether that is CLIP's one vector, or else all tokens of its last layer but one.  head: width of SDXL's.
    """

    needs = ("clip",)
    place = "attention"
    text_rows = False
    depends_on_time = False
    negative_row = True
    only_encoding = ("projector",)

    def __init__(
        self, base: str, projector: nn.Module, context: int, widths: list[int], *, given: int, pooled: bool, head: int = HEAD_WIDTH
    ) -> None:
        super().__init__()
        self.kind, self.projector, self.given, self.pooled = f"IP-Adapter for {base}", projector, given, pooled
        self.order = execution_order(base)
        heads = [HEADS if base == "SD 1.5" else width // head for width in widths]
        self.shapes = {block: (count, width // count) for block, count, width in zip(self.order, heads, widths, strict=True)}
        self.blocks = frozenset(self.order)
        self.attention = nn.Module()
        self.attention.layers = nn.ModuleDict()
        for n, width in enumerate(widths):
            layer = {name: Linear(context, width, bias=False) for name in ("to_k_ip", "to_v_ip")}
            self.attention.layers[str(2 * n + 1)] = nn.ModuleDict(layer)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def encode(self, picture: Tensor, encoders: Mapping[str, VisionEncoder]) -> Subject:
        """See `SubjectAdapter`. The negative prompt sees a vector of zeros or, where all tokens are read, an even grey picture.

        Raises: ValueError for an encoder of another width.
        """
        clip = encoders["clip"]
        if self.pooled:
            seen = clip.embeds(picture)
            both = torch.cat([seen, torch.zeros_like(seen)])
        else:
            grey = torch.tensor(CLIP[0], dtype=picture.dtype, device=picture.device).view(1, 3, 1, 1).expand_as(picture)
            both = torch.cat([clip.penultimate(picture), clip.penultimate(grey)])
        if both.shape[-1] != self.given:
            gives = f"this CLIP vision model gives {both.shape[-1]} channels, {self.kind} takes {self.given}"
            raise ValueError(f"{gives}: {_wanted(self.given)}")
        return Subject(self.kind, {"tokens": self.projector(both.to(self.dtype))})

    def keys_values(self, subject: Subject, t: float) -> dict[Block, tuple[Tensor, Tensor]]:
        """See `SubjectAdapter`."""
        made = {}
        for block, layer in zip(self.order, self.attention.layers.values(), strict=True):
            both = (layer[name](subject.tensors["tokens"].to(self.dtype)) for name in ("to_k_ip", "to_v_ip"))
            made[block] = tuple(x.unflatten(-1, self.shapes[block]).transpose(1, 2) for x in both)
        return made

    def query(self, block: Block, q: Tensor, scale: Tensor | None) -> Tensor:
        """See `SubjectAdapter`."""
        return q


class _Pooled(nn.Module):
    """One vector to tokens."""

    def __init__(self, given: int, tokens: int, context: int) -> None:
        super().__init__()
        self.proj, self.norm = Linear(given, tokens * context), LayerNorm(context)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).unflatten(-1, (-1, self.norm.normalized_shape[0])))


class _EachToken(nn.Module):
    """Every token of CLIP to one of its own (full-face)."""

    def __init__(self, given: int, context: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(Linear(given, given), nn.GELU(), Linear(given, context), LayerNorm(context))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


def unet_ip_adapter(state: Mapping[str, Tensor], head: int = HEAD_WIDTH, inner_head: int = HEAD) -> UNetIpAdapter:
    """The adapter of a published file's tensors, sizes read off them, weights not yet in it."""
    numbers = [int(key.split(".")[2]) for key in state if key.startswith("attention.layers.")]
    base = "SD 1.5" if max(numbers) < 2 * sum(PARTS["SD 1.5"]) else "SDXL"
    shapes = [state[f"attention.layers.{2 * n + 1}.to_k_ip.weight"].shape for n in range(sum(PARTS[base]))]
    context, widths = shapes[0][1], [shape[0] for shape in shapes]
    pooled = "projector.proj.weight" in state
    if "projector.latents" in state:
        _, queries, width = state["projector.latents"].shape
        given = state["projector.proj_in.weight"].shape[1]
        depth = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("projector.layers."))
        projector: nn.Module = Resampler(given, width, context, queries=queries, depth=depth, head=inner_head)
    elif pooled:
        rows, given = state["projector.proj.weight"].shape
        projector = _Pooled(given, rows // context, context)
    else:
        given = state["projector.proj.0.weight"].shape[0]
        projector = _EachToken(given, context)
    return UNetIpAdapter(base, projector, context, widths, given=given, pooled=pooled, head=head)


def execution_order(base: str) -> list[Block]:
    """The block of each of a file's cross-attentions, which it has in the order down, up, middle."""
    down, up, middle = PARTS[base]
    order = [*range(down), *range(down + middle, down + middle + up), *range(down, down + middle)]
    return [("cross", n) for n in order]


def _wanted(given: int) -> str:
    names = {1024: "connect CLIP-ViT-H/14", 1280: "connect CLIP-ViT-H/14 (plus and face files) or ViT-bigG/14 (ip-adapter_sdxl, vit-G)"}
    return names.get(given, "connect the CLIP vision model that it was made with")
