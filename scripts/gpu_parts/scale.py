"""How large everything is: as users have it, or small enough to rehearse on any machine; and the device to run on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from dragfield.benchmarks.cost import seconds_of
from dragfield.benchmarks.speed import FLUX

Config = dict[str, Any]
TINY_FLUX = {
    **FLUX, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 12,
    "pooled_projection_dim": 8, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
TINY_VAE = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
FLUX_VAE = {"block_out_channels": (128, 256, 512, 512), "norm_num_groups": 32, "layers_per_block": 2}
KLEIN = {
    "image_model": "flux2", "in_channels": 128, "out_channels": 128, "vec_in_dim": None, "context_in_dim": 7680, "hidden_size": 3072,
    "mlp_ratio": 3.0, "num_heads": 24, "depth": 5, "depth_single_blocks": 20, "axes_dim": [32, 32, 32, 32], "theta": 2000, "patch_size": 1,
    "qkv_bias": False, "guidance_embed": False, "txt_ids_dims": [3], "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
    "default_ref_method": "index", "ref_index_scale": 10.0,
}  # fmt: skip
Z_IMAGE = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 3840, "n_layers": 30, "n_refiner_layers": 2, "n_heads": 30,
    "n_kv_heads": 30, "qk_norm": True, "cap_feat_dim": 2560, "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512],
    "rope_theta": 256.0, "ffn_dim_multiplier": 8 / 3, "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32,
}  # fmt: skip
TINY_KLEIN = {
    **KLEIN, "context_in_dim": 12, "hidden_size": 32, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [4, 4, 4, 4],
}  # fmt: skip
TINY_Z_IMAGE = {
    **Z_IMAGE, "dim": 256, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 8, "n_kv_heads": 8, "cap_feat_dim": 12,
    "axes_dims": [8, 12, 12], "axes_lens": [64, 64, 64],
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    flux: a diffusers config; vae: of its autoencoder.  klein, z_image: ComfyUI's.  sides: of square pictures, px.  text: tokens of a
    prompt.  dtype: what models compute in.  product: side of the matrices whose product tells the rate of the card.  repeats: timed turns.
    gigabytes: cards to be simulated.  whole: whether edits run to their end.  unet, unet_sides: width of SD 1.5's first level and
    picture sides, px.
    """

    flux: Config = field(default_factory=lambda: dict(FLUX))
    vae: Config = field(default_factory=lambda: dict(FLUX_VAE))
    klein: Config = field(default_factory=lambda: dict(KLEIN))
    z_image: Config = field(default_factory=lambda: dict(Z_IMAGE))
    sides: tuple[int, ...] = (512, 1024)
    text: int = 512
    dtype: torch.dtype = torch.bfloat16
    product: int = 8192
    repeats: int = 5
    gigabytes: tuple[int, ...] = (24, 16, 12)
    whole: bool = True
    unet: int = 320
    unet_sides: tuple[int, ...] = (512,)

    @staticmethod
    def of(small: bool) -> Scale:
        if not small:
            return Scale()
        return Scale(
            TINY_FLUX, TINY_VAE, TINY_KLEIN, TINY_Z_IMAGE, sides=(64, 96), text=5, dtype=torch.float32, product=64, repeats=1,
            gigabytes=(24,), whole=False, unet=32, unet_sides=(64,),
        )  # fmt: skip


def machine(name: str | None) -> torch.device:
    """The device asked for, or a card if there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def described(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "torch": torch.__version__}


def product_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """FLOPs a second of square matrix products of random numbers: what the card gives to anybody."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b

    def ten() -> None:
        for _ in range(10):
            a @ b

    return 10 * 2 * side**3 / min(seconds_of(ten, device) for _ in range(3))
