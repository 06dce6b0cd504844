"""Suite `demo-points`: point drags on fresh procedural scenes whose truth is known, the rows of DirectDrag's ablation side by side.

It is the paper's Table 3 on a world with exact answers: GoodDrag without mask and prompt, then with the soft mask, with readout guidance,
with the latent warp. The drags are those of suite `demo`, told by points alone: the centroid of what moves, and for a turn a second point
out on it. No row pastes pixels back, so that fidelity is the method's own.

Beside the figures of suite `demo` there are handle_error_px, how far from its place the object stands as the truth shows it (found by its
looks, around its old place and its new one), tracked_px, what the method itself believes, psnr_outside_db, fidelity where nothing should
change, and psnr_source_db, likeness to the source all over, which is what the paper calls fidelity (there by LPIPS): nothing is better at
it than no edit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import torch
from torch import Tensor

from ..core.demo.case_points import point_drag_of
from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.directdrag_settings import DIRECTDRAG
from ..core.demo.measure import measure, psnr
from ..core.demo.text import embed
from ..core.demo.unet import WEIGHTS, load
from ..core.edits.directdrag import DirectDragSettings, ablation, directdrag
from ..core.field.latent_warp import LatentWarpSettings
from ..core.instruction.operations import Drag
from ..core.model.backbone import Autoencoder, Conditioning, NoiseBackbone
from ..core.model.readout import ReadoutHead, load_readout
from ..core.optimise.soft_mask import SoftMaskSettings
from ..core.picture.compose import picture_of
from ..core.sampling.ddim_inversion import DDIMInversion, invert_ddim
from .demo import case_mask, summarise, to_picture

AROUND = 8
"""Px beside an object that count as its looks."""
HEAD = "readout.safetensors"
"""The demo UNet's readout head, beside its weights."""

ROWS: dict[str, DirectDragSettings | None] = {
    "no_edit": None,
    **{name: replace(settings, paste_back=False) for name, settings in ablation(DIRECTDRAG).items()},
}
ON_REQUEST: dict[str, DirectDragSettings | None] = {
    "soft_mask_transposed": replace(ROWS["soft_mask"], soft_mask=SoftMaskSettings(transposed=True)),
    "published_warp": replace(ROWS["directdrag"], warp=LatentWarpSettings()),
}
"""Run only when asked for by name: the soft mask with x and y mistaken for each other, as the published code draws it, and the latent
carried by the published formula and share."""


@dataclass(frozen=True, eq=False)
class PointModel:
    """What the suite needs of a model; head: None skips nothing but guides nothing."""

    backbone: NoiseBackbone
    autoencoder: Autoencoder
    head: ReadoutHead | None


def load_model(folder: Path = WEIGHTS) -> PointModel:
    """The bundled demo UNet with its readout head. Raises FileNotFoundError, saying what to do, when the UNet is not there."""
    model = load(folder)
    head = load_readout(folder / HEAD) if (folder / HEAD).exists() else None
    return PointModel(model.backbone, model.autoencoder, head)


def run(
    cases: int = 48,
    seed: int = 0,
    methods: Sequence[str] = tuple(ROWS),
    *,
    model: PointModel | None = None,
    rows: dict[str, DirectDragSettings | None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict:
    """Run `methods` on `cases` fresh cases of `seed`. -> {"suite", "cases", "seed", "skipped": {name: why}, "methods": {name: means}}.

    rows: other settings under other names, for trials.  progress(done, total, method) is told before each edit.
    """
    rows = rows or ROWS | ON_REQUEST
    unknown = [name for name in methods if name not in rows]
    if unknown:
        raise ValueError(f"method {unknown[0]!r} is unknown: use {', '.join(rows)}")
    if cases < 1:
        raise ValueError(f"{cases} cases measure nothing: use 1 or more (4 have every task in them)")
    model = model or load_model()
    skipped = {}
    if model.head is None:
        skipped = {
            name: f"no readout head in {HEAD} beside the demo UNet: train one with `dragfield train readout`"
            for name in methods
            if rows[name] is not None and rows[name].readout is not None
        }
    chosen = [name for name in methods if name not in skipped]
    found: dict[str, list[dict]] = {name: [] for name in chosen}
    for i, case in enumerate(sample_cases(cases, seed)):
        mask, drag, inversions = case_mask(case), point_drag_of(case), {}
        for j, name in enumerate(chosen):
            if progress is not None:
                progress(i * len(chosen) + j, cases * len(chosen), name)
            found[name].append(_row(model, case, drag, mask, rows[name], inversions))
    return {
        "suite": "demo-points", "cases": cases, "seed": seed, "skipped": skipped,
        "methods": {name: {**summarise(results), **summarise_points(results)} for name, results in found.items()},
    }  # fmt: skip


def handle_error(case: DemoCase, result: np.ndarray) -> float:
    """How many px from its true place the object stands in `result` [H, W, 3]: where it looks most like the truth.

    Looked for within |drag| / sqrt(2) of its true place and of its old one, as RegionDrag's mean distance is (DirectDrag reference, section
    11): plain ground far away may look more like an object than the object itself when that came out badly.
    Looks are those of the object and AROUND px beside it, without which one part of a bar is like the next.
    """
    near = cv2.dilate(case.landed.astype(np.uint8), np.ones((2 * AROUND + 1,) * 2, np.uint8)) > 0
    rows, columns = np.nonzero(near)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    looks = np.ascontiguousarray(case.truth[top:bottom, left:right], np.float32)
    counts = np.repeat(near[top:bottom, left:right, None].astype(np.float32), 3, axis=2)
    apart = cv2.matchTemplate(np.ascontiguousarray(result, np.float32), looks, cv2.TM_SQDIFF, mask=counts)
    pairs = point_drag_of(case).points
    mean = np.mean([np.subtract(p.target, p.handle) for p in pairs], axis=0)
    reach = max(5.0, float(np.hypot(*mean)) / math.sqrt(2))
    y, x = np.ogrid[: apart.shape[0], : apart.shape[1]]
    allowed = np.minimum(np.hypot(x - left, y - top), np.hypot(x - left + mean[0], y - top + mean[1])) <= reach
    y, x = np.unravel_index(int(np.argmin(np.where(allowed, apart, np.inf))), apart.shape)
    return math.hypot(x - left, y - top)


def _row(model: PointModel, case: DemoCase, drag: Drag, mask: np.ndarray, settings: DirectDragSettings | None, inversions: dict) -> dict:
    picture, forward, backward, tracked, seconds = to_picture(case.source), 0, 0, None, 0.0
    if settings is not None:
        key = settings.inversion
        if key not in inversions:
            inversions[key] = _invert(model, picture, settings)
        edit = directdrag(
            model.backbone, model.autoencoder, picture, drag, empty_prompt(), settings, head=model.head, inversion=inversions[key]
        )
        picture, seconds = edit.image, edit.seconds
        forward, backward = edit.nfe_forward + edit.inversion.nfe, edit.nfe_backward
        tracked = mean(edit.drag.distances) if edit.drag is not None else None
    began = time.perf_counter()
    result = picture_of(picture)
    measured = measure(case, result, mask)
    return {
        "measured": measured, "seconds": seconds, "forward": forward, "backward": backward, "handle": handle_error(case, result),
        "tracked": tracked, "outside": psnr(result[~mask], case.source[~mask]), "source": psnr(result, case.source),
        "judging": time.perf_counter() - began,
    }  # fmt: skip


def _invert(model: PointModel, picture: Tensor, settings: DirectDragSettings) -> DDIMInversion:
    with torch.no_grad():
        z0 = model.autoencoder.encode(picture)
    return invert_ddim(model.backbone, z0, empty_prompt(), settings.inversion)


def empty_prompt() -> Conditioning:
    """What the demo UNet was told where its prompt was dropped."""
    return embed([""])


def summarise_points(results: Sequence[dict]) -> dict:
    """What this suite measures beside those of suite `demo`, as means over cases."""
    errors = [row["handle"] for row in results]
    tracked = [row["tracked"] for row in results if row["tracked"] is not None]
    return {
        "handle_error_px": {"mean": mean(errors), "p90": float(np.percentile(errors, 90))},
        "tracked_px": mean(tracked) if tracked else None,
        "psnr_outside_db": mean(row["outside"] for row in results),
        "psnr_source_db": mean(row["source"] for row in results),
    }
