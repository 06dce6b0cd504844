"""The bundled model as native MODEL, CLIP and VAE: core's numbers come out of ComfyUI's own nodes."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.cli_args
import comfy.latent_formats
import comfy.sd
import comfy.utils
import latent_preview
import numpy as np
import pytest
import torch

import nodes
from dragfield.core.demo import flux as demo
from dragfield.core.demo import text
from dragfield.core.demo.autoencoder import AutoencoderConfig, DemoAutoencoder
from dragfield.core.demo.scenes import render, sample_scene
from dragfield.core.model.taps import default_taps
from dragfield.core.progress import Progress
from dragfield.nodes.host.autoencoder import ComfyAutoencoder
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.conditioning import ComfyConditioning
from dragfield.nodes.host.demo_model import load_demo_model
from dragfield.nodes.host.memory import Walk, activation_bytes
from dragfield.nodes.host.progress import ComfyProgress


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle of the demo's layout and size with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("demo-flux")
    model = demo.build()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    model.save_pretrained(folder / "transformer")
    DemoAutoencoder(AutoencoderConfig(16, 16, 8, (1, 1), (1, 1))).save(folder / "vae")
    return folder


@pytest.fixture(scope="module")
def bundle(folder):
    with torch.inference_mode():
        return load_demo_model(folder)


def picture() -> torch.Tensor:
    return torch.rand(1, 48, 64, 3, generator=torch.Generator().manual_seed(1))


def test_velocity_and_features_are_core_s(folder, bundle):
    core, host = demo.load(folder).backbone, ComfyTransformer(bundle[0])
    (entry,) = nodes.CLIPTextEncode().encode(bundle[1], "a red star on grass")
    prompt, z = text.embed(["a red star on grass"]), torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(entry[0][0], prompt.txt) and torch.equal(entry[0][1]["pooled_output"], prompt.pooled)
    found, wanted = host.velocity(z, 0.7, ComfyConditioning(entry), guidance=3.5).cpu(), core.velocity(z, 0.7, prompt, guidance=3.5)
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    taps = default_taps(core.double_blocks)
    pairs = zip(host.features(z, 0.7, ComfyConditioning(entry), taps=taps), core.features(z, 0.7, prompt, taps=taps), strict=True)
    assert all((a.cpu() - b).abs().max() < 1e-4 * b.abs().max() for a, b in pairs)


def test_the_stock_nodes_run_on_it(bundle):
    model, clip, vae = bundle
    with torch.inference_mode():
        (positive,) = nodes.CLIPTextEncode().encode(clip, "a star")
        (positive,) = nodes.ConditioningCombine().combine(positive, positive)
        (clip,) = nodes.CLIPSetLastLayer().set_last_layer(clip, -2)
        (latent,) = nodes.VAEEncode().encode(vae, picture())
        (tiled,) = nodes.VAEEncodeTiled().encode(vae, picture(), 512, 64)
        (masked,) = nodes.VAEEncodeForInpaint().encode(vae, picture(), torch.ones(1, 48, 64))
        (out,) = nodes.KSampler().sample(model, 1, 2, 1.0, "euler", "simple", positive, positive, masked, 0.8)
        (image,) = nodes.VAEDecode().decode(vae, out)
        (image_tiled,) = nodes.VAEDecodeTiled().decode(vae, out, 512, 64)
    assert latent["samples"].shape == (1, 16, 6, 8) and torch.equal(latent["samples"], tiled["samples"])
    assert image.shape == (1, 48, 64, 3) and torch.equal(image, image_tiled)
    assert torch.isfinite(image).all() and 0 <= image.min() and image.max() <= 1


def test_pictures_of_any_size_and_with_alpha_are_encoded(bundle):
    odd = torch.rand(1, 53, 71, 4)
    assert bundle[2].encode(odd).shape == (1, 16, 6, 8)


def test_a_folder_without_the_model_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="dragfield train"):
        load_demo_model(tmp_path)


def test_the_autoencoder_gives_core_s_latents_and_pictures(folder, bundle):
    core, host = DemoAutoencoder.load(folder / "vae"), ComfyAutoencoder(bundle[2], bundle[0])
    image = picture().movedim(-1, 1)
    with torch.inference_mode():
        z = host.encode(image)
        back = host.decode(z)
    assert (host.latent_channels, host.factor) == (16, 8) and not z.is_inference() and not back.is_inference()
    z = z.cpu()
    assert torch.equal(z, core.encode(image)) and torch.equal(back.cpu(), core.decode(z))
    with pytest.raises(ValueError, match="63 x 48 px"):
        host.encode(image[..., 1:])


def test_the_autoencoder_normalises_as_the_model_wants_and_draws_nothing():
    torch.manual_seed(0)
    ddconfig = {
        "double_z": True, "z_channels": 16, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1, 1, 1],
        "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    vae = comfy.sd.VAE(sd={}, config={"params": {"ddconfig": ddconfig, "embed_dim": 16}})
    vae.latent_channels = 16
    for parameter in vae.first_stage_model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model = SimpleNamespace(load_device=torch.device("cpu"), model=SimpleNamespace(latent_format=comfy.latent_formats.Flux()))
    host = ComfyAutoencoder(vae, model)
    with torch.inference_mode():
        raw = vae.encode(picture())
        z = host.encode(picture().movedim(-1, 1))
        assert torch.allclose(z, (raw - 0.1159) * 0.3611, atol=1e-5) and z.shape == (1, 16, 6, 8)
        assert torch.allclose(host.decode(z), vae.decode(raw).movedim(-1, 1), atol=1e-4)


def test_progress_shows_a_bar_per_stage_with_pictures_where_they_are_possible(bundle, monkeypatch):
    seen = []
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", comfy.cli_args.LatentPreviewMethod.Auto)
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, node_id=None: seen.append((value, total, preview, node_id)))
    try:
        report = ComfyProgress(bundle[0], node_id="7")
        for stage, total in (("invert", 2), ("denoise", 3)):
            for done in range(1, total + 1):
                report(Progress(stage, done, total, torch.zeros(1, 16, 4, 4)))
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert {(value, total) for value, total, _, _ in seen} >= {(1, 2), (2, 2), (1, 3), (3, 3)}
    assert {node for *_, node in seen} == {"7"}
    assert all(preview is not None for _, _, preview, _ in seen)


def test_previews_have_the_colours_of_the_picture():
    model, _, vae = load_demo_model()
    scenes = torch.stack([torch.from_numpy(render(sample_scene(np.random.default_rng(2000 + i)))).movedim(-1, 0) for i in range(4)])
    form = model.model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
    drawn = [np.asarray(previewer.decode_latent_to_preview(z[None])) for z in ComfyAutoencoder(vae, model).encode(scenes)]
    found = torch.from_numpy(np.stack(drawn)).float() / 255
    wanted = torch.nn.functional.avg_pool2d(scenes, 8).movedim(1, -1)
    grey = wanted.mean(dim=(0, 1, 2)).expand_as(wanted)
    assert found.shape == wanted.shape and (found - wanted).abs().mean() < 0.6 * (grey - wanted).abs().mean()


def test_a_preview_is_of_the_picture_that_a_noisy_latent_will_become(bundle):
    model, z0 = bundle[0], torch.randn(1, 16, 4, 4)
    noise = torch.randn_like(z0)
    report, noisy = ComfyProgress(model, backbone=SimpleNamespace(predicted=z0)), z0 + 0.8 * noise
    assert torch.equal(report.shown(Progress("denoise", 1, 2, noisy)), z0)
    assert torch.equal(report.shown(Progress("drag", 1, 2, noisy)), noisy)
    report.noise = 0.8 * noise
    assert torch.allclose(report.shown(Progress("drag", 1, 2, noisy)), z0, atol=1e-6)
    assert torch.equal(ComfyProgress(model).shown(Progress("invert", 1, 2, noisy)), noisy)


def test_a_backbone_foretells_by_its_last_velocity_while_it_is_in_session(bundle):
    host = ComfyTransformer(bundle[0])
    z, prompt = torch.randn(1, 16, 8, 8, device=host.device), text.embed(["a star"])
    with host.session():
        assert host.predicted is None
        v = host.velocity(z, 0.6, prompt)
        assert torch.equal(host.predicted, z - 0.6 * v)
    assert host.predicted is None


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_estimate_of_memory_is_what_autograd_keeps(bundle, checkpointed):
    host, z = ComfyTransformer(bundle[0], save_memory="on" if checkpointed else "off"), torch.randn(1, 16, 32, 32)
    prompt = ComfyConditioning(nodes.CLIPTextEncode().encode(bundle[1], "a star")[0])
    weights = {p.untyped_storage().data_ptr() for p in bundle[0].model.parameters()}
    sizes: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return x

    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or keep(x), lambda x: x):
        v = host.velocity(z.requires_grad_(), 0.5, prompt)
    assert v.requires_grad
    walk = Walk(256 + 20, host.width, host.double_blocks, host.single_blocks, torch.float32)
    estimate, measured = activation_bytes(walk, host.budget.plan), sum(sizes.values())
    # With checkpointing the estimate has room for the one block that is computed again.
    assert 0.15 < measured / estimate < 0.5 if checkpointed else 0.75 < measured / estimate < 1.25
