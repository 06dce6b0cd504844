"""The backbone that fits a MODEL, for nodes that work with either kind."""

from __future__ import annotations

from typing import Any

from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from .comfy_flow import ComfyFlow
from .comfy_flux import ComfyFlux
from .comfy_unet import ComfyUNet
from .memory import Saving
from .recognise import flow_of, has_flux_blocks

Backbone = ComfyFlow | ComfyUNet
"""`ComfyFlux` is a ComfyFlow that goes further."""


def backbone_for(patcher: Any, save_memory: Saving | bool = "auto") -> Backbone:
    """A ComfyUNet for a UNet, a ComfyFlux for FLUX's blocks, a ComfyFlow for anything else that is sampled as a flow.

    save_memory: of FLUX's blocks. Raises ValueError, saying what to use, for what is none of these.
    """
    if isinstance(getattr(getattr(patcher, "model", None), "diffusion_model", None), UNetModel):
        return ComfyUNet(patcher)
    return ComfyFlux(patcher, save_memory=save_memory) if has_flux_blocks(patcher) else ComfyFlow(patcher)


def flow_backbone(patcher: Any, save_memory: Saving | bool = "auto") -> ComfyFlow:
    """The same, but for a flow alone. Raises ValueError for a UNet, which another inversion takes."""
    flow_of(patcher)
    return backbone_for(patcher, save_memory)
