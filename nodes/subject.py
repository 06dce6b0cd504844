"""Load Subject Adapter, Encode Subject, Adapter Inject: a subject's look fed into every block of a MODEL (DragFlow section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..core.adapters.contract import Injection, Subject
from ..core.adapters.crop import subject_crop
from ..core.adapters.files import read_adapter
from ..core.demo.adapter import WEIGHTS, DemoAdapter
from . import wire
from .host.subject_encoders import encoders_for
from .host.subject_patches import time_of, with_subjects
from .host.subject_weights import LoadedAdapter, WorkingAdapter
from .types import CATEGORY

DEMO = "demo-flux subject (bundled)"
FOLDERS = ("ipadapter-flux", "ipadapter", "xlabs/ipadapters", "pulid", "instantcharacter")
"""Where other packs keep such files, inside ComfyUI's models directory."""

AdapterType = io.Custom("DRAGFIELD_SUBJECT_ADAPTER")
SubjectType = io.Custom("DRAGFIELD_SUBJECT")


@dataclass(frozen=True, eq=False)
class Encoded:
    """What travels on a DRAGFIELD_SUBJECT wire."""

    adapter: WorkingAdapter
    subject: Subject


class LoadSubjectAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldLoadSubjectAdapter",
            display_name="Load Subject Adapter",
            category=CATEGORY,
            description="A file that teaches a model to look at a picture. FLUX: InstantCharacter, PuLID, or an IP-Adapter of XLabs or "
            "InstantX. Stable Diffusion 1.5 and SDXL: IP-Adapter. The kind is recognised from what is in the file.",
            search_aliases=["IP-Adapter", "InstantCharacter", "PuLID", "subject adapter", "reference image", "identity"],
            inputs=[
                io.Combo.Input("file", options=_choices(), tooltip=f"From {', '.join(FOLDERS)} inside ComfyUI's models directory."),
                io.Float.Input(
                    "time_multiplier", default=1000.0, min=0.0, max=10000.0, step=1.0, optional=True, advanced=True,
                    tooltip="InstantCharacter: what the noise level in 0-1 is multiplied by. 1000 as trained, 1 in DragFlow's code.",
                ),
            ],
            outputs=[AdapterType.Output("adapter")],
        )  # fmt: skip

    @classmethod
    def execute(cls, file: str, time_multiplier: float = 1000.0) -> io.NodeOutput:
        if file == DEMO:
            return io.NodeOutput(LoadedAdapter(DemoAdapter.load()))
        return io.NodeOutput(LoadedAdapter(read_adapter(_files()[file], time_multiplier=time_multiplier)))


class EncodeSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldEncodeSubject",
            display_name="Encode Subject",
            category=CATEGORY,
            description="Reads a picture's subject for a subject adapter, once for all steps and edits. What is needed for reading alone "
            "is freed after.",
            search_aliases=["IP-Adapter encode", "reference image", "identity"],
            inputs=[
                AdapterType.Input("adapter", tooltip="From Load Subject Adapter."),
                io.Image.Input("image", tooltip="For a drag: the picture that is edited. The first of a batch."),
                io.Mask.Input("mask", optional=True, tooltip="Over the subject. Without it, the whole picture."),
                io.Combo.Input(
                    "ground",
                    options=["picture", "white"],
                    tooltip="What is around the subject: the picture as it is, or white, which InstantCharacter was trained with.",
                ),
                io.Model.Input("model", optional=True, tooltip="With vae, for the demo adapter, which reads latents."),
                io.Vae.Input("vae", optional=True),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="XLabs: CLIP-ViT-L/14. InstantCharacter: SigLIP so400m 384. SD 1.5 and SDXL: CLIP-ViT-H/14, or ViT-bigG/14 for "
                    "ip-adapter_sdxl and vit-G files. PuLID needs none.",
                ),
                io.ClipVision.Input("dinov2", optional=True, tooltip="InstantCharacter: DINOv2-giant."),
                io.String.Input(
                    "siglip_folder",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="InstantX: a folder of SigLIP so400m 384 as transformers saves it, inside models/clip_vision; ComfyUI's own "
                    "CLIP vision lacks its pooling.",
                ),
            ],
            outputs=[SubjectType.Output("subject"), io.Image.Output("seen", tooltip="What the adapter looks at.")],
        )

    @classmethod
    def execute(
        cls, adapter: LoadedAdapter, image: torch.Tensor, ground: str, mask: torch.Tensor | None = None, model=None, vae=None,
        clip_vision=None, dinov2=None, siglip_folder: str = "",
    ) -> io.NodeOutput:  # fmt: skip
        picture = next(wire.pictures(image[:1]))
        area = None if mask is None else wire.bool_mask(mask, wire.image_size(image))
        seen = subject_crop(picture, area, ground)
        encoders = encoders_for(adapter.whole, model=model, vae=vae, clip_vision=clip_vision, dinov2=dinov2, siglip_folder=siglip_folder)
        with torch.inference_mode(False), torch.no_grad():
            subject = adapter.whole.encode(seen.clone(), encoders).on("cpu")
        shown = wire.image_of(seen)
        return io.NodeOutput(Encoded(adapter.working, subject), shown, ui=ui.PreviewImage(shown, cls=cls))


class AdapterInject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldAdapterInject",
            display_name="Adapter Inject",
            category=CATEGORY,
            description="Feeds a subject into every block of a MODEL (FLUX.1, SD 1.5, SDXL), so that inversion, drag and denoising keep "
            "its look. Several in a row add up; LoRAs, K/V injection and other nodes' patches work on.",
            search_aliases=["apply IP-Adapter", "InstantCharacter", "subject injection", "identity"],
            inputs=[
                io.Model.Input("model"),
                SubjectType.Input("subject"),
                io.Float.Input(
                    "strength", default=1.0, min=-5.0, max=5.0, step=0.05,
                    tooltip="InstantCharacter: 0.8, DragFlow 1.5. InstantX: 0.7. XLabs, PuLID: 1. SD 1.5, SDXL: 1, beside a prompt 0.5.",
                ),
                io.Float.Input("start", default=0.0, min=0.0, max=1.0, step=0.01, tooltip="From where on in the schedule; 0: pure noise."),
                io.Float.Input("end", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Until where in the schedule; 1: the picture."),
                io.Float.Input(
                    "fade", default=0.0, min=0.0, max=1.0, step=0.05, advanced=True,
                    tooltip="How much weaker it is at the end than at the start; 1 fades out altogether.",
                ),
                io.Mask.Input("area", optional=True, tooltip="Where in the picture. Its greys weaken. Without it, everywhere."),
            ],
            outputs=[io.Model.Output("model_out", display_name="model")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, start: float | None = None, end: float | None = None) -> bool | str:
        if start is not None and end is not None and start >= end:
            return f"the adapter would work from {start:g} to {end:g} of the schedule: start has to be before end"
        return True

    @classmethod
    def execute(
        cls, model, subject: Encoded, strength: float, start: float, end: float, fade: float, area: torch.Tensor | None = None
    ) -> io.NodeOutput:
        first, last = time_of(model, start), time_of(model, end)
        injection = Injection(
            subject.adapter.adapter, subject.subject, strength, first, last, None if area is None else area.detach().float().cpu()[0],
            (lambda t: 1.0 - fade * (first - t) / max(first - last, 1e-6)) if fade > 0 else None,
        )  # fmt: skip
        return io.NodeOutput(with_subjects(model, [injection], subject.adapter.weights(model.load_device)))


def _choices() -> list[str]:
    return [*([DEMO] if WEIGHTS.exists() else []), *_files()]


def _files() -> dict[str, str]:
    """Files that may hold an adapter, by the name shown: folder/file -> path."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        key = f"dragfield {folder}"
        if key not in folder_paths.folder_names_and_paths:
            places = [f"{folder_paths.models_dir}/{folder}"]
            folder_paths.folder_names_and_paths[key] = (places, {".safetensors", ".bin", ".pt"})
        for name in folder_paths.get_filename_list(key):
            found[f"{folder}/{name}"] = folder_paths.get_full_path_or_raise(key, name)
    return found
