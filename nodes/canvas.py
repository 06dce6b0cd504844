"""Drag Canvas: where a drag is drawn. The drag is a STRING in the graph, so that it is saved, shared and linked like any text."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..core.instruction import DragInstruction
from . import wire
from .types import CATEGORY

EMPTY = DragInstruction().to_json()
WIDGET = "DRAGFIELD_CANVAS"
"""The widget that web/ puts in place of a text box."""


class DragCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldCanvas",
            display_name="Drag Canvas",
            category=CATEGORY,
            description="Draw regions and points on a picture and say where they go. The drag comes out as text that other nodes read.",
            search_aliases=["drag", "draw drag", "move region", "point editor", "handle points", "DragGAN", "DragFlow"],
            inputs=[
                io.Image.Input("image", optional=True, tooltip="The picture to draw on. The first of a batch is shown."),
                io.String.Input(
                    "drag",
                    default=EMPTY,
                    extra_dict={"widgetType": WIDGET},
                    tooltip="The drag as JSON; drawn here, or linked from elsewhere.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Regions from elsewhere, one for each mask of a batch; a button of the canvas takes them"
                ),
            ],
            outputs=[
                io.String.Output("drag_json", display_name="drag", tooltip="The drag, checked on the picture."),
                io.Mask.Output("region", tooltip="The regions that move, as drawn."),
            ],
            # A run of the canvas alone shows the picture that comes in.
            is_output_node=True,
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, drag: str | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(cls, drag: str, image: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> io.NodeOutput:
        instruction = DragInstruction.from_json(drag)
        size = instruction.size if image is None else wire.image_size(image)
        if size is None:
            # Nobody waits for a canvas that leads nowhere; whoever waits gets the sentence.
            reason = "the drag does not say what size it was drawn at; connect the picture"
            return io.NodeOutput(instruction.to_json(), wire.mask_of(np.zeros((64, 64), bool)), ui={"drag": [drag]}, block_execution=reason)
        moving = [region.mask for region in instruction.rasterise(*size).regions if region.task != "pin"]
        region = np.logical_or.reduce(moving) if moving else np.zeros((size[1], size[0]), dtype=bool)
        # What the canvas in the browser can't know by itself: a linked drag, the picture, the linked masks. Not under the key "images",
        # whose pictures ComfyUI shows itself, below the canvas.
        shown: dict = {"drag": [drag]}
        if image is not None:
            shown["picture"] = ui.PreviewImage(image[:1, ..., :3], cls=cls).as_dict()["images"]
        if mask is not None:
            shown["masks"] = ui.PreviewMask(mask.reshape(-1, *mask.shape[-2:]), cls=cls).as_dict()["images"]
        return io.NodeOutput(instruction.to_json(), wire.mask_of(region), ui=shown)
