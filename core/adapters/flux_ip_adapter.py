"""IP-Adapters for FLUX.1: those of XLabs (v1, v2) and of InstantX.

XLabs: CLIP-L's one vector to 4 or 16 tokens; the answer is added to the image stream behind the double blocks. InstantX: SigLIP's pooled
vector to 128 tokens; the answer joins the attention's output, in single blocks for text rows too.

With a real negative prompt (a guider with cfg above 1), XLabs' has a black picture beside it; InstantX' knows no such thing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import LayerNorm, Linear

from .contract import Subject
from .flux_blocks import HEAD, numbered
from .token_adapter import TokenAdapter
from .tokens import TokenLayout
from .vision import VisionEncoder


class XLabsAdapter(TokenAdapter):
    """given: width of the encoder's vector.  tokens, context: of the projection.  width: of the model.  blocks: how many double ones."""

    kind = "XLabs FLUX IP-Adapter"
    needs = ("clip",)
    negative_row = True

    def __init__(self, given: int, tokens: int, context: int, width: int, blocks: int, head: int = HEAD) -> None:
        double = [("double", i) for i in range(blocks)]
        super().__init__(double, width // head, head, context, TokenLayout(place="block", bias=True))
        self.projector = nn.ModuleDict({"proj": Linear(given, tokens * context), "norm": LayerNorm(context)})

    def encode(self, picture: Tensor, encoders: Mapping[str, VisionEncoder]) -> Subject:
        """See `SubjectAdapter`. Tokens of the picture, and of a black one for the negative prompt."""
        vector = torch.cat([encoders["clip"].embeds(x) for x in (picture, torch.zeros_like(picture))]).to(self.dtype)
        norm = self.projector["norm"]
        tokens = self.projector["proj"](vector).unflatten(-1, (-1, norm.normalized_shape[0]))
        return Subject(self.kind, {"tokens": norm(tokens)})


class InstantXAdapter(TokenAdapter):
    """As above; blocks: double and single ones together.  normalise_values: as a ComfyUI pack does, unlike InstantX's own code."""

    kind = "InstantX FLUX IP-Adapter"
    needs = ("siglip",)

    def __init__(
        self, given: int, tokens: int, context: int, width: int, blocks: int, head: int = HEAD, *, normalise_values: bool = False
    ) -> None:
        layout = TokenLayout(text_rows=True, key="rms", value="rms" if normalise_values else "none")
        super().__init__(numbered(blocks), width // head, head, context, layout)
        proj = nn.Sequential(Linear(given, 2 * given), nn.GELU(), Linear(2 * given, tokens * context))
        self.projector = nn.ModuleDict({"proj": proj, "norm": LayerNorm(context)})

    def encode(self, picture: Tensor, encoders: Mapping[str, VisionEncoder]) -> Subject:
        """See `SubjectAdapter`."""
        vector = encoders["siglip"].embeds(picture).to(self.dtype)
        norm = self.projector["norm"]
        tokens = self.projector["proj"](vector).unflatten(-1, (-1, norm.normalized_shape[0]))
        return Subject(self.kind, {"tokens": norm(tokens)})


def xlabs(state: Mapping[str, Tensor], head: int = HEAD) -> XLabsAdapter:
    """The adapter of a published file's tensors, sizes read off them, weights not yet in it."""
    rows, given = state["projector.proj.weight"].shape
    width, context = state["attention.layers.0.to_k_ip.weight"].shape
    return XLabsAdapter(given, rows // context, context, width, count_layers(state), head)


def instantx(state: Mapping[str, Tensor], head: int = HEAD) -> InstantXAdapter:
    """As `xlabs`."""
    given = state["projector.proj.0.weight"].shape[1]
    width, context = state["attention.layers.0.to_k_ip.weight"].shape
    return InstantXAdapter(given, state["projector.proj.2.weight"].shape[0] // context, context, width, count_layers(state), head)


def count_layers(state: Mapping[str, torch.Tensor]) -> int:
    return 1 + max(int(key.split(".")[2]) for key in state if key.startswith("attention.layers."))
