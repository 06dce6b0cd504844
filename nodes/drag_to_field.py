"""Drag to Field: a drag as the displacement field that every method starts from, made once and read by all."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..core.field import FieldSettings
from ..core.field.drag_field import Deformation
from ..core.instruction.schema import MAX_SIDE
from ..core.picture.drawn_field import DrawnField
from . import wire
from .types import CATEGORY, FieldType, deformation_input, drag_input

DEFAULTS = FieldSettings()


class DragToField(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldField",
            display_name="Drag to Field",
            category=CATEGORY,
            description="Which place of the picture ends up where, made once: previews, masks, optimizers, warps, Drag Edit and the report "
            "read the same field. On the picture, handle points take along what they belong to.",
            search_aliases=["displacement field", "drag field", "optical flow", "warp field", "what points carry"],
            inputs=[
                drag_input(),
                io.Image.Input("image", optional=True, tooltip="What the drag is drawn on; points take along what they belong to on it."),
                io.Int.Input("width", default=0, min=0, max=MAX_SIDE, tooltip="Of the picture in px, where none is connected."),
                io.Int.Input("height", default=0, min=0, max=MAX_SIDE, tooltip="Of the picture in px, where none is connected."),
                deformation_input(),
                io.Float.Input(
                    "stretch_length",
                    default=DEFAULTS.stretch_length,
                    min=0.1,
                    max=10.0,
                    step=0.1,
                    advanced=True,
                    tooltip="How much of what lies behind a deformed region gives, in lengths of its drag; not where it has an anchor.",
                ),
                io.Mask.Input("selection", optional=True, tooltip="What handle points take along. Without it, it is looked for."),
            ],
            outputs=[FieldType.Output("field", tooltip="For whatever takes a drag.")],
        )

    @classmethod
    def validate_inputs(cls, drag: str | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, drag: str, width: int, height: int, deformation: Deformation, stretch_length: float, image: torch.Tensor | None = None,
        selection: torch.Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        if image is None and not (width and height):
            raise ValueError(f"nothing says how large the picture is: connect image, or set width and height ({width} x {height} now)")
        size = (width, height) if image is None else wire.image_size(image)
        asked = wire.read_drag(drag, size)
        selected = None if selection is None else wire.scaled_mask(selection, size, "the selection")
        if selected is not None and not asked.points:
            raise ValueError("a selection says what handle points take along, and this drag has none: disconnect it, or draw points")
        picture = None if image is None or not asked.points else wire.array_of(image[0])
        drawn = DrawnField(asked, FieldSettings(deformation, stretch_length), picture, selected, text=drag)
        # Made here, so that what cannot be made is said by this node.
        drawn.field.layout()
        return io.NodeOutput(drawn)
