"""Warm Start: begin an edit where the drag already is, as `dragfield` does: the warped picture, mixed with noise to a middle level."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import torch
from comfy_api.latest import io

from ..core.edits.dragfield import open_mask, warm_started
from ..core.picture.cutout import Edges
from ..core.picture.drawn_field import DrawnField
from . import models, wire
from .host.autoencoder import ComfyAutoencoder
from .presets import OWN, dragfield_settings
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType, drag_or_field_input


class WarmStart(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldWarmStart",
            display_name="Warm Start",
            category=CATEGORY,
            description="Begin where the drag already is: the picture warped by it, what it leaves filled with ground from elsewhere, "
            "mixed with noise. Gradient-Masked Denoise makes it true, what moved is held to it, and Paste Back puts the lost detail back.",
            search_aliases=["dragfield", "warp and denoise", "img2img drag", "evidence", "instant drag"],
            inputs=[
                io.Model.Input("model", tooltip="The one that inverted the picture."),
                io.Vae.Input("vae"),
                io.Image.Input("image", tooltip="The picture that was encoded and inverted; a batch one by one."),
                TrajectoryType.Input("trajectory", tooltip="From FireFlow Invert or DDIM Invert."),
                drag_or_field_input(),
                io.Float.Input(
                    "start_at", default=OWN, min=OWN, max=1.0, step=0.01,
                    tooltip="The time to start from, 1 noisiest: higher leaves more to the model. -1: the method's own, 0.45.",
                ),
                io.Float.Input(
                    "hold_until", default=0.0, min=0.0, max=1.0, step=0.01,
                    tooltip="The time above which what moved is held to the picture's own content. 0: to the end.",
                ),
                io.Float.Input(
                    "free_edge", default=0.0, min=0.0, max=256.0, step=1.0,
                    tooltip="Pixels along the edge of what moved, inside of it, that are not held.",
                ),
                io.Combo.Input(
                    "edges", options=list(get_args(Edges)), advanced=True,
                    tooltip="Move a region as it was 'drawn', or 'snapped' to the object in it: for outlines drawn by hand.",
                ),
                io.Float.Input(
                    "margin", default=OWN, min=OWN, max=1.0, step=0.01, advanced=True,
                    tooltip="Room around the drag for shadows and seams, as a part of the shorter side. -1: the method's own, 0.08.",
                ),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip="Of the fresh noise."),
                io.Mask.Input("mask", optional=True, tooltip="Where the picture may change. Without it: around what moves."),
            ],
            outputs=[
                TrajectoryType.Output("started", tooltip="For Gradient-Masked Denoise, or an optimizer; and for Paste Back."),
                io.Noise.Output("noise", tooltip="With the latent of the inversion it makes any sampler start there, held to nothing."),
                io.Sigmas.Output("sigmas", tooltip="What is left to denoise."),
                io.Mask.Output("changed", display_name="mask", tooltip="Where the picture may change, for Paste Back."),
            ],
        )

    @classmethod
    def validate_inputs(cls, drag: str | DrawnField | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, model, vae, image: torch.Tensor, trajectory: Trajectory, drag: str | DrawnField, start_at: float, hold_until: float,
        free_edge: float, edges: Edges, margin: float, seed: int, mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        models.check_same_latents(model, trajectory)
        pictures, size = models.inverted_pictures(image, trajectory), trajectory.size
        own = dragfield_settings(model)
        settings = replace(
            own, start_at=own.start_at if start_at < 0 else start_at, hold_until=hold_until, free_edge=free_edge, edges=edges,
            margin=own.margin if margin < 0 else margin, seed=seed,
        )  # fmt: skip
        autoencoder, states, area = ComfyAutoencoder(vae, model), [], None
        for i, (picture, branch) in enumerate(zip(pictures, trajectory.branches, strict=True)):
            # As text, a drag becomes a field on each picture of its own.
            drawn = wire.read_field(drag, size, settings.field, image[i])
            own_area = open_mask(drawn.field, settings.margin * min(size)) if mask is None else wire.bool_mask(mask, size)
            area = own_area if area is None else area | own_area
            part = picture.to(branch.z.device)
            states.append(warm_started(autoencoder, part, drawn.field, branch.inversion, own_area, settings))
        started = trajectory.moved_to(states, area)
        return io.NodeOutput(started, started.noise(), started.sigmas(), wire.mask_of(area))
