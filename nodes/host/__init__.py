"""ComfyUI's models behind core's contracts: the only part of the pack that imports `comfy`."""
