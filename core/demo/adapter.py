"""demo-flux's subject adapter: a picture's latent, read by a small projector, as keys and values for every block.

The projector and the attention are the classes of the published adapters (core/adapters) at small size; what SigLIP and DINOv2 are to
them, the demo autoencoder's encoder is here. It is trained on crops, and on the same scene with its objects elsewhere, so that it says
what there is more than where (train_adapter.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import Conv2d

from ..adapters.contract import Injection, Injections, Subject
from ..adapters.resampler import Resampler
from ..adapters.tokens import TokenAttention, TokenLayout
from ..model.backbone import Autoencoder, FlowBackbone
from ..model.blocks import Block
from .flux import CONFIG

WEIGHTS = Path(__file__).parent / "weights" / "demo-flux-subject" / "adapter.safetensors"
WIDTH, QUERIES, GRID = 96, 64, 16
STRENGTH = 1.0
"""As trained."""


@torch.no_grad()
def with_subject(
    backbone: FlowBackbone, autoencoder: Autoencoder, adapter: DemoAdapter, picture: Tensor, strength: float = STRENGTH
) -> FlowBackbone:  # fmt: skip
    """demo-flux with a picture [1, 3, H, W] in [0, 1] as the adapter's subject, in every call."""
    subject = adapter.encode(picture, {"autoencoder": autoencoder})
    return backbone.with_subjects(Injections([Injection(adapter, subject, strength)]))


class DemoAdapter(nn.Module):
    """A `SubjectAdapter` for demo-flux."""

    kind = "demo-flux-subject"
    needs = ("autoencoder",)
    place = "attention"
    text_rows = False
    depends_on_time = False
    only_encoding = ("read", "projector")

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.head_width = CONFIG["num_attention_heads"], CONFIG["attention_head_dim"]
        order: list[Block] = [("double", i) for i in range(CONFIG["num_layers"])]
        order += [("single", i) for i in range(CONFIG["num_single_layers"])]
        self.blocks = frozenset(order)
        # 16 latent channels, 2 x 2 cells a token, as the transformer's own.
        self.read = Conv2d(CONFIG["in_channels"] // 4, WIDTH, kernel_size=2, stride=2)
        self.row, self.column = (nn.Parameter(0.02 * torch.randn(GRID, WIDTH)) for _ in range(2))
        self.projector = Resampler(WIDTH, WIDTH, WIDTH, queries=QUERIES, depth=2, head=32)
        self.attention = TokenAttention(order, self.heads, self.head_width, WIDTH, TokenLayout(key="rms"))
        for layer in self.attention.layers:
            # Adds nothing at first.
            nn.init.zeros_(layer["to_v_ip"].weight)

    def encode(self, picture: Tensor, encoders: Mapping[str, Autoencoder]) -> Subject:
        """See `SubjectAdapter`; a picture of any size is stretched to a square."""
        autoencoder = encoders["autoencoder"]
        side = 2 * GRID * autoencoder.factor
        square = F.interpolate(picture, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        return self.subject(autoencoder.encode(square.clamp(0, 1)))

    def subject(self, z: Tensor) -> Subject:
        """The subject of a normalised latent z [B, 16, 32, 32]."""
        features = self.read(z.to(self.read.weight.dtype)).flatten(2).transpose(1, 2)
        places = (self.row[:, None] + self.column).flatten(0, 1)
        return Subject(self.kind, {"tokens": self.projector(features + places)})

    def keys_values(self, subject: Subject, t: float) -> dict[Block, tuple[Tensor, Tensor]]:
        """See `SubjectAdapter`."""
        return self.attention(subject.tensors["tokens"])

    def query(self, block: Block, q: Tensor, scale: Tensor | None) -> Tensor:
        """See `SubjectAdapter`."""
        return q

    def save(self, path: Path) -> None:
        """Write the weights in float16."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.detach().to("cpu", torch.float16).contiguous() for name, value in self.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> DemoAdapter:
        """Read the bundled adapter, or one from `dragfield train adapter`. Raises FileNotFoundError with what to do without it."""
        if not path.exists():
            raise FileNotFoundError(f"No demo adapter at {path}: reinstall the package, or train one with `dragfield train adapter`.")
        adapter = cls()
        adapter.load_state_dict({name: value.float() for name, value in load_file(path).items()})
        return adapter.eval().requires_grad_(False)
