"""A Stable Diffusion folder in diffusers layout, tiny and random, read back as core's contracts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dragfield.core.backbones.unet_folder import encode_unet_prompts, load_unet_models, read_schedule
from dragfield.core.model.noise_schedule import scaled_linear

UNET = dict(
    block_out_channels=(8, 8), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=4, layers_per_block=1,
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def sd_folder(flux_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import diffusers

    folder = tmp_path_factory.mktemp("sd")
    for part in ("vae", "text_encoder", "tokenizer"):
        (folder / part).symlink_to(flux_folder / part)
    torch.manual_seed(0)
    diffusers.UNet2DConditionModel(**UNET, cross_attention_dim=8).save_pretrained(folder / "unet")
    noise = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction")
    diffusers.PNDMScheduler(**noise).save_pretrained(folder / "scheduler")
    return folder


def test_the_models_come_as_the_folder_says(sd_folder: Path) -> None:
    backbone, autoencoder = load_unet_models(sd_folder, dtype=torch.bfloat16)
    assert (backbone.prediction, backbone.dtype, autoencoder.vae.dtype) == ("v_prediction", torch.bfloat16, torch.float32)
    torch.testing.assert_close(backbone.schedule.alphas_cumprod, scaled_linear().alphas_cumprod, rtol=1e-4, atol=1e-7)
    z = autoencoder.encode(torch.rand(1, 3, 24, 16))
    assert backbone.noise(z, 741, encode_unet_prompts(sd_folder, ["a star"])[0]).shape == z.shape == (1, 4, 3, 2)


def test_a_folder_without_scheduler_counts_as_stable_diffusions(tmp_path: Path) -> None:
    schedule, prediction = read_schedule(tmp_path)
    assert prediction == "epsilon" and round(schedule.at(741), 6) == 0.060356


def test_zero_terminal_noise_leaves_a_schedule_that_can_be_walked(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.json").write_text(json.dumps({"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}))
    schedule, prediction = read_schedule(tmp_path)
    assert prediction == "v_prediction" and 0 < schedule.at(999) < schedule.at(998) < 1e-6


def test_prompts_reach_the_unet_as_clips_last_hidden_state(sd_folder: Path) -> None:
    star, nothing = encode_unet_prompts(sd_folder, ["a red star", ""])
    assert star.txt.shape == (1, 7, 8) and star.pooled is None
    backbone, _ = load_unet_models(sd_folder)
    z = torch.randn(1, 4, 4, 4)
    assert not torch.equal(backbone.noise(z, 5, star), backbone.noise(z, 5, nothing))


def test_sdxl_prompts_are_two_encoders_side_by_side_with_the_seconds_pooled(sd_folder: Path, tmp_path: Path) -> None:
    import transformers

    for part in ("vae", "text_encoder", "tokenizer"):
        (tmp_path / part).symlink_to(sd_folder / part)
    (tmp_path / "tokenizer_2").symlink_to(sd_folder / "tokenizer")
    config = transformers.CLIPTextConfig(
        vocab_size=8, hidden_size=6, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, projection_dim=5,
        max_position_embeddings=7, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    encoder = transformers.CLIPTextModelWithProjection(config).eval()
    encoder.save_pretrained(tmp_path / "text_encoder_2")
    (star,) = encode_unet_prompts(tmp_path, ["a star"])
    assert star.txt.shape == (1, 7, 14) and star.pooled.shape == (1, 5)
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "tokenizer_2")
    ids = words(["a star"], padding="max_length", max_length=7, return_tensors="pt").input_ids
    out = encoder(ids, output_hidden_states=True)
    torch.testing.assert_close(star.txt[..., 8:], out.hidden_states[-2])
    torch.testing.assert_close(star.pooled, out.text_embeds)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_missing_part_is_named(sd_folder: Path, tmp_path: Path, part: str) -> None:
    for other in {"unet", "vae"} - {part}:
        (tmp_path / other).symlink_to(sd_folder / other)
    with pytest.raises(FileNotFoundError, match=f"{part}/config.json"):
        load_unet_models(tmp_path)


def test_another_model_is_refused_by_its_name(sd_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").symlink_to(sd_folder / "vae")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet3DConditionModel"}))
    with pytest.raises(ValueError, match="UNet3DConditionModel"):
        load_unet_models(tmp_path)


def test_weights_that_are_not_in_the_file_are_not_left_random(sd_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "vae").symlink_to(sd_folder / "vae")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text((sd_folder / "unet" / "config.json").read_text())
    weights = load_file(sd_folder / "unet" / "diffusion_pytorch_model.safetensors")
    del weights["conv_out.weight"]
    save_file(weights, tmp_path / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"conv_out\.weight"):
        load_unet_models(tmp_path)
