"""Drag to Boxes: a drag as boxes before and after, for nodes and models that are told moves by boxes."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..core.formats.boxes import bounding_boxes, boxes_of, layout_prompt
from ..core.picture.drawn_field import DrawnField
from . import wire
from .types import CATEGORY, BoxType, drag_or_field_input


class DragToBoxes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldToBoxes",
            display_name="Drag to Boxes",
            category=CATEGORY,
            description="Say a drag by boxes: where each thing is and where it goes, for detectors, for Create Bounding Boxes, and as a "
            "prompt with a layout for FLUX 3.",
            search_aliases=["drag to bbox", "bounding box", "layout", "FLUX 3 layout", "instruction edit", "regional prompt"],
            inputs=[
                io.Image.Input("image", tooltip="The picture that the drag was drawn on."),
                drag_or_field_input(),
                io.String.Input(
                    "prompt", default="", multiline=True,
                    tooltip="What the layout is put behind. Empty: a sentence that moves what is dragged and keeps the rest.",
                ),
            ],
            outputs=[
                BoxType.Output("before", tooltip="Around what moves, where it is: in pixels of the picture."),
                BoxType.Output("after", tooltip="Around the same where it goes, in the same order."),
                io.String.Output("layout", tooltip="The prompt with both behind it, as FLUX 3 reads them."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, drag: str | DrawnField | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(cls, image: torch.Tensor, drag: str | DrawnField, prompt: str) -> io.NodeOutput:
        size = wire.image_size(image)
        drawn = wire.read_field(drag, size, picture=image[0])
        boxes = boxes_of(drawn.field)
        before, after = (bounding_boxes(side, size) for side in ([box.before for box in boxes], [box.after for box in boxes]))
        return io.NodeOutput(before, after, layout_prompt(boxes, prompt, drawn.drag.background_prompt))
