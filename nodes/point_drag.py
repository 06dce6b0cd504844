"""Point Drag Optimizer: the latent moved until what is under each handle is found at its target (DirectDrag section 4)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from comfy_api.latest import io
from torch import Tensor

from ..core.demo.directdrag_settings import DIRECTDRAG, DIRECTDRAG_FLOW
from ..core.directdrag import REFERENCE, DirectDragSettings
from ..core.directdrag_flow import FlowPointSettings
from ..core.latent_warp import LatentWarpSettings
from ..core.point_drag import PointDragState
from ..core.point_edit import points_of
from ..core.probes import FlowProbe, NoiseProbe
from ..core.progress import Progress
from . import models, wire
from .guides import GuidanceType, Guides
from .host.comfy_flux import ComfyFlux
from .host.comfy_unet import ComfyUNet
from .host.conditioning import ComfyConditioning
from .host.node_text import show_text
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .noise_trajectory import NoiseTrajectory
from .point_walk import PointWalk
from .soft_mask import freedom
from .trajectory import Branch, Trajectory
from .types import CATEGORY, TrajectoryType, drag_input

PRESETS = {"principled": DirectDragSettings(), "reference": REFERENCE, "carry": DIRECTDRAG}
FLOW_PRESETS = {"principled": FlowPointSettings(), "carry": DIRECTDRAG_FLOW}
WARP = LatentWarpSettings().ratio


class PointDragOptimizer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldPointOptimizer",
            display_name="Point Drag Optimizer",
            category=CATEGORY,
            description="Drag points: carry the latent a little of the way, then move it until what is under each handle is found at its "
            "target, dragging and denoising in turn. With Stable Diffusion after DDIM Invert, with FLUX after FireFlow Invert.",
            search_aliases=["DirectDrag", "DragDiffusion", "GoodDrag", "DragGAN", "point drag", "drag points", "motion supervision"],
            inputs=[
                io.Model.Input("model", tooltip="The one that inverted the picture."),
                TrajectoryType.Input("trajectory"),
                drag_input(),
                GuidanceType.Input("guidance", optional=True, tooltip="From Readout Guidance: what else shall hold while dragging."),
                io.Mask.Input(
                    "mask", optional=True, tooltip="How freely each place may change, greys count. Without it, what Auto Soft Mask makes."
                ),
                io.Conditioning.Input("positive", optional=True, tooltip="The prompt while dragging. Without it, the inversion's."),
                io.Int.Input(
                    "drag_steps", default=0, min=0, max=100, tooltip="At how many steps is dragged. 0: 7 for Stable Diffusion, 3 for FLUX."
                ),
                io.Int.Input("rounds", default=10, min=1, max=200, tooltip="How often handles are looked for again, at each of them."),
                io.Int.Input("iterations", default=3, min=1, max=50, tooltip="Gradient steps in each round."),
                io.Float.Input(
                    "rate", default=1.0, min=0.01, max=10.0, step=0.05, tooltip="Times the preset's rate. Lower is slower and keeps more."
                ),
                io.Float.Input(
                    "warp",
                    default=WARP,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Which part of the way the latent is carried at the start. 0: not at all. A state that was moved before is not "
                    "carried again.",
                ),
                io.Float.Input(
                    "mask_weight",
                    default=0.1,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    advanced=True,
                    tooltip="How strongly the mask holds; 'carry' takes none.",
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    advanced=True,
                    tooltip="'principled': what the method means. 'reference': as published, quirks included, Stable Diffusion only. "
                    "'carry', with a warp of 1: what is around a handle is carried all the way as it is, then corrected inside the mask.",
                ),
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
    def validate_inputs(cls, drag: str | None = None, rounds: int | None = None, iterations: int | None = None) -> bool | str:
        if (rounds is not None and rounds < 1) or (iterations is not None and iterations < 1):
            return f"{rounds} rounds of {iterations} iterations move nothing: use at least 1 of each (published: 10 and 3)"
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, model, trajectory: Trajectory, drag: str, drag_steps: int, rounds: int, iterations: int, rate: float, warp: float,
        mask_weight: float, preset: str, guidance: Guides = (), mask: Tensor | None = None, positive=None,
    ) -> io.NodeOutput:  # fmt: skip
        models.check_same_latents(model, trajectory)
        flow = not isinstance(trajectory, NoiseTrajectory)
        if flow and preset == "reference":
            raise ValueError("the preset 'reference' is what was published for Stable Diffusion: use 'principled' with FLUX")
        steps = drag_steps or (FlowPointSettings() if flow else PRESETS[preset]).drag_steps
        if steps > len(trajectory.times) - 2:
            raise ValueError(
                f"dragging at {steps} steps leaves none to denoise of the {len(trajectory.times) - 1} that this trajectory has: use "
                f"drag_steps of at most {len(trajectory.times) - 2}, or invert with more steps"
            )
        settings = _settings(preset, flow, rounds, iterations, rate, warp, mask_weight)
        asked = wire.read_drag(drag, trajectory.size)
        handles = points_of(asked, settings.rounded, settings.clamp)
        free, support = freedom(asked, mask, trajectory.cells, settings.soft_mask)
        prompt = trajectory.prompt if positive is None else models.prompt_of(positive)
        backbone = ComfyFlux(model) if flow else ComfyUNet(model)
        told = _Told(ComfyProgress(model, cls.hidden.unique_id), cls.hidden.unique_id, steps, settings)
        walks = []
        with backbone.session():
            for branch in trajectory.branches:
                told.progress.noise = branch.undragged - branch.inversion.z0
                stop = told.progress.stop_if_cancelled
                walk = PointWalk(_probe(backbone, prompt, branch, flow), free, settings, guidance, told, stop)
                walks.append((walk, with_one_retry(backbone, partial(walk.run, branch, handles, steps))))
            # A sampler denoises a batch as one, so who arrived early catches up.
            index = max(walked.branch.index for _, walked in walks)
            branches = tuple(walk.denoised_to(walked.branch, index) for walk, walked in walks)
        moved = replace(trajectory, branches=branches, mask=support)
        distance = max(max(walked.handles.distances_px()) for _, walked in walks)
        return io.NodeOutput(moved, moved.noise(), moved.sigmas(), wire.mask_of(support), distance)


def _settings(
    preset: str, flow: bool, rounds: int, iterations: int, rate: float, warp: float, mask_weight: float
) -> DirectDragSettings:
    base = PRESETS[preset]
    drag = FLOW_PRESETS[preset].drag if flow else base.drag
    drag = replace(drag, rounds=rounds, steps_per_round=iterations, rate=rate * drag.rate, mask_weight=mask_weight)
    return replace(base, drag=drag, warp=None if warp == 0 or base.warp is None else replace(base.warp, ratio=warp))


def _probe(backbone: ComfyFlux | ComfyUNet, prompt: ComfyConditioning, branch: Branch, flow: bool) -> NoiseProbe | FlowProbe:
    if not flow:
        return NoiseProbe(backbone, prompt)
    bank = branch.inversion.bank
    return FlowProbe(backbone, prompt, FlowPointSettings().guidance, backbone.keep(bank).replay("matched") if bank.blocks else None)


class _Told:
    """Bar, preview, and a line on the node: how far, the loss, how many pixels are left."""

    def __init__(self, progress: ComfyProgress, node_id: str | None, steps: int, settings: DirectDragSettings) -> None:
        self.progress, self.node_id = progress, node_id
        self.each = settings.drag.rounds * settings.drag.steps_per_round
        self.total = steps * self.each

    def __call__(self, state: PointDragState, turn: int) -> None:
        done = turn * self.each + state.step
        self.progress(Progress("drag", done, self.total, state.z, state))
        show_text(f"{done}/{self.total}, loss {float(state.loss):.4g}, {max(state.distances):.1f} px left", self.node_id)
