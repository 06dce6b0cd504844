"""Load ReD Bench Sample: a folder of the DragFlow benchmark, from ComfyUI's input directory."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
import numpy as np
from comfy_api.latest import io, ui

from ..core.formats import red_bench
from ..core.instruction import InstructionError
from . import wire
from .types import CATEGORY


class LoadReDBench(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldLoadReDBench",
            display_name="Load ReD Bench Sample",
            category=CATEGORY,
            description="A sample of ReD Bench or of the DragFlow demos: original_image.png, operation.png and instruction.json in one "
            "folder.",
            search_aliases=["ReD Bench", "DragFlow sample", "load drag benchmark"],
            inputs=[
                io.String.Input(
                    "folder", default="", tooltip="The sample's folder, inside ComfyUI's input directory (copy or link the data set there)."
                ),
                io.Combo.Input("use", options=["regions", "points", "both"], tooltip="The data set describes each drag twice."),
            ],
            outputs=[
                io.Image.Output("image"),
                io.String.Output("drag"),
                io.String.Output("prompt", tooltip="What the picture shows."),
                io.String.Output("edit_prompt", tooltip="What changes."),
                io.Mask.Output("region", tooltip="The regions that move."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None) -> bool | str:
        try:
            return folder is None or _inside_input(folder).is_dir() or f"there is no folder {folder!r} in ComfyUI's input directory"
        except InstructionError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, use: str = "") -> str | float:
        if not folder:
            return use
        files = sorted(_inside_input(folder).glob("*"))
        return "|".join([use, *(f"{file.name} {file.stat().st_mtime_ns}" for file in files)])

    @classmethod
    def execute(cls, folder: str, use: str) -> io.NodeOutput:
        sample = red_bench.read(_inside_input(folder), use)
        image = wire.image_of(np.asarray(sample.image(), dtype=np.float32) / 255)
        regions = [region.mask for region in sample.drag().regions]
        region = np.logical_or.reduce(regions) if regions else np.zeros(sample.size[::-1], dtype=bool)
        prompts = (sample.instruction.background_prompt, sample.instruction.editing_prompt)
        return io.NodeOutput(image, sample.instruction.to_json(), *prompts, wire.mask_of(region), ui=ui.PreviewImage(image, cls=cls))


def _inside_input(folder: str) -> Path:
    """The folder's path, which a shared workflow must not lead out of the input directory."""
    root = Path(folder_paths.get_input_directory())
    path = Path(os.path.normpath(root / folder.strip()))
    if not folder.strip() or path == root or not path.is_relative_to(root):
        raise InstructionError(f"the folder {folder[:60]!r} is not inside ComfyUI's input directory; copy or link the sample there")
    return path
