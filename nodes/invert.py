"""FireFlow Invert: a picture carried to its noise once, for any number of edits. It knows nothing of a drag, so none makes it run again."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..core.attention import KVBank, choose_blocks
from ..core.inversion import Inversion, InversionSettings, velocity_of
from ..core.progress import Progress
from ..core.schedules import Schedule, custom_schedule, flux_schedule, sampling_times
from ..core.solvers import fireflow_step, start
from . import models
from .host.comfy_flux import ComfyFlux
from .host.conditioning import ComfyConditioning
from .host.progress import ComfyProgress
from .trajectory import Branch, Trajectory
from .types import CATEGORY, TrajectoryType


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
                io.Model.Input("model", tooltip="A FLUX model from any loader; LoRAs are respected."),
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
                    "remember_on", options=["device", "cpu"], advanced=True, tooltip="Where they are kept. 'cpu' spares GPU memory."
                ),
                io.Sigmas.Input("sigmas", optional=True, tooltip="A schedule of your own, falling to 0, such as BasicScheduler makes."),
            ],
            outputs=[
                TrajectoryType.Output("trajectory", tooltip="For Latent Warp, the optimizer, Gradient-Masked Denoise and Drag Edit."),
                io.Noise.Output("noise", tooltip="With latent and sigmas it makes any sampler start at the inverted picture."),
                io.Latent.Output("same_latent", display_name="latent", tooltip="The latent that came in, for the sampler."),
                io.Sigmas.Output("same_sigmas", display_name="sigmas", tooltip="From the inverted picture's time to 0, for the sampler."),
            ],
        )

    @classmethod
    def validate_inputs(cls, steps: int | None = None, skip: int | None = None) -> bool | str:
        # With sigmas linked, steps counts for nothing, and only execution knows how long they are.
        if steps is not None and steps < 1:
            return f"steps is {steps}; use 1 or more (published: 25)"
        if skip is not None and skip < 0:
            return f"skip is {skip}; use 0 or more (published: 6 of 25)"
        return True

    @classmethod
    def execute(
        cls, model, positive, latent, steps: int, skip: int, guidance: float, remember: str, remember_on: str, sigmas=None
    ) -> io.NodeOutput:
        settings = InversionSettings(steps, skip, guidance, kv_blocks=remember, kv_placement=remember_on)
        prompt = models.prompt_of(positive)
        backbone, progress = ComfyFlux(model), ComfyProgress(model)
        pictures = models.model_latents(model, latent)
        whole = None if sigmas is None else custom_schedule(sigmas.tolist())
        with backbone.session():
            branches = [inverted(backbone, z0, prompt, settings, whole, progress) for z0 in pictures]
        trajectory = Trajectory(
            tuple(Branch(inversion, inversion.z) for inversion in branches), prompt, dict(latent), models.pixels_per_cell(model)
        )
        return io.NodeOutput(trajectory, trajectory.noise(), dict(latent), trajectory.sigmas())


def inverted(
    backbone: ComfyFlux,
    z0: torch.Tensor,
    prompt: ComfyConditioning,
    settings: InversionSettings,
    schedule: Schedule | None,
    report: ComfyProgress,
) -> Inversion:
    """core's `invert` along any schedule; None is FLUX's own, shifted by the picture's size."""
    if schedule is None:
        schedule = flux_schedule(z0.shape[-2] * z0.shape[-1] // backbone.patch**2, settings.steps, shifted=settings.shifted)
    times = sampling_times(schedule, settings.skip)
    bank = KVBank(choose_blocks(settings.kv_blocks, backbone.double_blocks, backbone.single_blocks), placement=settings.kv_placement)
    velocity = velocity_of(backbone, prompt, settings.guidance, bank.capture())
    state = start(z0, 0.0)
    path = [z0]
    for done, to in enumerate(times[-2::-1], start=1):
        report.stop_if_cancelled()
        state = fireflow_step(velocity, state, to)
        path.append(state.z)
        report(Progress("invert", done, len(times) - 1, state.z))
    return Inversion(z0, times, tuple(reversed(path)), bank, settings, state.nfe)
