"""Suite `demo`: drags on fresh procedural scenes whose truth is known, several methods side by side.

It is the paper's ablation table on a world with exact answers, between two floors that need no model: doing nothing, and warping pixels.
Every method is judged inside the same mask. What never saw the autoencoder is passed through it once, so that all pay for it alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from statistics import mean, stdev

import numpy as np
import torch
from torch import Tensor

from ..core.demo.adapter import WEIGHTS, DemoAdapter, with_subject
from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW, MARGIN
from ..core.demo.figure_cases import sample_figure_cases
from ..core.demo.flux import DemoFlux, load
from ..core.demo.measure import Measured, measure
from ..core.demo.text import embed
from ..core.edits.dragfield import dragfield
from ..core.edits.dragflow import PUBLISHED, dragflow, latent_copy_paste
from ..core.edits.edit import Edit
from ..core.field import DragField
from ..core.field.masks import adaptive_gradient_mask
from ..core.instruction.operations import Drag, PointOperation
from ..core.model.backbone import FlowBackbone
from ..core.picture.cast_shadow import shadow_finder
from ..core.picture.compose import paste_back, picture_of, tensor_of
from ..core.picture.evidence import carry
from ..core.picture.preview import preview

Outcome = tuple[Tensor, int, int]
"""Picture [1, 3, H, W] and network passes forward and backward."""


def to_picture(image: np.ndarray) -> Tensor:
    """[H, W, 3] -> [1, 3, H, W], float32 in [0, 1]."""
    return tensor_of(image)


def no_edit(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """The picture as it was."""
    return to_picture(case.source), 0, 0


@torch.no_grad()
def pixel_warp(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """Move the pixels, fill the hole from around it: the instant preview."""
    source = to_picture(case.source)
    warped = to_picture(preview(case.source, DragField.from_drag(case.drag)))
    return paste_back(model.autoencoder.decode(model.autoencoder.encode(warped)), source, mask), 0, 0


@torch.no_grad()
def shadow_warp(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """The same, the object's shadow carried along: what `dragfield` starts from."""
    source, settings = to_picture(case.source), DRAGFIELD
    field = DragField.from_drag(case.drag, settings.field)
    find_shadow = shadow_finder(settings.shadows, settings.margin * case.size)
    warped = to_picture(carry(case.source, field, find_shadow=find_shadow).image)
    return paste_back(model.autoencoder.decode(model.autoencoder.encode(warped)), source, mask), 0, 0


def copy_paste(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """RegionDrag's way: copy the inverted latent from source to target, new noise in the source, denoise with K/V injection."""
    return outcome(latent_copy_paste(*_arguments(model, case), settings=DRAGFLOW))


def point_flow(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """The paper's baseline: point supervision on the same transformer, free background."""
    settings = replace(DRAGFLOW, hard_mask=False, kv=False, paste_back=False)
    return outcome(dragflow(*_arguments(model, case, drag=as_points(case.drag)), settings=settings))


def region(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """Region affine supervision instead of points."""
    settings = replace(DRAGFLOW, hard_mask=False, kv=False, paste_back=False)
    return outcome(dragflow(*_arguments(model, case), settings=settings))


def region_masked(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """And the gradient mask as a hard constraint."""
    settings = replace(DRAGFLOW, kv=False)
    return outcome(dragflow(*_arguments(model, case), settings=settings))


def all_of_dragflow(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """And K/V injection: the whole of the paper, its subject adapter excepted."""
    return outcome(dragflow(*_arguments(model, case), settings=DRAGFLOW))


def dragflow_adapter(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """And the subject adapter, at work while inverting, dragging and denoising: the whole of the paper, its table's last row."""
    _, *others = _arguments(model, case)
    backbone = with_adapter(model, DemoAdapter.load(), to_picture(case.source))
    return outcome(dragflow(backbone, *others, settings=DRAGFLOW))


def published_code(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """What the published code does, quirks and rates made for FLUX.1 included: the preset `reference` as it is."""
    return outcome(dragflow(*_arguments(model, case), settings=PUBLISHED))


def ours(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """Warm start from the warp, held while it is denoised."""
    return outcome(dragfield(*_arguments(model, case), settings=DRAGFIELD))


def no_shadows(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """Ours as on other models: no shadow is looked for."""
    return outcome(dragfield(*_arguments(model, case), settings=replace(DRAGFIELD, shadows="none")))


def free_edge(model: DemoFlux, case: DemoCase, mask: np.ndarray) -> Outcome:
    """Ours, what moved not held within 8 px of its edge."""
    return outcome(dragfield(*_arguments(model, case), settings=replace(DRAGFIELD, free_edge=8.0)))


METHODS: dict[str, Callable[[DemoFlux, DemoCase, np.ndarray], Outcome]] = {
    "no_edit": no_edit,
    "pixel_warp": pixel_warp,
    "shadow_warp": shadow_warp,
    "latent_copy_paste": copy_paste,
    "point_flow": point_flow,
    "region": region,
    "region_masked": region_masked,
    "dragflow": all_of_dragflow,
    **({"dragflow_adapter": dragflow_adapter} if WEIGHTS.exists() else {}),
    "dragfield": ours,
}
ABLATION = ("point_flow", "region", "region_masked", "dragflow", "dragflow_adapter")
"""The paper's system, part by part; each row has all that the row before it has."""
ON_REQUEST = {"dragflow_reference": published_code, "dragfield_no_shadows": no_shadows, "dragfield_free_edge": free_edge}
"""Run only when asked for by name."""
VARIANTS = ("dragfield_no_shadows", "dragfield_free_edge")
"""What one setting changes of `dragfield`; each is compared with it."""
WORLDS: dict[str, Callable[[int, int], Iterable[DemoCase]]] = {"scenes": sample_cases, "figures": sample_figure_cases}
"""What the cases are drawn from: the scenes the demo models were trained on, or jointed figures, which they have never seen."""


def run(
    cases: int = 48,
    seed: int = 0,
    methods: Sequence[str] = tuple(METHODS),
    *,
    world: str = "scenes",
    model: DemoFlux | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict:
    """Run `methods` on `cases` fresh cases of `seed` from one of WORLDS. -> {"suite", "world", "cases", "seed", "methods", "ablation"}.

    "methods" holds each method's means by its name.

    "ablation" says of each row of ABLATION but the first, and of VARIANTS, what its part changes, case by case: {"over": the row it is
    compared with, and see `gained`}.

    progress(done, total, method) is told before each edit.
    """
    known = METHODS | ON_REQUEST
    unknown = [name for name in methods if name not in known]
    if unknown:
        raise ValueError(f"method {unknown[0]!r} is unknown: use {', '.join(known)}")
    if world not in WORLDS:
        raise ValueError(f"world {world!r} is unknown: use {', '.join(WORLDS)}")
    if cases < 1:
        raise ValueError(f"{cases} cases measure nothing: use 1 or more (4 have every task in them)")
    model = model or load()
    rows: dict[str, list[dict]] = {name: [] for name in methods}
    for i, case in enumerate(WORLDS[world](cases, seed)):
        mask = case_mask(case)
        for j, name in enumerate(methods):
            if progress is not None:
                progress(i * len(methods) + j, cases * len(methods), name)
            rows[name].append(judged(case, mask, partial(known[name], model, case, mask)))
    steps = list(pairwise(name for name in ABLATION if name in rows))
    steps += [("dragfield", name) for name in VARIANTS if name in rows and "dragfield" in rows]
    ablation = {name: {"over": before, **gained(rows[before], rows[name])} for before, name in steps}
    means = {name: summarise(found) for name, found in rows.items()}
    return {"suite": "demo", "world": world, "cases": cases, "seed": seed, "methods": means, "ablation": ablation}


def judged(case: DemoCase, mask: np.ndarray, edit: Callable[[], Outcome]) -> dict:
    """One edit's measures and cost, as `summarise` takes them."""
    began = time.perf_counter()
    picture, forward, backward = edit()
    seconds = time.perf_counter() - began
    measured = measure(case, picture_of(picture), mask)
    return {"measured": measured, "seconds": seconds, "forward": forward, "backward": backward}


def with_adapter(model: DemoFlux, adapter: DemoAdapter, picture: Tensor) -> FlowBackbone:
    """The model with a picture [1, 3, H, W] as the adapter's subject."""
    return with_subject(model.backbone, model.autoencoder, adapter, picture)


def case_mask(case: DemoCase) -> np.ndarray:
    """Where every method is judged: the paper's rectangle around all that moves or is left, grown by MARGIN. bool [H, W]."""
    field = DragField.from_drag(case.drag)
    return adaptive_gradient_mask(case.drag, margin=MARGIN * case.size, include=field.moved() | field.vacated())


def summarise(rows: Sequence[dict]) -> dict:
    """Means over cases; a measure that a case does not have (a rotation error, say) is left out of its mean."""
    measured: list[Measured] = [row["measured"] for row in rows]
    centroid = [m.centroid_error_px for m in measured]
    turns = [m.rotation_error_deg for m in measured if m.rotation_error_deg is not None]
    left = [m.source_left for m in measured if m.source_left is not None]
    return {
        "centroid_error_px": {"mean": mean(centroid), "p90": float(np.percentile(centroid, 90))},
        "rotation_error_deg": {"mean": mean(turns) if turns else None},
        "psnr_truth_db": mean(m.psnr_truth_db for m in measured),
        "psnr_truth_mask_db": mean(m.psnr_truth_mask_db for m in measured),
        "psnr_truth_seam_db": mean(m.psnr_truth_seam_db for m in measured),
        "object_ssim": mean(m.object_ssim for m in measured),
        "background_max_abs": max(m.background_max_abs for m in measured),
        "source_left": mean(left) if left else None,
        "seconds": mean(row["seconds"] for row in rows),
        "nfe_forward": mean(row["forward"] for row in rows),
        "nfe_backward": mean(row["backward"] for row in rows),
    }


def gained(before: Sequence[dict], after: Sequence[dict]) -> dict[str, dict[str, float | None]]:
    """What `after` changes of the same cases: the mean of the differences and its standard error (None with one case)."""
    found = {}
    for figure in ("centroid_error_px", "psnr_truth_mask_db", "object_ssim"):
        each = [getattr(b["measured"], figure) - getattr(a["measured"], figure) for a, b in zip(before, after, strict=True)]
        found[figure] = {"mean": mean(each), "error": stdev(each) / len(each) ** 0.5 if len(each) > 1 else None}
    return found


def as_points(drag: Drag) -> Drag:
    """The same drag by its points: each region's centroid as the only handle."""
    points = []
    for operation in drag.regions:
        ys, xs = np.nonzero(operation.mask)
        points.append(PointOperation((float(xs.mean()) + 0.5, float(ys.mean()) + 0.5), operation.target))
    return replace(drag, regions=(), points=tuple(points))


def _arguments(model: DemoFlux, case: DemoCase, drag: Drag | None = None) -> tuple:
    return model.backbone, model.autoencoder, to_picture(case.source), drag or case.drag, embed([case.drag.background_prompt])


def outcome(edit: Edit) -> Outcome:
    """What is judged of an edit."""
    return edit.image, edit.nfe_forward, edit.nfe_backward


