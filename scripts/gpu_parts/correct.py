"""Whether core does on this device what it does on a CPU: the same pictures, right gradients, every run alike."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dragfield.benchmarks import speed
from dragfield.benchmarks.cost import seconds_of
from dragfield.core.demo import flux, text, unet
from dragfield.core.demo.case_points import point_drag_of
from dragfield.core.demo.cases import sample_case
from dragfield.core.demo.directdrag_settings import DIRECTDRAG
from dragfield.core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW
from dragfield.core.edits.directdrag import directdrag
from dragfield.core.edits.dragfield import dragfield
from dragfield.core.edits.dragflow import dragflow
from dragfield.core.model.taps import default_taps

from . import Row
from .scale import TINY_FLUX, Scale, described

SEED = 5
ALIKE_DB = 50.0
"""What an edit on the device and one on a CPU agree to at least, in the mask: the same sums in another order, over a hundred steps."""
REPEATS = 10 / 255
"""What two runs of an edit with gradients may differ by on a card, at the worst pixel, in [0, 1]."""


def correct(scale: Scale, device: torch.device) -> Iterator[Row]:
    yield described(device)
    yield from edits(scale, device)
    yield from gradients(device)
    yield replayed(scale, device)
    yield from attention_alone(scale, device)


def edits(scale: Scale, device: torch.device) -> Iterator[Row]:
    """Edits of the bundled models: twice alike, as on a CPU, and nothing outside of the mask."""
    case = sample_case(np.random.default_rng(SEED), "relocation")
    image, prompt = torch.from_numpy(case.source.copy()).permute(2, 0, 1)[None], text.embed([case.drag.background_prompt])
    region = DRAGFLOW if scale.whole else replace(DRAGFLOW, drag=replace(DRAGFLOW.drag, transport_steps=1, intensify_steps=1))
    points = DIRECTDRAG if scale.whole else replace(DIRECTDRAG, drag=replace(DIRECTDRAG.drag, rounds=1))
    methods: dict[str, tuple[Callable, object, object, object]] = {
        "dragfield": (dragfield, flux, DRAGFIELD, case.drag),
        "dragflow": (dragflow, flux, region, case.drag),
        "directdrag": (directdrag, unet, points, point_drag_of(case)),
    }
    for name, (method, bundle, settings, drag) in methods.items():
        def edited(where: torch.device, method=method, bundle=bundle, settings=settings, drag=drag) -> Tensor:
            loaded = bundle.load(device=where)
            return method(loaded.backbone, loaded.autoencoder, image.to(where), drag, prompt.to(where), settings=settings)

        first, second = edited(device), edited(device)
        there, again, cpu = (e.image.cpu() for e in (first, second, edited(torch.device("cpu"))))
        mask = torch.from_numpy(first.mask).expand_as(there)
        error = float((there - cpu)[mask].square().mean())
        db = 99.0 if error == 0 else -10 * float(np.log10(error))
        # What takes gradients repeats on a card to a few levels only, see attention_alone.
        alike = float((there - again).abs().max())
        yield {"check": f"{name}: the same again", "ok": alike <= (REPEATS if first.nfe_backward else 0), "value": alike}
        yield {"check": f"{name}: as on a CPU, dB in the mask", "ok": db > ALIKE_DB, "value": db}
        changed = float((there - image)[~mask].abs().max())
        yield {"check": f"{name}: background, largest change", "ok": changed == 0, "value": changed}


def gradients(device: torch.device) -> Iterator[Row]:
    """A loss on features: its slope along the gradient, and the same with blocks computed again."""
    for dtype, step, allowed in ((torch.float64, 1e-4, 1e-5), (torch.float32, 1e-2, 1e-2)):
        case = speed.make_case("tiny", TINY_FLUX, 5, 64, device, dtype)
        for parameter in case.backbone.model.parameters():
            parameter.data.normal_(std=0.2)
        taps = default_taps(case.backbone.double_blocks)
        again = copy.copy(case.backbone)
        again.checkpoint_blocks = True

        def loss(z: Tensor, backbone=case.backbone, cond=case.cond, taps=taps) -> Tensor:
            return sum(x.double().pow(3).mean() for x in backbone.features(z, 0.7, cond, taps=taps))

        z = case.z.to(dtype)
        found = []
        for backbone in (case.backbone, again):
            leaf = z.clone().requires_grad_()
            found.append(torch.autograd.grad(loss(leaf, backbone), leaf)[0])
        g = found[0]
        along = g / g.norm()
        with torch.no_grad():
            slope = float(loss(z + step * along) - loss(z - step * along)) / (2 * step)
        off = abs(slope / float(g.norm()) - 1)
        yield {"check": f"gradient against a finite difference, {dtype}", "ok": off < allowed, "value": off}
        apart = float((found[1] - g).norm() / g.norm())
        yield {"check": f"gradient with checkpoints, {dtype}", "ok": apart < 1e-5, "value": apart}


@torch.no_grad()
def replayed(scale: Scale, device: torch.device) -> Row:
    """A call that is given back its own keys and values says the same."""
    case = speed.make_case("tiny", TINY_FLUX, 5, 64, device, scale.dtype)
    own = case.backbone.velocity(case.z, speed.TIME, case.cond, kv=case.bank.capture())
    given = case.backbone.velocity(case.z, speed.TIME, case.cond, kv=case.bank.hold())
    return {"check": f"keys and values given back, {scale.dtype}", "ok": torch.equal(own, given), "value": float((own - given).abs().max())}


def attention_alone(scale: Scale, device: torch.device) -> Iterator[Row]:
    """The backward pass of attention twice, by each kernel that takes the shape, in deterministic mode too: who repeats, at what price."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    for dtype, width in ((torch.float32, 48), (scale.dtype, 128)):
        q, k, v = (torch.randn(1, 4, 16 * scale.text, width, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
        out = torch.randn_like(q)

        def gradients(q=q, k=k, v=v, out=out) -> Tensor:
            return torch.autograd.grad(F.scaled_dot_product_attention(q, k, v), (q, k, v), out)[0]

        for kernel in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
            for strict in (False, True):
                try:
                    with sdpa_kernel(kernel), deterministic(strict):
                        first, again = gradients(), gradients()
                        seconds = min(seconds_of(gradients, device) for _ in range(3))
                except RuntimeError:
                    continue
                mode = "deterministic" if strict else "as it is"
                apart = float((first - again).abs().max())
                yield {"check": f"attention backward, {dtype}, {kernel.name}, {mode}", "value": apart, "seconds": seconds}


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
