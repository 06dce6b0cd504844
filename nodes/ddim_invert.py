"""DDIM Invert: a picture carried to its noise by a Stable Diffusion model, once, for any number of edits (DirectDrag section 2)."""

from __future__ import annotations

from functools import partial

from comfy_api.latest import io

from ..core.sampling.ddim_inversion import DDIMSettings, invert_ddim
from . import models
from .host.comfy_unet import ComfyUNet
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType


class DDIMInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldDDIMInvert",
            display_name="DDIM Invert",
            category=CATEGORY,
            description="Carry a picture to its noise with a Stable Diffusion model (1.x, 2.x, XL). NOISE, LATENT and SIGMAS let any "
            "sampler start exactly at the inverted picture.",
            search_aliases=["inversion", "unsample", "DirectDrag", "DragDiffusion", "SD 1.5", "SDXL", "image to noise"],
            inputs=[
                io.Model.Input("model", tooltip="A Stable Diffusion 1.x, 2.x or XL model from any loader; LoRAs are respected."),
                io.Conditioning.Input("positive", tooltip="What the picture shows. DirectDrag: the empty prompt."),
                io.Latent.Input("latent", tooltip="The picture, from VAE Encode. A batch is inverted one by one."),
                io.Int.Input("steps", default=50, min=1, max=1000, tooltip="Steps of the whole schedule."),
                io.Float.Input(
                    "strength",
                    default=0.75,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Which part of them is gone. More frees the edit, less keeps more of the picture.",
                ),
            ],
            outputs=[
                TrajectoryType.Output("trajectory", tooltip="For the optimizers, Latent Warp, Mutual Self-Attention and Drag Edit."),
                io.Noise.Output("noise", tooltip="With latent and sigmas it makes any sampler start at the inverted picture."),
                io.Latent.Output("same_latent", display_name="latent", tooltip="The latent that came in, for the sampler."),
                io.Sigmas.Output("same_sigmas", display_name="sigmas", tooltip="From the inverted picture's level down, for the sampler."),
            ],
        )

    @classmethod
    def validate_inputs(cls, steps: int | None = None, strength: float | None = None) -> bool | str:
        if steps is not None and not 1 <= steps <= 1000:
            return f"steps is {steps}; use 1 to 1000 (published: 50)"
        if strength is not None and not 0 < strength <= 1:
            return f"strength is {strength:g}; use more than 0 and at most 1 (published: 0.75)"
        return True

    @classmethod
    def execute(cls, model, positive, latent, steps: int, strength: float) -> io.NodeOutput:
        prompt = models.prompt_of(positive)
        backbone, progress = ComfyUNet(model), ComfyProgress(model)
        pictures = models.model_latents(model, latent)
        with backbone.session():
            made = partial(invert_ddim, backbone, cond=prompt, settings=DDIMSettings(steps, strength), run=progress.run())
            inversions = [with_one_retry(backbone, partial(made, z0=z0)) for z0 in pictures]
        trajectory = Trajectory.begin(inversions, prompt, latent, models.pixels_per_cell(model))
        return io.NodeOutput(trajectory, trajectory.noise(), dict(latent), trajectory.sigmas())
