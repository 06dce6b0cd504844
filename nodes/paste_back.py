"""Paste Back: the edit inside of the mask, the original bit for bit outside."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..core.picture.compose import paste_back
from . import wire
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType


class PasteBack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldPasteBack",
            display_name="Paste Back",
            category=CATEGORY,
            description="Put an edited picture back into the original: inside of the mask the edit, outside the original, bit for bit.",
            search_aliases=["composite", "stitch", "keep background", "restore outside mask"],
            inputs=[
                io.Image.Input("edited"),
                io.Image.Input("original", tooltip="One picture, or as many as were edited."),
                io.Mask.Input("mask", tooltip="Where the edit counts."),
                io.Float.Input(
                    "fade",
                    default=0.0,
                    min=0.0,
                    max=512.0,
                    step=1.0,
                    tooltip="Pixels around the mask over which the edit fades into the original.",
                ),
                TrajectoryType.Input(
                    "trajectory", optional=True, tooltip="From Warm Start: what the vae loses of what was moved is put back too."
                ),
            ],
            outputs=[io.Image.Output("image")],
        )

    @classmethod
    def execute(
        cls, edited: torch.Tensor, original: torch.Tensor, mask: torch.Tensor, fade: float, trajectory: Trajectory | None = None
    ) -> io.NodeOutput:
        size = wire.image_size(edited)
        if wire.image_size(original) != size:
            found = wire.image_size(original)
            raise ValueError(
                f"the edited picture is {size[0]} x {size[1]} px but the original {found[0]} x {found[1]}: make them the same size"
            )
        if original.shape[0] not in (1, edited.shape[0]):
            raise ValueError(
                f"there are {edited.shape[0]} edited pictures and {original.shape[0]} originals: give one original, or as many"
            )
        cells = wire.bool_mask(mask, size)
        originals = original.expand(edited.shape[0], -1, -1, -1)
        news = list(wire.pictures(edited))
        if trajectory is not None:
            news = _detailed(news, trajectory, size)
        pasted = [
            wire.image_of(paste_back(new, old, cells, fade)) for new, old in zip(news, wire.pictures(originals), strict=True)
        ]
        return io.NodeOutput(torch.cat(pasted))


def _detailed(pictures: list[torch.Tensor], trajectory: Trajectory, size: wire.Size) -> list[torch.Tensor]:
    """The pictures with what the trajectory's warm start holds of their detail; as they are where it began otherwise."""
    if trajectory.size != size or len(trajectory.branches) != len(pictures):
        (width, height), (w, h) = trajectory.size, size
        raise ValueError(
            f"the trajectory is of {len(trajectory.branches)} of {width} x {height} px, the edited pictures are {len(pictures)} of {w} x "
            f"{h}: connect the trajectory that they were denoised from, or nothing"
        )
    helds = [branch.held for branch in trajectory.branches]
    return [new if held is None else held.detailed(new) for new, held in zip(pictures, helds, strict=True)]
