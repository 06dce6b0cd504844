"""What a subject adapter is: something that turns an encoded picture, and a time, into keys and values for some blocks of a model.

A block's own queries ask those keys and values, and the answer is added to what the block's attention found. All published adapters for
FLUX and for Stable Diffusion's UNets (there the blocks are cross-attentions) are of that kind; they differ in the encoder, in the
projector, in how queries and keys are normalised and in where the answer is added. An adapter is one file with one class; whatever runs
the network (core's diffusers backbones, a ComfyUI MODEL's patches) knows only `SubjectCall` below.

Convention: queries, keys and values are [B, heads, tokens, head width]; in a sequence of both, text tokens come before image tokens.
Queries are as a block has them after its query normalisation and before position encoding; `scale` [head width] is that
normalisation's weight, so that an adapter can take it out again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ..instruction.guarded_json import show
from ..model.blocks import Block
from .call import Part, SubjectCall
from .kept import ROOM, Kept, Room
from .placing import follow

Place = Literal["attention", "block", "stream"]
"""Where the answer is added: to the attention's output before its projection and gate, or to the image stream behind the whole block.

"stream" is behind the block too, but asks with that stream [B, rows, width] instead of the block's queries; such an adapter also has
`finish(block, answer)`, which brings the answer [B, rows, heads·d] to the stream's width.
"""


ROUNDING = 1e-6
"""Times come in float32 from samplers, and one that is meant to be an injection's first or last is."""


@dataclass(frozen=True, eq=False)
class Subject:
    """An encoded picture: all of an adapter's work that depends on neither time nor block.  kind: of the adapter that made it.

    by_time: what an adapter made of it for a time and wants to keep, on the CPU.
    """

    kind: str
    tensors: dict[str, Tensor]
    by_time: dict[str, Tensor] = field(default_factory=dict)

    def on(self, device: torch.device | str) -> Subject:
        """It with its tensors on a device, beside the same `by_time`."""
        return Subject(self.kind, {name: x.to(device) for name, x in self.tensors.items()}, self.by_time)


class SubjectAdapter(Protocol):
    """An adapter with its weights.

    needs: the names of the encoders that `encode` asks for ("autoencoder", "clip_vision", "siglip", "dinov2", ...).
    kind: its name, the same in every `Subject` that it made.  place: see `Place`.  text_rows: whether, in single blocks, text queries ask
    too (in double blocks they never do).  blocks: which blocks it has keys and values for.  heads, head_width: of the model it was made
    for; one whose blocks differ has `shapes` instead, a dict of both by block.  depends_on_time: whether `keys_values` differ from time
    to time.  only_encoding, where it has one: modules that nothing but `encode` needs (release.py).
    """

    kind: str
    needs: tuple[str, ...]
    place: Place
    text_rows: bool
    blocks: frozenset[Block]
    heads: int
    head_width: int
    depends_on_time: bool

    def encode(self, picture: Tensor, encoders: Mapping[str, Any]) -> Subject:
        """The subject of a picture [1, 3, H, W] in [0, 1]; `encoders` holds what `needs` names."""
        ...

    def keys_values(self, subject: Subject, t: float) -> dict[Block, tuple[Tensor, Tensor]]:
        """Keys and values [1, heads, tokens, head width] for every block at time t in [0, 1].

        An adapter with `negative_row` gives two rows of each, the second for what is sampled with the negative prompt.
        """
        ...

    def query(self, block: Block, q: Tensor, scale: Tensor | None) -> Tensor:
        """What is asked with, of a block's queries q [B, heads, rows, head width]."""
        ...


@dataclass(frozen=True, eq=False)
class Injection:
    """An adapter at work: whose subject, how strongly, when and where.

    strength: what the answer is multiplied by.  start, end: the times in [0, 1] between which it is at work; start is the noisier one.
    area: float [h, w] in [0, 1], in which part of the picture; any size, None for everywhere. Text rows always get the whole answer.
    schedule: strength by time instead of one number inside [end, start]; given t, multiplies `strength`.
    """

    adapter: SubjectAdapter
    subject: Subject
    strength: float = 1.0
    start: float = 1.0
    end: float = 0.0
    area: Tensor | None = None
    schedule: Callable[[float], float] | None = None

    def __post_init__(self) -> None:
        if self.subject.kind != self.adapter.kind:
            made, wanted = show(self.subject.kind), show(self.adapter.kind)
            raise ValueError(f"the subject was encoded for {made}, the adapter is {wanted}: encode it with this adapter")
        if not 0.0 <= self.end <= self.start <= 1.0:
            raise ValueError(f"the adapter would work from {self.start} to {self.end}: use 1 >= start >= end >= 0, where 1 is pure noise")
        if self.area is not None and self.area.ndim != 2:
            raise ValueError(f"the adapter's area has the shape {list(self.area.shape)}: give [height, width]")

    def strength_at(self, t: float) -> float:
        if not self.end - ROUNDING <= t <= self.start + ROUNDING:
            return 0.0
        return self.strength * (1.0 if self.schedule is None else float(self.schedule(t)))


class Injections:
    """Several injections into one model; keys and values are made once for a time, device and dtype, see kept.py.

    room: bytes of them that are kept, or what tells that.  moves: whether adapters follow the model to its device, for good; False where
    something else sees to it that they compute there.
    """

    def __init__(self, injections: Sequence[Injection], *, room: Room = ROOM, moves: bool = True) -> None:
        self.injections = tuple(injections)
        self._kept, self._moves = Kept(room, len(self.injections)), moves

    def check(self, shapes: Mapping[Block, tuple[int, int]]) -> None:
        """Refuse, in one sentence, a model that one of the adapters was not made for.  shapes: its blocks' heads and head width."""
        for adapter in (one.adapter for one in self.injections):
            for block, (heads, width) in sorted(shapes_of(adapter).items()):
                if shapes.get(block) != (heads, width):
                    here = "none such" if block not in shapes else "{} of {}".format(*shapes[block])
                    raise ValueError(
                        f"the adapter {adapter.kind} was made for a model with {heads} heads of {width} in the {block[0]} block {block[1]}"
                        f", this one has {here}: use the model that the adapter was made for"
                    )

    def begin(
        self, t: float | Tensor, grid: tuple[int, int], negative: Tensor | None = None, like: Tensor | None = None
    ) -> SubjectCall | None:
        """The injections of one network call at time t on `grid` (rows, columns) of image tokens; None when none is at work.

        t: one time, or [B] of them while an adapter is trained; then every injection has to be at work all the time.
        grid: a UNet's largest; its blocks may work on halves of it, rounded up.  negative: bool [B], rows of the negative prompt.
        like: an activation, on whose device and in whose dtype keys and values shall be; None: as the adapter makes them.
        """
        if isinstance(t, Tensor) and t.numel() > 1:
            if any(one.adapter.depends_on_time or one.schedule or (one.start, one.end) != (1.0, 0.0) for one in self.injections):
                raise ValueError("several times in one call, and an adapter whose work depends on time: call it with one time")
            strengths = [one.strength for one in self.injections]
            t = 0.0
        else:
            strengths = [one.strength_at(float(t)) for one in self.injections]
        parts = [
            Part(one.adapter, strength, self._keys_values(i, one, float(t), like), grid, one.area, negative)
            for i, (one, strength) in enumerate(zip(self.injections, strengths, strict=True))
            if strength != 0.0
        ]
        return SubjectCall(parts) if parts else None

    def rest(self) -> None:
        """Let go of what lies on an accelerator, at the end of a session."""
        self._kept.leave("cpu")

    def _keys_values(self, index: int, one: Injection, t: float, like: Tensor | None) -> dict[Block, tuple[Tensor, Tensor]]:
        if torch.is_grad_enabled() and getattr(one.adapter, "training", False):
            return one.adapter.keys_values(one.subject, t)
        if like is not None and self._moves:
            follow(one.adapter, like.device)
        time = round(t, 6) if one.adapter.depends_on_time else None
        key = index, time, None if like is None else (like.device, like.dtype)
        return self._kept.get(key, lambda: _made(one, t, like))


def _made(one: Injection, t: float, like: Tensor | None) -> dict[Block, tuple[Tensor, Tensor]]:
    # Usable by a backward pass even when first made in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        if like is None:
            return one.adapter.keys_values(one.subject, t)
        made = one.adapter.keys_values(one.subject.on(like.device), t)
        return {block: (k.to(like.device, like.dtype), v.to(like.device, like.dtype)) for block, (k, v) in made.items()}


def shapes_of(adapter: SubjectAdapter) -> dict[Block, tuple[int, int]]:
    """Heads and head width of every block that the adapter works in."""
    return getattr(adapter, "shapes", None) or {block: (adapter.heads, adapter.head_width) for block in adapter.blocks}
