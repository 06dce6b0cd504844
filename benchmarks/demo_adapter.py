"""Suite `demo-adapter`: does a subject adapter keep a picture together where the model drifts away from it?

Fresh scenes are inverted as the paper does, at guidance 1 with their own prompt, and denoised again under one drift at a time, with the
demo adapter at work on both ways and without it. Judged is the reconstruction against the picture as the autoencoder gives it back, so
that the autoencoder's own loss, the same for both, hides nothing. Then the drags of these scenes, by `dragflow` under the prompt of another
scene, against their truth. And how much longer a drag iteration takes with the adapter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import mean, median

import numpy as np
import torch
from torch import Tensor

from ..core.demo.adapter import DemoAdapter
from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.dragflow_settings import DRAGFLOW
from ..core.demo.flux import DemoFlux, load
from ..core.demo.text import embed
from ..core.edits.dragflow import DragFlowSettings, dragflow
from ..core.model.backbone import Conditioning, FlowBackbone
from ..core.model.taps import default_taps
from ..core.picture.compose import picture_of
from ..core.picture.likeness import psnr
from ..core.sampling.inversion import InversionSettings, invert, reconstruct
from .demo import Outcome, case_mask, gained, judged, outcome, summarise, to_picture, with_adapter

INVERSION = InversionSettings()
"""The paper's: 25 steps without the noisiest 6, guidance 1."""
EDIT_GUIDANCE = 3.5
DRIFTS: dict[str, tuple[bool, float, bool]] = {
    "none": (True, 1.0, False),
    "guidance": (True, EDIT_GUIDANCE, False),
    "prompt": (False, 1.0, False),
    "guidance and prompt": (False, EDIT_GUIDANCE, False),
    "guidance and prompt, keys and values injected": (False, EDIT_GUIDANCE, True),
}
"""Whether the prompt is the picture's own or that of the next scene, guidance, and whether K/V injection is at work too."""
TURNS = 8


def run(
    cases: int = 16,
    seed: int = 0,
    *,
    model: DemoFlux | None = None,
    adapter: DemoAdapter | None = None,
    settings: InversionSettings = INVERSION,
    edit: DragFlowSettings = DRAGFLOW,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict:
    """-> {"suite", "cases", "seed", "drift": {name: {"without_db", "with_db", "gain_db"}}, "edits": {"without", "with", "gain"},
    "drag_iteration": {"without_seconds", "with_seconds", "added"}}, PSNRs being means over the scenes.

    "edits" has the figures of suite demo for both and what the adapter changes, case by case (`demo.gained`).
    progress(done, total, drift) is told before each reconstruction and edit. Raises FileNotFoundError when there is no trained adapter.
    """
    if cases < 1:
        raise ValueError(f"{cases} cases measure nothing: use 1 or more")
    adapter, model = adapter or DemoAdapter.load(), model or load()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in DRIFTS}
    drawn = list(sample_cases(cases + 1, seed))
    prompts = [embed([case.scene.caption]) for case in drawn]
    edits: tuple[list[dict], list[dict]] = ([], [])
    total, done = cases * 2 * (len(DRIFTS) + 1), 0
    for i, case in enumerate(drawn[:-1]):
        picture = to_picture(case.source)
        with torch.no_grad():
            z0 = model.autoencoder.encode(picture)
            best = _shown(model, z0)
        rows: list[list[float]] = []
        for backbone, edited in zip((model.backbone, with_adapter(model, adapter, picture)), edits, strict=True):
            inversion = invert(backbone, z0, prompts[i], settings)
            row = []
            for name, (own, guidance, kv) in DRIFTS.items():
                if progress is not None:
                    progress(done, total, name)
                session = inversion.bank.replay("matched") if kv else None
                path = reconstruct(backbone, inversion, prompts[i if own else i + 1], guidance=guidance, kv=session)
                row.append(psnr(_shown(model, path[-1]), best))
                done += 1
            rows.append(row)
            if progress is not None:
                progress(done, total, "drags, prompt")
            dragged = partial(_dragged, backbone, model, picture, case, prompts[i], prompts[i + 1], edit)
            edited.append(judged(case, case_mask(case), dragged))
            done += 1
        for name, without, having in zip(DRIFTS, *rows, strict=True):
            found[name].append((without, having))
    drift = {name: _row(pairs) for name, pairs in found.items()}
    cost = iteration(model, adapter, to_picture(drawn[0].source), prompts[0])
    changed = {"without": summarise(edits[0]), "with": summarise(edits[1]), "gain": gained(*edits)}
    return {"suite": "demo-adapter", "cases": cases, "seed": seed, "drift": drift, "edits": changed, "drag_iteration": cost}


def _dragged(
    backbone: FlowBackbone, model: DemoFlux, picture: Tensor, case: DemoCase, own: Conditioning, other: Conditioning, edit: DragFlowSettings
) -> Outcome:
    return outcome(dragflow(backbone, model.autoencoder, picture, case.drag, own, other, edit))


def iteration(model: DemoFlux, adapter: DemoAdapter, picture: Tensor, prompt: Conditioning) -> dict[str, float]:
    """Seconds of a drag iteration's forward and backward pass, as medians of turns taken in alternation."""
    z = model.autoencoder.encode(picture)
    both: tuple[FlowBackbone, ...] = (model.backbone, with_adapter(model, adapter, picture))
    times: list[list[float]] = [[], []]
    for turn in range(TURNS + 1):
        for spent, backbone in zip(times, both, strict=True):
            began = time.perf_counter()
            leaf = z.detach().clone().requires_grad_()
            maps = backbone.features(leaf, 0.8, prompt, taps=default_taps(backbone.double_blocks))
            torch.autograd.grad(sum(x.square().sum() for x in maps), leaf)
            if turn:  # the first one also fills caches
                spent.append(time.perf_counter() - began)
    without, having = (median(spent) for spent in times)
    return {"without_seconds": without, "with_seconds": having, "added": having / without - 1}


def _row(pairs: list[tuple[float, float]]) -> dict[str, float]:
    without, having = (mean(column) for column in zip(*pairs, strict=True))
    return {"without_db": without, "with_db": having, "gain_db": having - without}


@torch.no_grad()
def _shown(model: DemoFlux, z: Tensor) -> np.ndarray:
    return picture_of(model.autoencoder.decode(z))
