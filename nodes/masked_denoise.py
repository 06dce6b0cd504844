"""Gradient-Masked Denoise: from the dragged state to the picture, the background along the inversion's own way (DragFlow section 3).

How a state is denoised travels with it: as the method has it that moved it, unless the widgets say otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import get_args

import torch
from comfy_api.latest import io

from ..core.edits.denoise import denoise, undragged_path
from ..core.edits.edit import straying_in_words
from ..core.edits.state import DenoiseSettings, State, Tokens, last
from ..core.field.masks import to_latent
from ..core.model.attention import Pairing
from ..core.progress import RunContext
from ..core.sampling.sampler import Sampler, sampler_of
from . import models, wire
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .host.recognised_backbone import backbone_for
from .presets import OWN_CHOICE, dragflow_preset, dragflow_settings, preset_input, preset_problem, tell_preset
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType, guidance_input, negative_inputs


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
                guidance_input(),
                io.Combo.Input(
                    "attention",
                    options=[OWN_CHOICE, *get_args(Pairing), "own"],
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
                    options=[OWN_CHOICE, *get_args(Tokens)],
                    advanced=True,
                    tooltip="FLUX and other flows: where the original's keys and values go: as the preset has it; into what the drag "
                    "leaves alone ('kept'), because what is remembered of the rest belongs to the picture as it was; or everywhere "
                    "('all', published).",
                ),
                preset_input(
                    "Here 'auto' is what came with the trajectory. Published: outside of the mask the original is denoised in lockstep, "
                    "in twice the time; ours replays the inversion, which ends exactly at the picture. Not with Stable Diffusion.",
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
        area = None if mask is None else wire.bool_mask(mask, trajectory.size)
        prompt = models.prompt_of(trajectory.prompt.positive if positive is None else positive, negative, cfg)
        flow = trajectory.flow
        if not flow and attention == "lifo":
            raise ValueError("attention 'lifo' is what was published for FLUX: use 'matched' with Stable Diffusion")
        # What a region drag was published with goes with its own denoising alone.
        chosen = dragflow_preset(trajectory.preset or "tuned" if preset == "auto" else preset, model, flow=flow)
        whole = dragflow_settings(chosen, model)
        settings = trajectory.branches[0].denoising if preset == "auto" else whole.denoising()
        settings = replace(
            settings,
            guidance=models.chosen_guidance(guidance, prompt, settings.guidance),
            attention=settings.attention if attention == OWN_CHOICE else None if attention == "own" else attention,
            own_share=own_share,
            inject_into=settings.inject_into if inject_into == OWN_CHOICE else inject_into,
        )
        sampled = chosen == "published" and whole.recon_path == "sample"
        if trajectory.branches[0].index and (settings.attention == "lifo" or sampled):
            raise ValueError(
                "as published, keys, values and background are paired from the first sampling time on, and this state starts later: use "
                "the preset 'tuned', and attention 'matched'"
            )
        backbone = backbone_for(model)
        run = ComfyProgress(model, backbone=backbone).run()
        sampler, original = (sampler_of(backbone, cond, guidance=settings.guidance) for cond in (prompt, trajectory.prompt))
        alone = sampler_of(backbone, prompt, guidance=whole.recon_guidance)
        tell_preset(cls, chosen)
        states = []
        with backbone.session():
            for branch in trajectory.branches:
                state = models.ready(backbone, branch)
                if area is not None:
                    state, settings = replace(state, mask=to_latent(area, trajectory.cells)), replace(settings, hold=True)
                one = partial(denoised, sampler, original, alone if sampled else None, state, settings, run)
                states.append(with_one_retry(backbone, one))
        tell_preset(cls, chosen, straying_in_words(max(float(state.strayed or 0) for state in states)))
        return io.NodeOutput({**trajectory.latent, "samples": models.vae_latents(model, [state.z for state in states])})


def denoised(
    sampler: Sampler, original: Sampler, alone: Sampler | None, state: State, settings: DenoiseSettings, run: RunContext
) -> State:
    """One picture's state at time 0. alone: what the undragged picture is sampled with, as published; None: it is the inversion's own."""
    if alone is not None and state.mask is not None:
        state = undragged_path(alone, state, settings, run)
    return last(denoise(sampler, state, run, settings=settings, original=original), state)
