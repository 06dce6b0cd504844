"""Latent Warp: a latent carried along by the drag, at whatever noise level it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from ..core.field import DragField
from ..core.masks import to_latent
from ..core.warm_start import warp_latent
from . import models, wire
from .gradient_mask import AROUND, MARGIN, editing_mask
from .noise_trajectory import NoiseTrajectory
from .trajectory import NoNoise, Trajectory
from .types import CATEGORY, TrajectoryType, deformation_input, drag_input

STATE = io.MatchType.Template("state", [io.Latent, TrajectoryType])
PIXELS_PER_CELL = 8


class LatentWarp(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldLatentWarp",
            display_name="Latent Warp",
            category=CATEGORY,
            description="Carry a latent's cells along by the drag. What is left behind gets the mean of its surroundings and fresh noise "
            "of the same level. Works on a trajectory from FireFlow Invert or DDIM Invert, and on any LATENT.",
            search_aliases=["warp latent", "latent copy paste", "RegionDrag", "FastDrag", "move latent"],
            inputs=[
                io.MatchType.Input("state", template=STATE, tooltip="A trajectory, or any LATENT."),
                drag_input(),
                io.Float.Input(
                    "start_at",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Trajectory: the time to start from, 1 noisiest; the nearest one of the inversion is taken.",
                ),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip="Of the fresh noise."),
                deformation_input("stretch"),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the latent may change. Without it: what moves, what it leaves, and a margin."
                ),
                io.Model.Input(
                    "model", optional=True, tooltip="LATENT with noise in it: the MODEL that it is for, which knows the noise's size."
                ),
                io.Float.Input(
                    "noise_level",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="LATENT: how much noise is in it; 0 for a clean one.",
                ),
            ],
            outputs=[
                io.MatchType.Output(STATE, "warped", tooltip="Of the type that came in."),
                io.Noise.Output("noise", tooltip="Of a trajectory: makes any sampler start at the warped state."),
                io.Sigmas.Output("sigmas", tooltip="Of a trajectory: from its time to 0."),
            ],
        )

    @classmethod
    def validate_inputs(cls, drag: str | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, state: Any, drag: str, start_at: float, seed: int, deformation: str, mask: torch.Tensor | None = None, model=None,
        noise_level: float = 0.0,
    ) -> io.NodeOutput:  # fmt: skip
        if isinstance(state, Trajectory):
            flow = state.as_flow() if isinstance(state, NoiseTrajectory) else state
            index = min(flow.branches[0].inversion.index_at(start_at), len(flow.branches[0].inversion.times) - 2)
            at = [(branch.inversion.path[index], branch.inversion.times[index]) for branch in flow.branches]
            states, area, kept = _warped(at, drag, state.size, seed, deformation, mask)
            warped = flow.moved_to(states, index, area, kept)
            warped = state.as_moved(warped) if isinstance(state, NoiseTrajectory) else warped
            return io.NodeOutput(warped, warped.noise(), warped.sigmas())
        if noise_level > 0 and model is None:
            raise ValueError(
                f"a LATENT with noise of level {noise_level:g} needs the MODEL too, which knows how large noise is in its latents"
            )
        latents = list(state["samples"].split(1)) if model is None else models.model_latents(model, state)
        factor = PIXELS_PER_CELL if model is None else models.pixels_per_cell(model)
        size = tuple(side * factor for side in latents[0].shape[:-3:-1])
        states, _, _ = _warped([(z, noise_level) for z in latents], drag, size, seed, deformation, mask)
        samples = torch.cat(states) if model is None else models.vae_latents(model, states)
        return io.NodeOutput({**state, "samples": samples}, NoNoise(), torch.tensor([noise_level, 0.0]))


def _warped(
    at: list[tuple[torch.Tensor, float]], drag: str, size: wire.Size, seed: int, deformation: str, mask: torch.Tensor | None
) -> tuple[list[torch.Tensor], np.ndarray, torch.Tensor]:
    """Latents [1, C, h, w] at their times, warped inside of the mask; the mask, bool [H, W]; and what was left alone, bool [h, w]."""
    asked = wire.read_drag(drag, size)
    field = DragField.from_drag(asked, deformation=deformation)
    area = editing_mask(asked, AROUND, MARGIN) if mask is None else wire.bool_mask(mask, size)
    cells = to_latent(area, at[0][0].shape[-2:])
    kept = field.kept(size=(at[0][0].shape[-1], at[0][0].shape[-2]))
    return [torch.where(cells.to(z.device), warp_latent(z, t, field, seed=seed), z) for z, t in at], area, kept
