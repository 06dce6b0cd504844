"""What DDIM Invert hands on: the trajectory of a model that predicts noise. It travels as any other, only its levels are its own.

Convention: times are timesteps. ComfyUI's state of timestep t is X = z / sqrt(a_t) = z_0 + sigma·noise with sigma² = (1 - a_t) / a_t; the
picture has the level of timestep 0, as in diffusers, so that the last sigma is small but not 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.backbones.noise_as_flow import as_flow, flow_latent, noise_latent
from ..core.model.noise_schedule import NoiseSchedule
from .trajectory import Branch, Trajectory


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseBranch(Branch):
    """One picture; `inversion` is a core DDIMInversion. schedule: of the MODEL that inverted it."""

    schedule: NoiseSchedule

    def noise(self) -> Tensor:
        """The noise that, mixed with the picture's latent at this level, gives z: (z - sqrt(a) z_0) / sqrt(1 - a)."""
        a = self.schedule.at(self.t)
        return (self.z - math.sqrt(a) * self.inversion.z0) / math.sqrt(1 - a)

    def as_flow(self) -> Branch:
        """The same as a flow has it; a state that nobody moved stays the inversion's own."""
        inversion = as_flow(self.inversion, self.schedule)
        own = inversion.path[self.index]
        z = own if self.z is self.undragged else flow_latent(self.z, inversion.times[self.index])
        return Branch(inversion, z, self.index)


@dataclass(frozen=True, eq=False)
class NoiseTrajectory(Trajectory):
    """The pictures of one LATENT, as `NoiseBranch`es."""

    def sigmas(self) -> Tensor:
        left = [self.branches[0].schedule.at(t) for t in self.times]
        return torch.tensor([math.sqrt((1 - a) / a) for a in left])

    def as_flow(self) -> Trajectory:
        """The same pictures as a flow has them, for what is written for flows."""
        return Trajectory(tuple(branch.as_flow() for branch in self.branches), self.prompt, self.latent, self.factor, self.mask, self.kept)

    def as_moved(self, flow: Trajectory) -> NoiseTrajectory:
        """These pictures in the states that a flow's `as_flow()` has reached."""
        states = [noise_latent(branch.z, branch.t) for branch in flow.branches]
        return self.moved_to(states, flow.branches[0].index, flow.mask, flow.kept)
