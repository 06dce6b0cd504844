"""Suite `few-steps`: how few steps an inversion and a `dragfield` edit take, on demo-flux or on a student that draws in few of them.

    dragfield train few-steps --folder runs/few_steps
    dragfield bench --suite few-steps --cases 5 --model runs/few_steps

A row is a schedule, "steps-skip"; with "-uniform" as FLUX.1-schnell has it, else shifted. Figures: `back_db`, what inverting a picture and
walking back without guidance leaves of it, judged by what the autoencoder gives back; of the edit, `psnr_truth_mask_db` and
`centroid_error_px` as in suite `demo`, `strayed` (see `Edit`), and `passes` through the network. `dragflow` is the whole method in its own
schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW
from ..core.demo.flux import WEIGHTS, DemoFlux, load
from ..core.demo.measure import measure
from ..core.demo.text import embed
from ..core.edits.dragfield import dragfield
from ..core.edits.dragflow import dragflow
from ..core.model.backbone import Conditioning
from ..core.picture.compose import picture_of, tensor_of
from ..core.picture.likeness import psnr
from ..core.sampling.inversion import InversionSettings, invert, reconstruct

ROWS = ("25-6", "12-3", "8-2", "4-1", "4-1-uniform", "4-0-uniform", "2-0", "dragflow")


def run(
    cases: int,
    seed: int,
    rows: Sequence[str] = ROWS,
    *,
    model: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """model: folder of a demo-flux, None: the bundled one. -> {"suite", "cases", "seed", "methods": {row: means}}."""
    if unknown := set(rows) - set(ROWS):
        raise ValueError(f"unknown row {sorted(unknown)[0]!r}: use {', '.join(ROWS)}")
    bundle = load(model or WEIGHTS)
    work = [(row, case) for case in sample_cases(cases, seed) for row in rows]
    found: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
    for done, (row, case) in enumerate(work):
        if progress is not None:
            progress(done, len(work), row)
        found[row].append(judged(bundle, case, row))
    means = {row: {name: mean(one[name] for one in of) for name in of[0]} for row, of in found.items()}
    return {"suite": "few-steps", "cases": cases, "seed": seed, "methods": means}


def judged(bundle: DemoFlux, case: DemoCase, row: str) -> dict[str, float]:
    """The figures of one case in one row."""
    image, prompt, whole = tensor_of(case.source), embed([case.scene.caption]), row == "dragflow"
    settings = DRAGFLOW if whole else replace(DRAGFIELD, inversion=schedule_of(row))
    method = dragflow if whole else dragfield
    edit = method(bundle.backbone, bundle.autoencoder, image, case.drag, prompt, settings=settings)
    result = measure(case, picture_of(edit.image), edit.mask)
    return {
        "back_db": back(bundle, image, prompt, replace(settings.inversion, kv_blocks="none")),
        "psnr_truth_mask_db": result.psnr_truth_mask_db,
        "centroid_error_px": result.centroid_error_px,
        "strayed": edit.strayed,
        "passes": edit.nfe_forward + edit.nfe_backward,
    }


def schedule_of(row: str) -> InversionSettings:
    """The inversion of a row that is a schedule."""
    steps, skip, *uniform = row.split("-")
    return InversionSettings(int(steps), int(skip), shifted=not uniform, kv_blocks="none")


@torch.no_grad()
def back(bundle: DemoFlux, image: torch.Tensor, prompt: Conditioning, settings: InversionSettings) -> float:
    """dB of the picture that an inversion of `image` comes back as, to what the autoencoder gives back of it."""
    z0 = bundle.autoencoder.encode(image)
    path = reconstruct(bundle.backbone, invert(bundle.backbone, z0, prompt, settings), prompt)
    came_back, wanted = (picture_of(bundle.autoencoder.decode(z).clamp(0, 1)) for z in (path[-1], z0))
    return psnr(came_back, wanted)
