"""The readout head: a small network that reads, from a diffusion model's own features, what a picture looks like (DirectDrag section 8.2).

Per map of features (of C channels, and e the embedding of the noise level):

    y  = relu(norm(conv 1x1, C -> b))           b = projection / 4
    y  = y + relu(linear(e))
    y  = relu(norm(conv 3x3, b -> b))
    y  = norm(conv 1x1, b -> projection)
    out = relu(y + norm(conv 1x1, C -> projection))

and the readout is the mean of all out, weighted by the softmax of learned weights. The published head first resizes every map to one size;
resizing and a 1x1 convolution without bias commute, so here the convolution comes first, on the map's own cells: the same numbers with a
sixth of the products.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import GroupNorm, Linear
from torch.nn.functional import interpolate, relu

KIND = "dragfield-readout"


@dataclass(frozen=True)
class ReadoutConfig:
    """Shape of a head. dims: channels of each map it reads, in order.  projection: channels of the readout, a multiple of 4.

    embedding: width of the noise level's embedding; 0: the head is not told (published flag bottleneck_sequential).
    groups: of every group norm; divides projection / 4.  backbone: what it was trained on, in words.
    """

    dims: tuple[int, ...]
    projection: int = 384
    embedding: int = 1280
    groups: int = 32
    backbone: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(int(c) for c in self.dims))
        if not self.dims or min(self.dims) < 1 or self.projection < 4 or self.projection % 4 or (self.projection // 4) % self.groups:
            raise ValueError(
                f"a readout head of {len(self.dims)} maps, projection {self.projection} and {self.groups} groups cannot be built: "
                "name the channels of at least one map, and make projection / 4 a multiple of groups (published: 384 and 32)"
            )


class NormedConv(nn.Conv2d):
    """A convolution without bias and the group norm that follows it, which sits inside of it as in the published layout."""

    def __init__(self, taken: int, given: int, size: int, groups: int) -> None:
        super().__init__(taken, given, size, padding=size // 2, bias=False)
        self.norm = GroupNorm(groups, given)
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def resized(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """norm(resize(conv(x))) to (h, w): for a 1x1 kernel what norm(conv(resize(x))) is."""
        x = super().forward(x)
        if x.shape[-2:] != size:
            x = interpolate(x, size, mode="bilinear", align_corners=False)
        return self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class Bottleneck(nn.Module):
    """One map's part of the head."""

    def __init__(self, taken: int, config: ReadoutConfig) -> None:
        super().__init__()
        narrow = config.projection // 4
        self.conv1 = NormedConv(taken, narrow, 1, config.groups)
        self.conv2 = NormedConv(narrow, narrow, 3, config.groups)
        self.conv3 = NormedConv(narrow, config.projection, 1, config.groups)
        self.shortcut = nn.Identity() if taken == config.projection else NormedConv(taken, config.projection, 1, config.groups)
        self.emb_layers = Linear(config.embedding, narrow) if config.embedding else None

    def forward(self, x: Tensor, embedding: Tensor | None, size: tuple[int, int]) -> Tensor:
        y = relu(self.conv1.resized(x, size))
        if self.emb_layers is not None:
            y = y + relu(self.emb_layers(embedding))[..., None, None]
        y = self.conv3(relu(self.conv2(y)))
        if isinstance(self.shortcut, nn.Identity):
            return relu(y + (x if x.shape[-2:] == size else interpolate(x, size, mode="bilinear", align_corners=False)))
        return relu(y + self.shortcut.resized(x, size))


class ReadoutHead(nn.Module):
    """The head as a module; `bottleneck_layers` and `mixing_weights` are named as in the published checkpoints."""

    def __init__(self, config: ReadoutConfig) -> None:
        super().__init__()
        self.config = config
        self.bottleneck_layers = nn.ModuleList(Bottleneck(taken, config) for taken in config.dims)
        self.mixing_weights = nn.Parameter(torch.ones(len(config.dims)))

    def forward(self, features: Sequence[Tensor], embedding: Tensor | None = None, size: tuple[int, int] | None = None) -> Tensor:
        """Readout of maps [B, C_k, h_k, w_k], each at its own resolution. -> [B, projection, *size]

        embedding: [1 or B, embedding] of the noise level, for heads that take one.  size: (h, w); None: that of the largest map. The
        published head uses the network's square sample size for any picture.
        """
        if len(features) != len(self.config.dims) or any(f.shape[1] != c for f, c in zip(features, self.config.dims, strict=False)):
            raise ValueError(
                f"this readout head reads maps of {list(self.config.dims)} channels, got {[f.shape[1] for f in features]}: "
                "use the head that was trained for this model and these taps"
            )
        if self.config.embedding and (embedding is None or embedding.shape[-1] != self.config.embedding):
            got = "none" if embedding is None else f"one of {embedding.shape[-1]}"
            raise ValueError(
                f"this readout head takes a time embedding of width {self.config.embedding}, got {got}: use the model it was trained for"
            )
        size = size or max((tuple(f.shape[-2:]) for f in features), key=lambda s: s[0] * s[1])
        dtype = self.mixing_weights.dtype
        embedding = None if embedding is None else embedding.to(self.mixing_weights.device, dtype)
        total = 0.0
        for share, layer, x in zip(self.mixing_weights.softmax(0), self.bottleneck_layers, features, strict=True):
            total = total + share * layer(x.to(dtype), embedding, size)
        return total

    def save(self, path: Path, dtype: torch.dtype | None = None) -> Path:
        """Write the head as safetensors, its shape in the metadata. -> path

        dtype: to store the weights in (it is loaded as float32 again); None: as they are.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().to(dtype or value.dtype).contiguous().cpu() for name, value in self.state_dict().items()}
        save_file(state, path, metadata={"kind": KIND, "config": json.dumps(asdict(self.config))})
        return path


def load_readout(path: Path) -> ReadoutHead:
    """A head from our safetensors or from a published checkpoint (.pt). Strict and weights-only, frozen.

    Raises ValueError, naming the file and what is wrong with it: not a checkpoint, code in it, keys or shapes that do not fit.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no readout head at {path}: check the path, or train one")
    if path.suffix == ".safetensors":
        config, state = _ours(path)
    else:
        config, state = _published(path)
    try:
        head = ReadoutHead(config)
        head.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path.name} does not hold the readout head that it announces ({reason}): use an appearance head") from None
    return head.eval().requires_grad_(False)


def _ours(path: Path) -> tuple[ReadoutConfig, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as stream:
            meta = stream.metadata() or {}
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        if meta.get("kind") != KIND:
            raise ValueError("its metadata does not say so")
        return ReadoutConfig(**json.loads(meta["config"])), state
    except Exception as error:
        raise ValueError(f"{path.name} is no readout head of this package ({_short(error)}): train one, or give a published .pt") from None


def _published(path: Path) -> tuple[ReadoutConfig, dict[str, Tensor]]:
    """The dict of the published checkpoints: config and aggregation_network are read, the rest is ignored."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path.name} cannot be read as plain weights ({_short(error)}): convert it to tensors first") from None
    state = saved.get("aggregation_network") if isinstance(saved, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path.name} has no aggregation_network with tensors in it: give a checkpoint of a readout head")
    # With the sequential variant, which is never told the time, an extra 0 follows the number of each layer.
    state = {_plain(name): value for name, value in state.items()}
    config: dict[str, Any] = saved.get("config") if isinstance(saved.get("config"), dict) else {}
    try:
        first = [state[f"bottleneck_layers.{i}.conv1.weight"] for i in range(len(state["mixing_weights"]))]
        projection = state["bottleneck_layers.0.conv3.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"{path.name} lacks the key {error}: give a checkpoint of an appearance readout head") from None
    dims = tuple(config.get("dims") or (w.shape[1] for w in first))
    emb = state.get("bottleneck_layers.0.emb_layers.weight")
    return ReadoutConfig(dims, projection, 0 if emb is None else emb.shape[1], backbone="published"), state


def _plain(name: str) -> str:
    parts = name.split(".")
    if len(parts) > 3 and parts[0] == "bottleneck_layers" and parts[2] == "0":
        del parts[2]
    return ".".join(parts)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
