"""Encode Subject and Adapter Inject: what they ask for, where an adapter works, and that a KSampler run on the MODEL stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import comfy.sample
import comfy.samplers
import pytest
import torch

from dragfield.core.adapters.contract import Subject
from dragfield.core.adapters.tokens import TokenAttention, TokenLayout
from dragfield.nodes.host.comfy_flux import ComfyFlux
from dragfield.nodes.subject import AdapterInject, Encoded, EncodeSubject

IMAGE = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(0))
SETTINGS = {"strength": 1.0, "start": 0.0, "end": 1.0, "fade": 0.0}


class Adapter:
    """Its tokens are the mean colour of what it sees."""

    kind, needs, heads, head_width, depends_on_time = "test", (), 2, 16, False
    place, text_rows = "attention", False
    blocks = frozenset([("double", 1), ("single", 0)])

    def __init__(self) -> None:
        torch.manual_seed(5)
        self.attention = TokenAttention(sorted(self.blocks), 2, 16, 3, TokenLayout()).requires_grad_(False)

    def encode(self, picture: torch.Tensor, encoders: dict) -> Subject:
        return Subject("test", {"tokens": picture.mean(dim=(2, 3))[None].float()})

    def keys_values(self, subject: Subject, t: float) -> dict:
        return self.attention(subject.tensors["tokens"])

    def query(self, block: tuple, q: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
        return q


def inject(model: Any, **other: Any) -> Any:
    subject, _ = EncodeSubject.execute(Adapter(), IMAGE, "picture").result
    return AdapterInject.execute(model, subject, **{**SETTINGS, **other}).result[0]


@pytest.fixture
def positive(prompt: Any) -> list:
    return [[prompt.txt, {"pooled_output": prompt.pooled}]]


def sampled(model: Any, positive: list) -> torch.Tensor:
    noise = torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(3))
    return comfy.sample.sample(
        model, noise, 3, 1.0, "euler", "simple", positive, positive, torch.zeros_like(noise), disable_pbar=True, seed=1
    )


def test_a_ksampler_run_follows_the_adapter_and_the_model_it_was_put_on_is_bit_identical(
    make_flux: Callable[..., Any], positive: list
) -> None:
    model = make_flux()
    before = sampled(model, positive)
    changed = sampled(inject(model), positive)
    assert not torch.allclose(before, changed)
    assert torch.equal(sampled(inject(model, strength=0.0), positive), before)
    assert torch.equal(sampled(model, positive), before)


def test_an_adapter_works_in_its_part_of_the_schedule(make_flux: Callable[..., Any], prompt: Any, latent: torch.Tensor) -> None:
    model = make_flux()
    late = ComfyFlux(inject(model, start=0.5))
    with torch.no_grad():
        plain = [ComfyFlux(model).velocity(latent, t, prompt) for t in (0.9, 0.1)]
        found = [late.velocity(latent, t, prompt) for t in (0.9, 0.1)]
    assert torch.equal(found[0], plain[0]) and not torch.equal(found[1], plain[1])


def test_the_subject_is_cut_out_and_put_on_white_where_asked() -> None:
    mask = torch.zeros(1, 40, 60)
    mask[:, 10:20, 30:50] = 1.0
    _, seen = EncodeSubject.execute(Adapter(), IMAGE, "white", mask=mask).result
    assert seen.shape == (1, 24, 24, 3)  # 20 px and 2 of room at each side
    assert torch.equal(seen[:, 7:17, 2:22], IMAGE[:, 10:20, 30:50]) and (seen[:, :7] == 1).all() and (seen[:, :, :2] == 1).all()
    _, whole = EncodeSubject.execute(Adapter(), IMAGE, "picture").result
    assert whole.shape == (1, 60, 60, 3)
    with pytest.raises(ValueError, match="mask is empty"):
        EncodeSubject.execute(Adapter(), IMAGE, "white", mask=torch.zeros(1, 40, 60))


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        (("autoencoder",), "connect model and vae"),
        (("clip",), "connect its CLIP .XLabs: CLIP-ViT-L/14"),
        (("face",), "InsightFace, facexlib and EVA-CLIP"),
        (("siglip", "dinov2"), "SigLIP so400m 384 to clip_vision"),
        (("siglip",), "in siglip_folder"),
    ],
)
def test_an_encoder_that_is_not_connected_is_named(needs: tuple[str, ...], told: str) -> None:
    adapter = Adapter()
    adapter.needs = needs
    with pytest.raises(ValueError, match=told):
        EncodeSubject.execute(adapter, IMAGE, "picture")


def test_another_encoder_than_the_one_needed_is_refused() -> None:
    adapter = Adapter()
    adapter.needs = ("clip",)
    with pytest.raises(ValueError, match="is a dinov2: connect a clip_vision_model"):
        EncodeSubject.execute(adapter, IMAGE, "picture", clip_vision=SimpleNamespace(model_type="dinov2"))


def test_a_schedule_that_ends_before_it_starts_is_refused() -> None:
    assert "start has to be before end" in AdapterInject.validate_inputs(0.6, 0.4)
    assert AdapterInject.validate_inputs(0.0, 1.0) is True


def test_what_is_on_the_wire_is_the_adapter_and_its_subject() -> None:
    encoded, _ = EncodeSubject.execute(Adapter(), IMAGE, "picture").result
    assert isinstance(encoded, Encoded) and encoded.subject.kind == encoded.adapter.kind
