"""The point-drag nodes on a native UNet: the parts do what core's whole edit does, and nothing that arrives is written to."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, CFGGuider, KSamplerSelect, SamplerCustomAdvanced
from diffusers import UNet2DConditionModel

from dragfield.core.demo.directdrag_settings import DIRECTDRAG
from dragfield.core.edits.directdrag import PUBLISHED, DirectDragSettings, directdrag
from dragfield.core.field.latent_warp import LatentWarpSettings
from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from dragfield.core.optimise.appearance import ReadoutSettings
from dragfield.core.optimise.point_drag_settings import PointDragSettings
from dragfield.core.sampling.ddim_inversion import DDIMSettings, reconstruct_ddim
from dragfield.core.sampling.sampler import NoiseSampler
from dragfield.core.training.readout_training import new_head
from dragfield.nodes import models
from dragfield.nodes.ddim_invert import DDIMInvert
from dragfield.nodes.drag_edit import DragEdit
from dragfield.nodes.drag_edit_graph import inversion_graph
from dragfield.nodes.host.autoencoder import ComfyAutoencoder
from dragfield.nodes.host.comfy_unet import ComfyUNet
from dragfield.nodes.host.demo_unet import load_demo_unet, make_unet
from dragfield.nodes.host.out_of_memory import OutOfMemory, with_one_retry
from dragfield.nodes.invert import FireFlowInvert
from dragfield.nodes.masked_denoise import GradientMaskedDenoise
from dragfield.nodes.mutual_attention import MutualSelfAttention
from dragfield.nodes.point_drag import PointDragOptimizer
from dragfield.nodes.readout import LoadReadoutHead, ReadoutGuidance, heads
from dragfield.nodes.soft_mask import AutoSoftMask
from dragfield.nodes.subject_lora import SubjectLora
from dragfield.nodes.train_readout import TrainReadoutHead

CONFIG = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (32, 32), "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2, "cross_attention_dim": 12, "norm_num_groups": 32,
}  # fmt: skip
SIZE = (96, 64)
POINTS = DragInstruction((DrawnPoints((((0.25, 0.5), (0.75, 0.5)),)),), size=SIZE)
DRAG = POINTS.to_json()
WALK = {"steps": 8, "strength": 0.75}
OPTIMIZER = {
    "drag_steps": 2, "rounds": 2, "iterations": 1, "rate": 1.0, "warp": 0.15, "mask_weight": 0.1, "preset": "principled",
}  # fmt: skip
GUIDANCE = {"weight": 5.0, "distance": "cosine", "compare_with": "each_time", "time": "true"}


class Optimizer(PointDragOptimizer):
    """As ComfyUI runs it: with its hidden inputs."""

    hidden = SimpleNamespace(unique_id=None)


class Edit(DragEdit):
    """With an inversion that is already there, so that it becomes no graph."""

    hidden = SimpleNamespace(unique_id=None)


class Mutual(MutualSelfAttention):
    hidden = SimpleNamespace(unique_id=None)


class Lora(SubjectLora):
    hidden = SimpleNamespace(unique_id=None)


class Trainer(TrainReadoutHead):
    hidden = SimpleNamespace(unique_id=None)


class Pixels:
    """A VAE whose latents are small grey pictures."""

    latent_channels = 4

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8).mean(1, keepdim=True).expand(-1, 4, -1, -1) * 2 - 1


class Pictures:
    """An autoencoder that knows one latent."""

    latent_channels, factor = 4, 8

    def __init__(self, z: torch.Tensor) -> None:
        self.z = z

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return self.z

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 3, SIZE[1], SIZE[0], device=z.device)


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
def no_preview(monkeypatch: Any) -> None:
    """Previews are files in ComfyUI's folders."""
    monkeypatch.setattr("dragfield.nodes.drag_edit.ui.PreviewImage", lambda *_, **__: None)


@pytest.fixture(autouse=True)
def inference() -> Any:
    """As ComfyUI runs nodes."""
    with torch.inference_mode():
        yield


def invert(model: Any, positive: list, z: torch.Tensor, **other: Any) -> Any:
    return DDIMInvert.execute(model, positive, {"samples": z}, **{**WALK, **other}).result


def sampled(model: Any, positive: list, noise: Any, sigmas: torch.Tensor, latent: dict) -> torch.Tensor:
    guider, sampler = BasicGuider.execute(model, positive).result[0], KSamplerSelect.execute("euler").result[0]
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]


def wanted(model: Any, positive: list, z: torch.Tensor, settings: DirectDragSettings, **other: Any) -> Any:
    backbone, prompt = ComfyUNet(model), models.prompt_of(positive)
    drag = POINTS.rasterise(*SIZE)
    with backbone.session():
        made = Pictures(z.to(backbone.device, copy=True))
        image = torch.zeros(1, 3, SIZE[1], SIZE[0], device=backbone.device)
        return directdrag(backbone, made, image, drag, prompt, settings, **other)


def as_sampled(model: Any, z: torch.Tensor) -> torch.Tensor:
    """A sampler ends in ComfyUI's state of the picture's level."""
    return z.cpu() / math.sqrt(ComfyUNet(model).schedule.at(-1))


def head_for(model: Any) -> Any:
    with torch.inference_mode(False):
        return new_head(NoiseSampler(ComfyUNet(model), None), 8, 1).requires_grad_(False)


def test_euler_from_the_inverted_noise_is_ddim_and_comes_back(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory, noise, latent, sigmas = invert(model, positive, z)
    back = sampled(model, positive, noise, sigmas, latent)
    path = reconstruct_ddim(ComfyUNet(model), trajectory.branches[0].inversion, trajectory.prompt)
    assert torch.allclose(back, as_sampled(model, path[-1]), atol=1e-4)
    assert (back - z).abs().mean() < 0.5 * (trajectory.branches[0].z.cpu() - z).abs().mean()


def test_a_batch_is_inverted_as_its_pictures_are_one_by_one(model: Any, positive: list, z: torch.Tensor) -> None:
    together = invert(model, positive, torch.cat([z, z.flip(-1)]))[0]
    for branch, alone in zip(together.branches, (z, z.flip(-1)), strict=True):
        assert torch.equal(branch.z, invert(model, positive, alone)[0].branches[0].z)


@pytest.mark.parametrize("guided", [False, True])
def test_the_nodes_in_a_row_are_cores_directdrag(model: Any, positive: list, z: torch.Tensor, guided: bool) -> None:
    head = head_for(model) if guided else None
    guidance = ReadoutGuidance.execute(head, **GUIDANCE).result[0] if guided else ()
    trajectory, _, latent, _ = invert(model, positive, z)
    dragged, noise, sigmas, _, _ = Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER, guidance=guidance).result
    found = GradientMaskedDenoise.execute(model, dragged, 0.0, "preset", 0.0).result[0]["samples"]
    settings = DirectDragSettings(
        inversion=DDIMSettings(**WALK), drag=PointDragSettings(rounds=2, steps_per_round=1), drag_steps=2,
        readout=ReadoutSettings(weight=5.0),
    )  # fmt: skip
    edit = wanted(model, positive, z, settings, head=head)
    assert torch.equal(found, edit.z.cpu())
    looking = Mutual.execute(model, dragged, -1, "cpu").result[0]
    seen, blind = (sampled(one, positive, noise, sigmas, latent) for one in (looking, model))
    assert not torch.allclose(seen, blind, atol=2e-3)


def test_the_reference_preset_is_cores_reference(model: Any, positive: list, z: torch.Tensor) -> None:
    head, trajectory = head_for(model), invert(model, positive, z)[0]
    guidance = ReadoutGuidance.execute(head, **{**GUIDANCE, "compare_with": "inversion"}).result[0]
    asked = {**OPTIMIZER, "preset": "reference", "guidance": guidance}
    dragged, noise, sigmas, _, _ = Optimizer.execute(model, trajectory, DRAG, **asked).result
    found = sampled(Mutual.execute(model, dragged, -1, "device").result[0], positive, noise, sigmas, {"samples": z})
    drag = replace(PUBLISHED.drag, rounds=2, steps_per_round=1)
    readout = ReadoutSettings(weight=5.0, reference="fixed")
    settings = replace(PUBLISHED, inversion=DDIMSettings(**WALK), drag=drag, drag_steps=2, readout=readout)
    assert torch.allclose(found, as_sampled(model, wanted(model, positive, z, settings, head=head).z), atol=2e-3)


def test_guidance_changes_the_drag_and_sums(model: Any, positive: list, z: torch.Tensor) -> None:
    head, trajectory = head_for(model), invert(model, positive, z)[0]
    one = ReadoutGuidance.execute(head, **{**GUIDANCE, "weight": 1e4}).result[0]
    two = ReadoutGuidance.execute(head, **{**GUIDANCE, "compare_with": "inversion"}, guidance=one).result[0]
    assert len(two) == 2 and two[0] is one[0]
    states = [Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER, guidance=g).result[0].branches[0].z for g in ((), one, two)]
    assert not torch.equal(states[0], states[1]) and not torch.equal(states[1], states[2])


def test_guided_sampling_looks_at_the_original_for_both_prompts(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory, noise, latent, sigmas = invert(model, positive, torch.cat([z, z.flip(-1)]))
    looking = Mutual.execute(model, trajectory, 0, "device").result[0]
    guider, sampler = CFGGuider.execute(looking, positive, positive, 3.0).result[0], KSamplerSelect.execute("euler").result[0]
    found = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]
    assert torch.allclose(found, sampled(looking, positive, noise, sigmas, latent), atol=1e-3)


def test_the_original_of_another_size_is_refused_by_the_sampler(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory, _, _, sigmas = invert(model, positive, z)
    looking = Mutual.execute(model, trajectory, 0, "device").result[0]
    _, noise, latent, _ = invert(model, positive, z[..., :8])
    with pytest.raises(ValueError, match="remembers 1 pictures of 96 tokens"):
        sampled(looking, positive, noise, sigmas, latent)


def test_what_points_have_moved_is_denoised_inside_of_the_mask_alone(model: Any, positive: list, z: torch.Tensor) -> None:
    mask = torch.zeros(1, SIZE[1], SIZE[0])
    mask[..., :, 32:] = 1.0
    dragged = Optimizer.execute(model, invert(model, positive, z)[0], DRAG, **OPTIMIZER, mask=mask).result[0]
    found = GradientMaskedDenoise.execute(model, dragged, 0.0, "matched", 0.0).result[0]["samples"]
    assert torch.equal(found[..., :4], z[..., :4]) and not torch.allclose(found[..., 4:], z[..., 4:], atol=1e-2)


def test_a_handle_at_its_target_leaves_the_state_alone(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory = invert(model, positive, z)[0]
    still = DragInstruction((DrawnPoints((((0.25, 0.5), (0.25, 0.5)),)),), size=SIZE).to_json()
    try:
        moved, _, _, _, distance = Optimizer.execute(model, trajectory, still, **OPTIMIZER).result
    except ValueError as refused:
        assert "moves nothing" in str(refused)
    else:
        assert torch.equal(moved.branches[0].z, trajectory.branches[0].z) and distance == 0.0


def test_what_the_mask_closes_stays_and_an_open_one_frees_all(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory = invert(model, positive, z)[0]
    mask = torch.zeros(1, SIZE[1], SIZE[0])
    mask[..., :, 48:] = 1.0
    held = {**OPTIMIZER, "drag_steps": 1, "mask_weight": 10.0, "warp": 0.0, "rounds": 4}
    one = Optimizer.execute(model, trajectory, DRAG, **held, mask=mask).result
    assert torch.equal(one[3], mask)
    off = (one[0].branches[0].z - trajectory.branches[0].inversion.path[1]).abs()
    assert off[..., :6].mean() < off[..., 6:].mean()


def test_the_soft_mask_is_highest_on_the_way_and_black_where_pinned() -> None:
    image = torch.zeros(1, SIZE[1], SIZE[0], 3)
    pin = DrawnRegion("pin", ((((0.0, 0.0), (0.2, 0.0), (0.2, 1.0), (0.0, 1.0)),),))
    drag = DragInstruction((*POINTS.operations, pin), size=SIZE).to_json()
    mask = AutoSoftMask.execute(image, drag, 0.117).result[0]
    assert mask.shape == (1, SIZE[1], SIZE[0])
    assert mask[0, 32, 48] > 0.95 and mask[0, 2, 48] < mask[0, 20, 48] and mask[0, :, :18].max() == 0


def test_nothing_that_arrives_is_written_to_and_a_sampler_is_bit_identical(model: Any, positive: list, z: torch.Tensor) -> None:
    trajectory, noise, latent, sigmas = invert(model, positive, z)
    before, samples, state = sampled(model, positive, noise, sigmas, latent), z.clone(), trajectory.branches[0].z.clone()
    options = str(model.model_options)
    dragged = Optimizer.execute(model, trajectory, DRAG, **OPTIMIZER).result[0]
    kept = dragged.branches[0].z.clone()
    Mutual.execute(model, dragged, -1, "device")
    with pytest.raises(ValueError, match="self-attention 99"):
        Mutual.execute(model, dragged, 99, "device")
    assert torch.equal(z, samples) and list(latent) == ["samples"] and torch.equal(trajectory.branches[0].z, state)
    assert torch.equal(dragged.branches[0].z, kept) and str(model.model_options) == options
    assert torch.equal(sampled(model, positive, noise, sigmas, latent), before)


def test_points_are_dragged_on_a_flow_model_too(make_flux: Any, prompt: Any, latent: torch.Tensor) -> None:
    flux, words = make_flux(), [[prompt.txt, {"pooled_output": prompt.pooled}]]
    settings = {"steps": 5, "skip": 1, "guidance": 1.0, "remember": "all", "remember_on": "device"}
    trajectory = FireFlowInvert.execute(flux, words, {"samples": latent}, **settings).result[0]
    dragged, noise, sigmas, mask, distance = Optimizer.execute(flux, trajectory, DRAG, **{**OPTIMIZER, "drag_steps": 1}).result
    assert dragged.branches[0].index in (0, 1) and distance > 0 and mask.shape == (1, SIZE[1], SIZE[0])
    assert not torch.equal(dragged.branches[0].z, trajectory.branches[0].inversion.path[dragged.branches[0].index])
    denoised = GradientMaskedDenoise.execute(flux, dragged, 1.0, "matched", 0.0).result[0]["samples"]
    assert torch.isfinite(denoised).all()
    with pytest.raises(ValueError, match="flow model's"):
        Mutual.execute(flux, dragged, -1, "device")
    with pytest.raises(ValueError, match="published for Stable Diffusion"):
        Optimizer.execute(flux, trajectory, DRAG, **{**OPTIMIZER, "preset": "reference"})


@pytest.mark.parametrize(
    ("drag", "other", "sentence"),
    [
        (DRAG, {"drag_steps": 6}, "use drag_steps of at most 5"),
        (
            DragInstruction((DrawnRegion("relocation", ((((0.2, 0.2), (0.4, 0.2), (0.3, 0.5)),),), (0.6, 0.5)),), size=SIZE).to_json(),
            {},
            "moves points only",
        ),
        (DRAG, {"mask": torch.zeros(1, SIZE[1], SIZE[0])}, "the mask is black"),
        (DRAG, {"mask": torch.zeros(1, 10, 10)}, "10 x 10 px but the picture is 96 x 64"),
    ],
)
def test_what_cannot_be_dragged_is_refused(model: Any, positive: list, z: torch.Tensor, drag: str, other: dict, sentence: str) -> None:
    trajectory = invert(model, positive, z, steps=8)[0]
    with pytest.raises(ValueError, match=sentence):
        Optimizer.execute(model, trajectory, drag, **{**OPTIMIZER, **other})


def test_a_trajectory_of_another_model_is_refused(model: Any, make_flux: Any, positive: list, z: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="latents of 4 channels, this MODEL takes 16"):
        Optimizer.execute(make_flux(), invert(model, positive, z)[0], DRAG, **OPTIMIZER)


def test_a_head_of_a_file_is_loaded_ready_for_gradients_and_a_missing_one_is_explained(tmp_path: Any, model: Any, monkeypatch: Any) -> None:
    path = head_for(model).save(tmp_path / "mine.safetensors")
    monkeypatch.setattr("dragfield.nodes.readout.BUNDLED", {"mine": path})
    assert "mine" in heads()
    head = LoadReadoutHead.execute("mine").result[0]
    assert not any(p.is_inference() for p in head.parameters())
    with pytest.raises(ValueError, match="no readout head 'nothing'"):
        LoadReadoutHead.execute("nothing")


def test_settings_that_make_no_sense_are_refused_before_running() -> None:
    assert "published: 50" in DDIMInvert.validate_inputs(0, 0.75)
    assert "published: 0.75" in DDIMInvert.validate_inputs(50, 0.0)
    assert "at least 1" in PointDragOptimizer.validate_inputs(None, 0, 3)
    assert "more than 0" in AutoSoftMask.validate_inputs(None, 0.0)
    assert PointDragOptimizer.validate_inputs(DRAG, 10, 3) is True and LatentWarpSettings().ratio == 0.15


class Blocks(Pixels):
    """The same, and the way back."""

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        grey = (samples.mean(1, keepdim=True) + 1) / 2
        return torch.nn.functional.interpolate(grey, scale_factor=8).expand(-1, 3, -1, -1).movedim(1, -1).clamp(0, 1)


EDIT = {
    "method": "directdrag", "prompt": "", "edit_prompt": "", "steps": 8, "skip": 2, "iterations": 4, "guidance": 0.0, "margin": 0.08,
    "fade": 0.0, "work_size": 1024, "seed": 0,
}  # fmt: skip


def picture() -> torch.Tensor:
    return torch.rand(1, SIZE[1], SIZE[0], 3, generator=torch.Generator().manual_seed(5))


def edited(model: Any, positive: list, **other: Any) -> Any:
    image = picture()
    trajectory = invert(model, positive, model.model.latent_format.process_out(Blocks().encode(image)))[0]
    return Edit.execute(model, Blocks(), image, DRAG, **{**EDIT, "positive": positive, "trajectory": trajectory, **other}).result


def test_drag_edit_drags_points_on_a_unet_and_leaves_what_the_mask_closes(model: Any, positive: list) -> None:
    for preset in ("principled", "carry"):
        image, mask, trajectory = edited(model, positive, preset=preset)
        closed = mask[0] == 0
        assert closed.any() and torch.equal(image[0][closed], picture()[0][closed])
        assert not torch.equal(image, picture()) and trajectory.branches[0].index == 0


def test_drag_edit_is_cores_directdrag(model: Any, positive: list) -> None:
    image, _, trajectory = edited(model, positive, preset="carry", warp=1.0, iterations=5)
    steps = len(trajectory.times) - 2
    settings = replace(
        DIRECTDRAG, inversion=trajectory.branches[0].inversion.settings, drag=replace(DIRECTDRAG.drag, rounds=1), drag_steps=steps
    )
    backbone = ComfyUNet(model)
    with backbone.session():
        made = directdrag(
            backbone, ComfyAutoencoder(Blocks(), model), picture().movedim(-1, 1).to(backbone.device), POINTS.rasterise(*SIZE),
            models.prompt_of(positive), settings, inversion=trajectory.branches[0].inversion,
        )  # fmt: skip
    assert torch.allclose(image, made.image.movedim(1, -1).cpu(), atol=1e-5)


def test_drag_edit_refuses_an_inversion_of_no_steps(model: Any, positive: list) -> None:
    with pytest.raises(ValueError, match="leaves none"):
        edited(model, positive, skip=8, trajectory=None)


def test_drag_edit_refuses_regions_for_points_and_heads_for_regions(model: Any, make_flux: Any, positive: list, prompt: Any) -> None:
    region = DragInstruction((DrawnRegion("relocation", ((((0.2, 0.2), (0.4, 0.2), (0.3, 0.5)),),), (0.6, 0.5)),), size=SIZE).to_json()
    with pytest.raises(ValueError, match="moves points only"):
        Edit.execute(model, Blocks(), picture(), region, **EDIT, positive=positive)
    flux, words = make_flux(), [[prompt.txt, {"pooled_output": prompt.pooled}]]
    with pytest.raises(ValueError, match="guides 'directdrag' alone"):
        Edit.execute(flux, Blocks(), picture(), region, **{**EDIT, "method": "dragflow"}, positive=words, head=head_for(model))
    trajectory = invert(model, positive, torch.zeros(1, 4, 8, 12))[0]
    with pytest.raises(ValueError, match="another kind of MODEL"):
        Edit.execute(flux, Blocks(), picture(), DRAG, **EDIT, positive=words, trajectory=trajectory)


def test_the_graph_of_an_edit_inverts_by_ddim_for_a_unet() -> None:
    window = SimpleNamespace(width=SIZE[0], height=SIZE[1], scaled=False)
    inputs = {"model": ["m", 0], "vae": ["v", 0], "image": ["i", 0], "positive": ["p", 0]}
    graph, _ = inversion_graph("9", inputs, window, SIZE, DDIMSettings(20, 0.75), "", "", "tuned")
    assert graph["9.invert"]["class_type"] == "DragfieldDDIMInvert"
    links = {"model": ["m", 0], "positive": ["p", 0], "latent": ["9.encode", 0]}
    assert graph["9.invert"]["inputs"] == {**links, "steps": 20, "strength": 0.75}
    assert graph["9.edit"]["inputs"]["trajectory"] == ["9.invert", 0]


def _out_at(call: int, function: Any) -> Any:
    """`function`, whose call of that number fails as an allocation does. An inversion of 6 steps makes the first 6."""
    calls = []

    def failing(*args: Any, **how: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return function(*args, **how)

    return failing


def test_running_out_of_memory_once_is_followed_by_one_try_with_twice_the_room(model: Any, positive: list, monkeypatch: Any) -> None:
    wanted, asked = edited(model, positive)[0], []
    load = ComfyUNet._load

    def recorded(self: Any, z: Any, entries: Any, need: int) -> None:
        asked.append(need)
        load(self, z, entries, need)

    monkeypatch.setattr(ComfyUNet, "_load", recorded)
    monkeypatch.setattr(ComfyUNet, "features", _out_at(4, ComfyUNet.features))
    assert torch.allclose(edited(model, positive)[0], wanted, atol=1e-5)
    needs = sorted({need for need in asked if need})
    assert len(needs) == 2 and needs[1] == 2 * needs[0]


def test_running_out_twice_says_what_to_lower(model: Any, positive: list) -> None:
    def always() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemory, match="lower work_size"):
        with_one_retry(ComfyUNet(model), always)


def test_an_absent_demo_unet_says_what_to_do(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError, match="dragfield train"):
        load_demo_unet(tmp_path)


def test_a_subject_lora_teaches_the_picture_and_leaves_the_model_alone(model: Any, positive: list, z: torch.Tensor) -> None:
    before = sampled(model, positive, *invert(model, positive, z)[1::2], {"samples": z})
    asked = {"steps": 6, "rank": 2, "learning_rate": 0.02, "batch": 2, "strength": 1.0, "seed": 0}
    learnt, lora = Lora.execute(model, positive, {"samples": z}, **asked).result
    assert all(key.startswith("lora_unet_") for key in lora) and "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0" in str([*lora])
    assert len(lora) == 3 * len(learnt.patches)
    losses = [_mean_loss(patcher, positive, z) for patcher in (model, learnt)]
    assert losses[1] < losses[0]
    assert torch.equal(sampled(model, positive, *invert(model, positive, z)[1::2], {"samples": z}), before)


def test_a_subject_lora_of_flux_reaches_every_layer_it_names(make_flux: Any, prompt: Any, latent: torch.Tensor) -> None:
    flux, words = make_flux(), [[prompt.txt, {"pooled_output": prompt.pooled}]]
    asked = {"steps": 2, "rank": 2, "learning_rate": 0.01, "batch": 1, "strength": 1.0, "seed": 0}
    learnt, lora = Lora.execute(flux, words, {"samples": latent}, **asked).result
    # Two double blocks of four layers each; the last block's text output goes nowhere but is named all the same.
    assert len(learnt.patches) == 8 and len(lora) == 24
    assert any(value.any() for key, value in lora.items() if "lora_up" in key)


def _mean_loss(patcher: Any, positive: list, z: torch.Tensor) -> float:
    backbone, prompt = ComfyUNet(patcher), models.prompt_of(positive)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode(False), torch.no_grad(), backbone.session():
        losses = []
        for t in (100, 300, 500, 700, 900):
            a = backbone.schedule.at(t)
            eps = backbone.noise(math.sqrt(a) * z.clone() + math.sqrt(1 - a) * noise, t, prompt)
            losses.append(float((eps.cpu() - noise).square().mean()))
    return sum(losses) / len(losses)


def test_a_trained_head_is_saved_loaded_and_guides(model: Any, positive: list, z: torch.Tensor, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("folder_paths.models_dir", str(tmp_path))
    asked = {"folder": "", "size": 64, "steps": 1, "rate": 1e-3, "save_as": "mine", "seed": 0}
    head = Trainer.execute(model, Pixels(), positive, **asked).result[0]
    monkeypatch.setattr("dragfield.nodes.readout.BUNDLED", {"mine": tmp_path / "readout_heads" / "mine.safetensors"})
    loaded = LoadReadoutHead.execute("mine").result[0]
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(head.parameters(), loaded.parameters(), strict=True))
    guidance = ReadoutGuidance.execute(head, **GUIDANCE).result[0]
    moved = Optimizer.execute(model, invert(model, positive, z)[0], DRAG, **{**OPTIMIZER, "drag_steps": 1}, guidance=guidance).result[0]
    assert torch.isfinite(moved.branches[0].z).all()


@pytest.mark.parametrize("given", [{"folder": "../elsewhere"}, {"folder": "/etc"}, {"save_as": "../../mine"}])
def test_no_folder_or_name_leads_out_of_comfyui(given: dict) -> None:
    assert "leads out of" in TrainReadoutHead.validate_inputs(**given)
