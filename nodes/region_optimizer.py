"""Region Affine Drag Optimizer: the inverted latent descended until its features have moved (DragFlow section 3.2)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..core.edits.drag_region import drag_region, left_behind
from ..core.edits.dragflow import DragFlowSettings, supervised, with_shadows
from ..core.edits.state import run_to_end
from ..core.field import DragField, FieldSettings
from ..core.field.drag_field import Deformation
from ..core.field.masks import to_latent
from ..core.optimise.published_regions import PublishedRegions
from ..core.optimise.region_drag import RegionDragSettings
from ..core.picture.cast_shadow import shadow_finder
from ..core.picture.drawn_field import DrawnField
from ..core.progress import Progress
from ..core.sampling.sampler import sampler_of
from . import models, wire
from .gradient_mask import RECTANGLES, editing_mask
from .guides import GuidanceType, Guides
from .host.autoencoder import ComfyAutoencoder
from .host.comfy_flow import needs_level
from .host.memory import SAVINGS, read_saving
from .host.node_text import show_text
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .host.recognised_backbone import backbone_for
from .presets import OWN, OWN_CHOICE, dragflow_preset, dragflow_settings, preset_input, preset_problem, profile_in_words, tell_preset
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType, deformation_input, drag_or_field_input, guidance_input

GUIDANCE = 3.5
RENEW = {OWN_CHOICE: None, "on": True, "off": False, True: True, False: False}
"""What renew_vacated says; it was a switch once, and graphs keep what it was set to."""


class RegionDragOptimizer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldRegionOptimizer",
            display_name="Region Affine Drag Optimizer",
            category=CATEGORY,
            description="Move the latent until its features are the picture's, carried along by the drag. Starts cold from FireFlow "
            "Invert (FLUX and other flows) or DDIM Invert (Stable Diffusion), or warm from Latent Warp.",
            search_aliases=["DragFlow", "drag optimization", "motion supervision", "region drag", "latent optimization"],
            inputs=[
                io.Model.Input("model", tooltip="The one that inverted the picture."),
                TrajectoryType.Input("trajectory"),
                drag_or_field_input(),
                io.Conditioning.Input("positive", optional=True, tooltip="The prompt while dragging. Without it, the inversion's."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="For renew_vacated: fills the place of the region and its shadow from what is around them.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the latent may change. Without it, what Gradient Mask makes of the drag."
                ),
                io.Int.Input(
                    "transport", default=OWN, min=OWN, max=1000,
                    tooltip="Iterations that carry the region to its target. -1: the preset's own, 50 as published.",
                ),
                io.Int.Input(
                    "intensify", default=OWN, min=OWN, max=1000,
                    tooltip="Iterations there that make it sharper. -1: the preset's own, 20 as published.",
                ),
                guidance_input(GUIDANCE),
                io.Float.Input(
                    "rate",
                    default=1.0,
                    min=0.01,
                    max=10.0,
                    step=0.05,
                    tooltip="Times the preset's own rate. Lower is slower and keeps more.",
                ),
                preset_input("Published for FLUX only.", optional=False),
                io.Boolean.Input(
                    "hold_attention", default=True, advanced=True, tooltip="Give attention the keys and values of the original."
                ),
                io.Combo.Input(
                    "renew_vacated",
                    options=[OWN_CHOICE, "on", "off"],
                    advanced=True,
                    tooltip="Fresh ground where the region was, so that it doesn't come back there; not published. Better with vae. "
                    "'preset': as the preset has it.",
                ),
                io.Combo.Input(
                    "save_memory",
                    options=list(SAVINGS),
                    advanced=True,
                    tooltip="FLUX and other flows: 'auto' gives up speed when memory is short. 'on' keeps keys and values in RAM and "
                    "computes blocks twice, about 40 % slower. 'off' gives up nothing.",
                ),
                deformation_input(OWN_CHOICE),
                GuidanceType.Input(
                    "terms",
                    optional=True,
                    tooltip="From Readout Guidance: what else shall hold while dragging.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture itself, for what is renewed and what points lie on. Without it, as the vae has it.",
                ),
            ],
            outputs=[
                TrajectoryType.Output("dragged", tooltip="For Gradient-Masked Denoise."),
                io.Noise.Output("noise", tooltip="With the latent of the inversion it makes any sampler start at the dragged state."),
                io.Sigmas.Output("sigmas"),
                io.Mask.Output("changed", display_name="mask", tooltip="Where the latent was allowed to change."),
                io.Float.Output(
                    "residual", tooltip="What is left of the way in features: 0 arrived, 1 nothing moved. The worst of a batch."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(
        cls, drag: str | DrawnField | None = None, transport: int | None = None, intensify: int | None = None,
        save_memory: str | bool = "auto", preset: str | None = None, renew_vacated: str | bool | None = None,
    ) -> bool | str:  # fmt: skip
        try:
            read_saving(save_memory)
        except ValueError as problem:
            return str(problem)
        if transport == 0 and intensify == 0:
            return "0 transport and 0 intensify iterations move nothing: use -1 for the preset's own, or at least 1 together"
        if min(value for value in (transport, intensify, 0) if value is not None) < OWN:
            return f"{transport} transport and {intensify} intensify iterations can't be made: use -1 for the preset's own, or 0 and more"
        if renew_vacated is not None and renew_vacated not in RENEW:
            return f"renew_vacated is {renew_vacated!r}: use 'preset', 'on' or 'off'"
        return preset_problem(preset) or wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, model, trajectory: Trajectory, drag: str | DrawnField, transport: int, intensify: int, guidance: float, rate: float,
        preset: str, hold_attention: bool, renew_vacated: str | bool, save_memory: str | bool, deformation: str, positive=None, vae=None,
        mask: Tensor | None = None, terms: Guides = (), image: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        models.check_same_latents(model, trajectory)
        backbone = backbone_for(model, save_memory)
        needs_level(backbone, 2, "Region Affine Drag Optimizer", ("Warm Start instead, or Drag Edit's method 'dragfield'",))
        chosen = dragflow_preset(preset, model, flow=trajectory.flow)
        whole = dragflow_settings(chosen, model)
        if deformation in get_args(Deformation):
            whole = replace(whole, field=FieldSettings(deformation))
        drawn = wire.read_field(drag, trajectory.size, whole.field)
        field, moves = _field(drawn, whole), drawn.field
        renews = whole.vacated == "renew" if RENEW[renew_vacated] is None else RENEW[renew_vacated]
        area = editing_mask(drawn, RECTANGLES, whole.mask_margin) if mask is None else wire.bool_mask(mask, trajectory.size)
        cells = to_latent(area, trajectory.cells)
        pictures = [None] * len(trajectory.branches) if image is None else models.inverted_pictures(image, trajectory)
        prompt = trajectory.prompt if positive is None else models.prompt_of(positive)
        settings = replace(
            whole.drag,
            transport_steps=whole.drag.transport_steps if transport == OWN else transport,
            intensify_steps=whole.drag.intensify_steps if intensify == OWN else intensify,
            rate=rate * whole.drag.rate,
            intensify_rate=rate * whole.drag.intensify_rate,
            guidance=models.chosen_guidance(guidance, prompt, GUIDANCE),
        )
        find_shadow = shadow_finder(whole.shadows, whole.shadow_reach * min(drawn.drag.size))
        tell_preset(cls, chosen, profile_in_words(chosen, model))
        progress = ComfyProgress(model, cls.hidden.unique_id, backbone=backbone)
        autoencoder = None if vae is None else ComfyAutoencoder(vae, model)
        show_step = _ShowStep(cls.hidden.unique_id, settings)
        sampler = sampler_of(backbone, prompt, guidance=settings.guidance)
        states = []
        with backbone.session():
            for branch, picture in zip(trajectory.branches, pictures, strict=True):
                state = replace(models.ready(backbone, branch), mask=cells.to(branch.z.device), denoising=whole.denoising())
                own = field
                if picture is not None and find_shadow is not None and isinstance(field, DragField):
                    own = with_shadows(field, picture, find_shadow)
                behind = None
                if renews:
                    behind = left_behind(state, moves, autoencoder, picture, find_shadow=find_shadow)
                inversion = state.inversion
                progress.noise = inversion.to_flow(state.undragged, state.index) - inversion.z0
                how = {"behind": behind, "hold_attention": hold_attention, "guides": terms}
                run = partial(run_to_end, drag_region, sampler, state, own, settings, progress.run(show_step), **how)
                states.append(with_one_retry(backbone, run))
        moved = trajectory.moved_to(states, area, chosen)
        residual = max(float(state.drag.residual.max()) for state in states)
        return io.NodeOutput(moved, moved.noise(), moved.sigmas(), wire.mask_of(area), residual)


def _field(drawn: DrawnField, settings: DragFlowSettings) -> DragField | PublishedRegions:
    """What is supervised. Raises ValueError for what the published regions know nothing of."""
    if settings.ties == "grid_sample":
        if drawn.made is not None:
            raise ValueError("the published DragFlow reads regions alone, no field from elsewhere: set preset to 'tuned'")
        if settings.field.deformation != "rigid":
            raise ValueError(
                "the published DragFlow moves a deformed end alone: set deformation to 'rigid', or preset to 'tuned' to stretch the rest"
            )
    return supervised(drawn.drag, drawn.drag.size, settings, None if settings.ties == "grid_sample" else drawn.field)


class _ShowStep:
    """A line on the node: how far, the loss, what is left of the way."""

    def __init__(self, node_id: str, settings: RegionDragSettings) -> None:
        self.node_id, self.total = node_id, settings.transport_steps + settings.intensify_steps

    def __call__(self, progress: Progress) -> None:
        state = progress.drag
        loss, left = float(state.loss.max()), float(state.residual.max())
        show_text(f"{state.phase} {state.step}/{self.total}, loss {loss:.4g}, {left:.0%} of the way left", self.node_id)
