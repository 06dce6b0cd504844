"""Small models of FLUX's family, of ComfyUI's own classes, with random weights."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.supported_models
import torch

CPU = torch.device("cpu")

FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 8, "context_in_dim": 12, "hidden_size": 32, "mlp_ratio":
    4.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [4, 6, 6], "theta": 10000, "patch_size": 2, "qkv_bias": True,
    "guidance_embed": False, "txt_ids_dims": [],
}  # fmt: skip
FLUX2 = {
    "image_model": "flux2", "in_channels": 128, "out_channels": 128, "vec_in_dim": None, "patch_size": 1, "qkv_bias": False, "theta": 2000,
    "axes_dim": [4, 4, 4, 4], "mlp_ratio": 3.0, "txt_ids_dims": [3], "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
    "default_ref_method": "index", "ref_index_scale": 10.0,
}  # fmt: skip
CHROMA = {"image_model": "chroma", "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 32, "hidden_dim": 16, "n_layers": 1}
MODELS = {
    "schnell": (comfy.supported_models.FluxSchnell, FLUX),
    "dev": (comfy.supported_models.Flux, {**FLUX, "guidance_embed": True}),
    "Fill": (comfy.supported_models.FluxInpaint, {**FLUX, "guidance_embed": True, "in_channels": 96}),
    "LongCat": (comfy.supported_models.LongCatImage, {**FLUX, "vec_in_dim": None, "txt_ids_dims": [1, 2]}),
    "FLUX.2": (comfy.supported_models.Flux2, {**FLUX, **FLUX2}),
    "Chroma": (comfy.supported_models.Chroma, {**FLUX, **CHROMA}),
}


def make(name: str) -> Any:
    kind, settings = MODELS[name]
    settings = dict(settings)
    if name == "Chroma":
        settings.pop("guidance_embed")
    config = kind(settings)
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, device=CPU)
    generator = torch.Generator().manual_seed(0)
    for key, parameter in model.diffusion_model.named_parameters():
        is_scale = key.endswith(("_norm.weight", "norms.0.weight"))
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.2 if parameter.ndim > 1 else 0.1) + float(is_scale)
    return comfy.model_patcher.CoreModelPatcher(model, load_device=CPU, offload_device=CPU)
