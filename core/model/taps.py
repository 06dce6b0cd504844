"""Names of the places inside a transformer where features are read (DragFlow section 3.2; reference names DOUBLE-17-0).

Inside a double block, on the image stream x with the block's modulation (sh1, sc1, g1, sh2, sc2, g2):

    attn_in   a  = LN(x)·(1 + sc1) + sh1       suffix -0
              x' = x + g1·attention(a)
    mlp_in    b  = LN(x')·(1 + sc2) + sh2      suffix -1
    out       x''= x' + g2·MLP(b)              suffix -2, the residual stream

A single block runs attention and MLP side by side from one normalised input, so attn_in and mlp_in are the same tensor
there. Only image tokens are ever tapped.

Convention: block indices start at 0; a negative index counts from the end (-1 is the last block of its kind).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

BlockKind = Literal["double", "single"]
TapPoint = Literal["attn_in", "mlp_in", "out"]

POINTS: tuple[TapPoint, ...] = ("attn_in", "mlp_in", "out")


@dataclass(frozen=True, order=False)
class Tap:
    """One place: `kind` of block, `index` (negative: from the end) and `point` within the block."""

    kind: BlockKind
    index: int
    point: TapPoint = "out"

    def __post_init__(self) -> None:
        if self.kind not in ("double", "single"):
            raise ValueError(f"tap kind {self.kind!r} is unknown: use 'double' or 'single'")
        if self.point not in POINTS:
            raise ValueError(f"tap point {self.point!r} is unknown: use one of {', '.join(POINTS)}")

    def __str__(self) -> str:
        return f"{self.kind.upper()}-{self.index}-{POINTS.index(self.point)}"


def parse_tap(name: str) -> Tap:
    """The tap of a published name: 'DOUBLE-17-0', 'SINGLE-3-2', 'INTERMEDIATE' (the stream after all double blocks).

    The index may be negative: 'DOUBLE--1-2' is the output of the last double block.
    """
    if name.strip().upper() == "INTERMEDIATE":
        return Tap("double", -1, "out")
    match = re.fullmatch(r"(double|single)-(-?\d{1,4})-([012])", name.strip().lower())
    if match is None:
        raise ValueError(
            f"tap {name[:60]!r} is unknown: write KIND-INDEX-POINT such as DOUBLE-17-0, with KIND DOUBLE or SINGLE and "
            "POINT 0 (attention input), 1 (MLP input) or 2 (block output)"
        )
    kind, index, point = match.groups()
    return Tap("double" if kind == "double" else "single", int(index), POINTS[int(point)])


def default_taps(double_blocks: int) -> tuple[Tap, ...]:
    """Attention input and output of the last two double blocks, in the published order.

    For FLUX.1 (19 double blocks) DOUBLE-17-0, DOUBLE-17-2, DOUBLE-18-0, DOUBLE-18-2.
    """
    if double_blocks < 1:
        raise ValueError("the default taps are in double blocks and this model has none: name taps in single blocks")
    last = range(max(0, double_blocks - 2), double_blocks)
    return tuple(Tap("double", i, point) for i in last for point in ("attn_in", "out"))


def taps_at_the_same_depth(double_blocks: int, single_blocks: int) -> tuple[Tap, ...]:
    """Those of FLUX.1 (blocks 17 and 18 of 57) at the same part of the way through other blocks: the double ones, then the single.

    A guess: which blocks see best has to be measured on each model.
    """
    count = double_blocks + single_blocks
    if count < 1:
        raise ValueError("this model has no blocks to read features of")
    places = sorted({round(index / 56 * (count - 1)) for index in (17, 18)} | ({min(1, count - 1)} if count < 4 else set()))
    blocks = [("double", i) if i < double_blocks else ("single", i - double_blocks) for i in places]
    return tuple(Tap(kind, i, point) for kind, i in blocks for point in ("attn_in", "out"))


def taps_of(backbone: Any) -> tuple[Tap, ...]:
    """The taps that a backbone of a transformer names as its own, else `default_taps`."""
    return getattr(backbone, "default_taps", None) or default_taps(backbone.double_blocks)


def resolve_taps(taps: Sequence[Tap], double_blocks: int, single_blocks: int) -> tuple[Tap, ...]:
    """The same taps with non-negative indices; refuses an empty list and blocks the model does not have."""
    if not taps:
        raise ValueError("no taps given: name at least one, such as DOUBLE-17-2, or use default_taps()")
    return tuple(_resolve(tap, double_blocks, single_blocks) for tap in taps)


def last_tap(taps: Sequence[Tap]) -> Tap:
    """The tap (of resolved ones) that the network reaches last: behind it nothing needs to be computed."""
    return max(taps, key=lambda tap: (tap.kind == "single", tap.index, POINTS.index(tap.point)))


def _resolve(tap: Tap, double_blocks: int, single_blocks: int) -> Tap:
    count = double_blocks if tap.kind == "double" else single_blocks
    if not -count <= tap.index < count:
        allowed = f"use {-count} to {count - 1}" if count else f"the model has no {tap.kind} blocks"
        raise ValueError(f"tap {tap} lies outside this model of {count} {tap.kind} blocks: {allowed}")
    return Tap(tap.kind, tap.index % count, tap.point)
