"""What FireFlow Invert hands on: each picture's way to its noise, and the state that an edit has reached on it.

Everything here is a value: a node that moves the state makes a new Trajectory and leaves the old one to whoever else is linked to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.edits.presets import Preset
from ..core.sampling.inversion import Inversion


@dataclass(frozen=True, eq=False)
class Branch:
    """One picture.

    z: [1, C, h, w], its latent now, at time `inversion.times[index]`; at first that is the inverted latent itself.
    """

    inversion: Inversion
    z: Tensor
    index: int = 0

    @property
    def t(self) -> float:
        return self.inversion.times[self.index]

    @property
    def undragged(self) -> Tensor:
        """The inversion's own latent at this time."""
        return self.inversion.path[self.index]

    def noise(self) -> Tensor:
        """The noise that, mixed with the picture's latent at this time, gives z: (z - (1 - t) z_0) / t."""
        return (self.z - (1 - self.t) * self.inversion.z0) / self.t


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The pictures of one LATENT, all at the same times.

    prompt: host's ComfyConditioning that they were inverted with.  latent: the LATENT they came from.  factor: px per latent cell.
    mask: bool [H, W] px, where an edit may change the pictures; None until a node has decided.
    kept: bool [h, w], latent cells that no drag of a region has moved, left or covered; None: all. Points don't tell.
    preset: what a region was dragged by; None: no region was.
    """

    branches: tuple[Branch, ...]
    prompt: Any
    latent: dict[str, Any]
    factor: int
    mask: np.ndarray | None = None
    kept: Tensor | None = None
    preset: Preset | None = None

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
        """What is left to visit, from the state's time to 0."""
        first = self.branches[0]
        return first.inversion.times[first.index :]

    def sigmas(self) -> Tensor:
        return torch.tensor(self.times)

    def noise(self) -> StateNoise:
        return StateNoise(torch.cat([branch.noise() for branch in self.branches]).cpu())

    def moved_to(
        self, states: list[Tensor], index: int | None = None, mask: np.ndarray | None = None, kept: Tensor | None = None
    ) -> Trajectory:
        """The same pictures with other states. kept: what this drag left alone."""
        if kept is not None and self.kept is not None:
            kept = kept & self.kept
        branches = tuple(
            replace(branch, z=z, index=branch.index if index is None else index) for branch, z in zip(self.branches, states, strict=True)
        )
        return replace(self, branches=branches, mask=self.mask if mask is None else mask, kept=self.kept if kept is None else kept)


class StateNoise:
    """A NOISE that makes any sampler start exactly at a trajectory's state, given its LATENT and SIGMAS."""

    seed = 0

    def __init__(self, noise: Tensor) -> None:
        self._noise = noise

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        wanted = tuple(input_latent["samples"].shape)
        if wanted != tuple(self._noise.shape):
            raise ValueError(
                f"this NOISE belongs to a latent of shape {list(self._noise.shape)}, the sampler got one of {list(wanted)}: connect the "
                "latent output of the same inversion node"
            )
        return self._noise.clone()


class NoNoise:
    """Stands where there is no noise to hand on; says so only if a sampler asks for it."""

    seed = 0

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        raise ValueError("Latent Warp was given a LATENT, which has no noise of its own: give it the trajectory, or use a RandomNoise node")
