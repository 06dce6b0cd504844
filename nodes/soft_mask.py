"""Auto Soft Mask: how freely each place of a picture may change while points are dragged (DirectDrag section 6)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..core.edits.directdrag import DirectDragSettings
from ..core.edits.point_edit import points_of
from ..core.edits.presets import preset_named
from ..core.instruction.operations import Drag
from ..core.optimise.handles import Handles
from ..core.optimise.soft_mask import SIGMA_SHARE, SoftMaskSettings, point_masks
from . import wire
from .presets import PUBLISHED_POINTS, preset_input, preset_problem
from .types import CATEGORY, drag_input

PX_PER_SIGMA = 2
"""Core counts sigma in cells of half of the picture's size."""


class AutoSoftMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldAutoSoftMask",
            display_name="Auto Soft Mask",
            category=CATEGORY,
            description="A mask from points alone: 1 along the way of each handle, fading out around it. Pins and what the drag excludes "
            "stay out.",
            search_aliases=["DirectDrag mask", "soft mask", "points to mask", "gaussian mask", "drag mask"],
            inputs=[
                io.Image.Input("image", tooltip="The picture; only its size counts."),
                drag_input(),
                io.Float.Input(
                    "width",
                    default=SIGMA_SHARE,
                    min=0.001,
                    max=1.0,
                    step=0.005,
                    tooltip="How wide it fades (one standard deviation), as a part of the picture's shorter side.",
                ),
                preset_input(
                    "This node knows no model, so 'auto' is ours. As published, x and y are mistaken for each other.",
                    advanced=True,
                ),
            ],
            outputs=[io.Mask.Output("mask")],
        )

    @classmethod
    def validate_inputs(cls, drag: str | None = None, width: float | None = None, preset: str | None = None) -> bool | str:
        if width is not None and not 0 < width <= 1:
            return f"width is {width:g}; use more than 0 and at most 1 (published: 60 px of 512, 0.117)"
        return preset_problem(preset) or wire.drag_problem(drag)

    @classmethod
    def execute(cls, image: torch.Tensor, drag: str, width: float, preset: str = "auto") -> io.NodeOutput:
        size = wire.image_size(image)
        asked = wire.read_drag(drag, size)
        known = DirectDragSettings() if preset_named(preset, bundled=True) == "tuned" else PUBLISHED_POINTS
        handles = points_of(asked, known.rounded, known.clamp)
        settings = replace(known.soft_mask, sigma=width * min(size) / PX_PER_SIGMA)
        soft, _ = point_masks(asked, handles, size[::-1], settings)
        mask = soft[None].clone()
        return io.NodeOutput(mask, ui=ui.PreviewMask(mask, cls=cls))


def freedom(
    drag: Drag, handles: Handles, mask: Tensor | None, cells: tuple[int, int], settings: SoftMaskSettings | None
) -> tuple[Tensor | None, np.ndarray]:
    """How freely the cells of a latent (h, w) may change, float32 [h, w] or None for all, and bool [H, W] where the picture may at all.

    mask: a MASK of the picture's size, whose greys count; None takes the soft mask that `settings` describes. Pins are held either way.
    """
    if mask is None:
        return point_masks(drag, handles, cells, settings)
    held, support = point_masks(drag, handles, cells, None)
    support = support & wire.bool_mask(mask, drag.size, above=0.0)
    if not support.any():
        raise ValueError("nothing of the picture may change: the mask is black, or all of it is pinned; open it around the points")
    greys = mask.detach().float().cpu().reshape(-1, *mask.shape[-2:]).amax(0)
    free = adaptive_avg_pool2d(greys[None, None], cells)[0, 0].clamp(0, 1)
    return free if held is None else free * held, support
