"""A Stable Diffusion model folder in diffusers layout, as core's contracts: UNet with its noise schedule, autoencoder and text encoder.

    DIR/unet  vae  scheduler  text_encoder  tokenizer, for SDXL also  text_encoder_2  tokenizer_2

Prompts are encoded on their own and the encoders let go. A folder that `dragfield train` wrote is read too
(model_folder.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..model.backbone import Autoencoder, Conditioning
from ..model.noise_schedule import NoiseSchedule
from .model_folder import is_own, own_prompts, read_autoencoder, read_config, read_weights
from .unet import DiffusersUNet

NOISE_KEYS = {
    "beta_schedule", "beta_start", "beta_end", "trained_betas", "num_train_timesteps", "prediction_type", "rescale_betas_zero_snr",
}  # fmt: skip
"""What of a scheduler's config belongs to the model; the rest is about sampling."""


def load_unet_models(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[DiffusersUNet, Autoencoder]:
    """UNet (in `dtype`) and autoencoder (in float32) of a model folder; a folder without scheduler counts as Stable Diffusion 1.5's.

    Raises: FileNotFoundError for a folder without them, ValueError for another kind of model or a file that lacks weights.
    """
    from diffusers import UNet2DConditionModel

    _needs(folder, "unet")
    _needs(folder, "vae")
    kind = read_config(folder / "unet").get("_class_name", "no known model")
    if kind != "UNet2DConditionModel":
        raise ValueError(f"{folder}/unet holds {kind}; give a folder with a UNet2DConditionModel")
    schedule, prediction = read_schedule(folder / "scheduler")
    unet = read_weights(UNet2DConditionModel, folder / "unet", dtype).to(device)
    return DiffusersUNet(unet, schedule=schedule, prediction=prediction), read_autoencoder(folder / "vae", device)


def read_schedule(folder: Path) -> tuple[NoiseSchedule, str]:
    """Noise schedule and prediction of a diffusers scheduler folder, whichever sampler it names."""
    from diffusers import DDIMScheduler

    known = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "epsilon"}
    if (folder / "scheduler_config.json").is_file():
        given = json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))
        known |= {key: value for key, value in given.items() if key in NOISE_KEYS and value is not None}
    scheduler = DDIMScheduler(**known)
    # A schedule rescaled to zero terminal noise ends on an exact 0, of which nothing could be recovered.
    kept = scheduler.alphas_cumprod.double().clamp_min(1e-9)
    return NoiseSchedule(kept), known["prediction_type"]


def encode_unet_prompts(
    folder: Path, prompts: Sequence[str], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> list[Conditioning]:
    """One Conditioning a prompt, by the folder's own encoders: CLIP's last hidden state [1, 77, D].

    SDXL has two encoders: their last hidden states but one side by side, and the second's pooled output [1, P]. Raises:
    FileNotFoundError where an encoder is missing.
    """
    _needs(folder, "vae")
    if is_own(folder):
        return [Conditioning(words.txt) for words in own_prompts(prompts)]
    both = (folder / "text_encoder_2").is_dir()
    states, _ = _encoded(folder, "text_encoder", "tokenizer", prompts, device, dtype, last=not both)
    if not both:
        return [Conditioning(txt) for txt in states.split(1)]
    more, pooled = _encoded(folder, "text_encoder_2", "tokenizer_2", prompts, device, dtype, last=False)
    tokens = torch.cat([states, more], dim=-1)
    return [Conditioning(txt, p) for txt, p in zip(tokens.split(1), pooled.split(1), strict=True)]


@torch.no_grad()
def _encoded(folder: Path, encoder: str, tokenizer: str, prompts: Sequence[str], device, dtype, *, last: bool) -> tuple[Tensor, Tensor]:
    """Tokens [N, 77, D] and pooled output [N, P] of one encoder, and nothing of it left behind."""
    from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection

    _needs(folder, encoder)
    _needs(folder, tokenizer, "tokenizer_config.json")
    projected = read_config(folder / encoder).get("architectures") == ["CLIPTextModelWithProjection"]
    model = read_weights(CLIPTextModelWithProjection if projected else CLIPTextModel, folder / encoder, dtype).to(device).eval()
    words = AutoTokenizer.from_pretrained(folder / tokenizer, local_files_only=True)
    length = model.config.max_position_embeddings
    ids = words(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids
    out = model(ids.to(device), output_hidden_states=True)
    return out.last_hidden_state if last else out.hidden_states[-2], out.text_embeds if projected else out.pooler_output


def _needs(folder: Path, part: str, file: str = "config.json") -> None:
    if not (folder / part / file).is_file():
        raise FileNotFoundError(
            f"{folder} has no {part}/{file}; give the folder of a Stable Diffusion model in diffusers layout, with unet, vae, "
            "scheduler, text_encoder and tokenizer"
        )
