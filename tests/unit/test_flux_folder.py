"""A model folder in diffusers layout, tiny and random, read back as core's contracts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dragfield.core.backbones.flux_folder import T5_TOKENS, encode_prompts, load_models


def test_latents_are_shifted_and_scaled_posterior_means(flux_folder: Path) -> None:
    _, autoencoder = load_models(flux_folder)
    image = torch.rand(1, 3, 16, 24)
    mean = autoencoder.vae.encode(image * 2 - 1).latent_dist.mean
    z = autoencoder.encode(image)
    assert z.shape == (1, 4, 2, 3)
    assert (autoencoder.latent_channels, autoencoder.factor) == (4, 8)
    torch.testing.assert_close(z, (mean - 0.1) * 0.3)
    torch.testing.assert_close(autoencoder.decode(z), (autoencoder.vae.decode(mean).sample / 2 + 0.5).clamp(0, 1))


def test_the_transformer_comes_in_the_asked_dtype_and_the_autoencoder_in_float32(flux_folder: Path) -> None:
    backbone, autoencoder = load_models(flux_folder, dtype=torch.bfloat16)
    assert (backbone.dtype, autoencoder.vae.dtype) == (torch.bfloat16, torch.float32)


def test_prompts_reach_the_transformer_as_t5_tokens_and_clip_pooled(flux_folder: Path) -> None:
    backbone, _ = load_models(flux_folder)
    star, nothing = encode_prompts(flux_folder, ["a red star", ""])
    assert (star.txt.shape, star.pooled.shape) == ((1, T5_TOKENS, 12), (1, 8))
    z = torch.randn(1, 4, 4, 4)
    assert not torch.equal(backbone.velocity(z, 0.5, star), backbone.velocity(z, 0.5, nothing))


def test_a_prompt_encodes_alike_alone_and_among_others(flux_folder: Path) -> None:
    alone, among = encode_prompts(flux_folder, ["a star"])[0], encode_prompts(flux_folder, ["red", "a star"])[1]
    torch.testing.assert_close(alone.txt, among.txt)
    torch.testing.assert_close(alone.pooled, among.pooled)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_missing_part_is_named(flux_folder: Path, tmp_path: Path, part: str) -> None:
    for other in {"transformer", "vae"} - {part}:
        (tmp_path / other).symlink_to(flux_folder / other)
    with pytest.raises(FileNotFoundError, match=f"{part}/config.json"):
        load_models(tmp_path)


def test_a_missing_encoder_is_named(flux_folder: Path, tmp_path: Path) -> None:
    for part in ("transformer", "vae", "text_encoder", "tokenizer"):
        (tmp_path / part).symlink_to(flux_folder / part)
    with pytest.raises(FileNotFoundError, match="text_encoder_2"):
        encode_prompts(tmp_path, ["a star"])


def test_another_transformer_is_refused_by_its_name(flux_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").symlink_to(flux_folder / "vae")
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text(json.dumps({"_class_name": "SD3Transformer2DModel"}))
    with pytest.raises(ValueError, match="SD3Transformer2DModel"):
        load_models(tmp_path)


def test_weights_that_are_not_in_the_file_are_not_left_random(flux_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "vae").symlink_to(flux_folder / "vae")
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text((flux_folder / "transformer" / "config.json").read_text())
    weights = load_file(flux_folder / "transformer" / "diffusion_pytorch_model.safetensors")
    del weights["proj_out.weight"]
    save_file(weights, tmp_path / "transformer" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"proj_out\.weight"):
        load_models(tmp_path)


def test_fewer_t5_tokens_can_be_asked_for(flux_folder: Path) -> None:
    assert encode_prompts(flux_folder, ["a red star"], t5_len=6)[0].txt.shape == (1, 6, 12)
    for wrong in (0, 513):
        with pytest.raises(ValueError, match=f"t5_len is {wrong}; use 1 to 512"):
            encode_prompts(flux_folder, ["a red star"], t5_len=wrong)


def test_weights_that_the_config_does_not_know_are_refused(flux_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "transformer").mkdir()
    (tmp_path / "vae").symlink_to(flux_folder / "vae")
    (tmp_path / "transformer" / "config.json").symlink_to(flux_folder / "transformer" / "config.json")
    file = "diffusion_pytorch_model.safetensors"
    weights = load_file(flux_folder / "transformer" / file)
    save_file({**weights, "surplus.weight": torch.zeros(2)}, tmp_path / "transformer" / file)
    with pytest.raises(ValueError, match="holds 1 weights that FluxTransformer2DModel does not have, surplus.weight among them"):
        load_models(tmp_path)
