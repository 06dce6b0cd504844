"""Names of the places inside a UNet's decoder where features are read (DirectDrag sections 3 and 8.1).

    ("mid", 0)          output of the middle block, at the lowest resolution
    ("up_resnet", r)    residual branch of the r-th decoder ResNet block, after its second convolution and before the
                        shortcut is added: what readout heads read
    ("up", k)           output of the k-th up block, after its upsampler: what point drags compare

Convention: indices start at 0 in the order of execution; a negative one counts from the end. ResNet blocks are counted
through all up blocks. SD 1.5 has 4 up blocks of 3 ResNet blocks each, SDXL 3 of 3. Resolutions of ("up", k) for SD 1.5:
1/4, 1/2, full and full size of the latent; its channels 1280, 1280, 640, 320.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

UNetTapKind = Literal["mid", "up_resnet", "up"]
KINDS: tuple[UNetTapKind, ...] = ("mid", "up_resnet", "up")


@dataclass(frozen=True)
class UNetTap:
    """One place: `kind` as listed above, and `index` (negative: from the end)."""

    kind: UNetTapKind
    index: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"UNet tap kind {str(self.kind)[:60]!r} is unknown: use one of {', '.join(KINDS)}")

    def __str__(self) -> str:
        return f"{self.kind}-{self.index}"


def parse_unet_tap(name: str) -> UNetTap:
    """The tap that `str` names, such as 'up-2'."""
    kind, _, index = name.strip().rpartition("-")
    if kind not in KINDS or not index.isdecimal():
        raise ValueError(f"UNet tap {name[:60]!r} is unknown: write KIND-INDEX such as up-2, with KIND one of {', '.join(KINDS)}")
    return UNetTap(kind, int(index))


def default_unet_taps(up_resnets: Sequence[int]) -> tuple[UNetTap, ...]:
    """Where a point drag compares features: output of the last up block but one.

    up_resnets: ResNet blocks in each up block.  For SD 1.5 this is ("up", 2), 640 channels at the latent's full size
    (DirectDrag section 3); for a UNet of one up block, that one.
    """
    return (UNetTap("up", max(0, len(up_resnets) - 2)),)


def readout_taps(up_resnets: Sequence[int]) -> tuple[UNetTap, ...]:
    """Every decoder ResNet block, in order: what a readout head takes (DirectDrag section 8.1)."""
    return tuple(UNetTap("up_resnet", r) for r in range(sum(up_resnets)))


def resolve_unet_taps(taps: Sequence[UNetTap], up_resnets: Sequence[int]) -> tuple[UNetTap, ...]:
    """The same taps with non-negative indices; refuses an empty list and blocks the model does not have.

    up_resnets: ResNet blocks in each up block, (3, 3, 3, 3) for SD 1.5.
    """
    if not taps:
        raise ValueError("no taps given: name at least one, such as UNetTap('up', 2), or use default_unet_taps()")
    return tuple(_resolve(tap, up_resnets) for tap in taps)


def last_unet_tap(taps: Sequence[UNetTap], up_resnets: Sequence[int]) -> UNetTap:
    """The tap (of resolved ones) that the network reaches last: behind it nothing needs to be computed."""
    return max(taps, key=lambda tap: _reached(tap, up_resnets))


def _reached(tap: UNetTap, up_resnets: Sequence[int]) -> tuple[int, int]:
    """(block, place in it) in the order of execution; the middle block comes before all."""
    if tap.kind == "mid":
        return -1, 0
    if tap.kind == "up":
        return tap.index, up_resnets[tap.index]
    before = 0
    for block, count in enumerate(up_resnets):
        if tap.index < before + count:
            return block, tap.index - before
        before += count
    raise AssertionError(f"{tap} was not resolved")


def _resolve(tap: UNetTap, up_resnets: Sequence[int]) -> UNetTap:
    if not isinstance(tap, UNetTap):
        raise ValueError(f"{str(tap)[:60]!r} is no UNet tap: use UNetTap('up', 2) and the like")
    count = {"mid": 1, "up_resnet": sum(up_resnets), "up": len(up_resnets)}[tap.kind]
    if not -count <= tap.index < count:
        raise ValueError(f"tap {tap} lies outside this UNet, which has {count} of kind {tap.kind!r}: use {-count} to {count - 1}")
    return UNetTap(tap.kind, tap.index % count)
