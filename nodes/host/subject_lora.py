"""A LoRA of one picture, learnt on a native MODEL (DirectDrag section 9), in names that ComfyUI and other programs load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.sd
import comfy.utils
import torch
from torch import Tensor

from ...core.model.backbone import Conditioning
from ...core.training.lora import ATTENTION, LoraSettings, to_state, train_lora
from .comfy_transformer import ComfyTransformer
from .comfy_unet import ComfyUNet
from .conditioning import ComfyConditioning
from .recognised_backbone import backbone_for

FLUX_ATTENTION = ("img_attn.qkv", "img_attn.proj", "txt_attn.qkv", "txt_attn.proj")
"""What of a FLUX model's double blocks is attention, query, key and value in one."""
DIFFUSERS = "lora_unet_"


def learn(
    patcher: Any, z0: Tensor, prompt: ComfyConditioning | Conditioning, settings: LoraSettings, report: Callable[[int, int, float], None]
) -> dict[str, Tensor]:
    """The LoRA that teaches the MODEL the latents z0 [N, C, h, w], as the state dict of an ordinary LoRA file. May be told to stop by
    what `report` raises; the MODEL stays as it is."""
    backbone = backbone_for(patcher)
    network = patcher.model.diffusion_model
    flux = isinstance(backbone, ComfyTransformer)
    settings = LoraSettings(**{**vars(settings), "targets": FLUX_ATTENTION if flux else ATTENTION})
    with backbone.session():
        # The layers are taught where they compute: a first call brings them there.
        _wake(backbone, z0[:1], prompt)
        lora = train_lora(backbone, network, z0, prompt, settings, report=report)
        state = to_state(lora)
    return state if flux else _in_diffusers_names(state, patcher)


def with_lora(patcher: Any, state: dict[str, Tensor], strength: float) -> Any:
    """A clone of the MODEL with the LoRA in it."""
    return comfy.sd.load_lora_for_models(patcher, None, dict(state), strength, 0.0)[0]


@torch.no_grad()
def _wake(backbone: ComfyTransformer | ComfyUNet, z: Tensor, prompt: ComfyConditioning | Conditioning) -> None:
    if isinstance(backbone, ComfyTransformer):
        backbone.velocity(z, 0.5, prompt)
    else:
        backbone.noise(z, len(backbone.schedule) // 2, prompt)


def _in_diffusers_names(state: dict[str, Tensor], patcher: Any) -> dict[str, Tensor]:
    """The state with layers named as in diffusers, which is what other programs know a Stable Diffusion model by."""
    names = comfy.utils.unet_to_diffusers(patcher.model.model_config.unet_config)
    known = {_flat(native): _flat(diffusers) for diffusers, native in names.items()}
    renamed = {}
    for key, value in state.items():
        layer, _, part = key.removeprefix(DIFFUSERS).partition(".")
        renamed[f"{DIFFUSERS}{known.get(layer, layer)}.{part}"] = value
    return renamed


def _flat(name: str) -> str:
    return name.removesuffix(".weight").replace(".", "_")
