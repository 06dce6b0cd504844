"""The same weights as a native MODEL and as core's own backbone: everything core can ask for agrees."""

from __future__ import annotations

import comfy.model_management
import numpy as np
import pytest
import torch

from dragfield.core.demo.autoencoder import AutoencoderConfig, DemoAutoencoder
from dragfield.core.edits.dragfield import DragFieldSettings, dragfield
from dragfield.core.edits.dragflow import DragFlowSettings, dragflow
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.core.model.backbone import FlowBackbone
from dragfield.core.model.taps import POINTS, Tap
from dragfield.core.optimise.region_drag import RegionDragSettings
from dragfield.core.sampling.inversion import InversionSettings, invert
from dragfield.nodes.host.autoencoder import ComfyAutoencoder
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.demo_model import DemoVAE

TAPS = [Tap(kind, index, point) for kind in ("double", "single") for index in (0, 1) for point in POINTS]
T = 0.6


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    found, wanted = found.detach().cpu(), wanted.detach().cpu()
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.fixture
def host(make_flux):
    return ComfyTransformer(make_flux())


def gradient(backbone, z, prompt, tap):
    leaf = z.clone().requires_grad_()
    (feature,) = backbone.features(leaf, T, prompt, taps=[tap], guidance=2.0)
    return torch.autograd.grad(feature.pow(3).sum(), leaf)[0]


def test_it_is_a_flow_backbone_of_the_same_size(host, core_flux):
    assert isinstance(host, FlowBackbone)
    for name in ("latent_channels", "patch", "double_blocks", "single_blocks", "width", "guidance_distilled", "dtype"):
        assert getattr(host, name) == getattr(core_flux, name), name
    assert host.device == comfy.model_management.get_torch_device()


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_velocity_is_the_same_at_every_time_zero_included(host, core_flux, prompt, latent, t):
    assert off(host.velocity(latent, t, prompt, guidance=2.0), core_flux.velocity(latent, t, prompt, guidance=2.0)) < 1e-5


def test_a_batch_is_its_parts(host, prompt, latent):
    both = torch.cat([latent, latent.flip(-1)])
    together = host.velocity(both, T, prompt, guidance=torch.tensor([1.0, 4.0]))
    assert off(together[1:], host.velocity(both[1:], T, prompt, guidance=4.0)) < 1e-5


def test_every_tap_is_the_same_in_any_order(host, core_flux, prompt, latent):
    mixed = TAPS[::-1] + TAPS[:1]
    found, wanted = (backbone.features(latent, T, prompt, taps=mixed, guidance=2.0) for backbone in (host, core_flux))
    assert [x.shape for x in found] == [x.shape for x in wanted]
    assert max(off(*pair) for pair in zip(found, wanted, strict=True)) < 1e-5


@pytest.mark.parametrize("tap", TAPS, ids=str)
def test_the_gradient_from_every_tap_is_the_same(host, core_flux, prompt, latent, tap):
    assert off(gradient(host, latent, prompt, tap), gradient(core_flux, latent, prompt, tap)) < 1e-4


def test_the_gradient_of_the_velocity_is_the_same(host, core_flux, prompt, latent):
    found = []
    for backbone in (host, core_flux):
        leaf = latent.clone().requires_grad_()
        found.append(torch.autograd.grad(backbone.velocity(leaf, T, prompt).pow(3).sum(), leaf)[0])
    assert off(*found) < 1e-4


def test_nothing_behind_the_last_tap_is_computed(host, prompt, latent):
    def fail(*_):
        raise AssertionError("computed")

    network = host._network
    first = network.double_blocks[0]
    # In the block of the last tap itself, the text is left as it is.
    behind = (first.txt_mlp[0], first.txt_mlp[2], network.double_blocks[1], *network.single_blocks)
    hooks = [block.register_forward_pre_hook(fail) for block in behind]
    try:
        host.features(latent, T, prompt, taps=[Tap("double", 0, "out")])
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("text", [False, True])
def test_remembered_values_are_the_same_and_keys_once_normalised(host, core_flux, prompt, latent, text):
    banks = []
    for backbone in (host, core_flux):
        bank = KVBank(choose_blocks("all", 2, 2), text_in_single=text)
        backbone.velocity(latent, T, prompt, kv=bank.capture())
        banks.append(bank.entries[0].blocks)
    found, wanted = banks
    assert found.keys() == wanted.keys()
    for (kind, index), (keys, values) in wanted.items():
        blocks = core_flux.model.transformer_blocks if kind == "double" else core_flux.model.single_transformer_blocks
        normalised = blocks[index].attn.norm_k(keys.unflatten(-1, (2, 16))).flatten(-2)
        assert off(found[kind, index][0], normalised) < 1e-5
        assert off(found[kind, index][1], values) < 1e-5


@pytest.mark.parametrize("text", [False, True])
def test_remembered_keys_and_values_do_the_same_to_another_latent(host, core_flux, prompt, latent, text):
    found = []
    for backbone in (host, core_flux):
        bank = KVBank(choose_blocks("all", 2, 2), text_in_single=text)
        backbone.velocity(latent, T, prompt, kv=bank.capture())
        leaf = latent.roll(3, -1).requires_grad_()
        v = backbone.velocity(leaf, T, prompt, kv=bank.hold())
        found.append((v, torch.autograd.grad(v.pow(2).sum(), leaf)[0]))
        assert off(v, backbone.velocity(leaf, T, prompt)) > 1e-2
    assert off(found[0][0], found[1][0]) < 1e-5
    assert off(found[0][1], found[1][1]) < 1e-4


@pytest.mark.parametrize("inference", [False, True])
def test_features_with_remembered_keys_and_values_are_the_same_and_compute_none_of_their_own(
    make_flux, core_flux, prompt, latent, inference
):
    with torch.inference_mode(inference):
        host = ComfyTransformer(make_flux())
    taps, found = [Tap("double", 0, "attn_in"), Tap("double", 1, "out")], []
    for backbone in (host, core_flux):
        bank = KVBank(choose_blocks([("double", 1)], 2, 2))
        with torch.no_grad():
            backbone.velocity(latent, T, prompt, kv=bank.capture())
        leaf = latent.roll(3, -1).requires_grad_()
        features = backbone.features(leaf, T, prompt, taps=taps, kv=bank.hold())
        found.append((features, torch.autograd.grad(sum(f.pow(3).sum() for f in features), leaf)[0]))
    (ours, slope), (wanted, wanted_slope) = found
    assert max(off(*pair) for pair in zip(ours, wanted, strict=True)) < 1e-5 and off(slope, wanted_slope) < 1e-4
    layer, seen = host._network.double_blocks[1].img_attn.qkv, []
    hook = layer.register_forward_hook(lambda _, args, out: seen.append(out))
    bank = KVBank(choose_blocks([("double", 1)], 2, 2))
    with torch.no_grad():
        host.velocity(latent, T, prompt, kv=bank.capture())
        host.features(latent, T, prompt, taps=taps, kv=bank.hold())
        host.features(latent, T, prompt, taps=taps, kv=bank.hold(eta=0.5))
    hook.remove()
    assert [bool(out[..., 32:].any()) for out in seen] == [True, False, True]


@pytest.mark.parametrize("text", [False, True])
def test_chosen_tokens_alone_are_given_what_is_remembered_of_them(host, core_flux, prompt, latent, text):
    where, taps, found = torch.arange(24) % 3 == 0, [Tap("double", 1, "out")], []
    for backbone in (host, core_flux):
        bank = KVBank(choose_blocks("all", 2, 2), text_in_single=text)
        with torch.no_grad():
            backbone.velocity(latent, T, prompt, kv=bank.capture())
            other = latent.roll(3, -1)
            v = backbone.velocity(other, T, prompt, kv=bank.replay(where=where))
            (feature,) = backbone.features(other, T, prompt, taps=taps, kv=bank.replay(where=where))
            assert off(v, backbone.velocity(other, T, prompt, kv=bank.replay())) > 1e-3
        found.append((v, feature))
    assert max(off(*pair) for pair in zip(*found, strict=True)) < 1e-5


def test_a_replay_of_a_latent_s_own_keys_and_values_changes_no_bit(host, prompt, latent):
    bank = KVBank(choose_blocks("all", 2, 2))
    v = host.velocity(latent, T, prompt, kv=bank.capture())
    assert torch.equal(v, host.velocity(latent, T, prompt))
    assert torch.equal(v, host.velocity(latent, T, prompt, kv=bank.hold()))


def scene() -> tuple[torch.Tensor, Drag, DemoAutoencoder]:
    torch.manual_seed(3)
    mask = np.zeros((64, 96), bool)
    mask[16:40, 16:48] = True
    drag = Drag((96, 64), (RegionOperation(mask, "relocation", target=(60.0, 36.0)),))
    return torch.rand(1, 3, 64, 96), drag, DemoAutoencoder(AutoencoderConfig(16, 16, 8, (1, 1), (1, 1))).eval().requires_grad_(False)


FEW = InversionSettings(steps=4, skip=1)
EDITS = {
    "dragfield": (dragfield, DragFieldSettings(inversion=FEW, refine=RegionDragSettings(2, 1))),
    "dragflow": (dragflow, DragFlowSettings(inversion=FEW, drag=RegionDragSettings(2, 1))),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_whole_edit_is_the_same(make_flux, core_flux, prompt, name):
    edit, settings = EDITS[name]
    image, drag, autoencoder = scene()
    wanted = edit(core_flux, autoencoder, image, drag, prompt, settings=settings)
    model = make_flux()
    with torch.inference_mode(), ComfyTransformer(model).session() as host:
        found = edit(host, ComfyAutoencoder(DemoVAE(autoencoder), model), image.to(host.device), drag, prompt, settings=settings)
    assert off(found.image, wanted.image) < 1e-4
    assert off(found.z, wanted.z) < 1e-3
    assert (found.nfe_forward, found.nfe_backward) == (wanted.nfe_forward, wanted.nfe_backward)


def test_an_inversion_is_the_same_and_takes_no_gradient(host, core_flux, prompt, latent):
    found, wanted = (invert(backbone, latent.to(backbone.device), prompt, FEW) for backbone in (host, core_flux))
    assert off(found.z, wanted.z) < 1e-4 and not found.z.requires_grad
