"""Every model of the family: the velocity is what ComfyUI's own sampling sees, and the gradient is the loss's slope."""

from __future__ import annotations

import pytest
import torch
from flux_models import MODELS, make
from sampled import T, off, sampled_velocity

from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.core.model.taps import Tap
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.conditioning import ComfyConditioning
from dragfield.nodes.host.memory import PLANS


def conditioning(seed: int = 1, **extra) -> list:
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, 5, 12, generator=generator), {"pooled_output": torch.randn(1, 8, generator=generator), **extra}]]


def latent_of(backbone: ComfyTransformer, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, backbone.latent_channels, 8, 12, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=MODELS)
def patcher(request):
    return make(request.param)


def test_the_velocity_is_the_samplers(patcher):
    backbone, prompt = ComfyTransformer(patcher), ComfyConditioning(conditioning(guidance=2.5))
    z = latent_of(backbone)
    found = backbone.velocity(z, T, prompt, guidance=prompt.guidance)
    assert off(found, sampled_velocity(patcher, z, prompt.positive)) < 1e-5


@pytest.mark.parametrize(
    "tap", [Tap("double", -1, "attn_in"), Tap("double", -1, "mlp_in"), Tap("single", 0, "out"), Tap("single", 1, "attn_in")], ids=str
)
def test_the_gradient_is_the_slope_of_the_loss_whatever_is_given_up_for_memory(patcher, tap):
    prompt, found = ComfyConditioning(conditioning()), []
    for plan in (PLANS[0], PLANS[2], PLANS[3]):
        backbone = ComfyTransformer(patcher, save_memory=plan)
        z = latent_of(backbone).requires_grad_()
        bank = KVBank(choose_blocks([("double", 0), ("single", 1)], 2, 2))
        backbone.velocity(z.detach().roll(1, -1), T, prompt, kv=bank.capture())

        def loss(x, backbone=backbone, bank=bank):
            (f,) = backbone.features(x, T, prompt, taps=[tap], kv=bank.hold())
            return f.double().pow(2).mean()

        (g,) = torch.autograd.grad(loss(z), z)
        found.append(g)
    assert max(off(g, found[0]) for g in found[1:]) < 1e-6
    along = found[0] / found[0].norm()
    slope = (loss((z + 0.1 * along).detach()) - loss((z - 0.1 * along).detach())) / 0.2
    assert abs(float(slope / found[0].norm()) - 1) < 2e-2


def test_features_are_of_the_token_grid(patcher):
    backbone = ComfyTransformer(patcher)
    z = latent_of(backbone, batch=2)
    taps = [Tap("double", 0), Tap("single", -1, "mlp_in")]
    shapes = {tuple(f.shape) for f in backbone.features(z, T, ComfyConditioning(conditioning()), taps=taps)}
    assert shapes == {(2, 32, 8 // backbone.patch, 12 // backbone.patch)}


@pytest.mark.parametrize("name", ["dev", "LongCat", "FLUX.2"])
def test_reference_latents_count_and_stay_out_of_the_features(name):
    patcher = make(name)
    backbone = ComfyTransformer(patcher)
    z = latent_of(backbone)
    reference = torch.randn(1, z.shape[1], 6, 4, generator=torch.Generator().manual_seed(9))
    prompt, plain = ComfyConditioning(conditioning(guidance=2.5, reference_latents=[reference])), ComfyConditioning(conditioning())
    v = backbone.velocity(z, T, prompt, guidance=2.5)
    assert off(v, sampled_velocity(patcher, z, prompt.positive)) < 1e-5
    assert off(v, backbone.velocity(z, T, plain, guidance=2.5)) > 1e-3
    bank = KVBank(choose_blocks("all", 2, 2))
    assert torch.equal(v, backbone.velocity(z, T, prompt, guidance=2.5, kv=bank.capture()))
    assert torch.equal(v, backbone.velocity(z, T, prompt, guidance=2.5, kv=bank.hold()))
    tokens = {keys.shape[1] for keys, _ in bank.entries[0].blocks.values()}
    assert tokens == {8 * 12 // backbone.patch**2}
    leaf = z.clone().requires_grad_()
    (f,) = backbone.features(leaf, T, prompt, taps=[Tap("single", 1)], guidance=2.5)
    assert f.shape[-2:] == (8 // backbone.patch, 12 // backbone.patch) and torch.autograd.grad(f.sum(), leaf)[0].abs().sum() > 0


def test_guidance_reaches_only_models_that_were_distilled_for_it():
    for name in MODELS:
        backbone, prompt = ComfyTransformer(make(name)), ComfyConditioning(conditioning())
        z = latent_of(backbone)
        one, four = (backbone.velocity(z, T, prompt, guidance=g) for g in (1.0, 4.0))
        assert backbone.guidance_distilled == (name in ("dev", "Fill")) == (not torch.equal(one, four)), name


def test_true_guidance_is_the_samplers():
    patcher = make("LongCat")
    backbone = ComfyTransformer(patcher)
    z, positive, negative = latent_of(backbone), conditioning(1), conditioning(3)
    found = backbone.velocity(z, T, ComfyConditioning(positive, negative, cfg=4.0))
    assert off(found, sampled_velocity(patcher, z, positive, negative, cfg=4.0)) < 1e-5


def test_areas_masks_strengths_and_times_are_honoured_as_in_sampling():
    patcher = make("schnell")
    backbone = ComfyTransformer(patcher)
    z = latent_of(backbone)
    mask = torch.zeros(1, 64, 96)
    mask[:, 16:48, 24:72] = 1
    prompts = [
        *conditioning(1),
        *conditioning(3, area=(4, 6, 2, 4), strength=0.7),
        *conditioning(4, mask=mask, mask_strength=0.6),
        *conditioning(5, start_percent=0.9, end_percent=1.0),
    ]
    found = backbone.velocity(z, T, ComfyConditioning(prompts))
    assert off(found, sampled_velocity(patcher, z, prompts)) < 1e-5
    assert off(found, backbone.velocity(z, T, ComfyConditioning(prompts[:1]))) > 1e-2


def test_the_picture_and_mask_of_an_inpainting_model_count():
    patcher = make("Fill")
    backbone = ComfyTransformer(patcher)
    z = latent_of(backbone)
    extra = {
        "concat_latent_image": torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(8)),
        "concat_mask": torch.ones(1, 1, 64, 96),
    }
    found = backbone.velocity(z, T, ComfyConditioning(conditioning(guidance=2.0, **extra)), guidance=2.0)
    assert off(found, sampled_velocity(patcher, z, conditioning(guidance=2.0, **extra))) < 1e-5
    assert off(found, backbone.velocity(z, T, ComfyConditioning(conditioning()), guidance=2.0)) > 1e-3
