"""Tables of sines and cosines are made once for the positions of an edit, and only where nothing else can have a say in them."""

from __future__ import annotations

import pytest
import torch
from comfy.ldm.flux.layers import EmbedND

from dragfield.core.model.taps import default_taps
from dragfield.nodes.host.comfy_transformer import ComfyTransformer
from dragfield.nodes.host.conditioning import ComfyConditioning, as_native

T = 0.6


@pytest.fixture
def made(monkeypatch):
    """The positions that ComfyUI's own embedder made tables for, in order."""
    positions, make = [], EmbedND.forward
    monkeypatch.setattr(EmbedND, "forward", lambda self, ids: positions.append(ids) or make(self, ids))
    return positions


@pytest.fixture
def on_cpu(make_flux):
    if make_flux().load_device.type != "cpu":
        pytest.skip("on a GPU the tables are made at every call")


@pytest.mark.usefixtures("on_cpu")
def test_a_session_makes_them_once_and_its_results_have_the_same_bits(make_flux, latent, prompt, made):
    model = make_flux()
    apart = [ComfyTransformer(model).velocity(latent, t, prompt) for t in (T, 0.3)]
    assert len(made) == 2
    with ComfyTransformer(model).session() as backbone:
        together = [backbone.velocity(latent, t, prompt) for t in (T, 0.3)]
        backbone.features(latent.clone().requires_grad_(), T, prompt, taps=default_taps(2))
        assert len(made) == 3
    assert all(torch.equal(a, b) for a, b in zip(apart, together, strict=True))
    with backbone.session():
        backbone.velocity(latent, T, prompt)
    assert len(made) == 4


@pytest.mark.usefixtures("on_cpu")
def test_other_positions_get_their_own(make_flux, latent, prompt, made):
    model, longer = make_flux(), as_native(prompt).positive
    longer = ComfyConditioning([(torch.cat([longer[0][0]] * 2, dim=1), longer[0][1])])
    works = [(latent, prompt), (latent[..., :-2, :], prompt), (latent.mT.contiguous(), prompt), (latent, longer)]
    scaled = model.clone()
    scaled.model_options["transformer_options"]["rope_options"] = {"scale_x": 2.0}
    for m in (model, scaled):
        with ComfyTransformer(m).session() as backbone:
            together = [backbone.velocity(z, T, cond) for z, cond in works * 2]
        apart = [ComfyTransformer(m).velocity(z, T, cond) for z, cond in works]
        assert all(torch.equal(a, b) for a, b in zip(apart * 2, together, strict=True))
    assert not torch.equal(apart[0], ComfyTransformer(model).velocity(latent, T, prompt))


class Restless(EmbedND):
    """Another pack's embedder, whose tables depend on more than the positions."""

    calls = 0

    def forward(self, ids):
        self.calls += 1
        return super().forward(ids * (1 + self.calls))


def test_another_pack_s_embedder_is_asked_at_every_call(make_flux, latent, prompt):
    model = make_flux().clone()
    restless = Restless(16, 10000, [4, 6, 6])
    model.add_object_patch("diffusion_model.pe_embedder", restless)
    with ComfyTransformer(model).session() as backbone:
        first, second = (backbone.velocity(latent, T, prompt) for _ in range(2))
    assert restless.calls == 2 and not torch.equal(first, second)


def test_code_that_writes_to_them_gets_new_ones_at_every_call(make_flux, latent, prompt, made):
    def spoil(q, k, v, *, pe, **_):
        pe.mul_(0.5)
        return {}

    model = make_flux().clone()
    model.set_model_attn1_patch(spoil)
    with ComfyTransformer(model).session() as backbone:
        first, second = (backbone.velocity(latent, T, prompt) for _ in range(2))
    assert len(made) == 2 and torch.equal(first, second)
