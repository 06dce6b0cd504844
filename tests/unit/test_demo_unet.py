"""demo-unet: what it is made of, and a training that goes on as if it had not been stopped."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dragfield.core.demo import train_flux, train_unet, unet
from dragfield.core.demo.autoencoder import AutoencoderConfig, DemoAutoencoder
from dragfield.core.demo.text import embed
from dragfield.core.model.backbone import Autoencoder, Conditioning, NoiseBackbone

pytest.importorskip("diffusers")
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")


def tiny_unet():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**{**unet.CONFIG, "block_out_channels": (8, 8, 8), "norm_num_groups": 4})


def noise_pool(seeds, size=32, workers=1):
    """Pictures of noise in place of scenes: training has to work, not to learn."""
    pictures = [np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8) for seed in seeds]
    return np.stack(pictures), [f"scene {seed}" for seed in seeds]


@pytest.fixture
def vae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(train_flux, "scene_pool", noise_pool)
    monkeypatch.setattr(train_unet, "build", tiny_unet)
    torch.manual_seed(0)
    config = AutoencoderConfig(latent_channels=4, width=8, wide=8, encoder_blocks=(0, 0), decoder_blocks=(0, 0))
    DemoAutoencoder(config).save(tmp_path / "vae")
    return tmp_path / "vae"


def train(folder: Path, vae: Path, **changes) -> Path:
    return train_unet.train(folder, vae, **{**dict(steps=4, batch=2, pool=5, report=lambda _: None), **changes})


def checkpoint(folder: Path) -> dict:
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    return {key: value for key, value in saved.items() if key != "seconds"}


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("optimiser", [pytest.param("muon", marks=needs_muon), "adamw"])
def test_a_stopped_training_goes_on_as_if_never_stopped(optimiser, vae, tmp_path, monkeypatch):
    train(tmp_path / "whole", vae, optimiser=optimiser)
    with monkeypatch.context() as patch:
        ticks = iter(range(10_000))
        patch.setattr(train_unet, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        train(tmp_path / "parts", vae, optimiser=optimiser, minutes=2.5 / 60)
    assert checkpoint(tmp_path / "parts")["step"] == 2
    train(tmp_path / "parts", vae, optimiser=optimiser)
    assert same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


@pytest.mark.parametrize("optimiser", [pytest.param("muon", marks=needs_muon), "adamw"])
def test_training_moves_every_weight_once(optimiser, vae, tmp_path):
    fresh = dict(tiny_unet().named_parameters())
    train(tmp_path / "run", vae, optimiser=optimiser, steps=1)
    trained = checkpoint(tmp_path / "run")["model"]
    # Keys of attention to no text at all get no gradient; with text dropped in a tenth of the samples there is always some.
    assert [name for name, p in fresh.items() if torch.equal(trained[name], p)] == []
    flat = train_unet.Flat(tiny_unet())
    stepped = [p for group in train_unet.make_optimiser(optimiser, flat, 1e-3).param_groups for p in group["params"]]
    assert sorted(map(id, stepped)) == sorted(map(id, flat.parameters()))


def test_a_step_of_a_flat_kernel_is_a_step_of_the_model():
    model = tiny_unet()
    flat = train_unet.Flat(model)
    with torch.no_grad():
        flat.named["conv_in.weight"].fill_(3.0)
    assert bool((model.conv_in.weight == 3.0).all())


def test_what_a_training_gives_is_what_load_reads(vae, tmp_path):
    weights = train(tmp_path / "run", vae)
    (tmp_path / "run" / "vae").symlink_to(vae)
    model = unet.load(weights.parent)
    assert isinstance(model.backbone, NoiseBackbone) and isinstance(model.autoencoder, Autoencoder)
    ema = checkpoint(tmp_path / "run")["ema"]
    assert all(torch.equal(p, ema[name].half().float()) for name, p in model.backbone.model.named_parameters())


def test_the_log_tells_the_loss(vae, tmp_path, monkeypatch):
    said = []
    train(tmp_path / "run", vae, steps=50, batch=1, report=said.append)
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert row["step"] == 50 and 0.1 < row["loss"] < 3 and len(said) >= 2


def test_the_model_and_its_autoencoder_fit_into_five_megabytes():
    parameters = [*unet.build().parameters(), *DemoAutoencoder(unet.AUTOENCODER).parameters()]
    assert 2 * sum(p.numel() for p in parameters) <= 5.0e6


def test_a_folder_without_a_model_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="dragfield train"):
        unet.load(tmp_path)


def test_the_bundled_model_predicts_the_noise_of_a_scene():
    from dragfield.core.demo.scenes import render, sample_scene

    model, scene = unet.load(), sample_scene(np.random.default_rng(10_000_001))
    image = torch.from_numpy(render(scene, 256)).permute(2, 0, 1)[None].float()
    z0 = model.autoencoder.encode(image)
    noise = torch.randn(z0.shape, generator=torch.Generator().manual_seed(0))
    kept = model.backbone.schedule.at(500)
    eps = model.backbone.noise(kept**0.5 * z0 + (1 - kept) ** 0.5 * noise, 500, Conditioning(embed([scene.caption]).txt))
    assert (eps - noise).square().mean() < 0.2
