"""Drag From Points: the point lists of KJNodes' editors and ComfyUI's own nodes, as a drag."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import torch
from comfy_api.latest import io

from ..core.formats import points_json
from ..core.formats.sample import trace
from ..core.instruction import DragInstruction, InstructionError
from ..core.instruction.schema import MAX_SIDE
from . import wire
from .types import CATEGORY


class DragFromPoints(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldFromPoints",
            display_name="Drag From Points",
            category=CATEGORY,
            description='Make a drag of point lists such as [{"x": 10, "y": 20}]: handles and targets, or tracks from handle to target.',
            search_aliases=["points to drag", "KJNodes points", "spline", "tracks", "coordinates", "handle points"],
            inputs=[
                io.Image.Input("image", tooltip="The picture that the points were set on."),
                io.String.Input(
                    "handles",
                    multiline=True,
                    tooltip="Points that move. Without targets: tracks, each a list of points; a list of points is one track.",
                ),
                io.String.Input(
                    "targets", multiline=True, default="", tooltip="Where they go, one target for each handle. Empty: handles holds tracks."
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where the picture may change at all. Without it the points decide."),
                io.String.Input("drag", optional=True, force_input=True, tooltip="A drag that these points are added to."),
                io.Combo.Input(
                    "units",
                    options=list(get_args(points_json.Units)),
                    default="auto",
                    optional=True,
                    tooltip="What the points count: pixels, or fractions of the picture from 0 to 1. auto: as the numbers show.",
                ),
                io.Int.Input(
                    "canvas_width",
                    default=0,
                    min=0,
                    max=MAX_SIDE,
                    optional=True,
                    tooltip="Width of the editor's canvas in pixels (KJNodes: width or mask_width), which shows all of the picture. 0: the "
                    "picture's.",
                ),
                io.Int.Input(
                    "canvas_height",
                    default=0,
                    min=0,
                    max=MAX_SIDE,
                    optional=True,
                    tooltip="Height of the editor's canvas in pixels (KJNodes: height or mask_height). 0: the picture's.",
                ),
                io.Custom("TRACKS").Input(
                    "tracks", optional=True, tooltip="Tracks of ComfyUI's own nodes, instead of handles: from the first frame to the last."
                ),
                io.Mask.Input("selection", optional=True, tooltip="What these points take along. Without it, it is looked for."),
            ],
            outputs=[io.String.Output("drag_json", display_name="drag")],
        )

    @classmethod
    def validate_inputs(cls, drag: str | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        handles: str,
        targets: str,
        mask: torch.Tensor | None = None,
        drag: str | None = None,
        units: str = "auto",
        canvas_width: int = 0,
        canvas_height: int = 0,
        tracks: dict | None = None,
        selection: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        size = wire.image_size(image)
        canvas = (canvas_width or size[0], canvas_height or size[1]) if canvas_width or canvas_height else None
        if tracks is None:
            points = points_json.read(handles, targets if targets.strip() else None, size, units=units, canvas=canvas)
        elif handles.strip() or targets.strip():
            raise InstructionError("tracks and handles are both given; disconnect one of them")
        else:
            points = points_json.read_tracks(tracks["track_path"].detach().float().cpu().numpy(), size, canvas=canvas)
        selected = None if selection is None else trace(wire.scaled_mask(selection, size, "the selection"))
        before = DragInstruction(size=size) if drag is None else DragInstruction.from_json(drag)
        # Without its id, so that it can't repeat one of the drag before.
        whole = replace(before, operations=(*before.operations, *(replace(o, id="", selected=selected) for o in points.operations)))
        if mask is not None:
            whole = replace(whole, editable=trace(wire.bool_mask(mask, size)))
        whole.rasterise(*size)
        return io.NodeOutput(whole.to_json())
