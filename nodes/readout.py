"""Load Readout Head, Readout Guidance: keep a picture looking as it did while something in it moves (DirectDrag sections 3.5 and 8)."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import folder_paths
import torch
from comfy_api.latest import io

from ..core.demo.flux import WEIGHTS as FLUX_WEIGHTS
from ..core.demo.unet import WEIGHTS as UNET_WEIGHTS
from ..core.edits.guides import ReadoutGuide
from ..core.model.readout import ReadoutHead, load_readout
from ..core.optimise.appearance import Distance, ReadoutSettings
from .guides import GuidanceType, Guides, ReadoutHeadType
from .types import CATEGORY

FOLDER = "readout_heads"
"""Inside ComfyUI's models directory."""
KEY = "dragfield readout heads"
BUNDLED = {
    "demo-unet (bundled)": UNET_WEIGHTS / "readout.safetensors",
    "demo-flux (bundled)": FLUX_WEIGHTS / "readout.safetensors",
}
NONE = "none found"


class LoadReadoutHead(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldLoadReadoutHead",
            display_name="Load Readout Head",
            category=CATEGORY,
            description="A small network that reads from a diffusion model's features what a picture looks like: a published appearance "
            "head for Stable Diffusion 1.5 (.pt), one that Train Readout Head made, or that of a demo model.",
            search_aliases=["readout guidance", "appearance head", "DirectDrag", "diffusion features"],
            inputs=[
                io.Combo.Input(
                    "file", options=list(heads()) or [NONE],
                    tooltip=f"From {FOLDER} inside ComfyUI's models directory, besides those of the demo models."
                ),
            ],
            outputs=[ReadoutHeadType.Output("head", tooltip="For Readout Guidance.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        known = heads()
        if file not in known:
            raise ValueError(f"there is no readout head {file!r}: put a .safetensors or .pt file into models/{FOLDER}, or train one")
        # Gradients flow through its weights: they must be ordinary tensors.
        with torch.inference_mode(False):
            return io.NodeOutput(load_readout(known[file]))


class ReadoutGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldReadoutGuidance",
            display_name="Readout Guidance",
            category=CATEGORY,
            description="A term for the optimizers: the readout of the dragged latent shall stay what it was. Several in a row add up.",
            search_aliases=["appearance guidance", "DirectDrag", "guidance loss", "keep appearance"],
            inputs=[
                ReadoutHeadType.Input("head", tooltip="One that was trained for the model."),
                io.Float.Input("weight", default=350.0, min=0.0, max=100000.0, step=10.0, tooltip="Against the drag. Published: 350."),
                GuidanceType.Input("guidance", optional=True, tooltip="Another one, to be added up."),
                io.Combo.Input(
                    "distance", options=list(get_args(Distance)), advanced=True, tooltip="'cosine': the published code. 'l2': the paper."
                ),
                io.Combo.Input(
                    "compare_with",
                    options=["each_time", "inversion"],
                    advanced=True,
                    tooltip="The undragged picture at the same time (paper), or always what the end of the inversion saw (published code).",
                ),
                io.Combo.Input(
                    "time",
                    options=["true", "mirrored"],
                    advanced=True,
                    tooltip="What the head is told of the time. 'mirrored': as published heads were trained.",
                ),
            ],
            outputs=[GuidanceType.Output("guidance_out", display_name="guidance", tooltip="For the optimizers.")],
        )

    @classmethod
    def execute(cls, head: ReadoutHead, weight: float, distance: str, compare_with: str, time: str, guidance: Guides = ()) -> io.NodeOutput:
        reference = "per_step" if compare_with == "each_time" else "fixed"
        settings = ReadoutSettings(weight=weight, distance=distance, reference=reference, time=time)
        return io.NodeOutput((*guidance, ReadoutGuide(head, settings)))


def heads() -> dict[str, Path]:
    """Readout heads that can be loaded, by the name shown."""
    if KEY not in folder_paths.folder_names_and_paths:
        folder_paths.folder_names_and_paths[KEY] = ([f"{folder_paths.models_dir}/{FOLDER}"], {".safetensors", ".pt"})
    found = {name: path for name, path in BUNDLED.items() if path.exists()}
    for name in folder_paths.get_filename_list(KEY):
        found[name] = Path(folder_paths.get_full_path_or_raise(KEY, name))
    return found
