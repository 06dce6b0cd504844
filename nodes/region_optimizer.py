"""Region Affine Drag Optimizer: the inverted latent descended until its features have moved (DragFlow section 3.2).

A UNet's trajectory is seen as a flow's while it is dragged (core's NoiseAsFlow), and handed on as what it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from comfy_api.latest import io
from torch import Tensor

from ..core.backbones.noise_as_flow import NoiseAsFlow, on_unet
from ..core.edits.edit import DragFlowSettings, supervised
from ..core.edits.warm_start import emptied, warp_latent
from ..core.field import DragField
from ..core.field.masks import to_latent
from ..core.instruction.operations import Drag
from ..core.model.attention import KVBank, KVSession
from ..core.model.mutual_attention import mutual_blocks
from ..core.optimise.published_regions import PublishedRegions
from ..core.optimise.region_drag import DragState, RegionDragSettings, region_drag
from ..core.picture.cast_shadow import shadow_finder
from ..core.picture.evidence import FindShadow
from ..core.progress import Interrupted, Progress
from ..core.sampling.probes import FlowProbe, NoiseProbe
from . import models, wire
from .gradient_mask import RECTANGLES, editing_mask
from .guides import GuidanceType, Guides
from .host.autoencoder import ComfyAutoencoder
from .host.comfy_flux import ComfyFlux
from .host.comfy_unet import ComfyUNet
from .host.conditioning import ComfyConditioning
from .host.memory import SAVINGS, read_saving
from .host.node_text import show_text
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .noise_trajectory import NoiseTrajectory
from .presets import OWN, OWN_CHOICE, dragflow_preset, dragflow_settings, preset_input, preset_problem, tell_preset
from .trajectory import Branch, Trajectory
from .types import CATEGORY, TrajectoryType, deformation_input, drag_input, guidance_input

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
            "Invert (FLUX) or DDIM Invert (Stable Diffusion), or warm from Latent Warp.",
            search_aliases=["DragFlow", "drag optimization", "motion supervision", "region drag", "latent optimization"],
            inputs=[
                io.Model.Input("model", tooltip="The one that inverted the picture."),
                TrajectoryType.Input("trajectory"),
                drag_input(),
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
                    tooltip="FLUX: 'auto' gives up speed when memory is short. 'on' keeps keys and values in RAM and computes blocks "
                    "twice, about 40 % slower. 'off' gives up nothing.",
                ),
                deformation_input("rigid"),
                GuidanceType.Input(
                    "terms",
                    optional=True,
                    tooltip="From Readout Guidance: what else shall hold while dragging.",
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
        cls, drag: str | None = None, transport: int | None = None, intensify: int | None = None, save_memory: str | bool = "auto",
        preset: str | None = None, renew_vacated: str | bool | None = None,
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
        cls, model, trajectory: Trajectory, drag: str, transport: int, intensify: int, guidance: float, rate: float, preset: str,
        hold_attention: bool, renew_vacated: str | bool, save_memory: str | bool, deformation: str, positive=None, vae=None,
        mask: Tensor | None = None, terms: Guides = (),
    ) -> io.NodeOutput:  # fmt: skip
        models.check_same_latents(model, trajectory)
        unet = isinstance(trajectory, NoiseTrajectory)
        chosen = dragflow_preset(preset, model, flow=not unet)
        whole = dragflow_settings(chosen, model)
        base, renew = whole.drag, RENEW[renew_vacated]
        renew = whole.vacated == "renew" if renew is None else renew
        asked = wire.read_drag(drag, trajectory.size)
        field = _field(asked, whole, deformation)
        area = editing_mask(asked, RECTANGLES, whole.mask_margin) if mask is None else wire.bool_mask(mask, trajectory.size)
        cells = to_latent(area, trajectory.cells)
        prompt = trajectory.prompt if positive is None else models.prompt_of(positive)
        settings = replace(
            base,
            transport_steps=base.transport_steps if transport == OWN else transport,
            intensify_steps=base.intensify_steps if intensify == OWN else intensify,
            rate=rate * base.rate,
            intensify_rate=rate * base.intensify_rate,
            guidance=models.chosen_guidance(guidance, prompt, GUIDANCE),
        )
        find_shadow = shadow_finder(whole.shadows, whole.shadow_reach * min(asked.size))
        tell_preset(cls, chosen)
        backbone = ComfyUNet(model) if unet else ComfyFlux(model, save_memory=save_memory)
        told = _Told(ComfyProgress(model, cls.hidden.unique_id, backbone=None if unet else backbone), cls.hidden.unique_id, settings)
        autoencoder = None if vae is None else ComfyAutoencoder(vae, model)
        states = []
        with backbone.session():
            flow = trajectory.as_flow() if unet else trajectory
            for branch, own in zip(flow.branches, trajectory.branches, strict=True):
                behind = left_behind(branch, asked, autoencoder, find_shadow) if renew else branch.undragged
                told.progress.noise = branch.undragged - branch.inversion.z0
                where = cells.to(branch.z.device)
                one = _Dragged(backbone, prompt, field, where, settings, hold_attention, terms, told)
                states.append(with_one_retry(backbone, partial(one.run, branch, own, behind)))
        kept = field.kept(size=trajectory.cells[::-1]) if isinstance(field, DragField) else None
        moved = flow.moved_to([state.z for state in states], mask=area, kept=kept)
        moved = replace(trajectory.as_moved(moved) if unet else moved, preset=chosen)
        residual = max(float(state.residual.max()) for state in states)
        return io.NodeOutput(moved, moved.noise(), moved.sigmas(), wire.mask_of(area), residual)


def _field(drag: Drag, settings: DragFlowSettings, deformation: str) -> DragField | PublishedRegions:
    """What is supervised. deformation: as the node's widget has it, which the published regions have no choice of."""
    if settings.ties == "grid_sample":
        if deformation != "rigid":
            raise ValueError(
                "the published DragFlow moves a deformed end alone: set deformation to 'rigid', or preset to 'tuned' to stretch the rest"
            )
        return supervised(drag, drag.size, settings)
    return DragField.from_drag(drag, deformation=deformation)


def left_behind(branch: Branch, drag: Drag, autoencoder: ComfyAutoencoder | None, find_shadow: FindShadow | None = None) -> Tensor:
    """The undragged latent with what moves taken out; without an autoencoder, only where nothing covers the place again."""
    z, field = branch.undragged, DragField.from_drag(drag, deformation="stretch")
    if autoencoder is None:
        vacated = field.vacated(1.0, (z.shape[-1], z.shape[-2])).to(z.device)
        return torch.where(vacated, warp_latent(z, branch.t, field, z0=branch.inversion.z0), z)
    picture = autoencoder.decode(branch.inversion.z0)
    return emptied(autoencoder, picture, z, branch.t, field, find_shadow=find_shadow)


@dataclass(frozen=True, eq=False)
class _Dragged:
    """A drag of one picture after the other."""

    backbone: ComfyFlux | ComfyUNet
    prompt: ComfyConditioning
    field: DragField | PublishedRegions
    cells: Tensor
    settings: RegionDragSettings
    hold_attention: bool
    guides: Guides
    told: _Told

    def run(self, branch: Branch, own: Branch, behind: Tensor) -> DragState:
        """The last state; warm when the branch's is not the inversion's own. own: the branch as the trajectory has it, not as a flow's."""
        backbone, settings, kept = self.backbone, self.settings, {}
        kv = self._held(own) if self.hold_attention else None
        if isinstance(backbone, ComfyUNet):
            flow, probe = NoiseAsFlow(backbone), NoiseProbe(backbone, self.prompt, kv)
            settings = on_unet(settings, flow)
        else:
            flow, probe = backbone, FlowProbe(backbone, self.prompt, settings.guidance, kv)
        terms = [guide.term(probe, own, own.inversion.path[1], kept, of_region=True) for guide in self.guides]
        state, cold = None, branch.z is branch.undragged
        for state in region_drag(
            flow, branch.z, branch.t, self.prompt, self.field, self.cells, settings, reference=None if cold else branch.undragged,
            behind=behind, t_next=branch.inversion.times[branch.index + 1], kv=kv, terms=terms,
            should_stop=self.told.progress.stop_if_cancelled,
        ):  # fmt: skip
            self.told(state)
        if state is None:
            raise Interrupted("the drag was stopped before its first iteration")
        return state

    @torch.no_grad()
    def _held(self, own: Branch) -> KVSession | None:
        """The original's keys and values: what its inversion remembered last, or, of a UNet, what its latent has where the drag begins."""
        bank = own.inversion.bank
        if isinstance(self.backbone, ComfyUNet):
            bank = KVBank(mutual_blocks(self.backbone))
            self.backbone.noise(own.undragged, own.t, self.prompt, kv=bank.capture())
            return bank.hold()
        return self.backbone.keep(bank).hold() if bank.blocks else None


class _Told:
    """Bar, preview, and a line on the node: how far, the loss, what is left of the way."""

    def __init__(self, progress: ComfyProgress, node_id: str, settings: RegionDragSettings) -> None:
        self.progress, self.node_id = progress, node_id
        self.total = settings.transport_steps + settings.intensify_steps

    def __call__(self, state: DragState) -> None:
        self.progress(Progress("drag", state.step, self.total, state.z, state))
        loss, left = float(state.loss.max()), float(state.residual.max())
        show_text(f"{state.phase} {state.step}/{self.total}, loss {loss:.4g}, {left:.0%} of the way left", self.node_id)
