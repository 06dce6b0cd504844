"""Pairs of drawn pictures that show the same object, for readout training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..picture.compose import tensor_of
from ..training.readout_training import Pair
from .cases import sample_case


def scene_pairs(size: int = 256, seed: int = 0) -> Iterator[Pair]:
    """Endless pairs of drawn scenes: before and after one of their objects was moved, turned or stretched."""
    rng = np.random.default_rng(seed)
    while True:
        case = sample_case(rng, str(rng.choice(["relocation", "rotation", "deformation"])), size)
        yield tensor_of(case.source), tensor_of(case.truth)
