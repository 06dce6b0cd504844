"""Drag Preview: what a drag will roughly do, in milliseconds and without a model."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..core.field import FieldSettings
from ..core.field.drag_field import Deformation
from ..core.picture.drawn_field import DrawnField
from ..core.picture.evidence import carry
from ..core.picture.preview import overlay
from . import wire
from .types import CATEGORY, deformation_input, drag_or_field_input


class DragPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldPreview",
            display_name="Drag Preview",
            category=CATEGORY,
            description="The picture warped by the drag, what it leaves filled with ground from elsewhere, and the drag drawn on it. No "
            "model, no GPU.",
            search_aliases=["warp preview", "instant drag", "warp image", "show drag"],
            inputs=[
                io.Image.Input("image"),
                drag_or_field_input(),
                io.Float.Input(
                    "progress", default=1.0, min=0.0, max=1.0, step=0.05, tooltip="How much of the way: 0 nothing, 1 all of it."
                ),
                deformation_input(),
            ],
            outputs=[
                io.Image.Output("warped", tooltip="The picture warped by the drag."),
                io.Image.Output("overlay", tooltip="The drag drawn on the picture: blue is taken, orange is where it goes."),
                io.Mask.Output("moved", tooltip="Where moving content lands."),
                io.Mask.Output("vacated", tooltip="What it leaves uncovered."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, drag: str | DrawnField | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(cls, image: torch.Tensor, drag: str | DrawnField, progress: float, deformation: Deformation) -> io.NodeOutput:
        drawn = wire.read_field(drag, wire.image_size(image), FieldSettings(deformation), image[0])
        arrays, field, asked = [wire.array_of(one) for one in image], drawn.field, drawn.drag
        layout = field.layout(progress)
        warped = torch.cat([wire.image_of(carry(array, field, progress=progress).image) for array in arrays])
        marked = torch.cat([wire.image_of(overlay(array, asked, field)) for array in arrays])
        shown = ui.PreviewImage(torch.cat([warped, marked]), cls=cls)
        moved, vacated = (wire.mask_of(cells.numpy()) for cells in (layout.moved, layout.vacated))
        return io.NodeOutput(warped, marked, moved, vacated, ui=shown)
