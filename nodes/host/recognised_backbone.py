"""The backbone that fits a MODEL, for nodes that work with either kind."""

from __future__ import annotations

from typing import Any

from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from .comfy_flux import ComfyFlux
from .comfy_unet import ComfyUNet
from .memory import Saving


def backbone_for(patcher: Any, save_memory: Saving | bool = "auto") -> ComfyFlux | ComfyUNet:
    """A ComfyUNet for a UNet, a ComfyFlux for anything else, which says what to use when it is none either.

    save_memory: of a transformer.
    """
    unet = isinstance(getattr(getattr(patcher, "model", None), "diffusion_model", None), UNetModel)
    return ComfyUNet(patcher) if unet else ComfyFlux(patcher, save_memory=save_memory)
