"""Models as ComfyUI's loader makes them of a file's keys and shapes, as wide as the real ones where it knows no other width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import comfy.supported_models
import pytest
import safetensors.torch
import torch
from sampled import T, off, sampled_velocity

from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.conditioning import ComfyConditioning
from dragfield.nodes.host.recognised_backbone import backbone_for

# Name, class, its configuration, width of a prompt's tokens. Z-Image and Qwen-Image are as wide as the real ones, with one block.
FILES = {
    "Z-Image": (
        comfy.supported_models.ZImage,
        {
            "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 3840, "cap_feat_dim": 2560, "n_layers": 1, "n_heads": 30,
            "n_kv_heads": 30, "qk_norm": True, "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512], "rope_theta": 256.0,
            "ffn_dim_multiplier": 8 / 3, "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32,
        },
        2560,
    ),
    "Qwen-Image": (comfy.supported_models.QwenImage, {"image_model": "qwen_image", "in_channels": 64, "num_layers": 1}, 3584),
    "Krea 2": (
        comfy.supported_models.Krea2,
        {
            "image_model": "krea2", "features": 256, "channels": 16, "patch": 2, "layers": 2, "heads": 2, "kvheads": 1, "txtlayers": 2,
            "txtdim": 320,
        },
        640,
    ),
    "SD 3.5": (
        comfy.supported_models.SD3,
        {
            "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": 2, "input_size": None, "adm_in_channels": 8, "qk_norm": "rms",
            "pos_embed_scaling_factor": None, "num_patches": 256, "pos_embed_max_size": 16, "x_block_self_attn_layers": [0],
            "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 24, "out_features": 128}},
        },
        24,
    ),
    "Wan": (comfy.supported_models.WAN21_T2V, {"image_model": "wan2.1", "dim": 256, "ffn_dim": 64, "num_heads": 2, "num_layers": 2}, 4096),
    "Kandinsky 5": (
        comfy.supported_models.Kandinsky5Image,
        {
            "image_model": "kandinsky5", "model_dim": 2560, "ff_dim": 64, "time_dim": 2560, "in_text_dim2": 768, "visual_embed_dim": 64,
            "num_text_blocks": 1, "num_visual_blocks": 1, "axes_dims": (32, 48, 48), "rope_scale_factor": (1.0, 1.0, 1.0),
        },
        3584,
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn], ids=["bf16", "fp8"])
@pytest.mark.parametrize("name", list(FILES))
def test_a_loaded_model_gives_its_velocity_its_features_and_its_keys(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    kind, config, text = FILES[name]
    if name in ("Z-Image", "Qwen-Image"):
        patcher = comfy.sd.load_diffusion_model_state_dict(_weights(kind, config, dtype))
    else:
        file = tmp_path / "model.safetensors"
        safetensors.torch.save_file({key: x.contiguous() for key, x in _weights(kind, config, dtype).items()}, file)
        patcher = comfy.sd.load_diffusion_model(str(file))
    assert isinstance(patcher.model.model_config, kind)

    backbone = backbone_for(patcher)
    assert isinstance(backbone, ComfyTransformer) and backbone.family.name == name and backbone.level == 3
    generator = torch.Generator().manual_seed(1)
    pooled = torch.randn(1, 768 if name == "Kandinsky 5" else 8, generator=generator)
    prompt = ComfyConditioning([[torch.randn(1, 5, text, generator=generator), {"pooled_output": pooled}]])
    z = torch.randn(1, 16, 8, 8, generator=generator)
    v = backbone.velocity(z, T, prompt)
    assert v.abs().max() > 0 and off(v, sampled_velocity(patcher, z, prompt.positive)) < 1e-5

    bank = KVBank(choose_blocks("all", backbone.double_blocks, backbone.single_blocks))
    assert torch.equal(backbone.velocity(z, T, prompt, kv=bank.capture()), v)
    assert torch.equal(backbone.velocity(z, T, prompt, kv=bank.hold()), v)
    leaf = z.clone().requires_grad_()
    features = backbone.features(leaf, T, prompt, taps=backbone.default_taps)
    assert {tuple(f.shape) for f in features} == {(1, backbone.width, 4, 4)}
    g = torch.autograd.grad(sum(f.float().pow(2).mean() for f in features), leaf)[0]
    assert g.isfinite().all() and g.abs().max() > 0


def _weights(kind: Any, config: dict[str, Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights under a file's keys, of its shapes: one random row each, which costs no memory before the loader copies it."""
    made = kind(dict(config))
    made.set_inference_dtype(torch.float32, None)
    with torch.device("meta"):
        network = made.get_model({}, device=torch.device("meta")).diffusion_model
    generator = torch.Generator().manual_seed(0)
    found = {}
    for key, x in network.state_dict().items():
        row = 0.1 * torch.randn(x.shape[-1:], generator=generator) + (1.0 if "norm" in key and key.endswith("weight") else 0.0)
        found[key] = row.to(dtype if x.ndim > 1 else torch.bfloat16).expand(x.shape)
    return found
