"""Subject LoRA: the model learns the picture before it is dragged, so that the subject keeps its identity (DirectDrag section 9)."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..core.progress import Progress
from ..core.training.lora import LoraSettings
from . import models
from .host.node_text import show_text
from .host.progress import ComfyProgress
from .host.subject_lora import learn, with_lora
from .types import CATEGORY

LoraType = io.Custom("LORA_MODEL")
"""ComfyUI's own type: Save LoRA Weights writes it, Load LoRA Model applies it."""
DEFAULT = LoraSettings()


class SubjectLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldSubjectLora",
            display_name="Subject LoRA",
            category=CATEGORY,
            description="Teach a model this very picture in a minute or so, before it is inverted and dragged. Gives back the MODEL with "
            "the LoRA in it, and the LoRA to save.",
            search_aliases=["train LoRA", "DragDiffusion LoRA", "single image LoRA", "identity", "fine-tune"],
            inputs=[
                io.Model.Input("model", tooltip="Stable Diffusion 1.x, 2.x, XL or FLUX."),
                io.Conditioning.Input("positive", tooltip="What the picture shows; the same prompt as for the inversion."),
                io.Latent.Input("latent", tooltip="The picture, from VAE Encode. A batch is learnt as views of one subject."),
                io.Int.Input("steps", default=DEFAULT.steps, min=1, max=10000, tooltip="Training steps. Published: 70."),
                io.Int.Input("rank", default=DEFAULT.rank, min=1, max=256, tooltip="Of its matrices. Published: 16."),
                io.Float.Input("learning_rate", default=DEFAULT.learning_rate, min=1e-6, max=0.1, step=1e-5, tooltip="Published: 0.0005."),
                io.Int.Input(
                    "batch", default=DEFAULT.batch, min=1, max=64, advanced=True, tooltip="Noises per step. Less takes less memory."
                ),
                io.Float.Input("strength", default=1.0, min=-5.0, max=5.0, step=0.05, advanced=True, tooltip="Of the LoRA in the MODEL."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip="Of noise and times."),
            ],
            outputs=[
                io.Model.Output("model_out", display_name="model", tooltip="With the LoRA, for DDIM Invert and all that follows."),
                LoraType.Output("lora", tooltip="For Save LoRA Weights; any loader of LoRAs takes the file."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model, positive, latent, steps: int, rank: int, learning_rate: float, batch: int, strength: float, seed: int
    ) -> io.NodeOutput:
        settings = LoraSettings(rank=rank, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed)
        z0, node_id = torch.cat(models.model_latents(model, latent)), cls.hidden.unique_id
        progress = ComfyProgress(model, node_id)

        def report(done: int, total: int, loss: float) -> None:
            progress(Progress("invert", done, total, z0[:1]))
            show_text(f"{done}/{total}, loss {loss:.4g}", node_id)

        state = learn(model, z0, models.prompt_of(positive), settings, report)
        return io.NodeOutput(with_lora(model, state, strength), state)
