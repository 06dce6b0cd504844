"""Regions dragged on a native UNet: the nodes that a flow model has, on a trajectory of DDIM Invert."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, KSamplerSelect, SamplerCustomAdvanced
from diffusers import UNet2DConditionModel

from dragfield.core.edits.dragfield import DragFieldSettings, dragfield
from dragfield.core.edits.dragflow import DragFlowSettings, dragflow
from dragfield.core.field import DragField
from dragfield.core.field.masks import to_latent
from dragfield.core.instruction import DragInstruction, DrawnRegion
from dragfield.core.model.noise_schedule import flow_latent, noise_latent
from dragfield.core.optimise.region_drag import RegionDragSettings, region_drag
from dragfield.core.sampling.ddim import ddim
from dragfield.core.sampling.ddim_inversion import noise_of
from dragfield.core.sampling.noise_as_flow import NoiseAsFlow
from dragfield.core.sampling.sampler import FlowSampler, NoiseSampler
from dragfield.core.training.readout_training import new_head
from dragfield.nodes import wire
from dragfield.nodes.ddim_invert import DDIMInvert
from dragfield.nodes.drag_edit import DragEdit
from dragfield.nodes.host.autoencoder import ComfyAutoencoder
from dragfield.nodes.host.comfy_unet import ComfyUNet
from dragfield.nodes.host.demo_unet import make_unet
from dragfield.nodes.invert import FireFlowInvert
from dragfield.nodes.latent_warp import LatentWarp
from dragfield.nodes.masked_denoise import GradientMaskedDenoise
from dragfield.nodes.mutual_attention import MutualSelfAttention
from dragfield.nodes.readout import ReadoutGuidance
from dragfield.nodes.region_optimizer import RegionDragOptimizer

CONFIG = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (32, 32), "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2, "cross_attention_dim": 12, "norm_num_groups": 32,
}  # fmt: skip
SIZE = (96, 64)
SQUARE = ((((1 / 6, 1 / 4), (1 / 2, 1 / 4), (1 / 2, 3 / 4), (1 / 6, 3 / 4)),),)
"""Columns 2 to 5 and rows 2 to 5 of the latent's 12 x 8 cells."""
REGION = DragInstruction((DrawnRegion("relocation", SQUARE, (7 / 12, 1 / 2)),), size=SIZE)
"""Three cells to the right."""
DRAG = REGION.to_json()
OPTIMIZER = {
    "transport": 2, "intensify": 1, "guidance": 0.0, "rate": 1.0, "preset": "principled", "hold_attention": False, "renew_vacated": False,
    "save_memory": "auto", "deformation": "rigid",
}  # fmt: skip


class Optimizer(RegionDragOptimizer):
    """As ComfyUI runs it: with its hidden inputs."""

    hidden = SimpleNamespace(unique_id=None)


class Mutual(MutualSelfAttention):
    hidden = SimpleNamespace(unique_id=None)


@pytest.fixture(scope="module")
def unet_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: x.detach() for name, x in UNet2DConditionModel(**CONFIG).state_dict().items()}


@pytest.fixture
def model(unet_weights: dict[str, torch.Tensor]) -> Any:
    return make_unet(CONFIG, unet_weights)


@pytest.fixture
def positive() -> list:
    return [[torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(1)), {}]]


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(2))


@pytest.fixture(autouse=True)
def inference() -> Any:
    """As ComfyUI runs nodes."""
    with torch.inference_mode():
        yield


def invert(model: Any, positive: list, z: torch.Tensor) -> Any:
    return DDIMInvert.execute(model, positive, {"samples": z}, 8, 0.75).result


def sampled(model: Any, positive: list, noise: Any, sigmas: torch.Tensor, latent: dict) -> torch.Tensor:
    guider, sampler = BasicGuider.execute(model, positive).result[0], KSamplerSelect.execute("euler").result[0]
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]


def denoised(model: Any, trajectory: Any, attention: str = "own", own_share: float = 0.0, **other: Any) -> torch.Tensor:
    return GradientMaskedDenoise.execute(model, trajectory, 0.0, attention, own_share, **other).result[0]["samples"]


def test_the_node_is_cores_region_drag_on_the_noise_as_a_flow(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory = invert(model, positive, z)[0]
    dragged, _, _, mask, residual = Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER).result
    drag, own = REGION.rasterise(*SIZE), trajectory.branches[0].inversion
    with ComfyUNet(model).session() as backbone:
        flow, t = NoiseAsFlow(backbone), own.level(0)
        settings = replace(RegionDragSettings(2, 1), taps=flow.taps, reference_grid="tokens")
        cells, field = to_latent(wire.bool_mask(mask, SIZE), (8, 12)), DragField.from_drag(drag)
        *_, state = region_drag(FlowSampler(flow, trajectory.prompt), flow_latent(own.z, t), t, field, cells, settings)
    assert not dragged.flow and torch.equal(dragged.branches[0].z, noise_latent(state.z, t))
    assert residual == float(state.residual) and not torch.allclose(dragged.branches[0].z, own.z, atol=1e-3)


def test_outside_of_the_mask_the_picture_comes_back_exactly(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory = invert(model, positive, z)[0]
    for attention in ("own", "matched"):
        dragged, _, _, mask, _ = Optimizer.execute(model, trajectory, DRAG, **{**OPTIMIZER, "hold_attention": attention != "own"}).result
        found = denoised(model, dragged, attention)
        open_ = to_latent(wire.bool_mask(mask, SIZE), (8, 12))
        assert open_.any() and not open_.all()
        assert torch.equal(found[..., ~open_], z[..., ~open_]) and not torch.allclose(found[..., open_], z[..., open_], atol=1e-2)


def test_any_sampler_starts_at_the_dragged_state(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory, _, latent, _ = invert(model, positive, z)
    white = torch.ones(1, SIZE[1], SIZE[0])
    dragged, noise, sigmas, _, _ = Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER, mask=white).result
    found = sampled(model, positive, noise, sigmas, latent)
    # A sampler ends in ComfyUI's state of the picture's level.
    whole = denoised(model, dragged) / math.sqrt(ComfyUNet(model).schedule.at(-1))
    assert torch.allclose(found, whole, atol=1e-4)


def test_matched_attention_looks_as_mutual_self_attention_does(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory, _, latent, _ = invert(model, positive, z)
    white = torch.ones(1, SIZE[1], SIZE[0])
    dragged, noise, sigmas, _, _ = Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER, mask=white).result
    looking = Mutual.execute(model, dragged, -1, "device").result[0]
    whole = denoised(model, dragged, "matched") / math.sqrt(ComfyUNet(model).schedule.at(-1))
    assert torch.allclose(sampled(looking, positive, noise, sigmas, latent), whole, atol=1e-4)
    own = denoised(model, dragged)
    assert torch.allclose(denoised(model, dragged, "matched", 1.0), own, atol=1e-5)
    assert not torch.allclose(denoised(model, dragged, "matched"), own, atol=1e-4)


def test_a_state_that_nobody_moved_is_denoised_as_ddim_does(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory = invert(model, positive, z)[0]
    inversion = trajectory.branches[0].inversion
    with ComfyUNet(model).session() as backbone, torch.no_grad():
        *_, last = ddim(noise_of(backbone, trajectory.prompt, None), backbone.schedule, inversion.z, inversion.times)
    assert torch.allclose(denoised(model, trajectory), last.z.cpu(), atol=1e-5)


def test_a_warped_trajectory_carries_its_cells_and_starts_the_drag_warm(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory = invert(model, positive, z)[0]
    warped, noise, sigmas = LatentWarp.execute(trajectory, DRAG, 1.0, 0, "rigid", torch.ones(1, SIZE[1], SIZE[0])).result
    branch = warped.branches[0]
    assert not warped.flow and torch.allclose(branch.z[..., 2:6, 5:9], branch.undragged[..., 2:6, 2:6], atol=1e-6)
    kept = branch.inversion.schedule.at(branch.t)
    mixed = math.sqrt(kept) * z + math.sqrt(1 - kept) * noise.generate_noise({"samples": z})
    assert torch.allclose(mixed, branch.z.cpu(), atol=1e-5) and len(sigmas) == len(warped.times)
    later = LatentWarp.execute(trajectory, DRAG, 0.3, 0, "rigid").result[0]
    assert later.branches[0].index > 0 and later.branches[0].t < branch.t
    warm, cold = (Optimizer.execute(model, state, DRAG, **OPTIMIZER).result[4] for state in (warped, trajectory))
    assert warm < 1 and warm != cold


def test_a_readout_holds_a_region_too(model: Any, positive: list, z: torch.Tensor) -> None:
    with torch.inference_mode(False):
        head = new_head(NoiseSampler(ComfyUNet(model), None), 8, 1).requires_grad_(False)
    terms = ReadoutGuidance.execute(head, 1e4, "cosine", "each_time", "true").result[0]
    trajectory = invert(model, positive, z)[0]
    free, held = (Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER, terms=t).result[0].branches[0].z for t in ((), terms))
    assert torch.isfinite(held).all() and not torch.equal(free, held)


def test_a_sampler_is_bit_identical_afterwards_and_nothing_that_arrives_is_written_to(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory, noise, latent, sigmas = invert(model, positive, z)
    before, samples, state = sampled(model, positive, noise, sigmas, latent), z.clone(), trajectory.branches[0].z.clone()
    dragged = Optimizer.execute(model, trajectory, DRAG, **{**OPTIMIZER, "hold_attention": True, "renew_vacated": True}).result[0]
    denoised(model, dragged, "matched")
    assert torch.equal(z, samples) and torch.equal(trajectory.branches[0].z, state)
    assert torch.equal(sampled(model, positive, noise, sigmas, latent), before)


def test_what_was_published_for_flux_alone_is_refused(model: Any, make_flux: Any, prompt: Any, positive: list, z: torch.Tensor) -> None:
    trajectory = invert(model, positive, z)[0]
    with pytest.raises(ValueError, match="published for FLUX"):
        Optimizer.execute(model, trajectory, DRAG, **{**OPTIMIZER, "preset": "reference"})
    with pytest.raises(ValueError, match="use 'matched' with Stable Diffusion"):
        denoised(model, trajectory, "lifo")
    words = [[prompt.txt, {"pooled_output": prompt.pooled}]]
    how = {"steps": 4, "skip": 1, "guidance": 1.0, "remember": "none", "remember_on": "device"}
    flows = FireFlowInvert.execute(make_flux(), words, {"samples": torch.zeros(1, 16, 8, 12)}, **how).result[0]
    with pytest.raises(ValueError, match="latents of 16 channels, this MODEL takes 4"):
        Optimizer.execute(model, flows, DRAG, **OPTIMIZER)
    with pytest.raises(ValueError, match="begin with DDIM Invert"):
        FireFlowInvert.execute(model, positive, {"samples": z}, **how)
    with pytest.raises(ValueError, match="begin with FireFlow Invert"):
        DDIMInvert.execute(make_flux(), words, {"samples": torch.zeros(1, 16, 8, 12)}, 8, 0.75)


def test_a_batch_is_dragged_as_its_pictures_are_one_by_one(model: Any, positive: list, z: torch.Tensor) -> None:
    pair = [z, z.flip(-1)]
    together = Optimizer.execute(model, invert(model, positive, torch.cat(pair))[0], DRAG, **OPTIMIZER).result[0]
    found = denoised(model, together, "matched")
    for one, picture in zip(found.split(1), pair, strict=True):
        alone = Optimizer.execute(model, invert(model, positive, picture)[0], DRAG, **OPTIMIZER).result[0]
        assert torch.equal(one, denoised(model, alone, "matched"))


class Edit(DragEdit):
    """With an inversion that is already there, so that it becomes no graph."""

    links = {"model": ["m", 0], "vae": ["v", 0], "image": ["i", 0], "clip": ["c", 0]}
    hidden = SimpleNamespace(unique_id="9", dynprompt=SimpleNamespace(get_node=lambda _: {"inputs": Edit.links}))


class Blocks:
    """A VAE whose latents are small grey pictures."""

    latent_channels = 4

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8).mean(1, keepdim=True).expand(-1, 4, -1, -1) * 2 - 1

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        grey = (samples.mean(1, keepdim=True) + 1) / 2
        return torch.nn.functional.interpolate(grey, scale_factor=8).expand(-1, 3, -1, -1).movedim(1, -1).clamp(0, 1)


EDIT = {
    "prompt": "", "edit_prompt": "", "steps": 8, "skip": 2, "iterations": 7, "guidance": 0.0, "margin": 0.08, "fade": 0.0,
    "work_size": 1024, "seed": 0,
}  # fmt: skip


@pytest.mark.parametrize("method", ["dragfield", "dragflow"])
def test_drag_edit_drags_regions_as_core_does(model: Any, positive: list, method: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("dragfield.nodes.drag_edit.ui.PreviewImage", lambda *_, **__: None)
    image = torch.rand(1, SIZE[1], SIZE[0], 3, generator=torch.Generator().manual_seed(5))
    trajectory = invert(model, positive, model.model.latent_format.process_out(Blocks().encode(image)))[0]
    how = {"method": method, "positive": positive, "trajectory": trajectory}
    found, mask, used = Edit.execute(model, Blocks(), image, DRAG, **EDIT, **how).result
    closed = mask[0] == 0
    assert used is trajectory and closed.any() and torch.equal(found[0][closed], image[0][closed]) and not torch.equal(found, image)
    with ComfyUNet(model).session() as backbone:
        inversion = trajectory.branches[0].inversion
        common = {"inversion": inversion.settings, "paste_back": True}
        if method == "dragfield":
            run, settings = dragfield, DragFieldSettings(**common)
        else:
            run, settings = dragflow, DragFlowSettings(drag=RegionDragSettings(3, 4), mask_margin=0.08, shadow_reach=0.08, **common)
        wanted = run(
            backbone, ComfyAutoencoder(Blocks(), model), image.movedim(-1, 1).to(backbone.device, copy=True),
            REGION.rasterise(*SIZE), trajectory.prompt, settings=settings, inversion=inversion,
        )  # fmt: skip
    assert torch.allclose(found, wanted.image.movedim(1, -1).cpu(), atol=1e-4)


def test_only_directdrag_takes_the_empty_prompt_for_its_own(model: Any) -> None:
    words = DragInstruction(REGION.operations, size=SIZE, background_prompt="a meadow").to_json()
    expanded = Edit.execute(model, Blocks(), torch.zeros(1, SIZE[1], SIZE[0], 3), words, **EDIT, method="dragfield", clip=object()).expand
    assert "a meadow" in [node["inputs"].get("text") for node in expanded.values()]
    assert "DragfieldDDIMInvert" in [node["class_type"] for node in expanded.values()]
