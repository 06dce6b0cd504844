"""Dragfield: drag-based image editing for ComfyUI (https://docs.comfy.org/custom-nodes)."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes.extension import Dragfield

    return Dragfield()
