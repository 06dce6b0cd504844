"""Subject adapters in a native MODEL: the same numbers as in core's own backbone, and no trace in the MODEL they were put on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dragfield.core.adapters.contract import Injection, Injections, Subject
from dragfield.core.adapters.tokens import TokenAttention, TokenLayout
from dragfield.core.model.taps import Tap
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.subject_patches import with_subjects

BLOCKS = [("double", 0), ("double", 1), ("single", 0), ("single", 1)]
LAYOUTS = {
    "character": TokenLayout(query="learned", key="learned", bias=True),
    "whole sequence": TokenLayout(text_rows=True, key="rms"),
    "behind": TokenLayout(place="block", bias=True),
}


class Adapter:
    kind, needs, heads, head_width, depends_on_time = "test", (), 2, 16, True

    def __init__(self, layout: TokenLayout, blocks: list = BLOCKS) -> None:
        torch.manual_seed(5)
        self.attention = TokenAttention(blocks, 2, 16, 6, layout).requires_grad_(False)
        self.place, self.text_rows, self.blocks = layout.place, layout.text_rows, frozenset(blocks)

    def keys_values(self, subject: Subject, t: float) -> dict:
        tokens = subject.tensors["tokens"]
        return self.attention.to(tokens.device)(tokens * (1 + t))

    def query(self, block: tuple, q: Tensor, scale: Tensor | None) -> Tensor:
        return self.attention.to(q.device).query(block, q, scale)


def injection(layout: str, **other: Any) -> Injection:
    tokens = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(6))
    return Injection(Adapter(LAYOUTS[layout]), Subject("test", {"tokens": tokens}), **other)


def features(backbone: Any, z: Tensor, prompt: Any) -> tuple[Tensor, Tensor]:
    leaf = z.clone().requires_grad_()
    found = backbone.features(leaf, 0.6, prompt, taps=(Tap("double", 1, "out"), Tap("single", 0, "out")), guidance=2.0)
    loss = sum(f.square().sum() for f in found)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_native_and_diffusers_agree_in_velocity_features_and_gradient(
    layout: str, core_flux: Any, make_flux: Callable[..., Any], prompt: Any, latent: Tensor
) -> None:
    area = torch.zeros(8, 12)
    area[:4] = 1.0
    ones = [injection(layout), injection(layout, strength=0.5, area=area)]
    core = core_flux.with_subjects(Injections(ones))
    native = ComfyTransformer(with_subjects(with_subjects(make_flux(), ones[:1]), ones[1:]))
    with torch.no_grad():
        expected = core.velocity(latent, 0.6, prompt, guidance=2.0)
        assert not torch.allclose(expected, core_flux.velocity(latent, 0.6, prompt, guidance=2.0))
        torch.testing.assert_close(native.velocity(latent, 0.6, prompt, guidance=2.0).cpu(), expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(features(native, latent, prompt), features(core, latent, prompt), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_the_model_it_was_put_on_stays_as_it_was(make_flux: Callable[..., Any], prompt: Any, latent: Tensor) -> None:
    model = make_flux()
    with torch.no_grad():
        before = ComfyTransformer(model).velocity(latent, 0.6, prompt)
        changed = ComfyTransformer(with_subjects(model, [injection("behind")])).velocity(latent, 0.6, prompt)
        assert not torch.equal(before, changed)
        assert torch.equal(ComfyTransformer(model).velocity(latent, 0.6, prompt), before)


def test_outside_of_its_times_an_adapter_changes_no_bit(make_flux: Callable[..., Any], prompt: Any, latent: Tensor) -> None:
    model = make_flux()
    late = ComfyTransformer(with_subjects(model, [injection("character", start=0.5)]))
    with torch.no_grad():
        assert torch.equal(late.velocity(latent, 0.6, prompt), ComfyTransformer(model).velocity(latent, 0.6, prompt))
        assert not torch.equal(late.velocity(latent, 0.4, prompt), ComfyTransformer(model).velocity(latent, 0.4, prompt))


def test_a_model_it_was_not_made_for_is_refused(make_flux: Callable[..., Any]) -> None:
    wrong = Injection(Adapter(LAYOUTS["behind"], [("double", 9)]), Subject("test", {}))
    with pytest.raises(ValueError, match="use the model that the adapter was made for"):
        with_subjects(make_flux(), [wrong])
