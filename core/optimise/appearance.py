"""Readout guidance: a term that keeps a picture looking as it did while something in it moves (DirectDrag sections 3.5 and 8.5).

    weight · mean over cells of D(R, R_0) · (max z - min z)²       D = 1 - cos over channels, or the squared distance

R is the readout of the latent that is being moved, R_0 that of the undragged one, z the latent when the drag began. The factor of the
latent's range is the published code's; the paper writes squared L2 without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..choices import check_choices
from ..model.readout import ReadoutHead
from ..sampling.sampler import Sampler

Distance = Literal["cosine", "l2"]


@dataclass(frozen=True)
class ReadoutSettings:
    """How a readout guides. The defaults are the preset `tuned`; `PUBLISHED` is what the published code did.

    weight: 350 published.  distance: "cosine" (published code) or "l2" (paper).  range_factor: multiply by the latent's squared range.
    reference: compare with the undragged latent at the same time ("per_step", paper) or with what the inversion's last call saw ("fixed",
        published code: the features stay, the head reads them with the embedding of each time).
    time: tell the head the true time, or "mirrored", as published heads were trained but not used.
    size: (h, w) of the readout; None: the largest map's.  (64, 64) whatever the picture's shape is published for SD 1.5.
    """

    weight: float = 350.0
    distance: Distance = "cosine"
    range_factor: bool = True
    reference: Literal["per_step", "fixed"] = "per_step"
    time: Literal["true", "mirrored"] = "true"
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"a readout weight of {self.weight} makes no sense: use 0 or more (published 350)")
        check_choices(self)


PUBLISHED = ReadoutSettings(reference="fixed", size=(64, 64))


def readout_distance(a: Tensor, b: Tensor, distance: Distance = "cosine") -> Tensor:
    """Mean over cells of the distance between two readouts [B, P, h, w]. -> [B]"""
    if distance == "cosine":
        return (1 - cosine_similarity(a.float(), b.float(), dim=1)).mean(dim=(1, 2))
    return (a.float() - b.float()).square().sum(dim=1).mean(dim=(1, 2))


@dataclass(frozen=True, eq=False)
class AppearanceTerm:
    """The term for one time.

    taps: what the head reads.  embedding: of the time, for the head.  wanted: R_0 [1, P, h, w].  factor: of the distance.
    """

    head: ReadoutHead
    taps: tuple[Any, ...]
    embedding: Tensor | None
    wanted: Tensor
    factor: Tensor | float
    settings: ReadoutSettings = field(default_factory=ReadoutSettings)

    def __call__(self, features: Sequence[Tensor], z: Tensor) -> Tensor:
        found = self.head(features, self.embedding, tuple(self.wanted.shape[-2:]))
        return self.factor * readout_distance(found, self.wanted, self.settings.distance)


def readout_of(probe: Sampler, head: ReadoutHead, z: Tensor, t: float, settings: ReadoutSettings = ReadoutSettings()) -> Tensor:
    """R_0: the readout of a latent at t, without gradient. -> [1, P, h, w]"""
    return read_out(probe, head, seen_at(probe, z, t), t, settings)


def seen_at(probe: Sampler, z: Tensor, t: float) -> list[Tensor]:
    """The features of a latent at t that a head reads, without gradient."""
    with torch.no_grad():
        return probe.features(z, t, probe.readout_taps)


def read_out(probe: Sampler, head: ReadoutHead, seen: Sequence[Tensor], t: float, settings: ReadoutSettings) -> Tensor:
    """The readout of features as if they were of time t, which with reference = "fixed" they need not be. -> [1, P, h, w]"""
    with torch.no_grad():
        return head(seen, time_of(probe, head, t, settings), settings.size)


def appearance_term(
    probe: Sampler, head: ReadoutHead, z: Tensor, t: float, wanted: Tensor, settings: ReadoutSettings = ReadoutSettings()
) -> AppearanceTerm:
    """The term for a drag that begins at latent z and time t and shall look like `wanted`, a `readout_of` the undragged latent.

    The head's weights take no gradient.
    """
    head.requires_grad_(False)
    factor = settings.weight * ((z.max() - z.min()) ** 2 if settings.range_factor else 1.0)
    return AppearanceTerm(head, probe.readout_taps, time_of(probe, head, t, settings), wanted.detach(), factor, settings)


def time_of(probe: Sampler, head: ReadoutHead, t: float, settings: ReadoutSettings = ReadoutSettings()) -> Tensor | None:
    """What the head is told of the time, None if it takes nothing."""
    if not head.config.embedding:
        return None
    return probe.embedding(t if settings.time == "true" else probe.mirrored(t))
