"""Gradient-Masked Denoise: from the dragged state to the picture, the background along the inversion's own way (DragFlow section 3).

A flow model walks by FireFlow and reads what its inversion remembered. A UNet walks by DDIM; its inversion remembers nothing, so the
undragged latent is looked at beside each step.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from comfy_api.latest import io

from ..core.edits.edit import DragFlowSettings
from ..core.field.masks import to_latent, whole_tokens
from ..core.model.attention import KVSession
from ..core.model.mutual_attention import mutual_blocks
from ..core.progress import Progress
from ..core.sampling.ddim import DDIMState
from ..core.sampling.ddim_inversion import masked_ddim
from ..core.sampling.inversion import reconstruct, velocity_of
from ..core.sampling.masked import masked_denoise
from ..core.sampling.solvers import FlowState
from . import models, wire
from .host.comfy_flux import ComfyFlux
from .host.comfy_unet import ComfyUNet
from .host.conditioning import ComfyConditioning
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .noise_trajectory import NoiseTrajectory
from .presets import OWN_CHOICE, dragflow_preset, dragflow_settings, preset_input, preset_problem, tell_preset
from .trajectory import Branch, Trajectory
from .types import CATEGORY, TrajectoryType, guidance_input, negative_inputs

GUIDANCE = 3.5


class GradientMaskedDenoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldMaskedDenoise",
            display_name="Gradient-Masked Denoise",
            category=CATEGORY,
            description="Denoise a trajectory's state by FireFlow, or, with Stable Diffusion, by DDIM. Outside of the mask every step is "
            "the inversion's own, so that the background comes back exactly; inside, attention may look at the original.",
            search_aliases=["denoise drag", "FireFlow denoise", "DDIM denoise", "background lock", "K/V injection"],
            inputs=[
                io.Model.Input("model", tooltip="The one that inverted the picture."),
                TrajectoryType.Input("trajectory", tooltip="From an optimizer, Latent Warp or an inversion."),
                io.Conditioning.Input(
                    "positive", optional=True, tooltip="What the edited picture shows. Without it, the inversion's prompt."
                ),
                *negative_inputs(),
                io.Mask.Input("mask", optional=True, tooltip="Where the picture may change. Without it, the trajectory's own mask."),
                guidance_input(GUIDANCE),
                io.Combo.Input(
                    "attention",
                    options=[OWN_CHOICE, "matched", "lifo", "own"],
                    advanced=True,
                    tooltip="Keys and values of the original: as the preset has it, at the same time ('matched'), paired as published for "
                    "FLUX ('lifo'), or none ('own').",
                ),
                io.Float.Input(
                    "own_share",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much of its own keys and values attention keeps: 0 none, 1 all.",
                ),
                io.Combo.Input(
                    "inject_into",
                    options=[OWN_CHOICE, "kept", "all"],
                    advanced=True,
                    tooltip="FLUX: where the original's keys and values go: as the preset has it; into what the drag leaves alone "
                    "('kept'), because what is "
                    "remembered of the rest belongs to the picture as it was; or everywhere ('all', published).",
                ),
                preset_input(
                    "Here 'auto' is what the region was dragged by. Published: outside of the mask the original is denoised in lockstep, "
                    "in twice the time; ours replays the inversion, which ends exactly at the picture. FLUX only.",
                    advanced=True,
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="For VAE Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, preset: str | None = None) -> bool | str:
        return preset_problem(preset) or True

    @classmethod
    def execute(
        cls, model, trajectory: Trajectory, guidance: float, attention: str, own_share: float, inject_into: str = OWN_CHOICE,
        positive=None, negative=None, cfg: float = 1.0, mask: torch.Tensor | None = None, preset: str = "auto",
    ) -> io.NodeOutput:  # fmt: skip
        models.check_same_latents(model, trajectory)
        area = trajectory.mask if mask is None else wire.bool_mask(mask, trajectory.size)
        cells = None if area is None else to_latent(area, trajectory.cells)
        prompt = models.prompt_of(trajectory.prompt.positive if positive is None else positive, negative, cfg)
        unet = isinstance(trajectory, NoiseTrajectory)
        # What a region drag was published with goes with its own denoising alone.
        chosen = dragflow_preset(trajectory.preset or "tuned" if preset == "auto" else preset, model, flow=not unet)
        whole = dragflow_settings(chosen, model)
        if attention == OWN_CHOICE:
            attention = "matched" if unet else whole.kv_pairing
        if inject_into == OWN_CHOICE:
            inject_into = whole.kv_where
        if unet and attention == "lifo":
            raise ValueError("attention 'lifo' is what was published for FLUX: use 'matched' with Stable Diffusion")
        backbone = ComfyUNet(model) if unet else ComfyFlux(model)
        progress = ComfyProgress(model, backbone=None if unet else backbone)
        if unet:
            run = partial(denoised_by_ddim, backbone, prompt, trajectory.prompt, cells, attention, own_share, progress)
        else:
            scale = models.chosen_guidance(guidance, prompt, GUIDANCE)
            alone = None if inject_into == "all" or trajectory.kept is None else whole_tokens(trajectory.kept, backbone.patch)
            run = partial(denoised, backbone, prompt, scale, cells, attention, own_share, alone, whole, progress)
        tell_preset(cls, chosen)
        with backbone.session():
            states = [with_one_retry(backbone, partial(run, branch)) for branch in trajectory.branches]
        return io.NodeOutput({**trajectory.latent, "samples": models.vae_latents(model, states)})


def denoised(
    backbone: ComfyFlux, prompt: ComfyConditioning, guidance: float, cells: torch.Tensor | None, attention: str, own_share: float,
    inject: torch.Tensor | None, settings: DragFlowSettings, progress: ComfyProgress, branch: Branch,
) -> torch.Tensor:  # fmt: skip
    """One picture's latent at time 0. inject: bool [tokens], which ones get the inversion's keys and values; None: all."""
    bank, times, path = branch.inversion.bank, branch.inversion.times[branch.index :], branch.inversion.path[branch.index :]
    if branch.index and (attention == "lifo" or settings.recon_path == "sample"):
        raise ValueError(
            "as published, keys, values and background are paired from the first sampling time on, and this state starts later: use the "
            "preset 'tuned', and attention 'matched'"
        )

    def remembered(into: torch.Tensor | None) -> KVSession | None:
        return None if attention == "own" or not bank.blocks else backbone.keep(bank).replay(attention, eta=own_share, where=into)

    if settings.recon_path == "sample" and cells is not None:
        own = {"guidance": settings.recon_guidance, "kv": remembered(None)}
        path = reconstruct(backbone, branch.inversion, prompt, should_stop=progress.stop_if_cancelled, **own)
    velocity = velocity_of(backbone, prompt, guidance, remembered(inject))
    where = None if cells is None else cells.to(branch.z.device)
    return _last(masked_denoise(velocity, branch.z, times, where, path), len(times) - 1, progress)


def denoised_by_ddim(
    backbone: ComfyUNet, prompt: ComfyConditioning, source: ComfyConditioning, cells: torch.Tensor | None, attention: str,
    own_share: float, progress: ComfyProgress, branch: Branch,
) -> torch.Tensor:  # fmt: skip
    """The same of a UNet. source: the prompt of the inversion."""
    times, path = branch.inversion.times[branch.index :], branch.inversion.path[branch.index :]
    looks = () if attention == "own" else mutual_blocks(backbone)
    where = None if cells is None else cells.to(branch.z.device)
    states = masked_ddim(backbone, branch.z, prompt, times, where, path, looks=looks, source=source, own_share=own_share)
    return _last(states, len(times) - 1, progress)


def _last(states: Iterable[FlowState | DDIMState], total: int, progress: ComfyProgress) -> torch.Tensor:
    state = None
    for done, state in enumerate(states, start=1):
        progress(Progress("denoise", done, total, state.z))
    return state.z
