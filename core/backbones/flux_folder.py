"""A FLUX model folder in diffusers layout, as core's contracts: transformer, autoencoder and the two text encoders.

    DIR/transformer  vae  text_encoder  tokenizer (CLIP)  text_encoder_2  tokenizer_2 (T5)

Prompts are encoded on their own and the encoders let go, so that a big T5 and the transformer never stand in memory
together. A folder that `dragfield train` wrote is read too (model_folder.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..model.backbone import Autoencoder, Conditioning, FlowBackbone
from .flux import DiffusersFlux
from .model_folder import is_own, own_prompts, read_autoencoder, read_config, read_weights

T5_TOKENS = 512
"""FLUX.1-dev's own prompt length."""
PUBLISHED_T5_TOKENS = 256
"""That of DragFlow's code."""
AT_ONCE = 8
"""Prompts in one pass: the attention of hundreds would not fit a card."""


def load_models(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    checkpoint_blocks: bool = False,
) -> tuple[FlowBackbone, Autoencoder]:
    """Transformer (in `dtype`) and autoencoder (in float32: it is small, and half precision shows) of a model folder.

    checkpoint_blocks: see `DiffusersFlux`. Raises: FileNotFoundError for a folder without them, ValueError for a
    transformer that is not FLUX or whose file lacks weights.
    """
    from diffusers import FluxTransformer2DModel

    _needs(folder, "transformer")
    _needs(folder, "vae")
    kind = read_config(folder / "transformer").get("_class_name", "no known model")
    if kind != "FluxTransformer2DModel":
        raise ValueError(f"{folder}/transformer holds {kind}; give a folder with a FluxTransformer2DModel")
    transformer = read_weights(FluxTransformer2DModel, folder / "transformer", dtype).to(device)
    return DiffusersFlux(transformer, checkpoint_blocks=checkpoint_blocks), read_autoencoder(folder / "vae", device)


def encode_prompts(
    folder: Path,
    prompts: Sequence[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    t5_len: int = T5_TOKENS,
) -> list[Conditioning]:
    """One Conditioning a prompt: T5 tokens [1, t5_len, D] and CLIP's pooled [1, P], by the folder's own encoders.

    t5_len: tokens of T5, 1 to 512; fewer are faster in every block, and longer prompts are cut.
    t5_len does not count for a folder of our own training. Raises: FileNotFoundError where an encoder is missing,
    ValueError for another t5_len.
    """
    if not 1 <= t5_len <= T5_TOKENS:
        raise ValueError(f"t5_len is {t5_len}; use 1 to {T5_TOKENS} tokens (FLUX.1-dev: {T5_TOKENS}, DragFlow's code: 256)")
    _needs(folder, "vae")
    if is_own(folder):
        return own_prompts(prompts)
    pooled = _encoded(folder, "text_encoder", "tokenizer", prompts, device, dtype)
    tokens = _encoded(folder, "text_encoder_2", "tokenizer_2", prompts, device, dtype, t5_len)
    return [Conditioning(txt=t, pooled=p) for t, p in zip(tokens, pooled, strict=True)]


@torch.no_grad()
def _encoded(folder: Path, encoder: str, tokenizer: str, prompts: Sequence[str], device, dtype, t5_len: int = 0) -> list[Tensor]:
    """CLIP's pooled output or T5's tokens, and nothing of the encoder left behind."""
    from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

    _needs(folder, encoder)
    _needs(folder, tokenizer, "tokenizer_config.json")
    pooling = encoder == "text_encoder"
    model = read_weights(CLIPTextModel if pooling else T5EncoderModel, folder / encoder, dtype).to(device).eval()
    words = AutoTokenizer.from_pretrained(folder / tokenizer, local_files_only=True)
    length = model.config.max_position_embeddings if pooling else t5_len
    ids = words(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids
    outs = [model(some.to(device)) for some in ids.split(AT_ONCE)]
    return [one for out in outs for one in (out.pooler_output if pooling else out.last_hidden_state).split(1)]


def _needs(folder: Path, part: str, file: str = "config.json") -> None:
    if not (folder / part / file).is_file():
        raise FileNotFoundError(
            f"{folder} has no {part}/{file}; give the folder of a FLUX model in diffusers layout, with transformer, "
            "vae, text_encoder, text_encoder_2 and their tokenizers"
        )
