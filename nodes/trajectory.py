"""What an inversion node hands on: each picture's way to its noise, and the state that an edit has reached on it.

Everything here is a value: a node that moves the state makes a new Trajectory and leaves the old one to whoever else is linked to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.edits.presets import Preset
from ..core.edits.state import State, begin
from ..core.sampling.ddim_inversion import DDIMInversion
from ..core.sampling.inversion import Inversion


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The pictures of one LATENT, all at the same times.

    branches: one state a picture.  prompt: host's ComfyConditioning that they were inverted with.  latent: the LATENT they came from.
    factor: px per latent cell.  mask: bool [H, W] px, where an edit may change the pictures; None until a node has decided.
    preset: what a region was dragged by; None: no region was.
    """

    branches: tuple[State, ...]
    prompt: Any
    latent: dict[str, Any]
    factor: int
    mask: np.ndarray | None = None
    preset: Preset | None = None

    @classmethod
    def begin(cls, inversions: Sequence[Inversion | DDIMInversion], prompt: Any, latent: dict[str, Any], factor: int) -> Trajectory:
        """The trajectory of pictures that nothing has moved yet."""
        return cls(tuple(begin(inversion) for inversion in inversions), prompt, dict(latent), factor)

    @property
    def flow(self) -> bool:
        """Whether it is of a flow model; else of one that predicts noise."""
        return self.branches[0].inversion.flow

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px of the pictures."""
        h, w = self.branches[0].z.shape[-2:]
        return (w * self.factor, h * self.factor)

    @property
    def cells(self) -> tuple[int, int]:
        """(h, w) of the latents."""
        return tuple(self.branches[0].z.shape[-2:])

    @property
    def times(self) -> tuple[float, ...]:
        """What is left to visit, from the state's time to the picture's."""
        first = self.branches[0]
        return first.inversion.times[first.index :]

    def sigmas(self) -> Tensor:
        """What is left as ComfyUI's samplers count it."""
        first = self.branches[0]
        return torch.tensor([first.inversion.sigma(index) for index in range(first.index, len(first.inversion.times))])

    def noise(self) -> StateNoise:
        return StateNoise(torch.cat([branch.noise() for branch in self.branches]).cpu())

    def moved_to(self, branches: Sequence[State], mask: np.ndarray | None = None, preset: Preset | None = None) -> Trajectory:
        """The same pictures in other states. mask, preset: None for what they were."""
        mask, preset = self.mask if mask is None else mask, self.preset if preset is None else preset
        return replace(self, branches=tuple(branches), mask=mask, preset=preset)


class StateNoise:
    """A NOISE that makes any sampler start exactly at a trajectory's state, given its LATENT and SIGMAS."""

    seed = 0

    def __init__(self, noise: Tensor) -> None:
        self._noise = noise

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        wanted = tuple(input_latent["samples"].shape)
        if len(wanted) == 5 and wanted[2] == 1:
            # A model whose latents have a time axis.
            wanted = (*wanted[:2], *wanted[3:])
        if wanted != tuple(self._noise.shape):
            raise ValueError(
                f"this NOISE belongs to a latent of shape {list(self._noise.shape)}, the sampler got one of {list(wanted)}: connect the "
                "latent output of the same inversion node"
            )
        return self._noise.clone().reshape(input_latent["samples"].shape)


class NoNoise:
    """Stands where there is no noise to hand on; says so only if a sampler asks for it."""

    seed = 0

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        raise ValueError("Latent Warp was given a LATENT, which has no noise of its own: give it the trajectory, or use a RandomNoise node")
