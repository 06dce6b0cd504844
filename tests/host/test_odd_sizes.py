"""Latents with odd sides: pictures whose sides are multiples of 8 but not of 16. ComfyUI pads them to whole tokens and cuts the outcome."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dragfield.core.demo import text
from dragfield.core.demo.autoencoder import AutoencoderConfig, DemoAutoencoder
from dragfield.core.demo.cases import sample_cases
from dragfield.core.demo.dragflow_settings import DRAGFLOW
from dragfield.core.demo.measure import measure
from dragfield.core.edits.directdrag import FlowPointSettings, directdrag
from dragfield.core.edits.dragfield import DragFieldSettings, dragfield
from dragfield.core.edits.dragflow import DragFlowSettings, dragflow
from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.core.model.backbone import token_grid
from dragfield.core.model.taps import POINTS, Tap
from dragfield.core.optimise.point_drag_settings import PointDragSettings
from dragfield.core.optimise.region_drag import RegionDragSettings, region_drag
from dragfield.core.sampling.inversion import InversionSettings, invert, reconstruct
from dragfield.core.sampling.sampler import FlowSampler
from dragfield.nodes import models
from dragfield.nodes.gradient_mask import GradientMask
from dragfield.nodes.host.autoencoder import ComfyAutoencoder
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.demo_model import DemoVAE, load_demo_model
from dragfield.nodes.invert import FireFlowInvert
from dragfield.nodes.latent_warp import LatentWarp
from dragfield.nodes.masked_denoise import GradientMaskedDenoise
from dragfield.nodes.point_drag import PointDragOptimizer
from dragfield.nodes.region_optimizer import RegionDragOptimizer

ODD = [(7, 12), (8, 11), (7, 11)]
TAPS = [Tap(kind, index, point) for kind in ("double", "single") for index in (0, 1) for point in POINTS]
T = 0.6
every_odd_size = pytest.mark.parametrize("size", ODD, ids=str)


def latent_of(size: tuple[int, int], seed: int = 2) -> torch.Tensor:
    return torch.randn(1, 16, *size, generator=torch.Generator().manual_seed(seed))


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    found, wanted = found.detach().cpu(), wanted.detach().cpu()
    return float((found - wanted).abs().max() / wanted.abs().max())


@every_odd_size
def test_the_velocity_is_what_comfyui_s_own_model_says(make_flux: Callable[..., Any], prompt: Any, size: tuple[int, int]) -> None:
    patcher, z = make_flux(), latent_of(size)
    found = ComfyTransformer(patcher).velocity(z, T, prompt, guidance=2.0)
    with torch.no_grad():
        sigma, guidance = torch.tensor([T]), torch.tensor([2.0])
        given = [x.to(found.device) for x in (z, sigma, prompt.txt, prompt.pooled, guidance)]
        denoised = patcher.model.apply_model(*given[:2], c_crossattn=given[2], y=given[3], guidance=given[4]).cpu()
    assert found.shape == z.shape
    assert off(found, (z - denoised) / T) < 1e-5


@every_odd_size
def test_velocity_and_every_tap_are_core_s(
    make_flux: Callable[..., Any], core_flux: Any, prompt: Any, size: tuple[int, int]
) -> None:
    host, z = ComfyTransformer(make_flux()), latent_of(size)
    assert off(host.velocity(z, T, prompt), core_flux.velocity(z, T, prompt)) < 1e-5
    found, wanted = (backbone.features(z, T, prompt, taps=TAPS) for backbone in (host, core_flux))
    assert all(f.shape[-2:] == token_grid(z, 2) == (4, 6) for f in found)
    assert max(off(*pair) for pair in zip(found, wanted, strict=True)) < 1e-5


@pytest.mark.parametrize("save_memory", ["off", "on"])
def test_the_gradient_is_core_s_with_keys_and_values_of_the_padded_tokens(
    make_flux: Callable[..., Any], core_flux: Any, prompt: Any, save_memory: str
) -> None:
    slopes = []
    for backbone in (ComfyTransformer(make_flux(), save_memory=save_memory), core_flux):
        bank = KVBank(choose_blocks("all", 2, 2))
        with torch.no_grad():
            backbone.velocity(latent_of((7, 11)), T, prompt, kv=bank.capture())
        assert {keys.shape[1] for keys, _ in bank.entries[0].blocks.values()} == {4 * 6}
        leaf = latent_of((7, 11), seed=5).requires_grad_()
        features = backbone.features(leaf, T, prompt, taps=[Tap("double", 0, "out"), Tap("single", 1, "out")], kv=bank.hold())
        slopes.append(torch.autograd.grad(sum(f.pow(3).sum() for f in features), leaf)[0])
        assert off(backbone.velocity(leaf, T, prompt, kv=bank.hold()), backbone.velocity(leaf, T, prompt)) > 1e-2
    assert off(*slopes) < 1e-4


FEW = InversionSettings(steps=4, skip=1)
EDITS = {
    "dragfield": (dragfield, DragFieldSettings(inversion=FEW, refine=RegionDragSettings(2, 1))),
    "dragflow": (dragflow, DragFlowSettings(inversion=FEW, drag=RegionDragSettings(2, 1))),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_whole_edit_of_an_odd_picture_is_core_s(make_flux: Callable[..., Any], core_flux: Any, prompt: Any, name: str) -> None:
    edit, settings = EDITS[name]
    torch.manual_seed(3)
    image, mask = torch.rand(1, 3, 56, 88), np.zeros((56, 88), bool)
    mask[16:40, 16:48] = True
    drag = Drag((88, 56), (RegionOperation(mask, "relocation", target=(53.0, 31.0)),))
    autoencoder = DemoAutoencoder(AutoencoderConfig(16, 16, 8, (1, 1), (1, 1))).eval().requires_grad_(False)
    wanted = edit(core_flux, autoencoder, image, drag, prompt, settings=settings)
    model = make_flux()
    with torch.inference_mode(), ComfyTransformer(model).session() as host:
        found = edit(host, ComfyAutoencoder(DemoVAE(autoencoder), model), image.to(host.device), drag, prompt, settings=settings)
    assert found.z.shape[-2:] == (7, 11) and off(found.image, wanted.image) < 1e-4


def test_a_point_edit_of_an_odd_picture_is_core_s(make_flux: Callable[..., Any], core_flux: Any, prompt: Any) -> None:
    torch.manual_seed(3)
    image, drag = torch.rand(1, 3, 56, 88), Drag((88, 56), points=(PointOperation((30.0, 28.0), (58.0, 31.0)),))
    autoencoder = DemoAutoencoder(AutoencoderConfig(16, 16, 8, (1, 1), (1, 1))).eval().requires_grad_(False)
    # Along the gradient: Adam takes the sign of numbers that rounding alone decides.
    small = PointDragSettings(rounds=2, steps_per_round=1, rate_mode="normalised", rate=0.1, mask_on="step", arrive_within=None)
    settings = FlowPointSettings(inversion=FEW, drag=small, drag_steps=1)
    wanted = directdrag(core_flux, autoencoder, image, drag, prompt, settings)
    model = make_flux()
    with torch.inference_mode(), ComfyTransformer(model).session() as host:
        found = directdrag(host, ComfyAutoencoder(DemoVAE(autoencoder), model), image.to(host.device), drag, prompt, settings)
    assert found.z.shape[-2:] == (7, 11) and off(found.image, wanted.image) < 1e-3


class Still:
    """A field of one region that goes nowhere."""

    def weights(self) -> list[float]:
        return [1.0]

    def samples(self, op: int, progress: float, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        y, x = torch.meshgrid(torch.arange(size[1]) + 0.5, torch.arange(size[0]) + 0.5, indexing="ij")
        cells = torch.stack([x, y], dim=-1)[1:, 2:].reshape(-1, 2)
        return cells, cells.clone()


@every_odd_size
@pytest.mark.parametrize("reference_grid", ["tokens", "cells"])
def test_zero_drag_changes_nothing(make_flux: Callable[..., Any], prompt: Any, size: tuple[int, int], reference_grid: str) -> None:
    z, settings = latent_of(size), RegionDragSettings(2, 1, reference_grid=reference_grid)
    *_, state = region_drag(FlowSampler(ComfyTransformer(make_flux()), prompt), z, T, Still(), None, settings)
    assert torch.equal(state.z, z) and float(state.loss) == 0.0


class Optimizer(RegionDragOptimizer):
    """As ComfyUI runs it: with its hidden inputs."""

    hidden = SimpleNamespace(unique_id=None)


OPTIMIZER = {
    "transport": 2, "intensify": 1, "guidance": 0.0, "rate": 1.0, "preset": "principled", "hold_attention": True, "renew_vacated": True,
    "save_memory": "auto", "deformation": "rigid",
}  # fmt: skip
SQUARE = ((((0.2, 0.2), (0.45, 0.2), (0.45, 0.6), (0.2, 0.6)),),)


@every_odd_size
def test_the_nodes_take_it_from_inversion_to_picture(make_flux: Callable[..., Any], prompt: Any, size: tuple[int, int]) -> None:
    model, z, pixels = make_flux(), latent_of(size), (8 * size[1], 8 * size[0])
    drag = DragInstruction((DrawnRegion("relocation", SQUARE, (0.6, 0.5)),), size=pixels).to_json()
    with torch.inference_mode():
        positive = [[prompt.txt, {"pooled_output": prompt.pooled}]]
        how = {"steps": 5, "skip": 2, "guidance": 1.0, "remember": "all", "remember_on": "auto"}
        trajectory, noise, same, sigmas = FireFlowInvert.execute(model, positive, {"samples": z}, **how).result
        clean = models.model_latents(model, same)[0].cpu()
        mixed = sigmas[0] * noise.generate_noise(same) + (1 - sigmas[0]) * clean
        assert torch.allclose(mixed, trajectory.branches[0].z.cpu(), atol=1e-5)
        mask = GradientMask.execute(torch.zeros(1, pixels[1], pixels[0], 3), drag, "around", 0.05, 0.0).result[0]
        warped = LatentWarp.execute(trajectory, drag, 1.0, 0, "stretch", mask).result[0]
        dragged, *_, residual = Optimizer.execute(model, warped, drag, **OPTIMIZER, mask=mask).result
        done = GradientMaskedDenoise.execute(model, dragged, 0.0, "matched", 0.0).result[0]["samples"]
    cells = torch.nn.functional.adaptive_avg_pool2d(mask, size)[0]
    assert done.shape == z.shape and 0 < residual < 2
    assert torch.allclose(done[..., cells == 0], z[..., cells == 0], atol=1e-6)
    assert not torch.allclose(done[..., cells == 1], z[..., cells == 1], atol=1e-2)


class PointOptimizer(PointDragOptimizer):
    hidden = SimpleNamespace(unique_id=None)


@every_odd_size
def test_points_are_dragged_on_it_by_the_nodes(make_flux: Callable[..., Any], prompt: Any, size: tuple[int, int]) -> None:
    model, z, pixels = make_flux(), latent_of(size), (8 * size[1], 8 * size[0])
    drag = DragInstruction((DrawnPoints((((0.25, 0.5), (0.75, 0.5)),)),), size=pixels).to_json()
    how = {"steps": 5, "skip": 2, "guidance": 1.0, "remember": "all", "remember_on": "auto"}
    asked = {
        "drag_steps": 1, "rounds": 2, "iterations": 1, "rate": 1.0, "warp": 0.15, "mask_weight": 0.1, "preset": "principled",
    }  # fmt: skip
    with torch.inference_mode():
        positive = [[prompt.txt, {"pooled_output": prompt.pooled}]]
        trajectory = FireFlowInvert.execute(model, positive, {"samples": z}, **how).result[0]
        dragged, _, _, mask, distance = PointOptimizer.execute(model, trajectory, drag, **asked).result
        done = GradientMaskedDenoise.execute(model, dragged, 0.0, "matched", 0.0).result[0]["samples"]
    assert done.shape == z.shape and torch.isfinite(done).all() and distance > 0 and mask.shape == (1, *pixels[::-1])


def test_on_the_demo_model_an_inversion_comes_back_and_a_drag_arrives() -> None:
    case = next(sample_cases(1, 3, size=200))
    with torch.inference_mode():
        model, _, vae = load_demo_model()
    image = torch.from_numpy(case.source).movedim(-1, 0)[None].float().to(model.load_device)
    prompt = text.embed([case.scene.caption])
    autoencoder = ComfyAutoencoder(vae, model)
    with ComfyTransformer(model).session() as host:
        inversion = invert(host, autoencoder.encode(image), prompt, DRAGFLOW.inversion)
        assert inversion.z.shape[-2:] == (25, 25)
        back = reconstruct(host, inversion, prompt)[-1]
        edit = dragflow(host, autoencoder, image, case.drag, prompt, settings=DRAGFLOW, inversion=inversion)
    assert (back - inversion.z0).square().mean() < 0.01 * inversion.z0.square().mean()
    found = measure(case, edit.image[0].movedim(0, -1).cpu().numpy(), edit.mask)
    distance = float(np.hypot(*case.shift)) * case.size / 256
    assert found.centroid_error_px < 0.1 * distance and found.source_left < 0.1, (found, distance)
