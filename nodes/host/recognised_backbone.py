"""The backbone that fits a MODEL, for nodes that work with either kind."""

from __future__ import annotations

from typing import Any

from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from .comfy_flow import ComfyFlow
from .comfy_transformer import ComfyTransformer
from .comfy_unet import ComfyUNet
from .memory import Saving
from .recognise import flow_of, is_known

Backbone = ComfyFlow | ComfyUNet
"""`ComfyTransformer` is a ComfyFlow that goes further."""


def backbone_for(patcher: Any, save_memory: Saving | bool = "auto") -> Backbone:
    """A ComfyUNet for a UNet, a ComfyTransformer for blocks that are known, a ComfyFlow for anything else that is sampled as a flow.

    save_memory: of a ComfyTransformer. Raises ValueError, saying what to use, for what is none of these.
    """
    if isinstance(getattr(getattr(patcher, "model", None), "diffusion_model", None), UNetModel):
        return ComfyUNet(patcher)
    return ComfyTransformer(patcher, save_memory=save_memory) if is_known(patcher) else ComfyFlow(patcher)


def flow_backbone(patcher: Any, save_memory: Saving | bool = "auto") -> ComfyFlow:
    """The same, but for a flow alone. Raises ValueError for a UNet, which another inversion takes."""
    flow_of(patcher)
    return backbone_for(patcher, save_memory)
