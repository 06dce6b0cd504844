"""Train Readout Head: a head for any model, from videos or from drawn scenes (DirectDrag section 8.4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..core.demo.pairs import scene_pairs
from ..core.progress import Progress
from ..core.sampling.sampler import sampler_of
from ..core.training.frames import frame_pairs
from ..core.training.readout_training import Pair, ReadoutTrainingSettings, new_head, train_readout
from . import models
from .guides import ReadoutHeadType
from .host.autoencoder import ComfyAutoencoder
from .host.node_text import show_text
from .host.progress import ComfyProgress
from .host.recognised_backbone import backbone_for
from .readout import FOLDER
from .types import CATEGORY

DEFAULT = ReadoutTrainingSettings()


class TrainReadoutHead(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldTrainReadoutHead",
            display_name="Train Readout Head",
            category=CATEGORY,
            description="Teach a readout head what looks alike in a model's features: frames of one video do, the same layout redrawn by "
            "the model does not. The model itself stays as it is.",
            search_aliases=["readout guidance", "appearance head", "DirectDrag", "triplet training"],
            inputs=[
                io.Model.Input("model", tooltip="Stable Diffusion 1.x, 2.x, XL, FLUX, Qwen-Image, Z-Image, Krea 2 or SD 3.5."),
                io.Vae.Input("vae"),
                io.Conditioning.Input("positive", tooltip="The prompt that the head shall guide under: the empty one."),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="Inside ComfyUI's input directory: videos, or a folder of frames for each. Empty: drawn scenes.",
                ),
                io.Int.Input("size", default=512, min=64, max=2048, step=64, tooltip="Side in pixels of what is trained on."),
                io.Int.Input("steps", default=DEFAULT.steps, min=1, max=100000, tooltip="Training steps. Published: 1000."),
                io.Float.Input("rate", default=DEFAULT.rate, min=1e-6, max=0.1, step=1e-5, tooltip="Published: 0.0001."),
                io.String.Input("save_as", default="", tooltip=f"A name in models/{FOLDER}. Empty: the head is only handed on."),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**63 - 1, control_after_generate=True, tooltip="Of pictures, levels and noise."
                ),
                io.Float.Input(
                    "strength",
                    default=DEFAULT.strength,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="How far towards noise the layout is drawn anew. Published: 0.5. Higher for small models, which otherwise draw "
                    "the same again.",
                ),
            ],
            outputs=[ReadoutHeadType.Output("head", tooltip="For Readout Guidance.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None, save_as: str | None = None) -> bool | str:
        try:
            if folder is not None:
                _inside(Path(folder_paths.get_input_directory()), folder)
            if save_as is not None:
                _inside(Path(folder_paths.models_dir, FOLDER), save_as)
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    def execute(
        cls, model, vae, positive, folder: str, size: int, steps: int, rate: float, save_as: str, seed: int,
        strength: float = DEFAULT.strength,
    ) -> io.NodeOutput:  # fmt: skip
        place = _inside(Path(folder_paths.models_dir, FOLDER), save_as) if save_as.strip() else None
        pairs = _pairs(folder, size, seed)
        settings = ReadoutTrainingSettings(steps=steps, rate=rate, seed=seed, strength=strength)
        backbone, prompt, node_id = backbone_for(model), models.prompt_of(positive), cls.hidden.unique_id
        progress = ComfyProgress(model, node_id)
        with torch.inference_mode(False), backbone.session():
            probe = sampler_of(backbone, prompt)
            autoencoder = ComfyAutoencoder(vae, model)
            head = new_head(probe, named=type(model.model).__name__, seed=seed)
            still = torch.zeros(1, backbone.latent_channels, size // autoencoder.factor, size // autoencoder.factor)
            for state in train_readout(probe, autoencoder, head, pairs, settings, should_stop=progress.stop_if_cancelled):
                progress(Progress("invert", state.step, steps, still))
                show_text(f"{state.step}/{steps}, loss {float(state.loss):.4g}", node_id)
            head = head.eval().requires_grad_(False)
        if place is not None:
            head.save(place.with_suffix(".safetensors"))
        return io.NodeOutput(head)


def _pairs(folder: str, size: int, seed: int) -> Iterator[Pair]:
    if not folder.strip():
        return scene_pairs(size, seed)
    return frame_pairs(_inside(Path(folder_paths.get_input_directory()), folder), size, seed)


def _inside(root: Path, name: str) -> Path:
    """A path in `root`; ValueError for one that leads out of it."""
    path = (root / name.strip()).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{name[:80]!r} leads out of {root.name}: name a place inside of it, without '..' or a leading slash")
    return path
