"""Mutual Self-Attention: the edited picture looks at the original's keys and values, in any sampler (DirectDrag section 1)."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..core.model.attention import Placement
from ..core.model.mutual_attention import mutual_blocks
from ..core.progress import Progress
from . import models
from .host.comfy_unet import ComfyUNet
from .host.mutual_patch import watch, with_originals
from .host.progress import ComfyProgress
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType

ITS_OWN = -1


class MutualSelfAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldMutualAttention",
            display_name="Mutual Self-Attention",
            category=CATEGORY,
            description="A MODEL that looks at the original picture while it denoises the edited one, so that texture and identity come "
            "back. For any sampler that starts at the trajectory's state.",
            search_aliases=["MasaCtrl", "mutual attention", "DirectDrag", "DragDiffusion", "reference attention", "K/V injection"],
            inputs=[
                io.Model.Input("model", tooltip="The one that inverted the picture."),
                TrajectoryType.Input("trajectory", tooltip="From Point Drag Optimizer, or from DDIM Invert."),
                io.Int.Input(
                    "first",
                    default=ITS_OWN,
                    min=ITS_OWN,
                    max=100,
                    tooltip="From which self-attention on, counted as they run. -1: the later two thirds of the decoder's (SD 1.5: 10).",
                ),
                io.Combo.Input(
                    "remember_on",
                    options=list(get_args(Placement)),
                    advanced=True,
                    tooltip="Where the original is kept: 'cpu' spares GPU memory. At 512 x 512 SD 1.5 takes some 12 MB a step.",
                ),
            ],
            outputs=[io.Model.Output("model_out", display_name="model", tooltip="For the sampler, or a guider.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, trajectory: Trajectory, first: int, remember_on: str) -> io.NodeOutput:
        if trajectory.flow:
            raise ValueError(
                "this trajectory is a flow model's, whose original Gradient-Masked Denoise hands on: give one that began with DDIM Invert"
            )
        models.check_same_latents(model, trajectory)
        backbone, progress = ComfyUNet(model), ComfyProgress(model, cls.hidden.unique_id)
        blocks = mutual_blocks(backbone, None if first == ITS_OWN else first)
        times, index = trajectory.times[:-1], trajectory.branches[0].index
        paths = [branch.inversion.path[index:-1] for branch in trajectory.branches]
        total = len(times) * len(paths)

        def report(done: int) -> None:
            progress(Progress("denoise", done, total, trajectory.branches[0].undragged))

        originals = watch(backbone, paths, times, trajectory.prompt, blocks, remember_on, report)
        return io.NodeOutput(with_originals(model, originals, backbone.schedule))
