"""Gradient Mask: where an edit may change the picture."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..core.edits.dragfield import open_mask
from ..core.field.masks import adaptive_gradient_mask, feather
from ..core.picture.drawn_field import DrawnField
from . import wire
from .types import CATEGORY, drag_or_field_input

RECTANGLES, AROUND = "rectangles", "around"
MARGIN = 0.08
"""Of the picture's shorter side."""


def editing_mask(drawn: DrawnField, shape: str = RECTANGLES, margin: float = 0.0) -> np.ndarray:
    """bool [H, W]. margin: fraction of the picture's shorter side."""
    px = margin * min(drawn.drag.size)
    return adaptive_gradient_mask(drawn.drag, margin=px) if shape == RECTANGLES else open_mask(drawn.field, px)


class GradientMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldGradientMask",
            display_name="Gradient Mask",
            category=CATEGORY,
            description="Where an edit may change the picture: around every region or point and where it goes. Pins stay out.",
            search_aliases=["drag mask", "edit mask", "adaptive mask", "inpaint mask from drag"],
            inputs=[
                io.Image.Input("image", tooltip="The picture; only its size counts, and what handle points lie on."),
                drag_or_field_input(),
                io.Combo.Input(
                    "shape",
                    options=[RECTANGLES, AROUND],
                    tooltip="'rectangles': the smallest one around each region and its target, as DragFlow has it. "
                    "'around': what moves and what it leaves, with the margin around it.",
                ),
                io.Float.Input(
                    "margin",
                    default=MARGIN,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Room for shadows and seams, as a part of the picture's shorter side. DragFlow has none (0).",
                ),
                io.Float.Input(
                    "fade", default=0.0, min=0.0, max=512.0, step=1.0, tooltip="Pixels over which the mask fades out around it."
                ),
            ],
            outputs=[io.Mask.Output("mask")],
        )

    @classmethod
    def validate_inputs(cls, drag: str | DrawnField | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(cls, image: torch.Tensor, drag: str | DrawnField, shape: str, margin: float, fade: float) -> io.NodeOutput:
        drawn = wire.read_field(drag, wire.image_size(image), picture=image[0])
        mask = wire.mask_of(feather(editing_mask(drawn, shape, margin), fade, within=drawn.drag.free))
        return io.NodeOutput(mask, ui=ui.PreviewMask(mask, cls=cls))
