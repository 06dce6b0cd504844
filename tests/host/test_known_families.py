"""Families beyond FLUX whose blocks are known: features, gradients, keys and values, and whole edits, as FLUX's in test_family.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from any_flow import MODELS, Grey, conditioning, make
from drag_case import SIDE, DragCase, run
from sampled import T, off, sampled_velocity
from test_any_flow import inverted

from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.core.model.taps import POINTS, Tap
from dragfield.core.sampling.inversion import InversionSettings
from dragfield.nodes.drag_edit import DragEdit
from dragfield.nodes.drag_edit_graph import inversion_graph
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.conditioning import ComfyConditioning
from dragfield.nodes.host.memory import PLANS
from dragfield.nodes.masked_denoise import GradientMaskedDenoise
from dragfield.nodes.paste_back import PasteBack
from dragfield.nodes.point_drag import PointDragOptimizer
from dragfield.nodes.region_optimizer import RegionDragOptimizer

SQUARE = ((((0.2, 0.25), (0.5, 0.25), (0.5, 0.6), (0.2, 0.6)),),)
REGION = DragInstruction((DrawnRegion("relocation", SQUARE, (0.62, 0.5)),), size=(SIDE, SIDE)).to_json()
POINT = DragInstruction((DrawnPoints((((0.3, 0.4), (0.55, 0.5)),)),), size=(SIDE, SIDE)).to_json()


@pytest.fixture(params=list(MODELS))
def patcher(request: pytest.FixtureRequest) -> Any:
    return make(request.param)


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(2))


def kind(backbone: ComfyTransformer) -> str:
    return "double" if backbone.double_blocks else "single"


def bank_of(backbone: ComfyTransformer, blocks: Any = "all") -> KVBank:
    return KVBank(choose_blocks(blocks, backbone.double_blocks, backbone.single_blocks))


@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("point", POINTS)
def test_the_gradient_is_the_slope_of_the_loss_whatever_is_given_up_for_memory(
    patcher: Any, z: torch.Tensor, point: str, index: int
) -> None:
    prompt, found = ComfyConditioning(conditioning()), []
    for plan in (PLANS[0], PLANS[2], PLANS[3]):
        backbone, leaf = ComfyTransformer(patcher, save_memory=plan), z.clone().requires_grad_()
        tap, bank = Tap(kind(backbone), index, point), bank_of(backbone, [(kind(backbone), 0)])
        backbone.velocity(z.roll(1, -1), T, prompt, kv=bank.capture())

        def loss(x: torch.Tensor, backbone: ComfyTransformer = backbone, bank: KVBank = bank, tap: Tap = tap) -> torch.Tensor:
            (f,) = backbone.features(x, T, prompt, taps=[tap], kv=bank.hold())
            return f.double().pow(2).mean()

        found.append(torch.autograd.grad(loss(leaf), leaf)[0])
    assert max(off(g, found[0]) for g in found[1:]) < 1e-6
    along = found[0] / found[0].norm()
    slope = (loss(z + 0.1 * along) - loss(z - 0.1 * along)) / 0.2
    assert abs(float(slope / found[0].norm()) - 1) < 2e-2


def test_the_gradient_of_the_velocity_is_its_slope(patcher: Any, z: torch.Tensor) -> None:
    backbone, prompt, leaf = ComfyTransformer(patcher), ComfyConditioning(conditioning()), z.clone().requires_grad_()
    g = torch.autograd.grad(backbone.velocity(leaf, T, prompt).double().pow(2).mean(), leaf)[0]
    along = g / g.norm()
    ends = [backbone.velocity(z + step * along, T, prompt).double().pow(2).mean() for step in (0.1, -0.1)]
    assert abs(float((ends[0] - ends[1]) / 0.2 / g.norm()) - 1) < 2e-2


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_made_in_inference_mode_give_the_same_gradient(name: str, z: torch.Tensor) -> None:
    found = []
    for inference in (False, True):
        with torch.inference_mode(inference):
            backbone = ComfyTransformer(make(name))
        assert next(backbone._network.parameters()).is_inference() == inference
        leaf = z.clone().requires_grad_()
        (f,) = backbone.features(leaf, T, ComfyConditioning(conditioning()), taps=[Tap(kind(backbone), -1, "out")])
        found.append(torch.autograd.grad(f.pow(2).mean(), leaf)[0])
    assert off(*found) < 1e-6


def test_nothing_behind_the_last_tap_is_computed_and_text_is_left_alone(patcher: Any, z: torch.Tensor) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("computed")

    backbone = ComfyTransformer(patcher)
    # Inside of them: what stands in their place is called by the same name.
    text = [part for layer in backbone.family.of_text_alone(backbone._network, 0) for part in list(layer.modules())[1:]]
    behind = (*text, backbone._blocks[1])
    hooks = [module.register_forward_pre_hook(fail) for module in behind]
    try:
        (f,) = backbone.features(z, T, ComfyConditioning(conditioning()), taps=[Tap(kind(backbone), 0, "out")])
    finally:
        for hook in hooks:
            hook.remove()
    assert f.shape == (1, backbone.width, 4, 6)


def test_keys_and_values_replayed_change_no_bit_and_another_s_do(patcher: Any, z: torch.Tensor) -> None:
    backbone, prompt = ComfyTransformer(patcher), ComfyConditioning(conditioning())
    bank = bank_of(backbone)
    v = backbone.velocity(z, T, prompt, kv=bank.capture())
    assert torch.equal(v, backbone.velocity(z, T, prompt)) and torch.equal(v, backbone.velocity(z, T, prompt, kv=bank.hold()))
    # Groups of Krea 2's heads share their keys.
    width = backbone.width // 2 if backbone.family.name == "Krea 2" else backbone.width
    assert {keys.shape for keys, _ in bank.entries[0].blocks.values()} == {(1, 24, width)}
    other = z.roll(3, -1)
    assert off(backbone.velocity(other, T, prompt, kv=bank.hold()), backbone.velocity(other, T, prompt)) > 1e-2


@pytest.mark.parametrize("patcher", ["Wan", "Kandinsky 5"], indirect=True)
def test_the_attention_to_the_text_stays_the_block_s_own_whatever_its_length(patcher: Any, z: torch.Tensor) -> None:
    # As many tokens of text as of the picture.
    prompts = [ComfyConditioning(conditioning(seed, tokens=24)) for seed in (1, 5)]
    backbone = ComfyTransformer(patcher)
    bank = bank_of(backbone)
    v = backbone.velocity(z, T, prompts[0], kv=bank.capture())
    assert torch.equal(backbone.velocity(z, T, prompts[0], kv=bank.hold()), v)
    assert off(backbone.velocity(z, T, prompts[1], kv=bank.hold()), v) > 1e-2


@pytest.mark.parametrize("patcher", ["Qwen-Image", "Z-Image", "Krea 2"], indirect=True)
def test_reference_latents_count_and_stay_out_of_the_features(patcher: Any, z: torch.Tensor) -> None:
    reference = torch.randn(1, 16, 6, 4, generator=torch.Generator().manual_seed(9))
    reference = reference[:, :, None] if patcher.model.latent_format.latent_dimensions == 3 else reference
    prompt = ComfyConditioning(conditioning(reference_latents=[reference], reference_latents_method="index"))
    backbone = ComfyTransformer(patcher)
    v = backbone.velocity(z, T, prompt)
    assert off(v, sampled_velocity(patcher, z, prompt.positive)) < 1e-5
    assert off(v, backbone.velocity(z, T, ComfyConditioning(conditioning()))) > 1e-3
    bank = bank_of(backbone)
    backbone.velocity(z, T, prompt, kv=bank.capture())
    assert {keys.shape[1] for keys, _ in bank.entries[0].blocks.values()} == {24}
    leaf = z.clone().requires_grad_()
    (f,) = backbone.features(leaf, T, prompt, taps=[Tap(kind(backbone), 1)])
    assert f.shape[-2:] == (4, 6) and torch.autograd.grad(f.sum(), leaf)[0].abs().sum() > 0


def test_a_sampler_is_bit_identical_after_drags(patcher: Any, z: torch.Tensor) -> None:
    before = sampled_velocity(patcher, z, conditioning())
    backbone, leaf = ComfyTransformer(patcher), z.clone().requires_grad_()
    (f,) = backbone.features(leaf, T, ComfyConditioning(conditioning()), taps=[Tap(kind(backbone), 1, "mlp_in")])
    torch.autograd.grad(f.sum(), leaf)
    assert torch.equal(sampled_velocity(patcher, z, conditioning()), before)


@pytest.mark.parametrize("patcher", ["Qwen-Image"], indirect=True)
def test_an_edit_model_is_given_the_picture_as_its_reference_once(patcher: Any) -> None:
    inputs = {"model": ["m", 0], "vae": ["v", 0], "image": ["i", 0], "clip": ["c", 0], "cfg": 3.0, "reference": ["linked", 0]}
    window = SimpleNamespace(width=SIDE, height=SIDE, scaled=False)
    graph, _ = inversion_graph("9", inputs, window, (SIDE, SIDE), InversionSettings(), "a cat", "a dog", "tuned", True)
    encoded = ["9.encode", 0]
    for reader, name, text in (("invert", "positive", "a cat"), ("edit", "edit_positive", "a dog"), ("edit", "negative", "")):
        given = graph[graph[f"9.{reader}"]["inputs"][name][0]]
        assert given["class_type"] == "ReferenceLatent" and given["inputs"]["latent"] == encoded
        assert graph[given["inputs"]["conditioning"][0]]["inputs"]["text"] == text
    assert "reference" not in graph["9.edit"]["inputs"]
    vae, image = Grey(True), torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(5))
    asked = {"model": patcher, "vae": vae, "drag": REGION, "method": "dragflow", "positive": conditioning(), "reference": True}
    with torch.inference_mode():
        with pytest.raises(ValueError, match="this trajectory is inverted already"):
            run(DragEdit, **asked, image=image, trajectory=inverted(DragCase((patcher, None, vae), image, REGION))[0])
        with pytest.raises(ValueError, match="here are 2: turn reference off"):
            run(DragEdit, **asked, image=image.repeat(2, 1, 1, 1))


@pytest.mark.parametrize("method", ["dragflow", "directdrag"])
def test_whole_edits_run_and_the_graph_is_drag_edit(patcher: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragfield.nodes.drag_edit.ui.PreviewImage", lambda *_, **__: None)
    drag = REGION if method == "dragflow" else POINT
    vae = Grey(patcher.model.latent_format.latent_dimensions == 3)
    image = torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(5))
    case = DragCase((patcher, None, vae), image, drag)
    with torch.inference_mode():
        trajectory = inverted(case)[0]
        what = {"model": case.model, "trajectory": trajectory, "drag": drag, "preset": "tuned"}
        edit, mask, _ = run(
            DragEdit, **what, vae=case.vae, image=case.image, method=method, positive=conditioning(), iterations=3, work_size=SIDE
        )
        at_once = {**what, "preset": "auto", "vae": case.vae, "image": case.image, "method": method, "positive": conditioning()}
        assert run(DragEdit, **at_once, iterations=2, work_size=SIDE)[0].isfinite().all()
        closed = mask[0] == 0
        assert closed.any() and torch.equal(edit[0][closed], case.image[0][closed]) and not torch.equal(edit, case.image)
        if method == "dragflow":
            share = round(3 * 30 / 70)
            dragged, _, _, area, residual = run(
                RegionDragOptimizer, **what, vae=case.vae, image=case.image, transport=share, intensify=3 - share
            )
            assert 0 < residual < 1
        else:
            steps = len(trajectory.times) - 2
            dragged, _, _, area, _ = run(PointDragOptimizer, **what, drag_steps=min(3, steps), rounds=1)
        samples = run(GradientMaskedDenoise, model=case.model, trajectory=dragged)[0]["samples"]
        decoded = case.vae.decode(samples).reshape(1, SIDE, SIDE, 3)
        assert torch.equal(run(PasteBack, edited=decoded, original=case.image, mask=area)[0], edit)
