"""The subgraph that Drag Edit becomes, of ComfyUI's own nodes and ours, so that each part of it is cached by itself."""

from __future__ import annotations

from typing import Any

from ..core.edits.presets import Preset
from ..core.picture.window import Window
from ..core.sampling.ddim_inversion import DDIMSettings
from ..core.sampling.inversion import InversionSettings

Graph = dict[str, dict[str, Any]]
Link = list


def inversion_graph(
    node_id: str,
    inputs: dict[str, Any],
    window: Window,
    size: tuple[int, int],
    settings: InversionSettings | DDIMSettings,
    prompt: str,
    edit_prompt: str,
    preset: Preset,
    reference: bool = False,
) -> tuple[Graph, list[Link]]:
    """The graph that inverts what the window shows and then edits, and where the outputs of Drag Edit come from.

    node_id, inputs: of the Drag Edit node, inputs as the graph has them: links [node id, output], or values.  size: of the picture.
    reference: whether the prompts hold what the window shows, for models that edit pictures.
    """
    graph: Graph = {}

    def add(name: str, kind: str, **given: Any) -> Link:
        graph[f"{node_id}.{name}"] = {"class_type": kind, "inputs": given}
        return [f"{node_id}.{name}", 0]

    pixels = inputs["image"]
    if (window.width, window.height) != size:
        pixels = add("crop", "ImageCrop", image=pixels, x=window.x, y=window.y, width=window.width, height=window.height)
    if window.scaled:
        pixels = add(
            "scale", "ImageScale", image=pixels, upscale_method="lanczos", width=window.work[0], height=window.work[1], crop="disabled"
        )
    latent = add("encode", "VAEEncode", pixels=pixels, vae=inputs["vae"])
    positive = inputs["positive"] if "positive" in inputs else add("prompt", "CLIPTextEncode", clip=inputs["clip"], text=prompt)
    if reference:
        positive = add("reference", "ReferenceLatent", conditioning=positive, latent=latent)
    what = {"model": inputs["model"], "positive": positive, "latent": latent, "steps": settings.steps}
    if isinstance(settings, DDIMSettings):
        inverted = add("invert", "DragfieldDDIMInvert", **what, strength=settings.strength)
    else:
        inverted = add(
            "invert", "DragfieldInvert", **what, skip=settings.skip, guidance=settings.guidance, remember=settings.kv_blocks,
            remember_on=settings.kv_placement, preset=preset,
        )  # fmt: skip
    given = {**inputs, "trajectory": inverted}
    if "edit_positive" not in inputs and edit_prompt and "clip" in inputs:
        given["edit_positive"] = add("edit_prompt", "CLIPTextEncode", clip=inputs["clip"], text=edit_prompt)
    if given.get("cfg", 1.0) != 1.0 and "negative" not in inputs:
        given["negative"] = add("negative", "CLIPTextEncode", clip=inputs["clip"], text="")
    for prompt_name in ("edit_positive", "negative"):
        if reference and prompt_name in given:
            given[prompt_name] = add(f"{prompt_name}_reference", "ReferenceLatent", conditioning=given[prompt_name], latent=latent)
    # It came with the prompts, the trajectory's own among them.
    given.pop("reference", None)
    edit = add("edit", "DragfieldEdit", **given)
    return graph, [[edit[0], output] for output in range(3)]
