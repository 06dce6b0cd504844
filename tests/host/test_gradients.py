"""The gradient is right whatever form the weights are in and whatever mode the node runs in."""

from __future__ import annotations

import json

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import pytest
import torch
from comfy.ldm.flux.layers import EmbedND
from comfy.ldm.flux.math import _apply_rope1

from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.core.model.taps import Tap
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.demo_model import DemoFluxConfig, make_model, native_config, native_weights
from dragfield.nodes.host.memory import PLANS
from dragfield.nodes.host.out_of_place import Stream
from dragfield.nodes.host.rotation import turning_patch

TAPS = [Tap("double", 1, "attn_in"), Tap("single", 0, "out"), Tap("single", 1, "mlp_in")]
T = 0.6


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm())


def loss(backbone, z, prompt, kv=None):
    return sum(f.double().pow(3).mean() for f in backbone.features(z, T, prompt, taps=TAPS, guidance=2.0, kv=kv))


def gradient(backbone, z, prompt, kv=None):
    with backbone.session():
        leaf = z.detach().clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(loss(backbone, leaf, prompt, kv), leaf)[0]


def lora(model, *, strength=0.7):
    """Low-rank changes as a diffusers-named LoRA file has them: of single slices of the fused qkv layers, too."""
    generator = torch.Generator().manual_seed(5)
    network = model.model.diffusion_model
    patches = {}
    for name in ("double_blocks.0.img_attn.qkv", "single_blocks.1.linear1", "double_blocks.1.txt_mlp.0"):
        layer = network.get_submodule(name)
        for part in range(3) if "qkv" in name else (None,):
            rows = layer.out_features if part is None else layer.in_features
            key = f"diffusion_model.{name}.weight"
            diff = torch.randn(rows, layer.in_features, generator=generator) * 0.1
            patches[key if part is None else (key, (0, part * rows, rows))] = ("diff", (diff,))
    model = model.clone()
    assert len(model.add_patches(patches, strength)) == len(patches)
    return model


@pytest.fixture
def wanted(make_flux, latent, prompt):
    """The gradient with ordinary float32 weights."""
    return gradient(ComfyTransformer(make_flux()), latent, prompt)


def test_it_is_the_slope_of_the_loss(make_flux, latent, prompt):
    backbone = ComfyTransformer(make_flux(dtype=torch.float64))
    z = latent.double()
    g = gradient(backbone, z, prompt)
    direction = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(4))
    step = 1e-3
    # With a gradient asked for: elsewhere than on a CPU, ComfyUI's fused rotary encoding takes no float64 without one.
    ahead, behind = (loss(backbone, (z + sign * step * direction).requires_grad_(), prompt).detach() for sign in (1, -1))
    slope = (ahead - behind) / (2 * step)
    assert abs(float(slope - (g * direction).sum())) < 1e-4 * abs(float(slope))


def test_weights_and_latents_made_in_inference_mode_give_the_same_gradient(make_flux, latent, prompt, wanted):
    with torch.inference_mode():
        backbone = ComfyTransformer(make_flux())
        assert next(backbone._network.parameters()).is_inference()
        assert torch.equal(gradient(backbone, latent.clone(), prompt), wanted)


def test_a_session_lets_gradients_flow_in_inference_mode_but_not_in_no_grad(make_flux, latent, prompt):
    backbone, leaf = ComfyTransformer(make_flux()), latent.clone().requires_grad_()
    with torch.inference_mode(), backbone.session():
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with torch.no_grad(), backbone.session():
        assert not torch.is_grad_enabled()
        assert not any(f.requires_grad for f in backbone.features(leaf, T, prompt, taps=TAPS))
    with torch.no_grad():
        assert not backbone.velocity(leaf, T, prompt).requires_grad
    assert backbone.velocity(leaf, T, prompt).requires_grad


def test_fp8_weights_give_the_gradient_of_their_values(make_flux, weights, tiny, latent, prompt):
    fp8 = torch.float8_e4m3fn
    rounded = {name: w.to(fp8).float() for name, w in weights.items()}
    with torch.inference_mode():
        backbone = ComfyTransformer(make_flux(dtype=fp8))
        assert (backbone.dtype, backbone._network.dtype) == (torch.float32, fp8)
        found = gradient(backbone, latent, prompt)
    plain = make_model(tiny, rounded)
    assert off(found, gradient(ComfyTransformer(plain), latent, prompt)) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gradients_point_the_same_way(make_flux, latent, prompt, wanted, dtype):
    with torch.inference_mode():
        found = gradient(ComfyTransformer(make_flux(dtype=dtype)), latent, prompt)
    assert torch.nn.functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.99


def test_a_merged_lora_counts(make_flux, latent, prompt, wanted):
    assert off(gradient(ComfyTransformer(lora(make_flux())), latent, prompt), wanted) > 1e-2


@pytest.mark.parametrize("inference", [False, True])
def test_a_lora_applied_on_the_fly_gives_the_gradient_of_the_merged_one(make_flux, latent, prompt, inference):
    merged = gradient(ComfyTransformer(lora(make_flux())), latent, prompt)
    with torch.inference_mode(inference):
        backbone = ComfyTransformer(lora(make_flux()))
        comfy.model_management.load_models_gpu([backbone._patcher])
        backbone._patcher.load(backbone.device, lowvram_model_memory=1, full_load=False)
        assert any(len(getattr(m, "weight_function", ())) for m in backbone._network.modules())
        assert off(gradient(backbone, latent, prompt), merged) < 1e-5


def test_a_lora_beside_its_layer_gives_the_gradient_of_the_merged_one(make_flux, latent, prompt):
    generator = torch.Generator().manual_seed(6)
    name = "double_blocks.0.img_mlp.0"
    file = {
        f"diffusion_model.{name}.lora_up.weight": torch.randn(128, 2, generator=generator) * 0.3,
        f"diffusion_model.{name}.lora_down.weight": torch.randn(2, 32, generator=generator) * 0.3,
    }
    merged, _ = comfy.sd.load_lora_for_models(make_flux(), None, dict(file), 0.8, 0)
    wanted = gradient(ComfyTransformer(merged), latent, prompt)
    with torch.inference_mode():
        beside, _ = comfy.sd.load_bypass_lora_for_models(make_flux(), None, dict(file), 0.8, 0)
        assert off(gradient(ComfyTransformer(beside), latent, prompt), wanted) < 1e-5


@pytest.mark.parametrize("full_precision", [True, False])
def test_quantised_layers_give_the_gradient_of_their_values(weights, make_flux, tiny, latent, prompt, full_precision):
    scaled, values = {}, native_weights(weights, torch.float32)
    layer = json.dumps({"format": "float8_e4m3fn"}).encode()
    for name, w in values.items():
        scaled[name] = w
        if name.endswith(".weight") and "blocks" in name and w.ndim == 2:
            scale = w.abs().max() / 448
            scaled[name] = (w / scale).to(torch.float8_e4m3fn)
            scaled[f"{name}_scale"] = scale
            scaled[name.removesuffix("weight") + "comfy_quant"] = torch.tensor(list(layer), dtype=torch.uint8)
            values[name] = scaled[name].float() * scale
    plain = make_flux()
    plain.model.diffusion_model.load_state_dict(values)
    with torch.inference_mode():
        config = DemoFluxConfig(native_config(tiny))
        config.quant_config = {"mixed_ops": True}
        config.set_inference_dtype(torch.float32, torch.float32)
        model = comfy.model_base.Flux(config, device=torch.device("cpu"))
        model.diffusion_model.load_state_dict(scaled, strict=False)
        quantised = [m for m in model.diffusion_model.modules() if getattr(m, "quant_format", None)]
        assert len(quantised) == 26 and not isinstance(quantised[0], torch.nn.Linear)
        for module in quantised:
            module._full_precision_mm = full_precision
        backbone = ComfyTransformer(comfy.model_patcher.CoreModelPatcher(model, torch.device("cpu"), torch.device("cpu")))
        found = gradient(backbone, latent, prompt)
    # With fp8 products activations are rounded too.
    assert off(found, gradient(ComfyTransformer(plain), latent, prompt)) < (1e-5 if full_precision else 0.3)


class Doubling(comfy.ops.manual_cast):
    """Layers in the manner of GGUF's: what they store is not their weight, which a method of their own unpacks, with its LoRAs."""

    class Linear(comfy.ops.manual_cast.Linear):
        def cast_bias_weight(self, input=None, dtype=None, device=None, bias_dtype=None):
            return self.weight.to(input.dtype) * 2, None if self.bias is None else self.bias.to(input.dtype)

        def forward_comfy_cast_weights(self, input):
            return torch.nn.functional.linear(input, *self.cast_bias_weight(input))


def test_layers_that_unpack_their_own_weights_are_asked_for_them(weights, tiny, latent, prompt, wanted):
    with torch.inference_mode():
        config = DemoFluxConfig(native_config(tiny))
        config.custom_operations = Doubling
        config.set_inference_dtype(torch.float32, torch.float32)
        model = comfy.model_base.Flux(config, device=torch.device("cpu"))
        native = native_weights(weights, torch.float32)
        model.diffusion_model.load_state_dict({name: w / 2 if w.ndim > 1 else w for name, w in native.items()})
        backbone = ComfyTransformer(comfy.model_patcher.CoreModelPatcher(model, torch.device("cpu"), torch.device("cpu")))
        assert off(gradient(backbone, latent, prompt), wanted) < 1e-6


def test_checkpointed_blocks_give_the_same_gradient(make_flux, latent, prompt, wanted):
    for plan in PLANS[2:]:
        with torch.inference_mode():
            assert off(gradient(ComfyTransformer(make_flux(), save_memory=plan), latent, prompt), wanted) < 1e-6


def test_checkpointed_blocks_read_their_own_remembered_keys_and_values(make_flux, latent, prompt):
    found = []
    for plan in (PLANS[0], *PLANS[2:]):
        backbone = ComfyTransformer(make_flux(), save_memory=plan)
        bank = KVBank(choose_blocks("all", 2, 2))
        backbone.velocity(latent.roll(2, -1), T, prompt, kv=bank.capture())
        found.append(gradient(backbone, latent, prompt, bank.hold()))
    assert max(off(g, found[0]) for g in found[1:]) < 1e-6


def test_weights_that_somebody_moved_out_of_inference_mode_are_usable_again(make_flux, latent, prompt):
    wanted = gradient(ComfyTransformer(make_flux()), latent, prompt)
    with torch.inference_mode():
        model = make_flux()
    network = model.model.diffusion_model
    # What moving to a card does.
    network._apply(torch.clone)
    with pytest.raises(RuntimeError, match="version counter"):
        network.img_in(torch.zeros(1, network.img_in.in_features))
    before = {name: p.data_ptr() for name, p in network.named_parameters()}
    assert torch.equal(gradient(ComfyTransformer(model), latent, prompt), wanted)
    if model.load_device.type == "cpu":
        assert {name: p.data_ptr() for name, p in network.named_parameters()} == before


@pytest.mark.parametrize("inference", [True, False])
def test_no_copy_of_a_weight_is_kept_for_the_backward_pass(make_flux, latent, prompt, inference):
    with torch.inference_mode(inference):
        backbone = ComfyTransformer(make_flux())
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        loss(backbone, latent.clone().requires_grad_(), prompt)
    if latent.device != backbone.device:
        # Whatever they were made in, ComfyUI has moved them there in inference mode.
        inference = True
    weights = {p.untyped_storage().data_ptr() for p in backbone._network.parameters() if p.ndim > 1}
    # Of two dimensions are weights only: none, or ordinary ones themselves.
    flat = {x.untyped_storage().data_ptr() for x in kept if x.ndim == 2}
    assert kept and flat <= weights and bool(flat) != inference


def test_only_the_latent_gets_a_gradient(make_flux, latent, prompt):
    backbone = ComfyTransformer(make_flux())
    for parameter in backbone._network.parameters():
        parameter.requires_grad_(True)
    leaf = latent.clone().requires_grad_()
    loss(backbone, leaf, prompt).backward()
    assert leaf.grad is not None and all(p.grad is None and p.requires_grad for p in backbone._network.parameters())
    assert not backbone.velocity(latent, T, prompt).requires_grad


def test_streams_are_never_changed_and_all_else_is_ordinary(latent):
    x = latent.clone().requires_grad_()
    kept = (x * 2).as_subclass(Stream)
    stream = kept
    stream += 1
    stream = stream.add_(1, alpha=3)
    assert torch.equal(kept, latent * 2) and torch.allclose(stream, latent * 2 + 4, atol=1e-5) and isinstance(stream, Stream)
    assert type(stream + 1) is type(torch.cat([stream, stream])) is torch.Tensor
    assert torch.equal(torch.autograd.grad(stream.sum(), x)[0], torch.full_like(x, 2))


def test_rotation_is_comfyui_s_own_and_so_is_its_gradient():
    generator = torch.Generator().manual_seed(3)
    q, k = (torch.randn(2, 3, 7, 16, generator=generator) for _ in range(2))
    pe = EmbedND(16, 10000, [4, 6, 6])(torch.randint(0, 40, (1, 7, 3), generator=generator).float())
    a, b = (x.clone().requires_grad_() for x in (q, q))
    found = turning_patch()(a, k, k, pe=pe)
    wanted = _apply_rope1(b, pe), _apply_rope1(k, pe)
    assert found["pe"] is None and off(found["q"], wanted[0]) < 1e-6 and off(found["k"], wanted[1]) < 1e-6
    grads = [torch.autograd.grad(x.pow(3).sum(), leaf)[0] for x, leaf in ((found["q"], a), (wanted[0], b))]
    assert off(*grads) < 1e-6
    assert turning_patch(own_encoding=False)(q, k, k, pe=pe)["pe"] is None
    assert turning_patch(own_encoding=False)(q, k, k, pe=torch.rand_like(pe)) == {}
