"""Small models of ComfyUI's own classes beyond FLUX, with random weights, and one of a class that nobody knows."""

from __future__ import annotations

from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.supported_models
import comfy.supported_models_base
import torch
from torch import nn

CPU = torch.device("cpu")
TEXT = 12
"""Width of a prompt's tokens."""

MODELS = {
    "Z-Image": (
        comfy.supported_models.ZImage,
        {
            "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 256, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 8,
            "n_kv_heads": 8, "qk_norm": True, "cap_feat_dim": TEXT, "axes_dims": [8, 12, 12], "axes_lens": [64, 64, 64],
            "rope_theta": 256.0, "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32, "ffn_dim_multiplier": 8 / 3,
        },
    ),
    "Lumina 2": (
        comfy.supported_models.Lumina2,
        {
            "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 64, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 4,
            "n_kv_heads": 2, "qk_norm": True, "cap_feat_dim": TEXT, "axes_dims": [4, 6, 6], "axes_lens": [64, 64, 64],
            "rope_theta": 10000.0, "ffn_dim_multiplier": 4.0,
        },
    ),
    "Qwen-Image": (
        comfy.supported_models.QwenImage,
        {
            "image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "joint_attention_dim": TEXT, "axes_dims_rope": (4, 6, 6),
        },
    ),
    "SD 3.5": (
        comfy.supported_models.SD3,
        {
            "in_channels": 16, "depth": 2, "input_size": None, "adm_in_channels": 8, "pos_embed_scaling_factor": None,
            "pos_embed_max_size": 16, "num_patches": 256, "qk_norm": "rms", "x_block_self_attn_layers": [0], "context_embedder_config": {
                "target": "torch.nn.Linear", "params": {"in_features": TEXT, "out_features": 128},
            },
        },
    ),
    "Krea 2": (
        comfy.supported_models.Krea2,
        {
            "image_model": "krea2", "features": 64, "tdim": 16, "txtdim": TEXT, "heads": 4, "kvheads": 2, "multiplier": 2, "layers": 2,
            "patch": 2, "channels": 16, "txtlayers": 1, "txtheads": 2, "txtkvheads": 2,
        },
    ),
    "Wan": (
        comfy.supported_models.WAN21_T2V,
        {
            "image_model": "wan2.1", "model_type": "t2v", "dim": 48, "ffn_dim": 64, "freq_dim": 16, "text_dim": TEXT, "num_heads": 2,
            "num_layers": 2, "in_dim": 16, "out_dim": 16,
        },
    ),
    "Kandinsky 5": (
        comfy.supported_models.Kandinsky5Image,
        {
            "image_model": "kandinsky5", "model_dim": 48, "ff_dim": 64, "time_dim": 16, "in_text_dim": TEXT, "in_text_dim2": 8,
            "visual_embed_dim": 64, "num_text_blocks": 1, "num_visual_blocks": 2, "axes_dims": (8, 8, 8),
        },
    ),
}  # fmt: skip

VELOCITY_ALONE = {
    "Anima": (
        comfy.supported_models.Anima,
        {
            "image_model": "anima", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16,
            "patch_spatial": 2, "patch_temporal": 1, "model_channels": 48, "num_blocks": 2, "num_heads": 2, "crossattn_emb_channels": 1024,
            "pos_emb_cls": "rope3d", "pos_emb_learnable": True, "use_adaln_lora": True, "adaln_lora_dim": 8,
        },
    ),
    "HiDream": (
        comfy.supported_models.HiDream,
        {
            "image_model": "hidream", "patch_size": 2, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 24,
            "num_attention_heads": 2, "caption_channels": [TEXT, TEXT], "text_emb_dim": 8, "axes_dims_rope": (8, 8, 8),
            "llama_layers": [0, 1],
        },
    ),
    "OmniGen 2": (
        comfy.supported_models.Omnigen2,
        {
            "image_model": "omnigen2", "hidden_size": 48, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 2,
            "num_kv_heads": 1, "axes_dim_rope": (8, 8, 8), "text_feat_dim": TEXT, "multiple_of": 16,
        },
    ),
    "Ernie Image": (
        comfy.supported_models.ErnieImage,
        {
            "image_model": "ernie", "hidden_size": 48, "num_attention_heads": 2, "num_layers": 2, "ffn_hidden_size": 64, "in_channels": 128,
            "out_channels": 128, "text_in_dim": TEXT, "rope_axes_dim": (8, 8, 8),
        },
    ),
    "AuraFlow": (
        comfy.supported_models.AuraFlow,
        {"cond_seq_dim": TEXT, "n_layers": 2, "n_double_layers": 1, "dim": 64, "n_heads": 2, "max_seq": 256},
    ),
}  # fmt: skip
"""Of which nothing is known here but that ComfyUI samples them as flows."""


def make(name: str) -> Any:
    """A MODEL of that kind; "unknown" is a class of this file's own."""
    kind, given = (_Unknown, {}) if name == "unknown" else (MODELS | VELOCITY_ALONE)[name]
    config = kind(dict(given))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, device=CPU)
    generator = torch.Generator().manual_seed(0)
    for key, parameter in model.diffusion_model.named_parameters():
        scale = parameter.ndim == 1 and "bias" not in key
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.15 if parameter.ndim > 1 else 0.1) + float(scale)
    for buffer in model.diffusion_model.buffers():
        # Made empty, to be read from a file.
        buffer.data = torch.randn(buffer.shape, generator=generator)
    return comfy.model_patcher.CoreModelPatcher(model, load_device=CPU, offload_device=CPU)


def conditioning(seed: int = 1, tokens: int = 5, **extra: Any) -> list:
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens, TEXT, generator=generator), {"pooled_output": torch.randn(1, 8, generator=generator), **extra}]]


def words(name: str) -> list:
    """A prompt with all that a class of `VELOCITY_ALONE` wants of one."""
    if name == "Anima":
        # Its adapter of the text is as wide as the real one.
        text = torch.randn(1, 5, 1024, generator=torch.Generator().manual_seed(1))
        return [[text, {"t5xxl_ids": torch.arange(5), "t5xxl_weights": torch.ones(5)}]]
    states = torch.randn(1, 2, 5, TEXT, generator=torch.Generator().manual_seed(4))
    more = {"HiDream": {"conditioning_llama3": states}, "OmniGen 2": {"attention_mask": torch.ones(1, 5, dtype=torch.long)}}
    return conditioning(**more.get(name, {}))


class Grey:
    """A VAE each of whose channels is a small grey picture; with a time axis where the model's latents have one."""

    def __init__(self, timed: bool, channels: int = 16, factor: int = 8) -> None:
        self.timed, self.latent_channels, self.factor = timed, channels, factor

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), self.factor).mean(1, keepdim=True)
        z = small.expand(-1, self.latent_channels, -1, -1) * 2 - 1
        return z[:, :, None].clone() if self.timed else z.clone()

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        z = samples[:, :, 0] if self.timed else samples
        grey = torch.nn.functional.interpolate((z.mean(1, keepdim=True) + 1) / 2, scale_factor=self.factor).expand(-1, 3, -1, -1)
        pixels = grey.movedim(1, -1).clamp(0, 1)
        return pixels[:, None] if self.timed else pixels


class _Convolved(nn.Module):
    """A network of nobody's class: no blocks, no patches, none of ComfyUI's wrappers inside."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype = torch.float32
        self.see, self.say, self.text = nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 16, 3, padding=1), nn.Linear(TEXT, 24)

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, **_: Any) -> torch.Tensor:
        text = self.text(context).mean(1)[..., None, None]
        return self.say(torch.tanh(self.see(x) + text + t[:, None, None, None] / 1000))


class _UnknownModel(comfy.model_base.BaseModel):
    def __init__(self, config: Any, device: Any = None) -> None:
        super().__init__(config, comfy.model_base.ModelType.FLOW, device=device, unet_model=lambda **_: _Convolved())

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().extra_conds(**kwargs), "c_crossattn": comfy.conds.CONDRegular(kwargs["cross_attn"])}


class _Unknown(comfy.supported_models_base.BASE):
    unet_config: dict[str, Any] = {}
    sampling_settings = {"shift": 2.0}
    latent_format = comfy.latent_formats.SD3

    def get_model(self, state_dict: dict, prefix: str = "", device: Any = None) -> Any:
        return _UnknownModel(self, device=device)
