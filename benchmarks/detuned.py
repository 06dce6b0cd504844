"""Suite `tuning`: from settings detuned on purpose, does a check find its way back (core/check/tuning.py)?

`dragflow` on the bundled model, its settings spoiled in one thing each. `tune` sees one scene, of which it makes its own drags; what it
finds is judged on fresh scenes by their drawn truth, beside the settings as they were spoiled and those that were tuned by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np

from ..core.check import tune, where_it_sees
from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.dragflow_settings import DRAGFLOW
from ..core.demo.flux import DemoFlux, load
from ..core.demo.measure import measure
from ..core.demo.scenes import object_mask
from ..core.demo.text import embed
from ..core.edits.dragflow import DragFlowSettings, dragflow
from ..core.model.taps import Tap
from ..core.picture.compose import picture_of, tensor_of

HAND = DRAGFLOW


def spoiled(**changed: Any) -> DragFlowSettings:
    return replace(HAND, drag=replace(HAND.drag, **changed))


DETUNED: dict[str, DragFlowSettings] = {
    "rate halved": spoiled(rate=HAND.drag.rate / 2, intensify_rate=HAND.drag.intensify_rate / 2),
    "rate doubled": spoiled(rate=2 * HAND.drag.rate, intensify_rate=2 * HAND.drag.intensify_rate),
    "rate of FLUX.1": spoiled(rate=DragFlowSettings().drag.rate, intensify_rate=DragFlowSettings().drag.intensify_rate),
    "wrong taps": spoiled(taps=(Tap("single", 5),)),
    "too few steps": replace(HAND, inversion=replace(HAND.inversion, steps=8, skip=3)),
    "too early": replace(HAND, inversion=replace(HAND.inversion, skip=2)),
}


def run(
    count: int,
    seed: int,
    names: Sequence[str] = tuple(DETUNED),
    *,
    size: int = 128,
    drags: int = 4,
    model: DemoFlux | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Tune on one scene of `seed`, judge on `count` others.

    -> {"suite", "cases", "seed", "methods": {"hand" or name or "name, found": {"in_mask_db", "centroid_error_px"}}, "found": {name: words}}
    """
    if unknown := [name for name in names if name not in DETUNED]:
        raise ValueError(f"there is no detuning {unknown[0]!r}: use {', '.join(DETUNED)}")
    model = load() if model is None else model
    seen, *fresh = sample_cases(count + 1, seed, size)
    rows, found = {"hand": judged(model, fresh, HAND)}, {}
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), name)
        image, prompt = tensor_of(seen.source), embed([seen.drag.background_prompt])
        sight = where_it_sees(model.backbone, model.autoencoder, image, prompt)
        shown_mask = object_mask(seen.scene, seen.index, size)
        tuned = tune(
            model.backbone, model.autoencoder, image, prompt, DETUNED[name], sight=sight, mask=shown_mask, drags=drags, seed=seed
        )
        rows[name], rows[f"{name}, found"] = judged(model, fresh, DETUNED[name]), judged(model, fresh, tuned.settings)
        found[name] = " ".join(tuned.lines())
    return {"suite": "tuning", "cases": count, "seed": seed, "size": size, "methods": rows, "found": found}


def judged(model: DemoFlux, cases: Sequence[DemoCase], settings: DragFlowSettings) -> dict[str, float]:
    """Means over the cases."""
    taken = []
    for case in cases:
        image, prompt = tensor_of(case.source), embed([case.drag.background_prompt])
        edit = dragflow(model.backbone, model.autoencoder, image, case.drag, prompt, settings=settings)
        taken.append(measure(case, np.asarray(picture_of(edit.image)), edit.mask))
    return {
        "in_mask_db": mean(one.psnr_truth_mask_db for one in taken), "centroid_error_px": mean(one.centroid_error_px for one in taken),
    }  # fmt: skip
