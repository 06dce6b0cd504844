"""A readout head learns from triplets of any frames, on a UNet and on a transformer, and leaves the model as it was."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dragfield.core.demo.pairs import scene_pairs
from dragfield.core.model.readout import load_readout
from dragfield.core.sampling.sampler import FlowSampler, NoiseSampler
from dragfield.core.training.frames import frame_pairs, videos_in
from dragfield.core.training.readout_training import ReadoutTrainingSettings, new_head, ranking, redraw, train_readout

sys.path.insert(0, str(Path(__file__).parent))
from point_world import COND, ConvBackbone, FlowConv, latent  # noqa: E402


class Pixels:
    """An autoencoder that takes every eighth pixel."""

    latent_channels, factor = 4, 8

    def encode(self, image):
        small = image[:, :, 4::8, 4::8] * 4 - 2
        return torch.cat([small, small.mean(1, keepdim=True)], dim=1)


def pairs(seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    while True:
        picture = torch.rand(1, 3, 64, 64, generator=rng)
        yield picture, picture + 0.05 * torch.rand(1, 3, 64, 64, generator=rng)


@pytest.mark.parametrize("probe", [NoiseSampler(ConvBackbone(), COND), FlowSampler(FlowConv(), COND)], ids=["unet", "transformer"])
def test_the_loss_falls(probe) -> None:
    head = new_head(probe, projection=32, groups=2)
    settings = ReadoutTrainingSettings(steps=30, rate=3e-3, redraw_steps=1, strength=0.7, level=(0.0, 0.05), margin=1.0)
    losses = [float(state.loss) for state in train_readout(probe, Pixels(), head, pairs(), settings)]
    assert len(losses) == 30 and np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5])
    assert not any(p.requires_grad for p in head.parameters())


def test_several_looks_are_one_step_and_the_rate_cools() -> None:
    probe = NoiseSampler(ConvBackbone(), COND)
    settings = ReadoutTrainingSettings(steps=4, rate=1e-2, redraw_steps=1, looks=3, cooling=0.5)
    assert [settings.rate_at(step) for step in (1, 2, 3, 4)] == pytest.approx([1e-2, 1e-2, 1e-2, 5e-3])
    heads = [new_head(probe, projection=32, groups=2) for _ in range(2)]
    before = [p.clone() for p in heads[0].parameters()]
    states = list(train_readout(probe, Pixels(), heads[0], pairs(), settings))
    assert [state.step for state in states] == [1, 2, 3, 4]
    assert any(not torch.equal(a, b) for a, b in zip(before, heads[0].parameters(), strict=True))
    # A rate of nearly nothing at the only step leaves a head as it was, so it is the cooled rate that steps are made with.
    list(train_readout(probe, Pixels(), heads[1], pairs(), ReadoutTrainingSettings(steps=1, rate=1e-12, redraw_steps=1)))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(before, heads[1].parameters(), strict=True))


def test_ranking_says_how_many_triplets_a_head_ranks_rightly() -> None:
    probe = NoiseSampler(ConvBackbone(), COND)
    head = new_head(probe, projection=32, groups=2).requires_grad_(False)
    settings = ReadoutTrainingSettings(redraw_steps=1, strength=0.9, looks=2, level=(0.0, 0.05), seed=3)
    still = ((picture, picture.clone()) for picture, _ in pairs())
    share, distances = ranking(probe, Pixels(), head, still, 3, settings)
    assert distances.shape == (6, 2) and share == float((distances[:, 1] > distances[:, 0]).float().mean())
    assert share > 0.5


@pytest.mark.parametrize("model", ["unet", "flux"])
def test_the_bundled_heads_tell_redrawn_from_moved(model) -> None:
    pytest.importorskip("diffusers")
    from dragfield.core.demo import flux, train_readout, unet
    from dragfield.core.demo.text import embed

    loaded = (unet if model == "unet" else flux).load()
    probe = (NoiseSampler if model == "unet" else FlowSampler)(loaded.backbone, embed([""]))
    head = load_readout((unet if model == "unet" else flux).WEIGHTS / train_readout.FILE)
    settings = replace(train_readout.SETTINGS[model], seed=11)
    share, distances = ranking(probe, loaded.autoencoder, head, scene_pairs(seed=11), 3, settings)
    # Nine looks; an untrained head ranks about half of them rightly, its distances hardly apart.
    assert share > 0.7 and (distances[:, 1] - distances[:, 0]).mean() > 0.1


def test_training_stops_when_told_and_repeats_itself() -> None:
    probe, answers = NoiseSampler(ConvBackbone(), COND), iter([False, False, True])
    settings = ReadoutTrainingSettings(steps=9, redraw_steps=1)
    heads = [new_head(probe, projection=32, groups=2) for _ in range(2)]
    assert len(list(train_readout(probe, Pixels(), heads[0], pairs(), settings, should_stop=lambda: next(answers)))) == 2
    answers = iter([False, False, True])
    list(train_readout(probe, Pixels(), heads[1], pairs(), settings, should_stop=lambda: next(answers)))
    assert all(torch.equal(a, b) for a, b in zip(heads[0].parameters(), heads[1].parameters(), strict=True))


@pytest.mark.parametrize("probe", [NoiseSampler(ConvBackbone(), COND), FlowSampler(FlowConv(), COND)], ids=["unet", "transformer"])
def test_a_redrawn_picture_differs_the_more_the_stronger(probe) -> None:
    z, noise = latent(), latent(2)
    apart = [float((redraw(probe, z, noise, strength, 4) - z).abs().mean()) for strength in (0.1, 0.5, 0.9)]
    assert 0 < apart[0] < apart[1] < apart[2] and np.isfinite(apart).all()


def test_frames_come_from_folders_of_pictures(tmp_path) -> None:
    for video in ("one", "two"):
        (tmp_path / video).mkdir()
        for i in range(3):
            shade = np.full((20, 30, 3), 60 * i + (100 if video == "two" else 0), np.uint8)
            cv2.imwrite(str(tmp_path / video / f"{i}.png"), shade)
    (tmp_path / "empty").mkdir()
    assert [video.name for video in videos_in(tmp_path)] == ["one", "two"]
    drawn = frame_pairs(tmp_path, size=16)
    for _ in range(5):
        a, b = next(drawn)
        assert a.shape == (1, 3, 16, 16) and not torch.equal(a, b)
        assert abs(float(a.mean() - b.mean()) * 255) in (pytest.approx(60, abs=1), pytest.approx(120, abs=1))


def test_frames_come_from_video_files(tmp_path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (32, 32))
    for i in range(4):
        writer.write(np.full((32, 32, 3), 50 * i, np.uint8))
    writer.release()
    a, b = next(frame_pairs(tmp_path, size=16))
    assert a.shape == b.shape == (1, 3, 16, 16) and abs(float(a.mean() - b.mean())) > 0.1


def test_drawn_scenes_show_the_same_objects_elsewhere() -> None:
    a, b = next(scene_pairs(64))
    assert a.shape == (1, 3, 64, 64) and 0 <= float(a.min()) and float(a.max()) <= 1 and not torch.equal(a, b)


def test_folders_without_frames_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="no video of at least 2 frames"):
        videos_in(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        videos_in(tmp_path / "nowhere")
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        next(frame_pairs(tmp_path))


@pytest.mark.parametrize("settings", [dict(steps=0), dict(rate=0.0), dict(strength=1.5), dict(margin=0.0)])
def test_impossible_settings_are_refused(settings) -> None:
    with pytest.raises(ValueError, match="teach nothing"):
        ReadoutTrainingSettings(**settings)
    with pytest.raises(ValueError, match="no range"):
        ReadoutTrainingSettings(level=(0.5, 0.5))
    with pytest.raises(ValueError, match="looks and a cooling"):
        ReadoutTrainingSettings(cooling=1.5)
