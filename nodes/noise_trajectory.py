"""What DDIM Invert hands on: the trajectory of a model that predicts noise. It travels as any other, only its levels are its own.

Convention: times are timesteps. ComfyUI's state of timestep t is X = z / sqrt(a_t) = z_0 + sigma·noise with sigma² = (1 - a_t) / a_t; the
picture has the level of timestep 0, as in diffusers, so that the last sigma is small but not 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.ddim import NoiseSchedule
from .trajectory import Branch, Trajectory


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseBranch(Branch):
    """One picture; `inversion` is a core DDIMInversion. schedule: of the MODEL that inverted it."""

    schedule: NoiseSchedule

    def noise(self) -> Tensor:
        """The noise that, mixed with the picture's latent at this level, gives z: (z - sqrt(a) z_0) / sqrt(1 - a)."""
        a = self.schedule.at(self.t)
        return (self.z - math.sqrt(a) * self.inversion.z0) / math.sqrt(1 - a)


@dataclass(frozen=True, eq=False)
class NoiseTrajectory(Trajectory):
    """The pictures of one LATENT, as `NoiseBranch`es."""

    def sigmas(self) -> Tensor:
        left = [self.branches[0].schedule.at(t) for t in self.times]
        return torch.tensor([math.sqrt((1 - a) / a) for a in left])
