"""demo-unet as native MODEL, CLIP and VAE: ComfyUI's own UNet class in the demo's size, with the weights renamed from diffusers' layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch
from torch import Tensor

from ...core.demo.autoencoder import DemoAutoencoder
from ...core.demo.unet import WEIGHTS
from .bundled import mark_bundled
from .demo_model import DemoCLIP, DemoVAE


class DemoUNetLatent(comfy.latent_formats.LatentFormat):
    """The 4-channel demo autoencoder's latents, which are normalised by construction.

    The colours of previews were found as those of `DemoLatent`; on 12 other scenes they explain 63 % of the variance.
    """

    latent_channels = 4
    scale_factor = 1.0

    def __init__(self) -> None:
        self.latent_rgb_factors = [
            [0.1454, -0.0602, -0.1227],
            [0.1928, -0.0290, -0.1567],
            [-0.1225, -0.1334, 0.1137],
            [-0.2260, -0.1873, -0.3552],
        ]
        self.latent_rgb_factors_bias = [0.1388, 0.1713, 0.0355]


class DemoUNetConfig(comfy.supported_models.SD15):
    """The demo model among ComfyUI's supported ones."""

    unet_extra_config: dict[str, Any] = {}
    latent_format = DemoUNetLatent
    memory_usage_factor = 0.2


class DemoUNetVAE(DemoVAE):
    latent_channels = DemoUNetLatent.latent_channels


def load_demo_unet(folder: Path = WEIGHTS) -> tuple[Any, DemoCLIP, DemoUNetVAE]:
    """(MODEL, CLIP, VAE) of the bundle in `folder`; FileNotFoundError with what to do when it is not there."""
    from safetensors.torch import load_file

    config = folder / "unet" / "config.json"
    if not config.exists():
        raise FileNotFoundError(f"No demo UNet in {folder}: reinstall the node pack, or train one with `dragfield train`.")
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    model = make_unet(json.loads(config.read_text(encoding="utf-8")), weights)
    return mark_bundled(model), DemoCLIP(), DemoUNetVAE(DemoAutoencoder.load(folder / "vae"))


def make_unet(config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> Any:
    """A MODEL of a diffusers `UNet2DConditionModel` laid out as SD 1.5: its config and state dict.

    dtype: of the weights, and to compute in unless it is fp8. Group norms have 32 groups, as all of ComfyUI's.
    """
    native = DemoUNetConfig(native_config(config))
    native.set_inference_dtype(dtype, torch.float32 if dtype.itemsize == 1 else None)
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    kind = {"epsilon": comfy.model_base.ModelType.EPS, "v_prediction": comfy.model_base.ModelType.V_PREDICTION}
    model = comfy.model_base.BaseModel(native, model_type=kind[config.get("prediction_type", "epsilon")], device=offload)
    # Given every weight: the layers are made without any.
    missing, unknown = model.diffusion_model.load_state_dict(native_weights(native.unet_config, weights, dtype), strict=False)
    if missing or unknown:
        raise ValueError(f"the weights don't fit the config: {[*missing, *unknown][:3]} are missing or unknown")
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=offload)


def native_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """diffusers' config of an SD 1.5 UNet as ComfyUI's `unet_config`."""
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    crossing = [int("CrossAttn" in name) for name in config["down_block_types"]]
    return {
        "image_size": config.get("sample_size", 32),
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": widths[0],
        "num_res_blocks": [layers] * len(widths),
        "channel_mult": [width // widths[0] for width in widths],
        "transformer_depth": [depth for depth in crossing for _ in range(layers)],
        "transformer_depth_middle": 1,
        # From the highest resolution to the lowest: ComfyUI takes them from the end.
        "transformer_depth_output": [depth for depth in crossing for _ in range(layers + 1)],
        "context_dim": config["cross_attention_dim"],
        "num_heads": config["attention_head_dim"],
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "use_temporal_attention": False,
        "adm_in_channels": None,
        "legacy": False,
    }


def native_weights(config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """diffusers' state dict of a UNet in ComfyUI's names."""
    names = comfy.utils.unet_to_diffusers(config)
    return {names.get(name, name): x.to(dtype) for name, x in weights.items()}
