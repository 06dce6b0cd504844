"""Point Drag Optimizer: the latent moved until what is under each handle is found at its target (DirectDrag section 4)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from comfy_api.latest import io
from torch import Tensor

from ..core.edits.directdrag import PointEditSettings
from ..core.edits.drag_points import between, drag_points
from ..core.edits.state import last, run_to_end
from ..core.field.latent_warp import LatentWarpSettings
from ..core.picture.drawn_field import DrawnField
from ..core.progress import Progress
from ..core.sampling.sampler import sampler_of
from . import models, wire
from .guides import GuidanceType, Guides
from .host.comfy_flow import needs_level
from .host.node_text import show_text
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .host.recognised_backbone import backbone_for
from .presets import CARRY, OWN, points_preset, preset_input, preset_problem, tell_preset
from .soft_mask import freedom
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType, drag_or_field_input


class PointDragOptimizer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldPointOptimizer",
            display_name="Point Drag Optimizer",
            category=CATEGORY,
            description="Drag points: carry the latent a little of the way, then move it until what is under each handle is found at its "
            "target, dragging and denoising in turn. With Stable Diffusion after DDIM Invert, with FLUX and other flows after FireFlow "
            "Invert.",
            search_aliases=["DirectDrag", "DragDiffusion", "GoodDrag", "DragGAN", "point drag", "drag points", "motion supervision"],
            inputs=[
                io.Model.Input("model", tooltip="The one that inverted the picture."),
                TrajectoryType.Input("trajectory"),
                drag_or_field_input(),
                GuidanceType.Input("guidance", optional=True, tooltip="From Readout Guidance: what else shall hold while dragging."),
                io.Mask.Input(
                    "mask", optional=True, tooltip="How freely each place may change, greys count. Without it, what Auto Soft Mask makes."
                ),
                io.Conditioning.Input("positive", optional=True, tooltip="The prompt while dragging. Without it, the inversion's."),
                io.Int.Input(
                    "drag_steps", default=0, min=0, max=100,
                    tooltip="At how many steps is dragged. 0: the preset's own, 7 as published for Stable Diffusion, 3 for FLUX.",
                ),
                io.Int.Input(
                    "rounds", default=OWN, min=OWN, max=200,
                    tooltip="How often handles are looked for again, at each of them. -1: the preset's own, 10 as published.",
                ),
                io.Int.Input(
                    "iterations", default=OWN, min=OWN, max=50,
                    tooltip="Gradient steps in each round. -1: the preset's own, 3 as published.",
                ),
                io.Float.Input(
                    "rate", default=1.0, min=0.01, max=10.0, step=0.05, tooltip="Times the preset's rate. Lower is slower and keeps more."
                ),
                io.Float.Input(
                    "warp",
                    default=OWN,
                    min=OWN,
                    max=1.0,
                    step=0.01,
                    tooltip="Which part of the way the latent is carried at the start. -1: the preset's own, 0.15 as published. 0: not "
                    "at all. A state that was moved before is not carried again.",
                ),
                io.Float.Input(
                    "mask_weight",
                    default=OWN,
                    min=OWN,
                    max=10.0,
                    step=0.01,
                    advanced=True,
                    tooltip="How strongly the mask holds. -1: the preset's own, 0.1 as published.",
                ),
                preset_input("Published for Stable Diffusion only.", optional=False),
            ],
            outputs=[
                TrajectoryType.Output("dragged", tooltip="For Mutual Self-Attention (Stable Diffusion), or for Gradient-Masked Denoise."),
                io.Noise.Output("noise", tooltip="With the latent of the inversion it makes any sampler start at the dragged state."),
                io.Sigmas.Output("sigmas", tooltip="What is left to denoise."),
                io.Mask.Output("changed", display_name="mask", tooltip="Where the picture may have changed, for Paste Back."),
                io.Float.Output("distance", tooltip="Pixels from the farthest handle to its target, as the optimizer found them."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(
        cls, drag: str | DrawnField | None = None, rounds: int | None = None, iterations: int | None = None, preset: str | None = None
    ) -> bool | str:
        if any(count is not None and count != OWN and count < 1 for count in (rounds, iterations)):
            return f"{rounds} rounds of {iterations} iterations move nothing: use at least 1 of each (published: 10 and 3), or -1"
        return preset_problem(preset, CARRY) or wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, model, trajectory: Trajectory, drag: str | DrawnField, drag_steps: int, rounds: int, iterations: int, rate: float, warp: float,
        mask_weight: float, preset: str, guidance: Guides = (), mask: Tensor | None = None, positive=None,
    ) -> io.NodeOutput:  # fmt: skip
        models.check_same_latents(model, trajectory)
        backbone = backbone_for(model)
        needs_level(backbone, 2, "Point Drag Optimizer", ("Warm Start instead, or Drag Edit's method 'dragfield'",))
        flow = trajectory.flow
        chosen, known = points_preset(preset, model, flow=flow)
        settings = _settings(known, drag_steps, rounds, iterations, rate, warp, mask_weight)
        if settings.drag_steps > len(trajectory.times) - 2:
            raise ValueError(
                f"dragging at {settings.drag_steps} steps leaves none to denoise of the {len(trajectory.times) - 1} that this trajectory "
                f"has: use drag_steps of at most {len(trajectory.times) - 2}, or invert with more steps"
            )
        asked = wire.read_field(drag, trajectory.size).drag
        handles = settings.handles(asked)
        free, support = freedom(asked, handles, mask, trajectory.cells, settings.soft_mask)
        prompt = trajectory.prompt if positive is None else models.prompt_of(positive)
        # Who connects a mask means it for all that follows.
        denoising = settings.denoising() if mask is None else replace(settings.denoising(), hold=True)
        tell_preset(cls, chosen)
        progress = ComfyProgress(model, cls.hidden.unique_id)
        run = progress.run(partial(_show_step, cls.hidden.unique_id))
        states, samplers = [], []
        with backbone.session():
            for branch in trajectory.branches:
                state = replace(models.ready(backbone, branch), mask=free, denoising=denoising)
                progress.noise = state.inversion.to_flow(state.undragged, state.index) - state.inversion.z0
                sampler = sampler_of(backbone, prompt, guidance=state.denoising.guidance, kv=settings.remembered(state.inversion))
                walk = partial(run_to_end, drag_points, sampler, state, handles, settings, run, guides=guidance)
                states.append(with_one_retry(backbone, walk))
                samplers.append(sampler)
            # A sampler denoises a batch as one, so who arrived early catches up.
            index = max(state.index for state in states)
            states = [last(between(sampler, state, until=index), state) for sampler, state in zip(samplers, states, strict=True)]
        moved = trajectory.moved_to(states, support)
        left = [handles if state.drag is None else state.drag.handles for state in states]
        distance = max(max(found.distances_px()) for found in left)
        return io.NodeOutput(moved, moved.noise(), moved.sigmas(), wire.mask_of(support), distance)


def _settings(
    known: PointEditSettings, drag_steps: int, rounds: int, iterations: int, rate: float, warp: float, mask_weight: float
) -> PointEditSettings:
    """What the widgets make of a preset."""
    drag = known.drag
    drag = replace(
        drag, rate=rate * drag.rate, rounds=drag.rounds if rounds == OWN else rounds,
        steps_per_round=drag.steps_per_round if iterations == OWN else iterations,
        mask_weight=drag.mask_weight if mask_weight < 0 else mask_weight,
    )  # fmt: skip
    return replace(known, drag=drag, drag_steps=drag_steps or known.drag_steps, warp=warped(known.warp, warp))


def warped(own: LatentWarpSettings | None, ratio: float) -> LatentWarpSettings | None:
    """A preset's latent warp with the ratio of a widget: below 0 its own, 0 none."""
    if own is None or ratio == 0:
        return None
    return own if ratio < 0 else replace(own, ratio=ratio)


def _show_step(node_id: str | None, progress: Progress) -> None:
    """A line on the node: how far, the loss, how many pixels are left."""
    if progress.stage == "drag":
        state = progress.drag
        text = f"{progress.done}/{progress.total}, loss {float(state.loss):.4g}, {max(state.distances):.1f} px left"
        show_text(text, node_id)
