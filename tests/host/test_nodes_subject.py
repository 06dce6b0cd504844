"""Encode Subject and Adapter Inject: what they ask for, where an adapter works, and that a KSampler run on the MODEL stays as it was."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.sd
import pytest
import torch

from dragfield.core.adapters.contract import Subject
from dragfield.core.adapters.flux_ip_adapter import XLabsAdapter
from dragfield.core.adapters.tokens import TokenAttention, TokenLayout
from dragfield.nodes import subject as subject_node
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.subject_patches import time_of
from dragfield.nodes.host.subject_weights import LoadedAdapter
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
        return self.attention(subject.tensors["tokens"].cpu())

    def query(self, block: tuple, q: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
        return q


def inject(model: Any, **other: Any) -> Any:
    subject, _ = EncodeSubject.execute(LoadedAdapter(Adapter()), IMAGE, "picture").result
    return AdapterInject.execute(model, subject, **{**SETTINGS, **other}).result[0]


@pytest.fixture
def positive(prompt: Any) -> list:
    return [[prompt.txt, {"pooled_output": prompt.pooled}]]


def sampled(model: Any, positive: list, cfg: float = 1.0) -> torch.Tensor:
    noise = torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(3))
    return comfy.sample.sample(
        model, noise, 3, cfg, "euler", "simple", positive, positive, torch.zeros_like(noise), disable_pbar=True, seed=1
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
    late = ComfyTransformer(inject(model, start=0.5))
    with torch.no_grad():
        plain = [ComfyTransformer(model).velocity(latent, t, prompt) for t in (0.9, 0.1)]
        found = [late.velocity(latent, t, prompt) for t in (0.9, 0.1)]
    assert torch.equal(found[0], plain[0]) and not torch.equal(found[1], plain[1])


def test_fade_weakens_it_evenly_from_the_start_of_its_part_to_the_end(make_flux: Callable[..., Any], prompt: Any, latent: Any) -> None:
    model = make_flux()
    faded = ComfyTransformer(inject(model, strength=0.8, fade=0.5))
    with torch.no_grad():
        for t, share in ((1.0, 1.0), (0.5, 0.75), (0.2, 0.6)):
            fixed = ComfyTransformer(inject(model, strength=0.8 * share)).velocity(latent, t, prompt)
            torch.testing.assert_close(faded.velocity(latent, t, prompt), fixed, rtol=1e-4, atol=1e-5)
        # In the late half alone, it is at its full strength where that half begins.
        late = ComfyTransformer(inject(model, strength=0.8, fade=1.0, start=0.5))
        middle = time_of(model, 0.5)
        whole = ComfyTransformer(inject(model, strength=0.8)).velocity(latent, middle, prompt)
        torch.testing.assert_close(late.velocity(latent, middle, prompt), whole, rtol=1e-4, atol=1e-5)
        nothing = ComfyTransformer(model).velocity(latent, 0.0, prompt)
        torch.testing.assert_close(late.velocity(latent, 0.0, prompt), nothing, rtol=1e-4, atol=1e-5)


def test_a_faded_adapter_samples_otherwise_than_a_steady_one_and_leaves_no_trace(make_flux: Callable[..., Any], positive: list) -> None:
    model = make_flux()
    before = sampled(model, positive)
    assert not torch.allclose(sampled(inject(model, fade=1.0), positive), sampled(inject(model), positive))
    assert torch.equal(sampled(model, positive), before)


def test_a_lora_and_an_adapter_work_together_in_either_order_and_leave_no_trace(make_flux: Callable[..., Any], positive: list) -> None:
    model = make_flux()
    rows, columns = model.model.diffusion_model.double_blocks[0].img_attn.qkv.weight.shape
    generator = torch.Generator().manual_seed(7)
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    lora = {
        f"{name}.lora_up.weight": 0.3 * torch.randn(rows, 2, generator=generator),
        f"{name}.lora_down.weight": 0.3 * torch.randn(2, columns, generator=generator),
    }

    def with_lora(patcher: Any) -> Any:
        return comfy.sd.load_lora_for_models(patcher, None, dict(lora), 1.0, 0.0)[0]

    before = sampled(model, positive)
    only_lora, only_adapter = sampled(with_lora(model), positive), sampled(inject(model), positive)
    both = sampled(inject(with_lora(model)), positive)
    for one in (before, only_lora, only_adapter):
        assert not torch.allclose(both, one)
    assert torch.equal(sampled(with_lora(inject(model)), positive), both)
    assert torch.equal(sampled(with_lora(model), positive), only_lora)
    assert torch.equal(sampled(model, positive), before)


def test_a_real_negative_prompt_gets_the_negative_row(make_flux: Callable[..., Any], positive: list) -> None:
    """A second row that says the same as the first changes nothing; another one does, but only where there is a negative prompt."""
    model, rows = make_flux(), {}
    for name, second in (("same", 1.0), ("other", -1.0)):
        adapter = Adapter()
        adapter.negative_row = True
        adapter.encode = lambda picture, encoders, second=second: Subject(
            "test", {"tokens": torch.cat([x := picture.mean(dim=(2, 3))[None].float(), second * x])}
        )
        subject, _ = EncodeSubject.execute(LoadedAdapter(adapter), IMAGE, "picture").result
        rows[name] = AdapterInject.execute(model, subject, **SETTINGS).result[0]
    plain = sampled(inject(model), positive, cfg=3.0)
    torch.testing.assert_close(sampled(rows["same"], positive, cfg=3.0), plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(sampled(rows["other"], positive, cfg=3.0), plain)
    torch.testing.assert_close(sampled(rows["other"], positive), sampled(inject(model), positive), rtol=1e-4, atol=1e-4)


def test_the_subject_is_cut_out_and_put_on_white_where_asked() -> None:
    mask = torch.zeros(1, 40, 60)
    mask[:, 10:20, 30:50] = 1.0
    _, seen = EncodeSubject.execute(LoadedAdapter(Adapter()), IMAGE, "white", mask=mask).result
    assert seen.shape == (1, 24, 24, 3)  # 20 px and 2 of room at each side
    assert torch.equal(seen[:, 7:17, 2:22], IMAGE[:, 10:20, 30:50]) and (seen[:, :7] == 1).all() and (seen[:, :, :2] == 1).all()
    _, whole = EncodeSubject.execute(LoadedAdapter(Adapter()), IMAGE, "picture").result
    assert whole.shape == (1, 60, 60, 3)
    with pytest.raises(ValueError, match="mask is empty"):
        EncodeSubject.execute(LoadedAdapter(Adapter()), IMAGE, "white", mask=torch.zeros(1, 40, 60))


@pytest.mark.parametrize(
    ("needs", "sentence"),
    [
        (("autoencoder",), "connect model and vae"),
        (("clip",), "connect its CLIP .XLabs: CLIP-ViT-L/14"),
        (("face",), "InsightFace, facexlib and EVA-CLIP.*models.antelopev2"),
        (("siglip", "dinov2"), "SigLIP so400m 384 to clip_vision"),
        (("siglip",), "in siglip_folder"),
    ],
)
def test_an_encoder_that_is_not_connected_is_named(needs: tuple[str, ...], sentence: str) -> None:
    adapter = Adapter()
    adapter.needs = needs
    with pytest.raises(ValueError, match=sentence):
        EncodeSubject.execute(LoadedAdapter(adapter), IMAGE, "picture")


def test_another_encoder_than_the_one_needed_is_refused() -> None:
    adapter = Adapter()
    adapter.needs = ("clip",)
    with pytest.raises(ValueError, match="is a dinov2: connect a clip_vision_model"):
        EncodeSubject.execute(LoadedAdapter(adapter), IMAGE, "picture", clip_vision=SimpleNamespace(model_type="dinov2"))


def test_a_schedule_that_ends_before_it_starts_is_refused() -> None:
    assert "start has to be before end" in AdapterInject.validate_inputs(0.6, 0.4)
    assert AdapterInject.validate_inputs(0.0, 1.0) is True


def test_what_is_on_the_wire_is_the_adapter_and_its_subject() -> None:
    encoded, _ = EncodeSubject.execute(LoadedAdapter(Adapter()), IMAGE, "picture").result
    assert isinstance(encoded, Encoded) and encoded.subject.kind == encoded.adapter.adapter.kind


def test_encoders_and_projector_are_let_go_of_after_use(make_flux: Callable[..., Any], positive: list, monkeypatch: Any) -> None:
    class Eyes:
        def embeds(self, picture: torch.Tensor) -> torch.Tensor:
            return picture.mean(dim=(2, 3))

    given, adapter = {"clip": Eyes()}, XLabsAdapter(3, 2, 6, 32, 2, 16).requires_grad_(False)
    monkeypatch.setattr(subject_node, "encoders_for", lambda adapter, **_: dict(given))
    gone = [weakref.ref(given["clip"]), weakref.ref(adapter), weakref.ref(adapter.projector), weakref.ref(adapter.projector["proj"].weight)]
    encoded, _ = EncodeSubject.execute(LoadedAdapter(adapter), IMAGE, "picture").result
    given.clear()
    del adapter
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4
    model = make_flux()
    injected = AdapterInject.execute(model, encoded, **SETTINGS).result[0]
    assert not torch.allclose(sampled(injected, positive), sampled(model, positive))
