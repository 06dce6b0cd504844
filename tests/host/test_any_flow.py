"""Whatever ComfyUI samples as a flow can be dragged by `dragfield`: its velocity is the sampler's, and every node of level 1 runs on it."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from any_flow import MODELS, VELOCITY_ALONE, Grey, conditioning, make, words
from comfy_extras.nodes_custom_sampler import BasicGuider, KSamplerSelect, SamplerCustomAdvanced
from drag_case import SIDE, DragCase, run
from sampled import T, off, sampled_velocity

from dragfield.core.instruction import DragInstruction, DrawnRegion
from dragfield.core.sampling.inversion import InversionSettings, invert
from dragfield.nodes import models
from dragfield.nodes.drag_edit import DragEdit
from dragfield.nodes.host.comfy_flow import ComfyFlow
from dragfield.nodes.host.conditioning import ComfyConditioning
from dragfield.nodes.host.recognise import name_of
from dragfield.nodes.host.recognised_backbone import backbone_for
from dragfield.nodes.invert import FireFlowInvert
from dragfield.nodes.latent_warp import LatentWarp
from dragfield.nodes.masked_denoise import GradientMaskedDenoise
from dragfield.nodes.paste_back import PasteBack
from dragfield.nodes.point_drag import PointDragOptimizer
from dragfield.nodes.region_optimizer import RegionDragOptimizer
from dragfield.nodes.warm_start import WarmStart

SQUARE = ((((0.2, 0.25), (0.5, 0.25), (0.5, 0.6), (0.2, 0.6)),),)
DRAG = DragInstruction((DrawnRegion("relocation", SQUARE, (0.62, 0.5)),), size=(SIDE, SIDE)).to_json()


@pytest.fixture(params=[*MODELS, "unknown"])
def patcher(request: pytest.FixtureRequest) -> Any:
    return make(request.param)


def latent_of(patcher: Any, size: tuple[int, int] = (8, 12)) -> torch.Tensor:
    return torch.randn(1, 16, *size, generator=torch.Generator().manual_seed(2))


def timed(patcher: Any) -> bool:
    return patcher.model.latent_format.latent_dimensions == 3


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_the_velocity_is_the_samplers_guided_too(patcher: Any, cfg: float) -> None:
    z, positive, negative = latent_of(patcher), conditioning(), conditioning(3)
    found = ComfyFlow(patcher).velocity(z, T, ComfyConditioning(positive, negative, cfg))
    assert found.shape == z.shape and off(found, sampled_velocity(patcher, z, positive, negative, cfg)) < 1e-5


def test_it_exists_at_the_picture_and_goes_over_into_the_noise(patcher: Any) -> None:
    backbone, z, prompt = ComfyFlow(patcher), latent_of(patcher), ComfyConditioning(conditioning())
    still, near, far = (backbone.velocity(z, t, prompt) for t in (0.0, 1e-6, 1.0))
    assert all(v.isfinite().all() for v in (still, near, far)) and off(near, still) < 0.05
    assert torch.equal(still, backbone.velocity(z, 0.0, prompt))


def test_odd_sizes_come_back_as_they_were(patcher: Any) -> None:
    z, backbone, prompt = latent_of(patcher, (7, 11)), backbone_for(patcher), ComfyConditioning(conditioning())
    if name_of(patcher) == "Kandinsky 5":
        # ComfyUI's own class fails there.
        with pytest.raises(ValueError, match="multiples of 16 px, and this latent is of 11 x 7 cells: crop or resize"):
            backbone.velocity(z, T, prompt)
        return
    assert backbone.velocity(z, T, prompt).shape == z.shape


def test_its_own_schedule_is_comfyuis(patcher: Any) -> None:
    times = backbone_for(patcher).times(latent_of(patcher), 8)
    wanted = comfy.samplers.calculate_sigmas(patcher.get_model_object("model_sampling"), "simple", 8)
    assert len(times) == 9 and torch.allclose(torch.tensor(times), wanted) and times[-1] == 0.0


def test_a_sampler_is_bit_identical_before_after_and_interrupted(patcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    z = latent_of(patcher)
    before = sampled_velocity(patcher, z, conditioning())
    backbone, prompt = ComfyFlow(patcher), ComfyConditioning(conditioning())
    backbone.velocity(latent_of(patcher), T, prompt)
    assert torch.equal(sampled_velocity(patcher, z, conditioning()), before)
    with monkeypatch.context() as patch:
        patch.setattr(comfy.samplers, "calc_cond_batch", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            backbone.velocity(latent_of(patcher), T, prompt)
    assert torch.equal(sampled_velocity(patcher, z, conditioning()), before)
    assert not patcher.model.diffusion_model._forward_hooks


@pytest.fixture
def case(patcher: Any, monkeypatch: pytest.MonkeyPatch) -> DragCase:
    monkeypatch.setattr("dragfield.nodes.drag_edit.ui.PreviewImage", lambda *_, **__: None)
    image = torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(5))
    made = DragCase((patcher, None, Grey(timed(patcher))), image, DRAG)
    made.prompt = lambda words: conditioning()
    return made


def inverted(case: DragCase, **how: Any) -> tuple:
    z = case.vae.encode(case.image)
    return run(FireFlowInvert, model=case.model, positive=conditioning(), latent={"samples": z}, steps=6, skip=2, **how)


def test_drag_edit_and_the_graph_run_and_agree_and_leave_the_background(case: DragCase) -> None:
    with torch.inference_mode():
        trajectory, _, latent, _ = inverted(case)
        what = {"model": case.model, "vae": case.vae, "image": case.image, "trajectory": trajectory, "drag": DRAG}
        edit, mask, _ = run(DragEdit, **what, method="dragfield", positive=conditioning())
        started, _, _, area = run(WarmStart, **what)
        samples = run(GradientMaskedDenoise, model=case.model, trajectory=started)[0]["samples"]
        assert samples.shape == latent["samples"].shape
        decoded = case.vae.decode(samples).reshape(1, SIDE, SIDE, 3)
        graph = run(PasteBack, edited=decoded, original=case.image, mask=area, trajectory=started)[0]
        closed = mask[0] == 0
        assert closed.any() and torch.equal(edit[0][closed], case.image[0][closed]) and not torch.equal(edit, case.image)
        assert torch.equal(edit, graph)
        against = {"negative": conditioning(3), "cfg": 3.0}
        guided = run(GradientMaskedDenoise, model=case.model, trajectory=started, **against)[0]["samples"]
        assert not torch.allclose(guided, samples, atol=1e-3)
        decoded = case.vae.decode(guided).reshape(1, SIDE, SIDE, 3)
        pasted = run(PasteBack, edited=decoded, original=case.image, mask=area, trajectory=started)[0]
        assert torch.equal(pasted, run(DragEdit, **what, method="dragfield", positive=conditioning(), **against)[0])


def test_an_inversion_comes_back_and_any_sampler_starts_there(case: DragCase) -> None:
    with torch.inference_mode():
        trajectory, noise, latent, sigmas = inverted(case)
        state = trajectory.branches[0]
        assert state.inversion.times[-1] == 0.0 and bool(state.inversion.bank.blocks) == (backbone_for(case.model).level == 3)
        back = run(GradientMaskedDenoise, model=case.model, trajectory=trajectory)[0]["samples"]
        moved = (models.vae_latents(case.model, [state.z]) - latent["samples"]).abs().mean()
        assert (back - latent["samples"]).abs().mean() < moved
        warped = run(LatentWarp, state=trajectory, drag=DRAG)[0]
        assert not torch.equal(warped.branches[0].z, state.z)
        guider, sampler = BasicGuider.execute(case.model, conditioning()).result[0], KSamplerSelect.execute("euler").result[0]
        sampled = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]
        assert sampled.shape == latent["samples"].shape and sampled.isfinite().all()


@pytest.mark.parametrize("patcher", ["unknown"], indirect=True)
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_an_inversion_goes_by_the_guided_velocity(case: DragCase, cfg: float) -> None:
    z, negative = case.vae.encode(case.image), conditioning(3)
    trajectory = inverted(case, negative=negative, cfg=cfg)[0]
    plain = inverted(case)[0]
    state, backbone = trajectory.branches[0], ComfyFlow(case.model)
    prompt = ComfyConditioning(conditioning(), negative, cfg)
    settings = InversionSettings(6, 2, kv_blocks="none")
    wanted = invert(backbone, models.model_latents(case.model, {"samples": z})[0], prompt, settings, times=backbone.times(z, 6))
    assert torch.equal(state.z, wanted.z)
    assert torch.equal(state.z, plain.branches[0].z) == (cfg == 1.0)


@pytest.mark.parametrize("name", list(VELOCITY_ALONE))
def test_a_class_that_comfyui_brings_is_dragged_by_its_velocity(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragfield.nodes.drag_edit.ui.PreviewImage", lambda *_, **__: None)
    # As the host makes models and runs nodes.
    with torch.inference_mode():
        model, prompt = make(name), words(name)
        latents = model.get_model_object("latent_format")
        vae = Grey(latents.latent_dimensions == 3, latents.latent_channels, latents.spacial_downscale_ratio)
        image = torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(6))
        z = torch.randn(1, latents.latent_channels, 8, 12, generator=torch.Generator().manual_seed(2))
        backbone = backbone_for(model)
        assert type(backbone) is ComfyFlow and name in name_of(model)
        assert off(backbone.velocity(z, T, ComfyConditioning(prompt)), sampled_velocity(model, z, prompt)) < 1e-5
        latent = {"samples": vae.encode(image)}
        trajectory = run(FireFlowInvert, model=model, positive=prompt, latent=latent, steps=6, skip=2)[0]
        what = {"model": model, "vae": vae, "image": image, "trajectory": trajectory, "drag": DRAG, "positive": prompt}
        edit, mask, _ = run(DragEdit, **what, method="dragfield")
    closed = mask[0] == 0
    assert closed.any() and torch.equal(edit[0][closed], image[0][closed]) and not torch.equal(edit, image) and edit.isfinite().all()


@pytest.mark.parametrize("patcher", ["unknown"], indirect=True)
def test_what_needs_more_than_a_velocity_says_so_before_anything_starts(case: DragCase) -> None:
    with torch.inference_mode():
        trajectory = inverted(case)[0]
        for node in (RegionDragOptimizer, PointDragOptimizer):
            with pytest.raises(ValueError, match=r"needs features inside of the model.*does not give here: use Warm Start"):
                run(node, model=case.model, trajectory=trajectory, drag=DRAG, preset="tuned")
        for method in ("dragflow", "directdrag"):
            with pytest.raises(ValueError, match=f"'{method}' needs features .* use the method 'dragfield'"):
                run(DragEdit, model=case.model, vae=case.vae, image=case.image, drag=DRAG, method=method, positive=conditioning())
        with pytest.raises(ValueError, match="remembering needs the model's keys and values"):
            inverted(case, remember="all")
        with pytest.raises(ValueError, match="connect negative, or clip"):
            run(DragEdit, model=case.model, vae=case.vae, image=case.image, drag=DRAG, method="dragfield", positive=conditioning(), cfg=3.0)


def test_a_model_that_answers_with_nan_is_named_with_its_dtype(patcher: Any) -> None:
    for parameter in patcher.model.diffusion_model.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="answered with NaN or infinite values, computing in float32: load it in bfloat16"):
        ComfyFlow(patcher).velocity(latent_of(patcher), T, ComfyConditioning(conditioning()))


def test_a_video_is_refused_in_one_sentence() -> None:
    model = make("Qwen-Image")
    with pytest.raises(ValueError, match="the latent has 3 frames"):
        models.model_latents(model, {"samples": torch.zeros(1, 16, 3, 4, 4)})
    with pytest.raises(ValueError, match="use the VAE that belongs to the MODEL"):
        models.model_latents(model, {"samples": torch.zeros(1, 16, 4, 4)})

