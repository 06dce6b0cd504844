"""Drag From Boxes: boxes of ComfyUI's own nodes, or a layout of FLUX 3, as regions that move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from comfy_api.latest import io

from ..core.field.geometry import centroid
from ..core.formats import boxes as formats
from ..core.formats.boxes import MovedBox
from ..core.formats.sample import trace
from ..core.instruction import DragInstruction, DrawnRegion, InstructionError
from ..core.instruction.checks import MAX_SIDE
from ..core.picture.cutout import object_in_box
from . import wire
from .host.node_text import show_text
from .types import CATEGORY, BoxType, ElementsType

OBJECT, BOX = "object", "box"
LEAST = 0.05
"""Of a box's area: an object that is smaller was not found."""
STILL = 1e-3
"""Fractions of the picture below which a box stays where it is."""


class DragFromBoxes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def boxes(name: str, optional: bool, tooltip: str) -> io.MultiType.Input:
            return io.MultiType.Input(name, [BoxType, ElementsType, io.String], optional=optional, tooltip=tooltip)

        return io.Schema(
            node_id="DragfieldFromBoxes",
            display_name="Drag From Boxes",
            category=CATEGORY,
            description="Make a drag of boxes: where things are and where they go, from Create Bounding Boxes, SAM3 Detect or a layout of "
            "FLUX 3.",
            search_aliases=["boxes to drag", "bounding box", "bbox", "layout", "FLUX 3 layout", "move box"],
            inputs=[
                io.Image.Input("image", tooltip="The picture that the boxes were drawn on."),
                boxes(
                    "boxes", False,
                    "What moves: bboxes or elements of Create Bounding Boxes, bboxes of SAM3 Detect, or text. A layout of FLUX 3 with "
                    "src_bbox and tgt_bbox says where it goes too.",
                ),
                boxes("targets", True, "Where each goes: as many boxes in the same order. Their middles count."),
                io.Combo.Input(
                    "moves",
                    options=[OBJECT, BOX],
                    tooltip="What of a box moves: the 'object' that can be told from what lies around it, or all of the 'box'.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="What of the boxes moves, such as the masks of SAM3 Detect; moves then does not count."
                ),
                io.String.Input("drag", optional=True, force_input=True, tooltip="A drag that these regions are added to."),
                io.Int.Input(
                    "canvas_width", default=0, min=0, max=MAX_SIDE, optional=True,
                    tooltip="Width that pixels of the boxes count on (Create Bounding Boxes: width), all of the picture. 0: the picture's.",
                ),
                io.Int.Input(
                    "canvas_height", default=0, min=0, max=MAX_SIDE, optional=True,
                    tooltip="Height that pixels of the boxes count on (Create Bounding Boxes: height). 0: the picture's.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.String.Output("drag_json", display_name="drag")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, drag: str | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, image: torch.Tensor, boxes, moves: str, targets=None, mask: torch.Tensor | None = None, drag: str | None = None,
        canvas_width: int = 0, canvas_height: int = 0,
    ) -> io.NodeOutput:  # fmt: skip
        size = wire.image_size(image)
        canvas = (canvas_width or size[0], canvas_height or size[1])
        moving = [box for box in _aimed(formats.read(boxes, canvas), targets, canvas) if max(map(abs, box.displacement)) > STILL]
        if not moving:
            raise InstructionError("no box goes anywhere; connect targets, or a layout whose src_bbox and tgt_bbox differ")
        chosen = None if mask is None else wire.scaled_mask(mask, size)
        picture = wire.array_of(image[0]) if moves == OBJECT and mask is None else None
        regions, whole = [], []
        for number, box in enumerate(moving, 1):
            region, found = _region(box, size, chosen, picture)
            whole += [] if found else [number]
            regions.append(_drawn(box, region, size, number))
        if whole:
            show_text(f"no object found in box {', '.join(map(str, whole))}: all of it moves; connect mask", cls.hidden.unique_id)
        before = DragInstruction(size=size) if drag is None else DragInstruction.from_json(drag)
        made = replace(before, operations=(*before.operations, *regions))
        made.rasterise(*size)
        return io.NodeOutput(made.to_json())


def _aimed(boxes: tuple[MovedBox, ...], targets, canvas: wire.Size) -> list[MovedBox]:
    """The boxes with where they go."""
    if targets is None:
        return list(boxes)
    aims = formats.read(targets, canvas, "targets")
    if len(aims) != len(boxes):
        raise InstructionError(f"there are {len(boxes)} boxes and {len(aims)} targets; give each box one, in the same order")
    return [replace(box, after=aim.after or aim.before) for box, aim in zip(boxes, aims, strict=True)]


def _region(box: MovedBox, size: wire.Size, chosen: np.ndarray | None, picture: np.ndarray | None) -> tuple[np.ndarray, bool]:
    """What of a box moves, bool [H, W], and whether that is what was asked for."""
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(box.before, (*size, *size), strict=True))
    region = np.zeros((size[1], size[0]), bool)
    region[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = True
    if chosen is None and picture is None:
        return region, True
    part = chosen & region if chosen is not None else object_in_box(picture, (x0, y0, x1, y1))
    return (part, True) if part.sum() > LEAST * region.sum() else (region, False)


def _drawn(box: MovedBox, region: np.ndarray, size: wire.Size, number: int) -> DrawnRegion:
    x, y = (p / side + way for p, side, way in zip(centroid(region), size, box.displacement, strict=True))
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InstructionError(f"box {number} takes the middle of its object off the picture; let its target end on it")
    return DrawnRegion("relocation", trace(region), (x, y), name=box.name[:200])
