"""Suite `self-drags`: whether drags made from a picture itself order settings as drags do whose truth is drawn.

Model Check may try settings on drags that it makes from the user's picture (core/self_drags). On drawn scenes the truth of an ordinary drag
is known too, so the two orders can be compared: each setting edits every scene by its own drag and by one made from its picture, and is
judged by the mean dB of either. `rank_correlation` is Spearman's between the two.

The settings are those of `dragflow` on the bundled model with one thing changed each: the rate, how many iterations, how noisy the drag is,
where features are read, and parts switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np

from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.dragflow_settings import DRAGFLOW
from ..core.demo.flux import DemoFlux, load
from ..core.demo.scenes import object_mask
from ..core.demo.text import embed
from ..core.edits.dragflow import DragFlowSettings, dragflow
from ..core.model.taps import Tap
from ..core.picture.compose import picture_of, tensor_of
from ..core.picture.likeness import psnr
from ..core.self_drags import SelfDrag, self_drags

KINDS = 6
"""Of self-made drags where the object is known: each scene takes the next one."""
STEPS, SKIP, TRANSPORT, INTENSIFY = 10, 4, 10, 12
"""Fewer than an edit takes, so that the suite ends the same day."""
BASE = replace(
    DRAGFLOW, inversion=replace(DRAGFLOW.inversion, steps=STEPS, skip=SKIP), shadows="none",
    drag=replace(DRAGFLOW.drag, transport_steps=TRANSPORT, intensify_steps=INTENSIFY),
)  # fmt: skip


def dragging(**changed: Any) -> DragFlowSettings:
    return replace(BASE, drag=replace(BASE.drag, **changed))


def at_rate(factor: float) -> DragFlowSettings:
    return dragging(rate=factor * BASE.drag.rate, intensify_rate=factor * BASE.drag.intensify_rate)


def skipping(skip: int) -> DragFlowSettings:
    return replace(BASE, inversion=replace(BASE.inversion, skip=skip))


def reading(*taps: Tap) -> DragFlowSettings:
    return dragging(taps=taps)


SETTINGS: dict[str, DragFlowSettings] = {
    "base": BASE,
    **{f"rate x {factor:g}": at_rate(factor) for factor in (0.1, 0.25, 0.5, 2, 4)},
    **{f"skip {skip} of {STEPS}": skipping(skip) for skip in (1, 2, 3, 5, 6, 7)},
    "3 and 3 iterations": dragging(transport_steps=3, intensify_steps=3),
    "6 and 6 iterations": dragging(transport_steps=6, intensify_steps=6),
    "transport alone": dragging(transport_steps=22, intensify_steps=0),
    "taps DOUBLE-0": reading(Tap("double", 0, "attn_in"), Tap("double", 0)),
    "taps DOUBLE-3": reading(Tap("double", 3, "attn_in"), Tap("double", 3)),
    "taps SINGLE-0": reading(Tap("single", 0, "attn_in"), Tap("single", 0)),
    "taps SINGLE-4-0": reading(Tap("single", 4, "attn_in")),
    "taps SINGLE-5": reading(Tap("single", 5)),
    "tokens alone": dragging(reference_grid="tokens"),
    "trail free": dragging(trail="free"),
    "vacated kept": replace(BASE, vacated="keep"),
    "background free": replace(BASE, hard_mask=False),
    "guidance 1": replace(BASE, guidance=1.0, drag=replace(BASE.drag, guidance=1.0)),
}


def run(
    count: int,
    seed: int,
    names: Sequence[str] = tuple(SETTINGS),
    *,
    size: int = 128,
    model: DemoFlux | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Edit `count` scenes of `size` px by each setting, twice.

    -> {"suite", "cases", "seed", "size", "rank_correlation", "methods": {name: {"truth_db", "self_db"}}}
    """
    if unknown := [name for name in names if name not in SETTINGS]:
        raise ValueError(f"there is no setting {unknown[0]!r}: use {', '.join(SETTINGS)}")
    model = load() if model is None else model
    scenes = list(sample_cases(count, seed, size))
    own = [self_drag_of(case, i) for i, case in enumerate(scenes)]
    found: dict[str, dict[str, float]] = {}
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), name)
        by_truth = [truth_db(model, case, SETTINGS[name]) for case in scenes]
        by_self = [self_db(model, one, case, SETTINGS[name]) for one, case in zip(own, scenes, strict=True)]
        found[name] = {"truth_db": mean(by_truth), "self_db": mean(by_self)}
    orders = [[figures[which] for figures in found.values()] for which in ("truth_db", "self_db")]
    return {
        "suite": "self-drags", "cases": count, "seed": seed, "size": size, "rank_correlation": rank_correlation(*orders), "methods": found,
    }  # fmt: skip


def self_drag_of(case: DemoCase, number: int) -> SelfDrag:
    """The one that scene `number` of a run takes: all kinds come in turn."""
    picture = np.round(case.source * 255).astype(np.uint8)
    return self_drags(picture, object_mask(case.scene, case.index, case.size), count=KINDS, seed=number)[number % KINDS]


def truth_db(model: DemoFlux, case: DemoCase, settings: DragFlowSettings) -> float:
    """dB to the drawn truth where the edit may change the picture."""
    prompt = embed([case.drag.background_prompt])
    edit = dragflow(model.backbone, model.autoencoder, tensor_of(case.source), case.drag, prompt, settings=settings)
    return psnr(picture_of(edit.image)[edit.mask], case.truth[edit.mask])


def self_db(model: DemoFlux, one: SelfDrag, case: DemoCase, settings: DragFlowSettings) -> float:
    """dB to the truth of a self-made drag, where picture and truth may differ."""
    image, prompt = tensor_of(one.picture.astype(np.float32) / 255), embed([case.drag.background_prompt])
    edit = dragflow(model.backbone, model.autoencoder, image, one.asked, prompt, settings=settings)
    return psnr(picture_of(edit.image)[one.drag.editable], one.truth[one.drag.editable].astype(np.float32) / 255)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's, equal values sharing their mean rank; 0 where one side does not vary."""
    first, second = (np.array(ranks(values)) for values in (one, other))
    if not (first.std() and second.std()):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1].clip(-1, 1))


def ranks(values: Sequence[float]) -> list[float]:
    return [sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2 for value in values]
