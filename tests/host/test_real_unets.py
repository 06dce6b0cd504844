"""UNets as people have them, in their full size, on no memory: where their blocks are and how they are sampled."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.supported_models
import pytest
import torch

from dragfield.core.model.mutual_attention import mutual_blocks
from dragfield.core.model.unet_taps import UNetTap, default_unet_taps
from dragfield.nodes.host.comfy_unet import ComfyUNet

COMMON = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "use_spatial_transformer": True, "legacy": False,
    "use_checkpoint": False, "use_temporal_attention": False, "use_temporal_resblock": False,
}  # fmt: skip
FOUR_LEVELS = {
    "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "transformer_depth_middle": 1, "adm_in_channels": None,
}  # fmt: skip
SD15 = {**COMMON, **FOUR_LEVELS, "use_linear_in_transformer": False, "context_dim": 768, "num_heads": 8}
SD21 = {**COMMON, **FOUR_LEVELS, "use_linear_in_transformer": True, "context_dim": 1024, "num_head_channels": 64}
SDXL = {
    **COMMON, "num_classes": "sequential", "adm_in_channels": 2816, "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "transformer_depth_middle": 10,
    "use_linear_in_transformer": True, "context_dim": 2048, "num_head_channels": 64,
}  # fmt: skip
VELOCITY, ZERO_SNR = {"v_pred": torch.zeros(0)}, {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
MODELS = {
    "SD 1.5": (comfy.supported_models.SD15, SD15, {}),
    "SD 2.1, v": (comfy.supported_models.SD20, SD21, {"model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias": None}),
    "SDXL, Pony, Illustrious": (comfy.supported_models.SDXL, SDXL, {}),
    "NoobAI v-pred": (comfy.supported_models.SDXL, SDXL, VELOCITY),
    "NoobAI v-pred, zero SNR": (comfy.supported_models.SDXL, SDXL, ZERO_SNR),
}
UP = {"SD 1.5": (1280, 1280, 640, 320), "SD 2.1, v": (1280, 1280, 640, 320)}


def made(name: str) -> Any:
    kind, settings, state = MODELS[name]
    config = kind(dict(settings))
    config.set_inference_dtype(torch.float16, None)
    if name == "SD 2.1, v":
        # ComfyUI tells v from noise by how far these numbers spread.
        state = {key: torch.randn(320, generator=torch.Generator().manual_seed(0)) for key in state}
    model = config.get_model(state, "model.diffusion_model.", device=torch.device("meta"))
    cpu = torch.device("cpu")
    return comfy.model_patcher.CoreModelPatcher(model, load_device=cpu, offload_device=cpu)


@pytest.mark.parametrize("name", MODELS)
def test_blocks_are_where_the_published_methods_look_for_them(name: str) -> None:
    backbone = ComfyUNet(made(name))
    widths = UP.get(name, (1280, 640, 320))
    assert backbone.up_resnets == (3,) * len(widths)
    assert tuple(backbone.channels(UNetTap("up", k)) for k in range(len(widths))) == widths
    assert backbone.channels(UNetTap("mid")) == 1280 and backbone.latent_channels == 4
    # The features that DirectDrag compares: 640 channels wide on every one of them.
    assert backbone.channels(default_unet_taps(backbone.up_resnets)[0]) == 640
    assert backbone.attention_blocks == (16 if len(widths) == 4 else 70)
    mutual = mutual_blocks(backbone)
    assert mutual and all(0 <= number < backbone.attention_blocks for _, number in mutual)
    assert backbone.decoder_attention == (7 if len(widths) == 4 else 34)


@pytest.mark.parametrize("name", MODELS)
def test_what_the_network_predicts_and_how_its_noise_grows_is_the_model_s_own(name: str) -> None:
    backbone = ComfyUNet(made(name))
    assert backbone.prediction == ("epsilon" if name in ("SD 1.5", "SDXL, Pony, Illustrious") else "v_prediction")
    kept = [backbone.schedule.at(t) for t in range(len(backbone.schedule))]
    assert len(kept) == 1000 and all(a > b for a, b in zip(kept, kept[1:], strict=False)) and kept[0] > 0.998
    # The usual schedule keeps 0.47 % of the picture's power at its end; one of zero SNR next to none, and never exactly none.
    assert 0 < kept[-1] < 1e-6 if "zero" in name else kept[-1] == pytest.approx(0.00466, abs=1e-4)
