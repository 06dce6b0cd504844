"""The bundled weights are good: they reconstruct, they know what prompts mean, and drags arrive."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch

from dragfield.core.demo.cases import sample_cases
from dragfield.core.demo.flux import CONFIG, DemoFlux, load
from dragfield.core.demo.measure import measure
from dragfield.core.demo.scenes import render, sample_scene
from dragfield.core.demo.showcase import DRAGFIELD, DRAGFLOW
from dragfield.core.demo.text import embed
from dragfield.core.demo.training import psnr
from dragfield.core.edits.dragfield import dragfield
from dragfield.core.edits.dragflow import dragflow
from dragfield.core.model.backbone import Autoencoder, Conditioning, FlowBackbone
from dragfield.core.sampling.inversion import invert, reconstruct

pytest.importorskip("diffusers")

UNSEEN = range(20_000_000, 20_000_008)
"""Scene seeds that neither training nor its evaluation ever used."""


@lru_cache
def model() -> DemoFlux:
    return load()


@lru_cache
def scenes() -> tuple[torch.Tensor, tuple[str, ...]]:
    drawn = [sample_scene(np.random.default_rng(seed)) for seed in UNSEEN]
    return torch.cat([tensor(render(scene)) for scene in drawn]), tuple(scene.caption for scene in drawn)


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()


def array(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy()


def test_the_bundle_is_what_the_card_says():
    bundle = model()
    assert isinstance(bundle.backbone, FlowBackbone) and isinstance(bundle.autoencoder, Autoencoder)
    assert (bundle.backbone.double_blocks, bundle.backbone.single_blocks) == (CONFIG["num_layers"], CONFIG["num_single_layers"])
    assert bundle.backbone.latent_channels == bundle.autoencoder.latent_channels == 16
    assert bundle.backbone.guidance_distilled and bundle.backbone.dtype == torch.float32


def test_a_folder_without_the_model_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="reinstall the package, or train one with `dragfield train`"):
        load(tmp_path)


@torch.no_grad()
def test_the_autoencoder_keeps_unseen_scenes_to_32_db():
    images, _ = scenes()
    each = [psnr(model().autoencoder.decode(model().autoencoder.encode(image[None])), image[None]) for image in images]
    assert np.mean(each) >= 32


@torch.no_grad()
def test_latents_of_unseen_scenes_are_normalised():
    z = model().autoencoder.encode(scenes()[0])
    assert abs(z.mean().item()) < 0.15 and 0.8 < z.std().item() < 1.2


@torch.no_grad()
@pytest.mark.parametrize("index", [0, 1])
def test_inversion_and_back_costs_less_than_a_third_of_a_decibel(index: int):
    backbone, autoencoder = model().backbone, model().autoencoder
    image, cond = scenes()[0][index : index + 1], embed([scenes()[1][index]])
    inversion = invert(backbone, autoencoder.encode(image), cond)
    rebuilt, own = (psnr(autoencoder.decode(z), image) for z in (reconstruct(backbone, inversion, cond)[-1], inversion.z0))
    assert rebuilt > own - 0.3


@torch.no_grad()
def test_prompts_mean_something():
    """The right caption predicts the flow better than none, none better than another scene's: over 24 scenes, since one varies much."""
    backbone = model().backbone
    drawn = [sample_scene(np.random.default_rng(seed)) for seed in range(UNSEEN.start, UNSEEN.start + 24)]
    images, captions = torch.cat([tensor(render(scene)) for scene in drawn]), [scene.caption for scene in drawn]
    z0 = model().autoencoder.encode(images)
    noise = torch.randn(z0.shape, generator=torch.Generator().manual_seed(0))
    t = 0.95
    zt = torch.lerp(z0, noise, t)
    prompts = (list(captions), [""] * len(captions), [*captions[1:], captions[0]])
    right, none, wrong = (
        (backbone.velocity(zt, t, embed(words)) - (noise - z0)).square().mean().item() for words in prompts
    )
    assert right < 0.95 * none and none < 0.8 * wrong


@torch.no_grad()
@pytest.mark.parametrize("t", [0.3, 0.6, 0.9])
def test_guidance_means_something(t: float):
    """It moves the velocity roughly the way classifier-free guidance would, and the further the higher it is."""
    backbone = model().backbone
    images, captions = (part[:6] for part in scenes())
    z0 = model().autoencoder.encode(images)
    zt = torch.lerp(z0, torch.randn(z0.shape, generator=torch.Generator().manual_seed(0)), t)
    cond = embed(list(captions))
    plain = backbone.velocity(zt, t, cond)
    away = plain - backbone.velocity(zt, t, Conditioning(torch.zeros_like(cond.txt), torch.zeros_like(cond.pooled)))
    moves = [backbone.velocity(zt, t, cond, guidance=guidance) - plain for guidance in (2.0, 3.5, 5.0)]
    along = [((move * away).sum() / away.square().sum()).item() for move in moves]
    for move in moves:
        assert torch.nn.functional.cosine_similarity(move.flatten(), away.flatten(), dim=0) > 0.3
    assert 0.1 < along[0] < along[1] < along[2]


def test_a_relocation_arrives():
    case = next(iter(sample_cases(1, 1234)))
    image, cond = tensor(case.source), embed([case.drag.background_prompt])
    bundle = (model().backbone, model().autoencoder, image, case.drag, cond)
    ours = dragfield(*bundle, settings=DRAGFIELD)
    found, before = (measure(case, picture, ours.mask) for picture in (array(ours.image), case.source))
    assert before.centroid_error_px > 25
    assert found.centroid_error_px < 5
    assert found.source_left < 0.15
    assert found.psnr_truth_mask_db > before.psnr_truth_mask_db + 6
    assert found.background_max_abs == 0

    published = dragflow(*bundle, settings=DRAGFLOW, inversion=ours.inversion)
    found = measure(case, array(published.image), published.mask)
    assert found.centroid_error_px < 10
    assert found.psnr_truth_mask_db > before.psnr_truth_mask_db + 3
