"""Denoising held to a path: after each step the latent outside of a mask is the path's (DragFlow 4.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .solvers import FlowState, Velocity, fireflow_step, start


@torch.no_grad()
def masked_denoise(
    velocity: Velocity, z: Tensor, times: Sequence[float], mask: Tensor | None, path: Sequence[Tensor]
) -> Iterator[FlowState]:
    """FireFlow from z along descending `times`; after each step the latent outside of `mask` is the path's (DragFlow 4.6).

    mask: bool [h, w], None to leave everything to the model.  path: latents at `times`.  Yields the states after each step.
    """
    state = start(z, times[0])
    for to, kept in zip(times[1:], path[1:], strict=True):
        state = fireflow_step(velocity, state, to)
        if mask is not None:
            state = replace(state, z=torch.where(mask, state.z, kept))
        yield state
