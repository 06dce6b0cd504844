"""What nodes take and give, in this process and on a tiny model: nothing that arrives is written to, and everything composes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, SamplerCustomAdvanced

from dragfield.core.demo.directdrag_settings import DIRECTDRAG
from dragfield.core.edits.directdrag import PUBLISHED, DirectDragSettings
from dragfield.core.edits.point_edit import carried, points_of
from dragfield.core.edits.warm_start import warp_latent
from dragfield.core.field import DragField
from dragfield.core.field.masks import to_latent
from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from dragfield.core.model.readout import ReadoutConfig, ReadoutHead
from dragfield.core.picture.drawn_field import DrawnField
from dragfield.nodes import models
from dragfield.nodes.fireflow_sampler import FireFlowSampler
from dragfield.nodes.gradient_mask import editing_mask
from dragfield.nodes.invert import FireFlowInvert
from dragfield.nodes.latent_warp import LatentWarp
from dragfield.nodes.masked_denoise import GradientMaskedDenoise
from dragfield.nodes.preview import DragPreview
from dragfield.nodes.readout import ReadoutGuidance
from dragfield.nodes.region_optimizer import RegionDragOptimizer
from dragfield.nodes.soft_mask import freedom

SIZE = (96, 64)
SQUARE = ((((0.2, 0.2), (0.45, 0.2), (0.45, 0.6), (0.2, 0.6)),),)
DRAG = DragInstruction((DrawnRegion("relocation", SQUARE, (0.6, 0.5)),), size=SIZE).to_json()
OPTIMIZER = {
    "transport": 2, "intensify": 0, "guidance": 0.0, "rate": 1.0, "preset": "principled", "hold_attention": True, "renew_vacated": True,
    "save_memory": False, "deformation": "rigid",
}  # fmt: skip


class Optimizer(RegionDragOptimizer):
    """As ComfyUI runs it: with its hidden inputs."""

    hidden = SimpleNamespace(unique_id=None)


@pytest.fixture
def model(make_flux: Callable[..., Any]) -> Any:
    return make_flux()


@pytest.fixture
def positive(prompt: Any) -> list:
    return [[prompt.txt, {"pooled_output": prompt.pooled}]]


@pytest.fixture
def inference() -> Any:
    """As ComfyUI runs nodes."""
    with torch.inference_mode():
        yield


def invert(model: Any, positive: list, samples: torch.Tensor, **other: Any) -> Any:
    settings = {"steps": 5, "skip": 2, "guidance": 1.0, "remember": "all", "remember_on": "device", **other}
    return FireFlowInvert.execute(model, positive, {"samples": samples}, **settings).result


def test_a_batch_is_inverted_as_its_pictures_are_one_by_one(model: Any, positive: list, latent: torch.Tensor, inference: None) -> None:
    other = latent.flip(-1)
    together = invert(model, positive, torch.cat([latent, other]))[0]
    for branch, alone in zip(together.branches, (latent, other), strict=True):
        assert torch.equal(branch.z, invert(model, positive, alone)[0].branches[0].z)


def test_any_sampler_starts_exactly_at_the_inverted_state(model: Any, positive: list, latent: torch.Tensor, inference: None) -> None:
    trajectory, noise, same, sigmas = invert(model, positive, latent)
    t = float(sigmas[0])
    mixed = t * noise.generate_noise(same) + (1 - t) * models.model_latents(model, same)[0].cpu()
    assert torch.allclose(mixed, trajectory.branches[0].z.cpu(), atol=1e-6)
    guider = BasicGuider.execute(model, positive).result[0]
    sampler = FireFlowSampler.execute().result[0]
    (back, *_) = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, same).result
    # Samplers give a prompt without guidance 3.5.
    denoised = GradientMaskedDenoise.execute(model, trajectory, 3.5, "own", 0.0).result[0]
    assert torch.allclose(back["samples"], denoised["samples"], atol=2e-4)


def test_a_schedule_of_ones_own_is_walked_as_it_is(model: Any, positive: list, latent: torch.Tensor, inference: None) -> None:
    sigmas = torch.tensor([0.9, 0.6, 0.25, 0.0])
    trajectory, _, _, left = invert(model, positive, latent, skip=1, sigmas=sigmas)
    assert torch.allclose(left, sigmas[1:])
    assert len(trajectory.branches[0].inversion.path) == 3


def test_outside_of_the_mask_the_denoised_latent_is_the_pictures_own(
    model: Any, positive: list, latent: torch.Tensor, inference: None
) -> None:
    trajectory = invert(model, positive, latent)[0]
    dragged, _, _, mask, _ = Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER).result
    denoised = GradientMaskedDenoise.execute(model, dragged, 0.0, "matched", 0.0).result[0]["samples"]
    cells = mask[0, ::8, ::8].bool()
    kept = ~torch.nn.functional.max_pool2d(cells[None, None].float(), 3, 1, 1)[0, 0].bool()
    assert torch.allclose(denoised[..., kept], latent[..., kept], atol=1e-6)
    assert not torch.allclose(denoised[..., cells], latent[..., cells], atol=1e-2)


def test_the_originals_keys_and_values_go_where_the_drag_left_things_alone(
    model: Any, positive: list, latent: torch.Tensor, inference: None
) -> None:
    trajectory = invert(model, positive, latent, preset="tuned")[0]

    def denoised(dragged: Any, attention: str = "matched", **other: Any) -> torch.Tensor:
        return GradientMaskedDenoise.execute(model, dragged, 0.0, attention, 0.0, **other).result[0]["samples"]

    def with_kept(dragged: Any, cells: torch.Tensor | None) -> Any:
        return replace(dragged, branches=tuple(replace(branch, kept=cells) for branch in dragged.branches))

    def injected_into(cells: torch.Tensor) -> torch.Tensor:
        return denoised(with_kept(trajectory, cells))

    for dragged in (
        Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER).result[0],
        LatentWarp.execute(trajectory, DRAG, 1.0, 0, "stretch").result[0],
    ):
        # (96, 64) px are 12 x 8 cells; the corner stays where it is, the region's middle does not.
        kept = dragged.branches[0].kept
        assert kept.shape == (8, 12) and kept[-1, 0] and not kept[3, 3]
        into_kept, everywhere = denoised(dragged), denoised(dragged, inject_into="all")
        assert not torch.allclose(into_kept, everywhere, atol=1e-4)
        assert torch.equal(denoised(with_kept(dragged, None)), everywhere)
    # A second drag leaves alone what both do.
    further = DragInstruction((DrawnRegion("relocation", SQUARE, (0.35, 0.8)),), size=SIZE).to_json()
    twice = LatentWarp.execute(dragged, further, 1.0, 0, "stretch").result[0]
    alone = LatentWarp.execute(trajectory, further, 1.0, 0, "stretch").result[0]
    both, after = twice.branches[0].kept, alone.branches[0].kept
    assert torch.equal(both, kept & after) and not torch.equal(both, after)
    everything, nothing = torch.ones(8, 12, dtype=torch.bool), torch.zeros(8, 12, dtype=torch.bool)
    assert torch.allclose(injected_into(everything), denoised(trajectory), atol=1e-5)
    assert torch.allclose(injected_into(nothing), denoised(trajectory, "own"), atol=1e-5)
    assert not torch.allclose(denoised(trajectory), denoised(trajectory, "own"), atol=1e-4)


def test_nothing_that_arrives_is_written_to(model: Any, positive: list, latent: torch.Tensor, inference: None) -> None:
    samples = latent.clone()
    given = {"samples": samples}
    words, options = positive[0][0].clone(), str(model.model_options)
    trajectory = invert(model, positive, samples)[0]
    state = trajectory.branches[0].z.clone()
    warped = LatentWarp.execute(trajectory, DRAG, 1.0, 0, "stretch").result[0]
    kept = warped.branches[0].z.clone()
    dragged = Optimizer.execute(model, warped, DRAG, **OPTIMIZER).result[0]
    GradientMaskedDenoise.execute(model, dragged, 0.0, "matched", 0.5)
    LatentWarp.execute(given, DRAG, 1.0, 0, "stretch")
    assert torch.equal(samples, latent) and list(given) == ["samples"]
    assert torch.equal(positive[0][0], words) and list(positive[0][1]) == ["pooled_output"]
    assert torch.equal(trajectory.branches[0].z, state) and torch.equal(warped.branches[0].z, kept)
    assert str(model.model_options) == options


def test_a_batch_is_dragged_and_denoised_as_its_pictures_are_one_by_one(
    model: Any, positive: list, latent: torch.Tensor, inference: None
) -> None:
    def edited(samples: torch.Tensor) -> torch.Tensor:
        dragged = Optimizer.execute(model, invert(model, positive, samples)[0], DRAG, **OPTIMIZER).result[0]
        return GradientMaskedDenoise.execute(model, dragged, 0.0, "matched", 0.0).result[0]["samples"]

    other = latent.flip(-1)
    assert torch.equal(edited(torch.cat([latent, other])), torch.cat([edited(latent), edited(other)]))


def test_guidance_terms_change_a_region_drag_and_add_up(model: Any, positive: list, latent: torch.Tensor, inference: None) -> None:
    with torch.inference_mode(False):
        torch.manual_seed(0)
        head = ReadoutHead(ReadoutConfig((32,) * 4, projection=16, embedding=256, groups=2)).eval()
    trajectory = invert(model, positive, latent)[0]
    how = {"distance": "cosine", "compare_with": "each_time", "time": "true"}
    one = ReadoutGuidance.execute(head, 2.0, **how).result[0]
    two = ReadoutGuidance.execute(head, 2.0, **{**how, "compare_with": "inversion"}, guidance=one).result[0]
    states = [Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER, terms=t).result[0].branches[0].z for t in ((), one, two)]
    assert not torch.equal(states[0], states[1]) and not torch.equal(states[1], states[2])
    undragged = trajectory.branches[0].undragged
    assert all(torch.equal(z[..., 0, :], undragged[..., 0, :]) for z in states)


def test_a_latent_is_warped_only_where_the_drag_is(latent: torch.Tensor, inference: None) -> None:
    warped = LatentWarp.execute({"samples": latent, "batch_index": [0]}, DRAG, 1.0, 0, "rigid").result[0]
    assert warped["batch_index"] == [0]
    assert torch.equal(warped["samples"][..., 0, :], latent[..., 0, :])
    assert not torch.equal(warped["samples"], latent)


def test_a_latent_is_carried_part_of_the_way(latent: torch.Tensor, inference: None) -> None:
    def warped(**other: Any) -> torch.Tensor:
        return LatentWarp.execute({"samples": latent}, DRAG, 1.0, 0, "rigid", **other).result[0]["samples"]

    field = DragField.from_drag(DragInstruction.from_json(DRAG).rasterise(*SIZE), deformation="rigid")
    area = to_latent(editing_mask(DrawnField(DragInstruction.from_json(DRAG).rasterise(*SIZE)), "around", 0.08), (8, 12))
    assert torch.equal(warped(ratio=0.5), torch.where(area, warp_latent(latent, 0.0, field, z0=latent, progress=0.5), latent))
    assert torch.equal(warped(ratio=0.0), latent) and torch.equal(warped(ratio=1.0), warped())
    assert not torch.equal(warped(ratio=0.5), warped())


OURS = DirectDragSettings()
PRESETS = {"tuned": OURS, "published": PUBLISHED, "auto": PUBLISHED, "principled": OURS, "reference": PUBLISHED, "carry": DIRECTDRAG}


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("kind", ["trajectory", "clean", "noisy"])
def test_points_carry_a_latent_as_the_point_optimizer_does(
    model: Any, positive: list, latent: torch.Tensor, inference: None, preset: str, kind: str
) -> None:
    drawn = DragInstruction((DrawnPoints((((0.3, 0.4), (0.6, 0.55)),)),), size=SIZE)
    asked, how = drawn.rasterise(*SIZE), PRESETS[preset]
    if kind == "trajectory":
        trajectory = invert(model, positive, latent)[0]
        branch, options = trajectory.branches[0], {}
        given, z, signal = trajectory, branch.z, (1 - branch.t) * branch.inversion.z0
    else:
        given, z, signal = {"samples": latent}, latent, latent if kind == "clean" else None
        options = {} if kind == "clean" else {"noise_level": 0.5, "model": model}
        z = z if kind == "clean" else models.model_latents(model, given)[0]
    found = LatentWarp.execute(given, drawn.to_json(), 1.0, 0, "stretch", ratio=0.6, points=preset, **options).result[0]
    handles = points_of(asked, how.rounded, how.clamp)
    free, support = freedom(asked, handles, None, (8, 12), how.soft_mask)
    wanted = carried(z, handles, replace(how.warp, ratio=0.6), free, how.warp_within, signal=signal, rounded=how.rounded)
    wanted = torch.where(to_latent(support, (8, 12)).to(z.device), wanted, z)
    assert not torch.allclose(wanted, z, atol=1e-3)
    if kind == "trajectory":
        assert torch.equal(found.branches[0].z, wanted) and found.branches[0].kept is None and found.mask.tolist() == support.tolist()
    else:
        assert torch.allclose(found["samples"], wanted if kind == "clean" else models.vae_latents(model, [wanted]), atol=1e-6)


def test_only_points_are_carried_by_a_preset_of_theirs(latent: torch.Tensor, inference: None) -> None:
    with pytest.raises(ValueError, match="DirectDrag moves points only"):
        LatentWarp.execute({"samples": latent}, DRAG, 1.0, 0, "rigid", points="principled")


def test_noise_of_another_picture_size_is_refused(model: Any, positive: list, latent: torch.Tensor, inference: None) -> None:
    noise = invert(model, positive, latent)[1]
    with pytest.raises(ValueError, match="connect the latent output of the same inversion node"):
        noise.generate_noise({"samples": torch.zeros(1, 16, 4, 4)})


def test_a_latent_of_nan_is_explained(model: Any, positive: list, latent: torch.Tensor, inference: None) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        invert(model, positive, latent * float("nan"))


def test_guidance_is_the_widgets_then_the_prompts_then_the_default(positive: list) -> None:
    plain = models.prompt_of(positive)
    guided = models.prompt_of([[positive[0][0], {**positive[0][1], "guidance": 2.0}]])
    assert [models.chosen_guidance(*args, 3.5) for args in ((0.0, plain), (0.0, guided), (5.0, guided))] == [3.5, 2.0, 5.0]


def test_points_take_along_what_they_belong_to_on_a_picture_in_a_latent_warp_and_in_the_preview() -> None:
    """A figure of two colours, told by its upper half: the lower one comes along where a picture is there to see it on."""
    picture = torch.full((1, 64, 96, 3), 0.5)
    picture[:, 8:20, 16:32], picture[:, 20:32, 16:32] = torch.tensor([0.9, 0.9, 0.2]), torch.tensor([0.1, 0.1, 0.5])
    drag = json.dumps({"version": 1, "operations": [{"kind": "points", "pairs": [[[0.25, 0.28125], [0.5833334, 0.28125]]]}]})
    samples = picture[:, 4::8, 4::8].movedim(-1, 1).repeat(1, 2, 1, 1)[:, :4].contiguous()
    blind = LatentWarp.execute({"samples": samples}, drag, 1.0, 0, "stretch").result[0]["samples"]
    seeing = LatentWarp.execute({"samples": samples}, drag, 1.0, 0, "stretch", image=picture).result[0]["samples"]
    # Four cells to the right.
    assert torch.allclose(seeing[0, :, 3, 7], samples[0, :, 3, 3], atol=0.02)
    assert not torch.allclose(blind[0, :, 3, 7], samples[0, :, 3, 3], atol=0.1)
    warped = DragPreview.execute(picture, drag, 1.0, "stretch").result[0]
    assert torch.allclose(warped[0, 26, 56], picture[0, 26, 24], atol=0.02)
