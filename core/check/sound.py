"""Whether a model can be walked and dragged at all: it gives finite numbers at every time, and the gradient is the slope of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..edits.edit import AnyInversion
from ..progress import ALONE, RunContext
from ..sampling.sampler import Sampler

STEPS = (0.1, 0.03, 0.01, 0.003, 0.001)
"""Lengths of a finite difference, as parts of the latent's own: long ones bend, short ones drown in the rounding of half precision."""


@torch.no_grad()
def broken_times(sampler: Sampler, inversion: AnyInversion, *, seed: int = 0, run: RunContext = ALONE) -> tuple[float, ...]:
    """Times of the inversion at which the model's answer to its noised picture holds a number that is not finite."""
    z0 = inversion.z0
    noise = torch.randn(z0.shape, generator=torch.Generator().manual_seed(seed)).to(z0)
    broken = []
    for t in inversion.times[:-1]:
        run.check()
        if not bool(torch.isfinite(sampler.answer(sampler.noised(z0, t, noise), t)).all()):
            broken.append(t)
    return tuple(broken)


def slope_ratio(sampler: Sampler, inversion: AnyInversion, taps: Sequence[Any], *, seed: int = 0, run: RunContext = ALONE) -> float:
    """How steeply a loss on the features at `taps` rises along its gradient, as a share of what the gradient says: 1 where it is right, 0
    where the features don't depend on the latent.

    The loss is the likeness of each feature map to one fixed random map. Of central differences of several lengths the two neighbours
    that agree best are taken, whatever they say: between bending and rounding.
    """
    z, t = inversion.path[0], inversion.times[0]
    generator = torch.Generator().manual_seed(seed)
    against: list[Tensor] = []

    def loss(latent: Tensor) -> Tensor:
        maps = sampler.features(latent, t, taps)
        if not against:
            against.extend(torch.randn(one.shape, generator=generator).to(one.device, torch.float32) for one in maps)
        return sum((_unit(one) * _unit(other)).sum() for one, other in zip(maps, against, strict=True))

    with torch.enable_grad():
        leaf = z.detach().clone().requires_grad_()
        rising = loss(leaf)
        if not rising.requires_grad:
            return 0.0
        (g,) = torch.autograd.grad(rising, leaf)
    length = float(g.norm())
    if length == 0:
        return 0.0
    found = []
    with torch.no_grad():
        for share in STEPS:
            run.check()
            step = share * float(z.norm())
            ahead, behind = (float(loss(z + sign * step * g / length)) for sign in (1, -1))
            found.append((ahead - behind) / (2 * step * length))
    pairs = zip(found, found[1:], strict=False)
    return sum(min(pairs, key=lambda two: abs(two[0] - two[1]))) / 2


def _unit(one: Tensor) -> Tensor:
    return normalize(one.float().flatten(1), dim=1)
