"""Room on the accelerator for a model that ComfyUI does not load itself."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import torch

MORE = 1.2
"""What a model takes while it runs, as a part of its weights: an estimate on the safe side."""


def device_with_room_for(folder: Path) -> torch.device:
    """ComfyUI's device, on which it has made room for the weights in a folder of transformers by unloading models of its own."""
    device = comfy.model_management.get_torch_device()
    if not comfy.model_management.is_device_cpu(device):
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        comfy.model_management.free_memory(MORE * size, device)
    return device
