"""FireFlow as ComfyUI samples: a SAMPLER, with its masks, previews and cancelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...core.sampling.solvers import fireflow_step, start


def make_sampler() -> Any:
    """A SAMPLER."""
    return comfy.samplers.KSAMPLER(sample_fireflow)


@torch.no_grad()
def sample_fireflow(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
) -> Tensor:
    """FireFlow along falling sigmas, one model call a step and one more for the first; sigma is the flow's time.

    model(x, sigma [B]) gives the denoised latent, so that the velocity is (x - denoised) / sigma.
    """
    times = [float(sigma) for sigma in sigmas]
    if any(b >= a for a, b in zip(times, times[1:], strict=False)):
        raise ValueError("FireFlow takes sigmas that fall at every step: sort them downwards, and invert with FireFlow Invert")
    state = start(x, times[0])
    for i, to in enumerate(times[1:]):
        state = fireflow_step(lambda z, t: (z - model(z, z.new_full((z.shape[0],), t), **(extra_args or {}))) / t, state, to)
        if callback is not None:
            denoised = state.z - to * state.velocity
            callback({"x": state.z, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
    return state.z
