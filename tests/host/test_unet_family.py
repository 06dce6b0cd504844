"""Native UNets beyond the plain one: SDXL, and LoRAs that travel between core and ComfyUI."""

from __future__ import annotations

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import pytest
import torch
from diffusers import UNet2DConditionModel

from dragfield.core.backbones.unet import DiffusersUNet
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.unet_taps import UNetTap
from dragfield.core.training.lora import Lora, LoraSettings, applied, fresh, from_state, to_state, train_lora
from dragfield.nodes.host.comfy_unet import ComfyUNet
from dragfield.nodes.host.demo_unet import DemoUNetLatent, make_unet, native_config, native_weights

PLAIN = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (64, 64), "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 2, "cross_attention_dim": 12, "norm_num_groups": 32,
}  # fmt: skip
"""64 channels at least: with 32, each would be a group of its own, whose norm takes the timestep out again."""
POOLED = 5
XL = {
    **PLAIN, "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": POOLED + 6 * 256,
}  # fmt: skip
T = 321


class TinyXL(comfy.supported_models.SDXL):
    unet_extra_config = {}
    latent_format = DemoUNetLatent


@pytest.fixture
def prompt():
    generator = torch.Generator().manual_seed(1)
    return Conditioning(torch.randn(1, 5, 12, generator=generator), torch.randn(1, POOLED, generator=generator))


@pytest.fixture
def z():
    return torch.randn(1, 4, 8, 11, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return UNet2DConditionModel(**PLAIN)


@pytest.fixture
def model(plain):
    return make_unet(PLAIN, plain.state_dict())


def off(found, wanted):
    found, wanted = found.detach().cpu(), wanted.detach().cpu()
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_sdxl_is_told_the_same_sizes_and_gives_the_same(prompt, z):
    torch.manual_seed(0)
    core = UNet2DConditionModel(**XL)
    extra = {"use_linear_in_transformer": True, "num_classes": "sequential", "adm_in_channels": POOLED + 6 * 256}
    config = TinyXL({**native_config(XL), **extra})
    config.set_inference_dtype(torch.float32, None)
    native = comfy.model_base.SDXL(config)
    native.diffusion_model.load_state_dict(native_weights(config.unet_config, core.state_dict(), torch.float32))
    device = comfy.model_management.get_torch_device()
    backbones = ComfyUNet(comfy.model_patcher.CoreModelPatcher(native, device, device)), DiffusersUNet(core)
    found = []
    for backbone in backbones:
        leaf = z.clone().requires_grad_()
        eps, (x,) = backbone.noise_and_features(leaf, T, prompt, taps=[UNetTap("up", 0)])
        found.append((eps, x, torch.autograd.grad(eps.pow(2).sum() + x.pow(2).sum(), leaf)[0]))
    assert max(off(*pair) for pair in zip(*found, strict=True)) < 1e-4
    assert off(backbones[0].noise(z, T, Conditioning(prompt.txt, -prompt.pooled)), found[0][0]) > 1e-3


def some_lora(module):
    return Lora({name: (down, torch.full_like(up, 0.2)) for name, (down, up) in fresh(module, LoraSettings(rank=2)).layers.items()})


def test_comfyui_loads_every_layer_of_a_lora_from_core(plain, model, prompt, z, caplog):
    lora = some_lora(plain)
    patched, _ = comfy.sd.load_lora_for_models(model, None, to_state(lora), 0.7, 0.0)
    assert len(patched.patches) == len(lora.layers) and "not loaded" not in caplog.text
    backbone = DiffusersUNet(plain)
    with applied(plain, lora, 0.7):
        wanted = backbone.noise(z, T, prompt)
    assert off(ComfyUNet(patched).noise(z, T, prompt), wanted) < 1e-3
    assert off(backbone.noise(z, T, prompt), wanted) > 1e-2


@pytest.mark.parametrize("inference", [False, True])
def test_a_native_model_learns_a_lora_that_comfyui_loads(plain, model, prompt, z, inference):
    settings = LoraSettings(rank=2, steps=3, batch=2, learning_rate=1e-2)
    wanted = train_lora(DiffusersUNet(plain), plain, z, prompt, settings)
    with torch.inference_mode(inference):
        host = ComfyUNet(model)
        with host.session(), torch.enable_grad():
            learnt = train_lora(host, host.module, z.to(host.device, copy=True), prompt, settings)
    assert len(learnt.layers) == len(wanted.layers)
    assert all(bool(up.any()) for _, up in learnt.layers.values())
    patched, _ = comfy.sd.load_lora_for_models(model, None, to_state(learnt), 1.0, 0.0)
    assert len(patched.patches) == len(learnt.layers)
    with applied(host.module, from_state(to_state(learnt), host.module)):
        on_the_fly = host.noise(z, T, prompt)
    assert off(ComfyUNet(patched).noise(z, T, prompt), on_the_fly) < 1e-3
