"""Training: a stopped one goes on as if it had not been stopped, and every weight has its optimiser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import Linear

from dragfield.core.demo import flux, train_autoencoder, train_few_steps, train_flux, train_guidance
from dragfield.core.demo.autoencoder import AutoencoderConfig, DemoAutoencoder
from dragfield.core.demo.optimisers import make_optimiser
from dragfield.core.demo.plain_attention import PlainAttention
from dragfield.core.demo.training import Ema, Run, cosine, psnr, scene_pool, to_tensor
from dragfield.core.model.backbone import Conditioning

pytest.importorskip("diffusers")
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")

TINY = AutoencoderConfig(latent_channels=4, width=16, wide=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1))


def silent(_: str) -> None:
    pass


def noise_pool(seeds, size=32, workers=1):
    """Pictures of noise in place of scenes: training has to work, not to learn."""
    pictures = [np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8) for seed in seeds]
    return np.stack(pictures), [f"scene {seed}" for seed in seeds]


def tiny_flux():
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=64, pooled_projection_dim=64, guidance_embeds=True, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (train_autoencoder, train_flux):
        monkeypatch.setattr(module, "scene_pool", noise_pool)
    monkeypatch.setattr(train_autoencoder, "HELD_OUT", range(100, 102))
    monkeypatch.setattr(train_flux, "build", tiny_flux)


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    DemoAutoencoder(TINY).save(tmp_path / "vae")
    return tmp_path / "vae"


def stop_after(monkeypatch: pytest.MonkeyPatch, module, steps: int) -> dict:
    """A clock that ticks a second whenever it is read, and the `minutes` that then allow so many steps."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    return {"minutes": (steps + 0.5) / 60}


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def alike(first: Path, second: Path) -> bool:
    ours, theirs = (checkpoint(folder) for folder in (first, second))
    return all(same(ours[key], theirs[key]) for key in ours if key != "seconds")


def train_tiny_autoencoder(folder: Path, **changes) -> Path:
    arguments = dict(config=TINY, steps=4, batch=2, crop=16, pool=3, report=silent)
    return train_autoencoder.train(folder, **{**arguments, **changes})


def train_tiny_flux(folder: Path, vae: Path, **changes) -> Path:
    arguments = dict(steps=4, batch=4, pool=6, guidance_steps=0, report=silent)
    return train_flux.train(folder, vae, **{**arguments, **changes})


def test_a_stopped_autoencoder_goes_on_as_if_never_stopped(small_world, tmp_path, monkeypatch):
    train_tiny_autoencoder(tmp_path / "whole")
    with monkeypatch.context() as patch:
        train_tiny_autoencoder(tmp_path / "parts", **stop_after(patch, train_autoencoder, 2))
    assert checkpoint(tmp_path / "parts")["step"] == 2
    train_tiny_autoencoder(tmp_path / "parts")
    assert alike(tmp_path / "whole", tmp_path / "parts")
    rows = [json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1]) for name in ("whole", "parts")]
    assert rows[0]["step"] == 4 and rows[0]["loss"] == rows[1]["loss"] and rows[0]["psnr"] == rows[1]["psnr"]


def test_what_an_autoencoder_training_gives_is_what_load_reads(small_world, tmp_path):
    weights = train_tiny_autoencoder(tmp_path)
    model = DemoAutoencoder.load(weights)
    assert model.config == TINY
    ema = checkpoint(tmp_path)["ema"]
    assert all(torch.equal(p, ema[name].half().float()) for name, p in model.named_parameters())


@pytest.mark.parametrize("optimiser", [pytest.param("muon", marks=needs_muon), "adamw"])
def test_a_stopped_transformer_goes_on_as_if_never_stopped(optimiser, small_world, vae, tmp_path, monkeypatch):
    train_tiny_flux(tmp_path / "whole", vae, optimiser=optimiser)
    with monkeypatch.context() as patch:
        train_tiny_flux(tmp_path / "parts", vae, optimiser=optimiser, **stop_after(patch, train_flux, 2))
    assert checkpoint(tmp_path / "parts")["step"] == 2
    train_tiny_flux(tmp_path / "parts", vae, optimiser=optimiser)
    assert alike(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_training_is_left_as_it_is(small_world, vae, tmp_path):
    train_tiny_flux(tmp_path, vae, steps=2, optimiser="adamw")
    before = checkpoint(tmp_path)
    train_tiny_flux(tmp_path, vae, steps=2, optimiser="adamw")
    assert same({**before, "seconds": 0}, {**checkpoint(tmp_path), "seconds": 0})


def test_what_a_transformer_training_gives_is_what_diffusers_reads(small_world, vae, tmp_path):
    from diffusers import FluxTransformer2DModel

    folder = train_tiny_flux(tmp_path, vae, steps=2, optimiser="adamw")
    model = FluxTransformer2DModel.from_pretrained(folder, torch_dtype=torch.bfloat16, use_safetensors=True)
    ema = checkpoint(tmp_path)["ema"]
    assert all(torch.equal(value, ema[name].bfloat16()) for name, value in model.state_dict().items())


def test_the_second_phase_teaches_guidance_and_goes_on_where_it_was(small_world, vae, tmp_path):
    from diffusers import FluxTransformer2DModel

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        return FluxTransformer2DModel.from_pretrained(folder / "transformer", use_safetensors=True).state_dict()

    for name, guidance_steps in (("plain", 0), ("whole", 4), ("parts", 2)):
        train_tiny_flux(tmp_path / name, vae, steps=2, optimiser="adamw", guidance_steps=guidance_steps)
    plain, taught = weights(tmp_path / "plain"), weights(tmp_path / "whole")
    changed = {name for name in plain if not torch.equal(plain[name], taught[name])}
    assert any("guidance_embedder" in name for name in changed)
    assert alike(tmp_path / "plain", tmp_path / "whole"), "the first phase's checkpoint is not touched"
    assert checkpoint(tmp_path / "parts" / "guidance")["step"] == 2
    train_tiny_flux(tmp_path / "parts", vae, steps=2, optimiser="adamw", guidance_steps=4)
    assert checkpoint(tmp_path / "parts" / "guidance")["step"] == 4


def test_a_few_step_student_begins_as_its_teacher_and_goes_on_where_it_was(small_world, vae, tmp_path):
    teacher = tmp_path / "teacher"
    train_tiny_flux(teacher, vae, steps=1, optimiser="adamw", guidance_steps=0)
    shutil.copytree(vae, teacher / "vae")
    how = {"pool": 4, "batch": 4, "optimiser": "adamw", "report": silent}
    for name, steps in (("none", 0), ("whole", 3), ("parts", 1)):
        train_few_steps.train(tmp_path / name, teacher, steps=steps, **how)
    train_few_steps.train(tmp_path / "parts", teacher, steps=3, **how)
    first, begun, taught = (flux.load(folder).backbone.model.state_dict() for folder in (teacher, tmp_path / "none", tmp_path / "whole"))
    assert same(first, begun) and not same(first, taught)
    assert checkpoint(tmp_path / "parts")["step"] == 3


def test_a_student_s_target_is_the_mean_of_the_teacher_s_velocity_on_its_way():
    # v = 2t: from t = 1 to 1/2 its mean is 3/2, which the midpoint rule has exactly.
    teacher = SimpleNamespace(velocity=lambda z, t, cond, guidance: (2 * t)[:, None, None, None].expand_as(z))
    here, there = torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.0])
    for steps in (1, 3):
        found = train_few_steps.mean_velocity(teacher, torch.randn(2, 4, 3, 3), here, there, None, torch.ones(2), steps)
        torch.testing.assert_close(found, torch.tensor([1.5, 0.5])[:, None, None, None].expand(2, 4, 3, 3), atol=1e-5, rtol=0)


def test_the_guided_target_is_the_teachers_own_at_one_and_classifier_free_beyond():
    with_text, without = (torch.full((2, 1, 1, 1), v) for v in (3.0, 1.0))
    teacher = SimpleNamespace(velocity=lambda z, t, cond: with_text if cond.txt.any() else without)
    cond = Conditioning(torch.ones(2, 1, 1), torch.ones(2, 1))
    plain, target = train_guidance.guided(teacher, with_text, torch.tensor(0.5), cond, torch.tensor([1.0, 4.0]))
    assert torch.equal(plain, with_text)
    assert target.flatten().tolist() == [3.0, 1.0 + 4.0 * (3.0 - 1.0)]


def test_a_smoothed_guidance_embedder_leaves_guidance_one_and_moves_steadily_on():
    embed = (model := flux.build()).time_text_embed
    guidances = torch.linspace(*train_guidance.RANGE, 9)

    def at(guidance):
        return embed.guidance_embedder(embed.time_proj(1000 * guidance)).detach()

    before = at(guidances[:1])
    train_guidance.smooth_embedder(model)
    after = at(guidances)
    torch.testing.assert_close(after[:1], before, atol=1e-4, rtol=0)
    distance = (after - after[:1]).norm(dim=1)
    assert (distance.diff() > 0).all() and 0.7 < distance[-1] < 1.3


@needs_muon
def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = tiny_flux()
    both = make_optimiser("muon", model, 3e-3)
    names = {id(p): name for name, p in model.named_parameters()}
    muon, adam = ([names[id(p)] for group in part.param_groups for p in group["params"]] for part in both.parts)
    assert sorted(muon + adam) == sorted(names.values())
    assert any(name.endswith("attn.to_q.weight") for name in muon) and "x_embedder.weight" in adam
    assert all("transformer_blocks" in name and name.endswith("weight") and ".norm" not in name for name in muon)
    assert [group["initial_lr"] for group in both.param_groups] == pytest.approx([3e-3, 1e-3])


def test_adamw_alone_has_everything():
    model = tiny_flux()
    adam = make_optimiser("adamw", model, 2e-3)
    assert {id(p) for group in adam.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}
    assert [group["initial_lr"] for group in adam.param_groups] == [2e-3]


def test_plain_attention_is_attention():
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 5, 8, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(3))
    attend = nn.functional.scaled_dot_product_attention
    expected = attend(q, k, v)
    with PlainAttention():
        found = attend(q, k, v)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_the_moving_average_follows_parameters_and_copies_counts():
    module = nn.BatchNorm1d(2)
    ema = Ema(module, decay=0.9)
    nn.init.constant_(module.weight, 3.0)
    module.num_batches_tracked += 5
    ema.update(module)
    assert 1 < ema.state["weight"][0] < 3 and ema.state["num_batches_tracked"] == 5
    for _ in range(200):
        ema.update(module)
    torch.testing.assert_close(ema.state["weight"], module.weight.detach())


def test_the_rate_warms_up_and_falls_to_its_floor():
    rates = [cosine(step, 1000) for step in range(1001)]
    assert rates[0] == 0.01 and max(rates) == rates[100] == 1.0
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(0.02) and cosine(5000, 1000) == pytest.approx(0.02)


def test_a_run_is_found_again_in_its_folder(tmp_path: Path):
    def make() -> Run:
        torch.manual_seed(0)
        module = Linear(2, 2)
        return Run(tmp_path, module, torch.optim.AdamW(module.parameters()), Ema(module))

    first = make()
    nn.init.constant_(first.module.weight, 0.5)
    first.step = 7
    lines = []
    first.log(lines.append, loss=torch.tensor(0.25))
    first.save()
    again = make()
    assert again.step == 7 and (again.module.weight == 0.5).all() and again.seconds > 0
    assert not (tmp_path / "checkpoint.part").exists()
    (row,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (row["step"], row["loss"]) == (7, 0.25) and "loss 0.25" in lines[0]


def test_a_pool_of_scenes_is_drawn_by_seed():
    images, captions = scene_pool([3, 4, 3], size=32)
    assert images.shape == (3, 32, 32, 3) and images.dtype == np.uint8
    assert np.array_equal(images[0], images[2]) and not np.array_equal(images[0], images[1])
    assert captions[0] == captions[2] and " on " in captions[0]
    tensor = to_tensor(images)
    assert tensor.shape == (3, 3, 32, 32) and tensor.max() <= 1
    assert tensor[0, 2, 5, 6] == images[0, 5, 6, 2] / 255
    assert psnr(tensor, tensor + 0.1) == pytest.approx(20, abs=1e-3)
