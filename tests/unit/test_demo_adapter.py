"""demo-flux's subject adapter: an untrained one adds nothing, it reads pictures of any size, and its training learns and goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dragfield.core.adapters.contract import Injection, Injections
from dragfield.core.backbones.flux import DiffusersFlux
from dragfield.core.demo import train_adapter, views
from dragfield.core.demo.adapter import DemoAdapter
from dragfield.core.demo.flux import build
from dragfield.core.demo.scenes import reach, sample_scene
from dragfield.core.demo.views import moved
from dragfield.core.model.backbone import Conditioning

pytest.importorskip("diffusers")


class Mean:
    """Encodes a picture as its mean brightness everywhere."""

    latent_channels, factor = 16, 8

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean() * torch.ones(1, 16, 32, 32) + torch.arange(16.0).view(1, 16, 1, 1)


def test_an_untrained_adapter_adds_nothing_and_a_changed_one_does() -> None:
    torch.manual_seed(0)
    adapter, backbone = DemoAdapter().eval(), DiffusersFlux(build())
    z, cond = torch.randn(1, 16, 8, 8), Conditioning(torch.randn(1, 3, 64), torch.randn(1, 64))
    with torch.no_grad():
        subject = adapter.encode(torch.rand(1, 3, 40, 60), {"autoencoder": Mean()})
        plain = backbone.velocity(z, 0.5, cond)
        injections = [Injection(adapter, subject)]
        assert torch.equal(backbone.with_subjects(Injections(injections)).velocity(z, 0.5, cond), plain)
        for layer in adapter.attention.layers:
            torch.nn.init.normal_(layer["to_v_ip"].weight, std=0.1)
        assert not torch.allclose(backbone.with_subjects(Injections(injections)).velocity(z, 0.5, cond), plain)


def test_it_survives_being_saved_and_is_small(tmp_path: Path) -> None:
    adapter = DemoAdapter()
    adapter.save(tmp_path / "a.safetensors")
    again = DemoAdapter.load(tmp_path / "a.safetensors")
    for name, value in adapter.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    assert (tmp_path / "a.safetensors").stat().st_size < 1.3e6
    with pytest.raises(FileNotFoundError, match="dragfield train adapter"):
        DemoAdapter.load(tmp_path / "b.safetensors")


def test_crops_are_parts_of_the_picture_another_one_each_time_and_every_second_is_whole() -> None:
    z = torch.arange(32 * 32.0).view(1, 1, 32, 32).expand(4, 3, -1, -1)
    first, second, third, fourth = train_adapter.crops(z, torch.Generator().manual_seed(0))
    assert first.shape == (3, 32, 32) and first.min() >= 0 and first.max() <= 32 * 32 - 1
    assert not torch.equal(first, third) and torch.equal(second, z[1]) and torch.equal(fourth, z[3])


def test_the_other_view_of_a_scene_has_the_same_objects_elsewhere_and_clear_of_each_other() -> None:
    for seed in range(20):
        scene = sample_scene(np.random.default_rng(seed), objects=3)
        other = moved(scene, np.random.default_rng(seed))
        assert (other.ground, other.light, len(other.objects)) == (scene.ground, scene.light, len(scene.objects))
        for i, (now, before) in enumerate(zip(other.objects, scene.objects, strict=True)):
            assert replace(now, x=before.x, y=before.y, angle=before.angle) == before
            assert all(np.hypot(now.x - o.x, now.y - o.y) > reach(now) + reach(o) for o in other.objects[:i])
        assert other != scene or not scene.objects


def test_views_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(torch.ones(3, 16, 32, 32), tmp_path / "moved.pt")
    monkeypatch.setattr(views.DemoAutoencoder, "load", lambda _: pytest.fail("it loads the autoencoder"))
    assert views.moved_pool(tmp_path, tmp_path, 3, "cpu", print).shape[0] == 3


def test_a_training_learns_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build()
    for p in model.proj_out.parameters():
        torch.nn.init.normal_(p, std=0.1)
    model.save_pretrained(tmp_path / "flux")
    latents = torch.randn(4, 16, 32, 32).bfloat16()
    monkeypatch.setattr(train_adapter, "latent_pool", lambda *_: (latents, ["a star"] * 4))
    monkeypatch.setattr(train_adapter, "moved_pool", lambda *_: latents.flip(0))
    for steps in (1, 2):
        path = train_adapter.train(tmp_path / "run", tmp_path / "flux", tmp_path, steps=steps, batch=4, report=lambda _: None)
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 2
    trained = DemoAdapter.load(path)
    assert any(layer["to_v_ip"].weight.abs().max() > 0 for layer in trained.attention.layers)
