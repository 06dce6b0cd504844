"""The noise schedule of models that predict noise: how much of the picture is left at each timestep (DirectDrag section 2).

Convention: timesteps are whole numbers, 0 the cleanest; any below 0 stands for the picture itself, whose level counts as that of timestep 0
(diffusers' set_alpha_to_one = False).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much of the picture is left at each timestep: z_t = sqrt(a_t)·z_0 + sqrt(1 - a_t)·noise.

    alphas_cumprod: a_t, [N], float64, on the CPU, falling from nearly 1 to nearly 0.  offset: the first timestep of a
    spaced walk (diffusers' steps_offset: 1 for Stable Diffusion).
    """

    alphas_cumprod: Tensor
    offset: int = 1

    def __post_init__(self) -> None:
        a = self.alphas_cumprod
        if a.ndim != 1 or len(a) < 2 or not bool(((a > 0) & (a < 1)).all()) or not bool((a.diff() < 0).all()):
            raise ValueError(f"alphas_cumprod of shape {list(a.shape)} is no schedule: give [N >= 2] numbers falling inside (0, 1)")
        object.__setattr__(self, "alphas_cumprod", a.detach().to("cpu", torch.float64))

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def at(self, t: int) -> float:
        """a_t; of timestep 0 for any t below it."""
        if t >= len(self):
            raise ValueError(f"timestep {t} is not in this schedule of {len(self)}: use at most {len(self) - 1}")
        return float(self.alphas_cumprod[max(t, 0)])

    def of(self, t: int | Tensor, like: Tensor) -> Tensor:
        """a_t for one timestep or int64 [B] of them, as [1 or B, 1, 1, 1] in `like`'s device and dtype."""
        if not isinstance(t, Tensor):
            return torch.full((1, 1, 1, 1), self.at(int(t)), device=like.device, dtype=like.dtype)
        return self.alphas_cumprod[t.reshape(-1).clamp_min(0).cpu()].to(like.device, like.dtype)[:, None, None, None]


def scaled_linear(start: float = 0.00085, end: float = 0.012, timesteps: int = 1000) -> NoiseSchedule:
    """The schedule of Stable Diffusion: betas linear in their square roots."""
    betas = torch.linspace(math.sqrt(start), math.sqrt(end), timesteps, dtype=torch.float64) ** 2
    return NoiseSchedule(torch.cumprod(1 - betas, 0))


def flow_time(schedule: NoiseSchedule, step: int) -> float:
    """The time of a timestep; 0 for the picture, any timestep below 0."""
    if step < 0:
        return 0.0
    kept = schedule.at(step)
    ratio = math.sqrt((1 - kept) / kept)
    return ratio / (1 + ratio)


def flow_latent(z: Tensor, t: float) -> Tensor:
    """A latent of a model of constant variance as the flow has it at time t."""
    return z * math.hypot(1 - t, t)


def noise_latent(z: Tensor, t: float) -> Tensor:
    """A flow's latent at time t as a model of constant variance sees it."""
    return z / math.hypot(1 - t, t)
