"""Dragfield: drag-based image editing for ComfyUI (https://docs.comfy.org/custom-nodes)."""
