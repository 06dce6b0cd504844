"""FireFlow Invert: a picture carried to its noise once, for any number of edits. It knows nothing of a drag, so none makes it run again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import get_args

from comfy_api.latest import io

from ..core.model.attention import Placement
from ..core.sampling.inversion import invert
from . import models
from .host.comfy_flow import needs_level
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .host.recognised_backbone import flow_backbone
from .presets import dragflow_preset, dragflow_settings, preset_input, preset_problem, tell_preset
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType, negative_inputs


class FireFlowInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldInvert",
            display_name="FireFlow Invert",
            category=CATEGORY,
            description="Carry a picture along the flow to its noise, remembering what attention saw. NOISE, LATENT and SIGMAS let any "
            "sampler start exactly at the inverted picture.",
            search_aliases=["inversion", "unsample", "RF inversion", "RF-Solver", "image to noise", "reverse sampling"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Any model that ComfyUI samples as a flow, from any loader: FLUX, Qwen-Image, Z-Image, SD 3.5 and others; "
                    "LoRAs are respected.",
                ),
                io.Conditioning.Input("positive", tooltip="What the picture shows."),
                io.Latent.Input("latent", tooltip="The picture, from VAE Encode. A batch is inverted one by one."),
                io.Int.Input("steps", default=25, min=1, max=1000, tooltip="Steps of the whole schedule. Replaced by sigmas."),
                io.Int.Input("skip", default=6, min=0, max=999, tooltip="How many of the noisiest steps are left out, of sigmas too."),
                io.Float.Input(
                    "guidance",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Distilled guidance while inverting. 1 inverts exactly; the prompt's own guidance is not used here.",
                ),
                io.Combo.Input(
                    "remember",
                    options=["auto", "non_ridge", "position", "all", "none"],
                    advanced=True,
                    tooltip="Blocks whose keys and values are kept for the edit: content layers (DragFlow), position layers, all, none.",
                ),
                io.Combo.Input(
                    "remember_on",
                    options=["auto", *get_args(Placement)],
                    advanced=True,
                    tooltip="Where they are kept. 'cpu' spares GPU memory, 'auto' does so when they would take much of it.",
                ),
                io.Sigmas.Input("sigmas", optional=True, tooltip="A schedule of your own, falling to 0, such as BasicScheduler makes."),
                preset_input(
                    "Published: 'auto' remembers content layers, and the prompt's tokens of single blocks too.", advanced=True
                ),
                *negative_inputs(optional=True),
            ],
            outputs=[
                TrajectoryType.Output("trajectory", tooltip="For Latent Warp, the optimizer, Gradient-Masked Denoise and Drag Edit."),
                io.Noise.Output("noise", tooltip="With latent and sigmas it makes any sampler start at the inverted picture."),
                io.Latent.Output("same_latent", display_name="latent", tooltip="The latent that came in, for the sampler."),
                io.Sigmas.Output("same_sigmas", display_name="sigmas", tooltip="From the inverted picture's time to 0, for the sampler."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, steps: int | None = None, skip: int | None = None, preset: str | None = None) -> bool | str:
        # With sigmas linked, steps counts for nothing, and only execution knows how long they are.
        if steps is not None and steps < 1:
            return f"steps is {steps}; use 1 or more (published: 25)"
        if skip is not None and skip < 0:
            return f"skip is {skip}; use 0 or more (published: 6 of 25)"
        return preset_problem(preset) or True

    @classmethod
    def execute(
        cls, model, positive, latent, steps: int, skip: int, guidance: float, remember: str, remember_on: str, sigmas=None,
        preset: str = "auto", negative=None, cfg: float = 1.0,
    ) -> io.NodeOutput:  # fmt: skip
        backbone = flow_backbone(model)
        chosen = dragflow_preset(preset, model, flow=True)
        base = dragflow_settings(chosen, model).inversion
        if remember == "auto":
            blocks = base.kv_blocks if backbone.level >= 3 else "none"
        else:
            blocks = remember
        if blocks != "none":
            needs_level(backbone, 3, "remembering", ("remember 'auto' or 'none'",))
        settings = replace(base, steps=steps, skip=skip, guidance=guidance, kv_blocks=blocks)
        prompt = models.prompt_of(positive, negative, cfg)
        progress = ComfyProgress(model, backbone=backbone)
        pictures = models.model_latents(model, latent)
        times = backbone.times(pictures[0], steps) if sigmas is None else tuple(sigmas.tolist())
        calls = steps if times is None else len(times)
        settings = backbone.remembering(pictures[0], settings, calls * len(pictures), remember_on)
        tell_preset(cls, chosen, "" if settings.kv_dtype is None else "keys and values in one byte a number: RAM is short")
        how = {"times": times, "run": progress.run()}
        with backbone.session():
            inversions = [with_one_retry(backbone, partial(invert, backbone, z0, prompt, settings, **how)) for z0 in pictures]
        trajectory = Trajectory.begin(inversions, prompt, latent, models.pixels_per_cell(model))
        return io.NodeOutput(trajectory, trajectory.noise(), dict(latent), trajectory.sigmas())
