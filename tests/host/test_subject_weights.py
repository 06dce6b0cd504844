"""A subject adapter's weights in ComfyUI's hands: loaded and freed with the MODEL, used where it computes, whatever mode loaded them.

There is no accelerator here: the "meta" device stands for one where only places matter.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sample
import pytest
import torch
from torch import Tensor
from torch.nn import LayerNorm, Linear

from dragfield.core.adapters.contract import Injection, Subject
from dragfield.core.adapters.token_adapter import TokenAdapter
from dragfield.core.adapters.tokens import TokenLayout
from dragfield.core.model.taps import Tap
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.room import device_with_room_for
from dragfield.nodes.host.subject_patches import with_subjects
from dragfield.nodes.host.subject_weights import LoadedAdapter, hosted, injections_on

BLOCKS = [("double", 0), ("double", 1), ("single", 0), ("single", 1)]
CHARACTER = TokenLayout(query="learned", key="learned", bias=True)


class Character(TokenAdapter):
    """As InstantCharacter is: its queries have a norm of their own, its tokens know the time."""

    kind, needs, depends_on_time = "test", (), True

    def __init__(self, blocks: list = BLOCKS) -> None:
        super().__init__(blocks, 2, 16, 6, CHARACTER)
        self.projector = Linear(4, 6)

    def encode(self, picture: Tensor, encoders: dict) -> Subject:
        return Subject(self.kind, {"tokens": self.projector(picture)})

    def tokens(self, subject: Subject, t: float) -> Tensor:
        return subject.tensors["tokens"] * (1 + t)


class Stream(Character):
    """As PuLID is: it asks with the stream behind a block, through layers that a gradient goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.place = "stream"
        self.norm, self.to_q, self.to_out = LayerNorm(32), Linear(32, 32), Linear(32, 32)

    def query(self, block: tuple, q: Tensor, scale: Tensor | None) -> Tensor:
        return self.to_q(self.norm(q)).unflatten(-1, (2, 16)).transpose(1, 2)

    def finish(self, block: tuple, answer: Tensor) -> Tensor:
        return self.to_out(answer)


def made(kind: type = Character) -> TokenAdapter:
    torch.manual_seed(5)
    return kind().eval().requires_grad_(False)


def subject() -> Subject:
    return Subject("test", {"tokens": torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(6))})


def inject(model: Any, loaded: LoadedAdapter, **other: Any) -> Any:
    working = loaded.working
    return with_subjects(model, [Injection(working.adapter, subject(), **other)], working.weights(model.load_device))


def sampled(model: Any, prompt: Any) -> Tensor:
    noise = torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(3))
    positive = [[prompt.txt, {"pooled_output": prompt.pooled}]]
    return comfy.sample.sample(
        model, noise, 3, 1.0, "euler", "simple", positive, positive, torch.zeros_like(noise), disable_pbar=True, seed=1
    )


def is_loaded(patcher: Any) -> bool:
    return any(patcher is other for other in comfy.model_management.loaded_models())


def test_a_sampler_loads_the_weights_with_the_model_once_for_two_injections(make_flux: Callable[..., Any], prompt: Any) -> None:
    model, loaded = make_flux(), LoadedAdapter(made())
    (patcher,) = loaded.working.weights(model.load_device)
    before = sampled(model, prompt)
    assert not is_loaded(patcher)
    twice = inject(inject(model, loaded), loaded, strength=0.5)
    assert not torch.allclose(sampled(twice, prompt), before)
    assert is_loaded(patcher) and twice.model_patches_models() == [patcher, patcher]
    assert sum(other.model is patcher.model for other in comfy.model_management.loaded_models()) == 1
    assert torch.equal(sampled(model, prompt), before)


def test_the_optimisers_own_calls_load_them_too_and_offloaded_ones_still_work(
    make_flux: Callable[..., Any], prompt: Any, latent: Tensor
) -> None:
    model, loaded = make_flux(), LoadedAdapter(made())
    (patcher,) = loaded.working.weights(model.load_device)
    injected = inject(model, loaded)
    plain = with_subjects(model, [Injection(made().to(model.load_device), subject())])
    with torch.no_grad():
        expected = ComfyTransformer(plain).velocity(latent, 0.6, prompt)
        assert torch.equal(ComfyTransformer(injected).velocity(latent, 0.6, prompt), expected)
        assert is_loaded(patcher)
        comfy.model_management.unload_all_models()
        patcher.detach()
        assert torch.equal(ComfyTransformer(injected).velocity(latent, 0.4, prompt), ComfyTransformer(plain).velocity(latent, 0.4, prompt))


def test_they_are_freed_with_the_last_model_that_has_them(make_flux: Callable[..., Any], prompt: Any) -> None:
    model, loaded = make_flux(), LoadedAdapter(made())
    injected = inject(model, loaded)
    sampled(injected, prompt)
    # Models of other tests go first.
    gc.collect()
    comfy.model_management.cleanup_models_gc()
    held = len(comfy.model_management.loaded_models())
    del injected, loaded
    gc.collect()
    comfy.model_management.cleanup_models_gc()
    assert len(comfy.model_management.loaded_models()) == held - 1


def test_a_patch_that_a_later_one_goes_on_to_is_still_found_by_comfyui(make_flux: Callable[..., Any]) -> None:
    class Foreign:
        events: list[str] = []

        def __call__(self, args: dict, extra: dict) -> dict:
            return extra["original_block"](args)

        def models(self) -> list[str]:
            return ["theirs"]

        def to(self, where: Any) -> Foreign:
            self.events.append(str(where))
            return self

        def cleanup(self) -> None:
            self.events.append("end")

    model, loaded = make_flux(), LoadedAdapter(made(Stream))
    model.set_model_patch_replace(Foreign(), "dit", "double_block", 1)
    injected = inject(model, loaded)
    assert "theirs" in injected.model_patches_models()
    injected.model_patches_to(torch.device("cpu"))
    injected.cleanup()
    assert Foreign.events == ["cpu", "end"]


@pytest.mark.parametrize("kind", [Character, Stream])
@pytest.mark.parametrize("saving", ["off", "on"])
def test_weights_loaded_in_inference_mode_give_the_gradient_of_ordinary_ones(
    kind: type, saving: str, make_flux: Callable[..., Any], prompt: Any, latent: Tensor
) -> None:
    def gradient(model: Any) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = latent.clone().requires_grad_()
            backbone = ComfyTransformer(model, save_memory=saving)
            with backbone.session():
                found = backbone.features(leaf, 0.6, prompt, taps=(Tap("single", 1, "out"),))
                return torch.autograd.grad(found[0].square().sum(), leaf)[0]

    model = make_flux()
    expected = gradient(with_subjects(model, [Injection(made(kind).to(model.load_device), subject())]))
    with torch.inference_mode():
        # As a prompt of ComfyUI runs.
        loaded = LoadedAdapter(made(kind))
        assert next(loaded.working.adapter.parameters()).is_inference()
        injected = inject(model, loaded)
        found = gradient(injected)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(found, gradient(model), rtol=1e-2)


@pytest.mark.parametrize("kind", [Character, Stream])
def test_layers_compute_where_what_they_are_given_is(kind: type) -> None:
    adapter = made(kind)
    there = hosted(adapter)
    stays = subject().on("meta")
    for keys, values in there.keys_values(stays, 0.3).values():
        assert keys.device.type == values.device.type == "meta"
    asked = torch.randn(1, 5, 32, device="meta") if kind is Stream else torch.randn(1, 2, 5, 16, device="meta")
    assert there.query(("double", 0), asked, None).device.type == "meta"
    assert all(p.device.type == "cpu" for p in there.parameters())
    for block, pair in there.keys_values(subject(), 0.3).items():
        assert all(torch.equal(a, b) for a, b in zip(pair, adapter.keys_values(subject(), 0.3)[block], strict=True))


def test_bfloat16_weights_answer_a_float32_model_and_are_converted_once_a_time(
    make_flux: Callable[..., Any], prompt: Any, latent: Tensor
) -> None:
    adapter = made().to(torch.bfloat16)
    loaded = LoadedAdapter(adapter)
    injected = ComfyTransformer(inject(make_flux(), loaded))
    runs = []
    loaded.working.adapter.attention.layers[0]["to_k_ip"].register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad(), injected.session():
        first = injected.velocity(latent, 0.6, prompt)
        assert torch.equal(injected.velocity(latent, 0.6, prompt), first)
        injected.velocity(latent, 0.4, prompt)
        assert torch.equal(injected.velocity(latent, 0.6, prompt), first)
    assert torch.isfinite(first).all() and len(runs) == 2


def test_a_model_on_another_device_gets_a_hold_of_its_own_on_the_same_weights() -> None:
    working = LoadedAdapter(made()).working
    one, other = (working.weights(torch.device(name))[0] for name in ("cpu", "meta"))
    assert working.weights(torch.device("cpu")) == [one] and one.model is other.model
    assert (one.load_device.type, other.load_device.type) == ("cpu", "meta")


def test_options_that_are_copied_deeply_share_the_weights(make_flux: Callable[..., Any]) -> None:
    injected = inject(make_flux(), LoadedAdapter(made(Stream)))
    patches = copy.deepcopy(injected.model_options)["transformer_options"]["patches"]["attn1_patch"]
    assert patches[0] is injected.model_options["transformer_options"]["patches"]["attn1_patch"][0]


def test_on_an_accelerator_an_eighth_of_what_is_free_is_for_other_times(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, device = made(), torch.device("meta")
    runs: list[int] = []
    adapter.attention.layers[0]["to_k_ip"].register_forward_hook(lambda *_: runs.append(1))
    like = torch.zeros(1, device=device)
    # For a time: 4 blocks, keys and values, 2 heads of 16, 3 tokens, 4 bytes.
    one_time = 4 * 2 * 2 * 16 * 3 * 4
    for times, expected in ((4, 4), (2, 6)):
        monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda _, times=times: 8 * times * one_time)
        together = injections_on(device, [Injection(hosted(adapter), subject())])
        runs.clear()
        for t in (0.2, 0.4, 0.6, 0.8, 0.6, 0.4, 0.2):
            together.begin(t, (2, 3), like=like)
        assert len(runs) == expected
        together.rest()
        together.begin(0.2, (2, 3), like=like)
        assert len(runs) == expected + 1


def test_room_is_made_for_a_model_that_comfyui_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    (tmp_path / "config.json").write_bytes(bytes(500))
    asked: list[tuple[float, str]] = []
    monkeypatch.setattr(comfy.model_management, "free_memory", lambda size, device: asked.append((size, device.type)))
    for name in ("cpu", "meta"):
        monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda name=name: torch.device(name))
        assert device_with_room_for(tmp_path).type == name
    assert asked == [(1200.0, "meta")]
