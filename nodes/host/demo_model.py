"""The bundled demo model as native MODEL, CLIP and VAE, so that every example workflow runs on a CPU right after installing.

The MODEL is ComfyUI's own Flux class in the demo's size, with the weights renamed from diffusers' layout; loaders of ComfyUI would not
recognise it, because they take FLUX.1's head count for granted. CLIP and VAE are small objects with the methods that nodes call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from torch import Tensor

from ...core.demo import text
from ...core.demo.autoencoder import DemoAutoencoder
from ...core.demo.flux import WEIGHTS
from .bundled import mark_bundled


class DemoLatent(comfy.latent_formats.LatentFormat):
    """The demo autoencoder's latents, which are normalised by construction.

    The colours of previews are the least-squares map, with a constant, from the latents of 48 scenes (`sample_scene` with seeds 0 to 47) to
    the mean colours of their 8 x 8 px cells in [-1, 1]. On 12 other scenes it explains 84 % of the variance.
    """

    latent_channels = 16
    scale_factor = 1.0

    def __init__(self) -> None:
        self.latent_rgb_factors = [
            [-0.3684, -0.0304, 0.1978],
            [-0.0183, -0.2747, -0.2674],
            [0.1521, 0.0101, -0.2939],
            [-0.0059, 0.0352, 0.1075],
            [0.1374, 0.1814, 0.2232],
            [0.0952, 0.0071, 0.1145],
            [0.0423, 0.3530, 0.4828],
            [-0.1751, 0.1097, 0.3272],
            [-0.1814, -0.2136, -0.4021],
            [0.0710, 0.1606, 0.1814],
            [0.3241, 0.1094, 0.1411],
            [0.1973, -0.0559, -0.3443],
            [0.4428, 0.1558, 0.1499],
            [0.0683, 0.1423, 0.3227],
            [-0.3393, -0.2124, -0.1157],
            [-0.1921, 0.1176, -0.0438],
        ]
        self.latent_rgb_factors_bias = [0.1246, 0.1641, 0.0399]


class DemoFluxConfig(comfy.supported_models.Flux):
    """The demo model among ComfyUI's supported ones."""

    latent_format = DemoLatent
    memory_usage_factor = 0.2


def load_demo_model(folder: Path = WEIGHTS) -> tuple[Any, DemoCLIP, DemoVAE]:
    """(MODEL, CLIP, VAE) of the bundle in `folder`; FileNotFoundError with what to do when it is not there."""
    from safetensors.torch import load_file

    config = folder / "transformer" / "config.json"
    if not config.exists():
        raise FileNotFoundError(f"No demo model in {folder}: reinstall the node pack, or train one with `dragfield train`.")
    # Weights made in inference mode, in which nodes run, could not take part in a gradient as they are, and fetching them costs time.
    with torch.inference_mode(False):
        weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
        model = make_model(json.loads(config.read_text(encoding="utf-8")), weights)
        # As in inference mode, where loaders make theirs: else every drag iteration would have to forbid each parameter its gradient.
        model.model.requires_grad_(False)
        return mark_bundled(model), DemoCLIP(), DemoVAE(DemoAutoencoder.load(folder / "vae"))


def make_model(config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> Any:
    """A MODEL of a diffusers `FluxTransformer2DModel`: its config and state dict.

    dtype: of the weights, and to compute in unless it is fp8.
    """
    native = DemoFluxConfig(native_config(config))
    native.set_inference_dtype(dtype, torch.float32 if dtype.itemsize == 1 else None)
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    model = comfy.model_base.Flux(native, device=offload)
    # Given every weight: the layers are made without any.
    missing, unknown = model.diffusion_model.load_state_dict(native_weights(weights, dtype), strict=False)
    if missing or unknown:
        raise ValueError(f"the weights don't fit the config: {[*missing, *unknown][:3]} are missing or unknown")
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=offload)


def native_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """diffusers' config of a FLUX.1 transformer as ComfyUI's `unet_config`."""
    return {
        "image_model": "flux",
        "in_channels": config["in_channels"] // 4,
        "out_channels": config["in_channels"] // 4,
        "vec_in_dim": config["pooled_projection_dim"],
        "context_in_dim": config["joint_attention_dim"],
        "hidden_size": config["num_attention_heads"] * config["attention_head_dim"],
        "mlp_ratio": 4.0,
        "num_heads": config["num_attention_heads"],
        "depth": config["num_layers"],
        "depth_single_blocks": config["num_single_layers"],
        "axes_dim": list(config["axes_dims_rope"]),
        "theta": 10000,
        "patch_size": 2,
        "qkv_bias": True,
        "guidance_embed": config["guidance_embeds"],
        "txt_ids_dims": [],
    }


def native_weights(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """diffusers' state dict of a FLUX.1 transformer in ComfyUI's names: q, k, v fused, the last norm's scale and shift swapped."""
    converted = comfy.model_detection.convert_diffusers_mmdit({name: x.clone() for name, x in weights.items()}, "")
    return {name: x.to(dtype) for name, x in converted.items()}


class DemoVAE:
    """What VAE nodes call, over `DemoAutoencoder`. Small enough to stay on the CPU, also tiled."""

    latent_channels = DemoLatent.latent_channels

    def __init__(self, autoencoder: DemoAutoencoder) -> None:
        self.first_stage_model = autoencoder

    def encode(self, pixels: Tensor) -> Tensor:
        """[B, H, W, 3] in [0, 1] -> [B, C, H/8, W/8]; sides are cropped to multiples of 8 as VAE nodes do."""
        height, width = (side // 8 * 8 for side in pixels.shape[1:3])
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        cropped = pixels[:, top : top + height, left : left + width, :3]
        return self.first_stage_model.encode(cropped.movedim(-1, 1).cpu().float())

    def decode(self, samples: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 8h, 8w, 3] in [0, 1]."""
        return self.first_stage_model.decode(samples.cpu().float()).movedim(1, -1)

    def encode_tiled(self, pixels: Tensor, **_: Any) -> Tensor:
        return self.encode(pixels)

    def decode_tiled(self, samples: Tensor, **_: Any) -> Tensor:
        return self.decode(samples)

    def spacial_compression_encode(self) -> int:
        return self.first_stage_model.factor

    def spacial_compression_decode(self) -> int:
        return self.first_stage_model.factor

    def temporal_compression_decode(self) -> None:
        return None

    def throw_exception_if_invalid(self) -> None:
        return None


class DemoCLIP:
    """What CLIP Text Encode calls, over the demo's table of words."""

    def tokenize(self, prompt: str, **_: Any) -> dict[str, list[str]]:
        return {"demo": [prompt]}

    def encode_from_tokens_scheduled(self, tokens: dict[str, list[str]], **_: Any) -> list[list[Any]]:
        cond = text.embed(tokens["demo"])
        return [[cond.txt, {"pooled_output": cond.pooled}]]

    def clone(self, **_: Any) -> DemoCLIP:
        return self

    def clip_layer(self, layer: int) -> None:
        """There are no layers to stop at."""
