"""Drag Edit by points alone: DirectDrag on Stable Diffusion or FLUX, with the settings that the node's widgets stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.edits.directdrag import PointEditSettings
from ..core.edits.edit import own_settings
from ..core.edits.point_edit import points_of
from ..core.instruction.operations import Drag
from ..core.optimise.soft_mask import SoftMaskSettings, point_masks
from ..core.sampling.ddim_inversion import DDIMSettings
from ..core.sampling.inversion import InversionSettings
from .host.recognised_backbone import Backbone
from .point_drag import warped
from .trajectory import Trajectory


def check_points_only(drag: Drag) -> None:
    """Refuse a drag that moves regions, or has points that cannot be dragged."""
    points_of(drag)


def open_to_points(drag: Drag) -> np.ndarray:
    """Where a point edit may change the picture. bool [H, W]"""
    return point_masks(drag, points_of(drag), drag.size[::-1], SoftMaskSettings())[1]


def inversion_settings(backbone: Backbone, steps: int, skip: int, kv_blocks: str) -> InversionSettings | DDIMSettings:
    """How the picture is inverted: by FireFlow, or, as far, by DDIM."""
    return own_settings(backbone, InversionSettings(steps, skip, kv_blocks=kv_blocks, kv_placement="cpu"))


def edit_settings(
    base: PointEditSettings, trajectory: Trajectory, iterations: int, warp: float, guidance: float
) -> PointEditSettings:
    """base: the preset's.  iterations: rounds in all, shared among the times that are dragged at; below 0 the preset's own.
    warp: see `warped`.  guidance: 0 for the model's default.

    The last time is not dragged at: somewhere the picture has to be denoised.
    """
    base = base.guided(guidance) if guidance > 0 else base
    steps = max(1, min(base.drag_steps, len(trajectory.times) - 2))
    drag = base.drag if iterations < 0 else replace(base.drag, rounds=max(1, round(iterations / steps)))
    return replace(base, drag=drag, drag_steps=steps, warp=warped(base.warp, warp), paste_back=False)
