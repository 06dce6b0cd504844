"""The demo autoencoder: what it takes and gives, and what is read from disk is what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dragfield.core.demo.autoencoder import AutoencoderConfig, DemoAutoencoder
from dragfield.core.model.backbone import Autoencoder

TINY = AutoencoderConfig(latent_channels=4, width=16, wide=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1))


def make(config: AutoencoderConfig = TINY) -> DemoAutoencoder:
    torch.manual_seed(0)
    model = DemoAutoencoder(config)
    model.train()
    for _ in range(3):
        model(pictures(4))  # so that its running statistics are not the identity
    return model.eval().requires_grad_(False)


def pictures(batch: int = 1, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_it_is_an_autoencoder() -> None:
    assert isinstance(make(), Autoencoder)
    assert (make().latent_channels, make().factor) == (4, 8)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 48), (64, 16)])
def test_latents_are_an_eighth_and_pictures_come_back_whole(height: int, width: int) -> None:
    model, image = make(), pictures(2, height, width)
    z = model.encode(image)
    assert z.shape == (2, 4, height // 8, width // 8)
    back = model.decode(z)
    assert back.shape == image.shape and back.dtype == torch.float32
    assert back.min() >= 0 and back.max() <= 1


def test_a_decoded_picture_is_clamped_however_wild_the_latent() -> None:
    wild = make().decode(1000 * torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)))
    assert wild.min() >= 0 and wild.max() <= 1


def test_a_picture_does_not_depend_on_its_company() -> None:
    model, image = make(), pictures(3)
    torch.testing.assert_close(model.encode(image)[1:2], model.encode(image[1:2]))
    assert torch.equal(model.encode(image), model.encode(image))


def test_latents_have_unit_variance_in_training() -> None:
    torch.manual_seed(0)
    _, z = DemoAutoencoder(TINY)(pictures(8, 64, 64))
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    # The batch norm's own epsilon takes a little of what an untrained encoder says quietly.
    torch.testing.assert_close(z.var((0, 2, 3)), torch.ones(4), atol=0.1, rtol=0)


def test_noise_in_training_is_on_the_latents_only_when_asked_for() -> None:
    model, image = make(), pictures()
    quiet, z = model(image)
    torch.testing.assert_close(model.decode(z), quiet.clamp(0, 1))
    assert not torch.allclose(model(image, noise=0.3)[0], quiet, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(20, 32), (32, 20), (7, 7)])
def test_a_picture_that_does_not_divide_by_eight_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"{width} x {height} px.*multiples of 8"):
        make().encode(pictures(1, height, width))


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "first")
    loaded = DemoAutoencoder.load(tmp_path / "first")
    assert loaded.config == TINY
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for name, value in loaded.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, model.state_dict()[name].half().float()), name
    torch.testing.assert_close(loaded.encode(pictures()), model.encode(pictures()), atol=0.02, rtol=0)
    loaded.save(tmp_path / "second")
    assert (tmp_path / "first" / "model.safetensors").read_bytes() == (tmp_path / "second" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("harm", ["missing", "unknown", "shape", "config"])
def test_a_file_that_is_not_this_model_is_refused(harm: str, tmp_path: Path) -> None:
    make().save(tmp_path)
    state, path = load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors"
    if harm == "missing":
        del state["decoder.0.bias"]
    elif harm == "unknown":
        state["decoder.99.bias"] = torch.zeros(1)
    elif harm == "shape":
        state["decoder.0.bias"] = torch.zeros(5)
    else:
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "width": 32}))
    save_file(state, path)
    with pytest.raises(RuntimeError, match="(?i)missing key|unexpected key|size mismatch"):
        DemoAutoencoder.load(tmp_path)


def test_pictures_keep_their_dtype_whatever_the_model_computes_in() -> None:
    model = make().to(torch.bfloat16)
    z = model.encode(pictures())
    assert z.dtype == torch.float32 and model.decode(z).dtype == torch.float32
