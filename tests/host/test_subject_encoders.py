"""CLIP_VISION objects of the real ComfyUI, tiny, as encoders: the same numbers as transformers' own models with the same weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from comfy.clip_vision import ClipVisionModel
from safetensors.torch import load_file
from torch import Tensor

from dragfield.core.adapters.instant_character import DINO_LAYERS, SIGLIP_LAYERS
from dragfield.core.adapters.vision import TransformersVision
from dragfield.nodes.host.subject_encoders import ComfyVision, encoders_for

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "patch_size": 14, "image_size": 28}
CLIP = {**SIZES, "num_hidden_layers": 3, "projection_dim": 6, "hidden_act": "quick_gelu", "num_channels": 3}
SIGLIP = {**SIZES, "num_hidden_layers": 27, "hidden_act": "gelu_pytorch_tanh", "num_channels": 3}
DINO = {"hidden_size": 16, "num_hidden_layers": 30, "num_attention_heads": 2, "patch_size": 14, "image_size": 28, "mlp_ratio": 4}
PICTURE = torch.randint(0, 256, (1, 3, 28, 28), generator=torch.Generator().manual_seed(0)) / 255
"""Of the encoders' own size and in 8 bits, so that neither side resizes or rounds."""


def pair(kind: str) -> tuple[Any, TransformersVision]:
    """ComfyUI's CLIP_VISION and transformers' model, with the same random weights."""
    torch.manual_seed(1)
    if kind == "clip":
        model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**CLIP))
        config = {**CLIP, "model_type": "clip_vision_model"}
    elif kind == "siglip":
        model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIGLIP))
        config = {**SIGLIP, "model_type": "siglip_vision_model", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    else:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**DINO))
        config = {**DINO, "model_type": "dinov2", "use_swiglu_ffn": False, "layer_norm_eps": 1e-6, "use_mask_token": True}
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    comfy = ClipVisionModel(config)
    with tempfile.TemporaryDirectory() as folder:
        # The file's keys are the published ones, whatever this version of transformers calls its layers.
        model.save_pretrained(folder)
        state = load_file(Path(folder) / "model.safetensors")
    if kind == "siglip":
        # Published with its text tower, beside which the vision tower has a name.
        state = {f"vision_model.{key.removeprefix('vision_model.')}": value for key, value in state.items()}
    missing, _ = comfy.load_sd(state)
    assert not missing
    return comfy, TransformersVision(model.float())


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))


def test_clips_vector_and_its_last_layer_but_one() -> None:
    comfy, own = pair("clip")
    seen = ComfyVision(comfy, "clip")
    close(seen.embeds(PICTURE), own.embeds(PICTURE))
    close(seen.penultimate(PICTURE), own.penultimate(PICTURE))
    assert seen.penultimate(PICTURE).shape == (1, 5, 16)


def test_siglips_layers_as_instantcharacter_counts_them() -> None:
    comfy, own = pair("siglip")
    layers = [*SIGLIP_LAYERS, -1]
    for found, expected in zip(ComfyVision(comfy, "siglip").maps(PICTURE, layers), own.maps(PICTURE, layers), strict=True):
        assert found.shape == (1, 4, 16)
        close(found, expected)


def test_dinov2s_layers_as_instantcharacter_counts_them() -> None:
    comfy, own = pair("dinov2")
    layers = [*DINO_LAYERS, -1]
    for found, expected in zip(ComfyVision(comfy, "dinov2").maps(PICTURE, layers), own.maps(PICTURE, layers), strict=True):
        assert found.shape == (1, 4, 16)
        close(found, expected)


def test_what_comes_out_may_be_used_in_a_backward_pass() -> None:
    comfy, _ = pair("clip")
    with torch.inference_mode():
        comfy.encode_image(PICTURE.movedim(1, -1))
        with torch.inference_mode(False):  # as the node does
            vector = ComfyVision(comfy, "clip").embeds(PICTURE)
    assert not vector.is_inference()


@pytest.mark.parametrize(("name", "given"), [("clip", "siglip"), ("siglip", "clip"), ("dinov2", "clip")])
def test_an_encoder_at_the_wrong_input_is_named(name: str, given: str) -> None:
    comfy, _ = pair(given)
    with pytest.raises(ValueError, match=f"connected as {name} is a {comfy.model_type}"):
        ComfyVision(comfy, name)


def test_an_adapter_gets_the_encoders_that_it_needs() -> None:
    class Needs:
        kind, needs = "test", ("siglip", "dinov2")

    made = encoders_for(Needs(), clip_vision=pair("siglip")[0], dinov2=pair("dinov2")[0])
    assert made["siglip"].maps(PICTURE, [-1])[0].shape == made["dinov2"].maps(PICTURE, [-1])[0].shape == (1, 4, 16)
