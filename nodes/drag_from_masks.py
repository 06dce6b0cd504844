"""Drag From Masks: a region that another node has selected (SAM2, SAM3, a mask editor) and where it goes."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from comfy_api.latest import io

from ..core.field.geometry import Motion, centroid
from ..core.formats.sample import trace
from ..core.instruction import DragInstruction, DrawnRegion, InstructionError
from ..core.instruction.checks import MAX_SCALE, Polygons
from ..core.instruction.operations import Task
from . import wire
from .host.node_text import show_text
from .types import CATEGORY


class DragFromMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldFromMasks",
            display_name="Drag From Masks",
            category=CATEGORY,
            description="Make a drag of a mask: move, scale, copy, turn, pull, or pin it. Chain several for a drag of several regions.",
            search_aliases=["mask to drag", "SAM drag", "move mask", "segment drag", "select and move"],
            inputs=[
                io.Mask.Input("mask", tooltip="The region. Masks of a batch are joined into one region."),
                io.Combo.Input(
                    "task",
                    options=list(get_args(Task)),
                    tooltip="Move the region, turn it about the anchor, pull it as the end of something, or hold it in place.",
                ),
                io.Mask.Input(
                    "target_mask",
                    optional=True,
                    tooltip="Where the middle of the region goes: the middle of this mask. Replaces move_x and move_y.",
                ),
                io.Float.Input("move_x", default=0.0, min=-16384.0, max=16384.0, step=1.0, tooltip="How far to the right, in pixels."),
                io.Float.Input("move_y", default=0.0, min=-16384.0, max=16384.0, step=1.0, tooltip="How far down, in pixels."),
                io.Float.Input(
                    "angle",
                    default=0.0,
                    min=-180.0,
                    max=180.0,
                    step=1.0,
                    tooltip="Degrees, clockwise: a rotation turns about the anchor, a relocation about the middle of the region.",
                ),
                io.Float.Input(
                    "anchor_x",
                    default=0.0,
                    min=-16384.0,
                    max=32768.0,
                    step=1.0,
                    tooltip="Rotation only: the point to turn about, in pixels.",
                ),
                io.Float.Input(
                    "anchor_y",
                    default=0.0,
                    min=-16384.0,
                    max=32768.0,
                    step=1.0,
                    tooltip="Rotation only: the point to turn about, in pixels.",
                ),
                io.String.Input("drag", optional=True, force_input=True, tooltip="A drag that this region is added to."),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture. Pixels are then its own, and masks of another size are scaled to it. Without it, they are those "
                    "of the drag before, or of the mask.",
                ),
                io.Mask.Input(
                    "along",
                    optional=True,
                    tooltip="What goes with the region: its shadow, its reflection, something it holds. It does not count for the middle.",
                ),
                *(
                    io.Float.Input(
                        f"scale_{axis}",
                        default=1.0,
                        min=-MAX_SCALE,
                        max=MAX_SCALE,
                        step=0.05,
                        optional=True,
                        tooltip=f"Relocation and rotation: how many times as {size} the region becomes; below 0 mirrored.",
                    )
                    for axis, size in (("x", "wide"), ("y", "high"))
                ),
                io.Boolean.Input(
                    "copy",
                    default=False,
                    optional=True,
                    tooltip="Relocation and rotation: the original stays where it is, and a copy of it goes.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.String.Output("drag_json", display_name="drag")],
        )

    @classmethod
    def validate_inputs(cls, drag: str | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls,
        mask: torch.Tensor,
        task: str,
        move_x: float,
        move_y: float,
        angle: float,
        anchor_x: float,
        anchor_y: float,
        target_mask: torch.Tensor | None = None,
        drag: str | None = None,
        image: torch.Tensor | None = None,
        along: torch.Tensor | None = None,
        scale_x: float = 1.0,
        scale_y: float = 1.0,
        copy: bool = False,
    ) -> io.NodeOutput:
        before = None if drag is None else DragInstruction.from_json(drag)
        width, height = size = _counted(mask, image, before)
        if image is None and (before is None or before.size is None) and task != "pin" and target_mask is None:
            show_text(f"pixels of the mask, {width} x {height}; connect image if the picture has another size", cls.hidden.unique_id)
        region = wire.scaled_mask(mask, size)
        if not region.any():
            raise InstructionError("the mask is empty; select something, or lower the threshold of the node that selects")
        start, anchor = centroid(region), None
        target = (start[0] + move_x, start[1] + move_y)
        if target_mask is not None:
            aim = wire.scaled_mask(target_mask, size, "the target mask")
            if not aim.any():
                raise InstructionError("the target mask is empty; paint where the region shall go")
            target = centroid(aim)
        elif task == "rotation":
            target = tuple(Motion(size, angle=angle, anchor=(anchor_x, anchor_y)).forward(1.0, size) @ (*start, 1.0))
        if task == "rotation":
            anchor = (anchor_x / width, anchor_y / height)
        place = None if task == "pin" else _on_picture(target, size, task)
        added = DrawnRegion(
            task, trace(region), place, anchor, along=_along(along, region, size), scale=(scale_x, scale_y),
            angle=angle if task == "relocation" else 0.0, copy=copy,
        )  # fmt: skip
        before = DragInstruction(size=size) if before is None else before
        whole = replace(before, operations=(*before.operations, added))
        whole.rasterise(width, height)
        return io.NodeOutput(whole.to_json())


def _counted(mask: torch.Tensor, image: torch.Tensor | None, before: DragInstruction | None) -> wire.Size:
    """The size (width, height) of what pixels are counted on: the picture's where it is known."""
    if image is not None:
        return wire.image_size(image)
    if before is not None and before.size is not None:
        return before.size
    return (mask.shape[-1], mask.shape[-2])


def _along(mask: torch.Tensor | None, region: np.ndarray, size: tuple[int, int]) -> Polygons | None:
    """The outline of what goes with a region and is not the region itself; None where nothing does."""
    if mask is None:
        return None
    more = wire.scaled_mask(mask, size) & ~region
    return trace(more) if more.any() else None


def _on_picture(target: tuple[float, float], size: tuple[int, int], task: str) -> tuple[float, float]:
    x, y = target[0] / size[0], target[1] / size[1]
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InstructionError(
            f"the {task} carries the middle of the region to ({target[0]:.0f}, {target[1]:.0f}), off the picture of {size[0]} x {size[1]}; "
            "move it less far"
        )
    return (x, y)
