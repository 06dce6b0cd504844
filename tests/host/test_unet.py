"""The same weights as a native UNet and as core's own backbone: everything core can ask for agrees, and no trace is left."""

from __future__ import annotations

import comfy.model_management
import comfy.samplers
import pytest
import torch
from diffusers import UNet2DConditionModel

from dragfield.core.backbones.unet import DiffusersUNet
from dragfield.core.model.attention import KVBank
from dragfield.core.model.backbone import Conditioning, NoiseBackbone
from dragfield.core.model.mutual_attention import mutual_attention, mutual_blocks
from dragfield.core.model.unet_taps import UNetTap, default_unet_taps, readout_taps
from dragfield.core.sampling.ddim_inversion import DDIMSettings, invert_ddim
from dragfield.nodes.host.comfy_unet import ComfyUNet
from dragfield.nodes.host.conditioning import ComfyConditioning
from dragfield.nodes.host.demo_unet import make_unet

CONFIG = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (64, 64, 128), "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2, "cross_attention_dim": 12, "norm_num_groups": 32,
}  # fmt: skip
"""64 channels at least: with 32, each would be a group of its own, whose norm takes the timestep out again."""
T = 321


@pytest.fixture(scope="session")
def unet_weights():
    torch.manual_seed(0)
    return {name: x.detach() for name, x in UNet2DConditionModel(**CONFIG).state_dict().items()}


@pytest.fixture
def core_unet(unet_weights):
    model = UNet2DConditionModel(**CONFIG)
    model.load_state_dict(unet_weights)
    return DiffusersUNet(model)


@pytest.fixture
def make(unet_weights):
    return lambda dtype=torch.float32, **extra: make_unet({**CONFIG, **extra}, unet_weights, dtype)


@pytest.fixture
def host(make):
    return ComfyUNet(make())


@pytest.fixture
def prompt():
    return Conditioning(torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def z():
    return torch.randn(1, 4, 8, 11, generator=torch.Generator().manual_seed(2))


def off(found, wanted):
    found, wanted = found.detach().cpu(), wanted.detach().cpu()
    return float((found - wanted).abs().max() / wanted.abs().max())


def every_tap(backbone):
    return [UNetTap("mid"), *readout_taps(backbone.up_resnets), *(UNetTap("up", k) for k in range(len(backbone.up_resnets)))]


def gradient(backbone, z, prompt, taps, kv=None):
    leaf = z.clone().requires_grad_()
    eps, found = backbone.noise_and_features(leaf, T, prompt, taps=taps, kv=kv)
    return torch.autograd.grad(eps.double().pow(3).sum() + sum(x.double().pow(2).sum() for x in found), leaf)[0]


def test_it_is_a_noise_backbone_of_the_same_shape(host, core_unet):
    assert isinstance(host, NoiseBackbone)
    names = "latent_channels prediction up_resnets attention_blocks decoder_attention time_embed_dim dtype".split()
    assert [getattr(host, name) for name in names] == [getattr(core_unet, name) for name in names]
    assert host.device == comfy.model_management.get_torch_device()
    torch.testing.assert_close(host.schedule.alphas_cumprod, core_unet.schedule.alphas_cumprod, rtol=1e-5, atol=1e-8)
    assert [host.channels(tap) for tap in every_tap(host)] == [core_unet.channels(tap) for tap in every_tap(host)]


@pytest.mark.parametrize("t", [0, 1, 321, 981, 999])
def test_the_noise_is_the_same_at_every_timestep(host, core_unet, prompt, z, t):
    assert off(host.noise(z, t, prompt), core_unet.noise(z, t, prompt)) < 1e-4
    assert off(host.noise(z, abs(t - 500), prompt), host.noise(z, t, prompt)) > 1e-3


def test_timesteps_per_sample_are_those_of_each(host, prompt, z):
    both = host.noise(torch.cat([z, z]), torch.tensor([5, 700]), prompt)
    assert off(both[:1], host.noise(z, 5, prompt)) < 1e-5 and off(both[1:], host.noise(z, 700, prompt)) < 1e-5


def test_a_velocity_model_gives_its_noise_at_the_level_asked_for(make, unet_weights, prompt, z):
    core_model = UNet2DConditionModel(**CONFIG)
    core_model.load_state_dict(unet_weights)
    core_unet = DiffusersUNet(core_model, prediction="v_prediction")
    host = ComfyUNet(make(prediction_type="v_prediction"))
    assert host.prediction == "v_prediction"
    for level in (None, 301, -1):
        assert off(host.noise(z, T, prompt, level=level), core_unet.noise(z, T, prompt, level=level)) < 1e-4


def test_every_tap_is_the_same_with_and_without_early_exit(host, core_unet, prompt, z):
    taps = every_tap(host)[::-1]
    wanted = core_unet.features(z, T, prompt, taps=taps)
    eps, found = host.noise_and_features(z, T, prompt, taps=taps)
    assert [x.shape for x in found] == [x.shape for x in wanted]
    assert max(off(*pair) for pair in zip(found, wanted, strict=True)) < 1e-4
    assert torch.equal(eps, host.noise(z, T, prompt))
    for tap, x in zip(taps, found, strict=True):
        assert torch.equal(host.features(z, T, prompt, taps=[tap])[0], x)


def test_nothing_behind_the_last_tap_is_computed(host, prompt, z):
    ran = []
    hook = host._network.output_blocks[-1][0].register_forward_pre_hook(lambda *_: ran.append(1))
    host.features(z, T, prompt, taps=default_unet_taps(host.up_resnets))
    hook.remove()
    assert ran == []


def test_the_gradient_is_the_same(host, core_unet, prompt, z):
    taps = default_unet_taps(host.up_resnets)
    assert off(gradient(host, z, prompt, taps), gradient(core_unet, z, prompt, taps)) < 1e-4


def test_the_gradient_of_an_early_exit_is_the_same(host, core_unet, prompt, z):
    found = []
    for backbone in (host, core_unet):
        leaf = z.clone().requires_grad_()
        (x,) = backbone.features(leaf, T, prompt, taps=[UNetTap("up", 1)])
        found.append(torch.autograd.grad(x.pow(2).sum(), leaf)[0])
    assert off(*found) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e4m3fn])
def test_weights_made_in_inference_mode_give_the_gradient_of_their_values(make, unet_weights, prompt, z, dtype):
    rounded = make_unet(CONFIG, {name: x.to(dtype).float() for name, x in unet_weights.items()})
    wanted = gradient(ComfyUNet(rounded), z, prompt, [UNetTap("up", 1)])
    with torch.inference_mode():
        host = ComfyUNet(make(dtype))
        assert next(host._network.parameters()).is_inference()
        with host.session(), torch.enable_grad():
            assert off(gradient(host, z.clone(), prompt, [UNetTap("up", 1)]), wanted) < 1e-5


def test_a_gradient_keeps_no_weight_that_may_be_cast_or_moved(host, prompt, z, monkeypatch):
    for layer in host._network.modules():
        if hasattr(layer, "comfy_cast_weights"):
            monkeypatch.setattr(layer, "comfy_cast_weights", True)
    host.noise(z, T, prompt)
    kept = []
    weights = {p.data_ptr() for p in host._network.parameters() if p.ndim > 1}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.data_ptr()) or x, lambda x: x):
        host.features(z.clone().requires_grad_(), T, prompt, taps=[UNetTap("up", 1)])
    assert kept and not weights & set(kept)


def test_what_a_gradient_keeps_is_asked_for_on_top_of_what_a_call_takes_anyway(host, prompt, z, monkeypatch):
    asked, load = [], comfy.model_management.load_models_gpu

    def loading(models, minimum_memory_required=None, **kwargs):
        asked.append(minimum_memory_required)
        return load(models, minimum_memory_required=minimum_memory_required, **kwargs)

    monkeypatch.setattr("comfy.model_management.load_models_gpu", loading)
    gradient(host, z, prompt, every_tap(host))
    assert max(asked) >= host._kept(z) + int(host._patcher.model.memory_required(z.shape)) > host._kept(z) > 0


def test_remembered_keys_and_values_give_the_same_bits_back(host, prompt, z):
    bank = KVBank([("self", i) for i in range(host.attention_blocks)])
    plain = host.noise(z, T, prompt)
    assert torch.equal(host.noise(z, T, prompt, kv=bank.capture()), plain)
    assert torch.equal(host.noise(z, T, prompt, kv=bank.hold()), plain)
    assert set(bank.entries[0].blocks) == bank.blocks


def test_mutual_attention_does_the_same(host, core_unet, prompt, z):
    pair = torch.cat([z, z.flip(-1)])
    found, wanted = (b.noise(pair, T, prompt, kv=mutual_attention(mutual_blocks(b))) for b in (host, core_unet))
    assert off(found, wanted) < 1e-4
    assert off(found, core_unet.noise(pair, T, prompt)) > 1e-3


def test_remembered_keys_and_values_do_the_same_to_another_latent(host, core_unet, prompt, z):
    found = []
    for backbone in (host, core_unet):
        bank = KVBank(mutual_blocks(backbone, 0))
        backbone.noise(z, T, prompt, kv=bank.capture())
        found.append(gradient(backbone, z.flip(-1), prompt, [UNetTap("up", 1)], kv=bank.hold()))
    assert off(*found) < 1e-4


def test_the_time_embedding_is_the_same(host, core_unet):
    assert off(host.time_embedding(741), core_unet.time_embedding(741)) < 1e-4


def test_inversion_is_the_same(host, core_unet, prompt, z):
    settings = DDIMSettings(steps=8, strength=0.5)
    found, wanted = (invert_ddim(backbone, z.to(backbone.device), prompt, settings) for backbone in (host, core_unet))
    assert found.times == wanted.times and off(found.z, wanted.z) < 1e-4


def test_a_negative_prompt_guides_the_noise(host, prompt, z):
    other = torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(3))
    guided = host.noise(z, T, ComfyConditioning([(prompt.txt, {})], [(other, {})], 3.0))
    positive, negative = host.noise(z, T, prompt), host.noise(z, T, Conditioning(other))
    assert off(guided, negative + 3 * (positive - negative)) < 1e-5


def test_an_ordinary_run_afterwards_is_the_same_bit_for_bit(make, prompt, z):
    model = make()

    def sample():
        sigmas = torch.tensor([5.0, 1.0, 0.0])
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds([[prompt.txt, {}]], [[prompt.txt * 0, {}]])
        return guider.sample(z, torch.zeros_like(z), comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=0)

    before = sample()
    host = ComfyUNet(model)
    gradient(host, z, prompt, [UNetTap("up", 1)], kv=mutual_attention(mutual_blocks(host)))
    with pytest.raises(RuntimeError, match="stopped"), host.session():
        handle = host._network.middle_block[0].register_forward_pre_hook(_stop)
        try:
            gradient(host, z, prompt, [UNetTap("mid")])
        finally:
            handle.remove()
    assert torch.equal(sample(), before)
    assert not any("forward" in vars(module) or module._forward_hooks for module in host._network.modules())
    assert not comfy.model_management.in_training


def _stop(*_):
    raise RuntimeError("stopped")


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda h, z, p: h.noise(z[:, :3], T, p), r"\[B, 4, h, w\], got \[1, 3, 8, 11\]"),
        (lambda h, z, p: h.noise(z * float("nan"), T, p), "NaN"),
        (lambda h, z, p: h.noise(z, 1000, p), "timestep 1000"),
        (lambda h, z, p: h.features(z, T, ComfyConditioning([(p.txt, {})] * 2), taps=[UNetTap("mid")]), "2 entries"),
    ],
)
def test_what_cannot_be_is_refused(host, prompt, z, ask, named):
    with pytest.raises(ValueError, match=named):
        ask(host, z, prompt)


def test_other_models_are_refused(make, make_flux):
    with pytest.raises(ValueError, match="no UNet"):
        ComfyUNet(make_flux())
    with pytest.raises(ValueError, match="no MODEL"):
        ComfyUNet("nothing")
