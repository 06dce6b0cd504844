"""A FLUX model folder in diffusers layout, as core's contracts: transformer, autoencoder and the two text encoders.

    DIR/transformer  vae  text_encoder  tokenizer (CLIP)  text_encoder_2  tokenizer_2 (T5)

Prompts are encoded on their own and the encoders let go, so that a big T5 and the transformer never stand in memory
together. A folder without text encoders, whose vae is a demo autoencoder, is a demo model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..backbone import Autoencoder, Conditioning, FlowBackbone
from .flux import DiffusersFlux

T5_TOKENS = 512
"""FLUX.1-dev's own prompt length."""
PUBLISHED_T5_TOKENS = 256
"""That of DragFlow's code."""


class DiffusersAutoencoder:
    """Autoencoder over a diffusers `AutoencoderKL`: z = (posterior mean - shift)·scale, in the module's own dtype."""

    def __init__(self, vae) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.latent_channels = vae.config.latent_channels
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.shift = vae.config.shift_factor or 0.0
        self.scale = vae.config.scaling_factor

    def encode(self, image: Tensor) -> Tensor:
        """See Autoencoder."""
        mean = self.vae.encode(image.to(self.vae.device, self.vae.dtype) * 2 - 1).latent_dist.mode()
        return ((mean - self.shift) * self.scale).float()

    def decode(self, z: Tensor) -> Tensor:
        """See Autoencoder."""
        mean = z.to(self.vae.device, self.vae.dtype) / self.scale + self.shift
        return (self.vae.decode(mean).sample.float() / 2 + 0.5).clamp(0, 1)


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
    kind = _config(folder / "transformer").get("_class_name", "no known model")
    if kind != "FluxTransformer2DModel":
        raise ValueError(f"{folder}/transformer holds {kind}; give a folder with a FluxTransformer2DModel")
    transformer = _read(FluxTransformer2DModel, folder / "transformer", dtype).to(device)
    return DiffusersFlux(transformer, checkpoint_blocks=checkpoint_blocks), _autoencoder(folder / "vae", device)


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
    A demo model's words are embedded by the demo embedder, whose length is fixed. Raises: FileNotFoundError where an encoder is missing,
    ValueError for another t5_len.
    """
    if not 1 <= t5_len <= T5_TOKENS:
        raise ValueError(f"t5_len is {t5_len}; use 1 to {T5_TOKENS} tokens (FLUX.1-dev: {T5_TOKENS}, DragFlow's code: 256)")
    if _is_demo(folder):
        from ..demo.text import embed

        return [embed([prompt]) for prompt in prompts]
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
    model = _read(CLIPTextModel if pooling else T5EncoderModel, folder / encoder, dtype).to(device).eval()
    words = AutoTokenizer.from_pretrained(folder / tokenizer, local_files_only=True)
    length = model.config.max_position_embeddings if pooling else t5_len
    ids = words(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids
    out = model(ids.to(device))
    return list((out.pooler_output if pooling else out.last_hidden_state).split(1))


def _autoencoder(folder: Path, device) -> Autoencoder:
    if "_class_name" not in _config(folder):
        from ..demo.autoencoder import DemoAutoencoder

        return DemoAutoencoder.load(folder).to(device)
    from diffusers import AutoencoderKL

    return DiffusersAutoencoder(_read(AutoencoderKL, folder, torch.float32).to(device))


def _read(kind: type, folder: Path, dtype: torch.dtype):
    """`kind.from_pretrained`, offline, safetensors only, and never with weights left at random."""
    model, info = kind.from_pretrained(
        folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{folder} lacks {len(missing)} weights, {missing[0]} among them; fetch the model again")
    # What transformers itself skips on purpose (a head that is not used here) is not among them.
    if unknown := sorted(info["unexpected_keys"]):
        raise ValueError(
            f"{folder} holds {len(unknown)} weights that {kind.__name__} does not have, {unknown[0]} among them; give the model that its "
            "config.json describes"
        )
    return model


def _is_demo(folder: Path) -> bool:
    _needs(folder, "vae")
    return not (folder / "text_encoder").exists() and "_class_name" not in _config(folder / "vae")


def _config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _needs(folder: Path, part: str, file: str = "config.json") -> None:
    if not (folder / part / file).is_file():
        raise FileNotFoundError(
            f"{folder} has no {part}/{file}; give the folder of a FLUX model in diffusers layout, with transformer, "
            "vae, text_encoder, text_encoder_2 and their tokenizers"
        )
