"""Suite `combinations`: every combination runs, is judged alike, and says what it lacks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from dragfield.benchmarks import combinations  # noqa: E402
from dragfield.benchmarks.combinations import ROWS, Models, Region, run  # noqa: E402
from dragfield.core.demo.cases import sample_cases  # noqa: E402
from dragfield.core.demo.flux import DemoFlux  # noqa: E402
from dragfield.core.model.readout import ReadoutConfig, ReadoutHead  # noqa: E402
from dragfield.core.optimise.region_drag import RegionDragSettings  # noqa: E402
from dragfield.core.sampling.inversion import InversionSettings  # noqa: E402

NOTHING = Models(None, None, None)


def test_what_is_not_there_is_left_out_by_name() -> None:
    report = run(1, 1, ["unet_points", "flux_points_readout", "flux_region_readout"], models=NOTHING)
    assert report["methods"] == {} and set(report["skipped"]) == {"unet_points", "flux_points_readout", "flux_region_readout"}
    assert all("dragfield train" in why for why in report["skipped"].values())


def test_unknown_rows_and_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="'magic' is unknown"):
        run(1, 0, ["magic"], models=NOTHING)
    with pytest.raises(ValueError, match="measure nothing"):
        run(0, models=NOTHING)


def test_every_part_of_a_region_edit_can_be_exchanged(tiny, monkeypatch) -> None:
    monkeypatch.setattr(combinations, "embed", lambda _: tiny.source)
    monkeypatch.setattr(combinations, "sample_cases", _small)
    torch.manual_seed(0)
    head = ReadoutHead(ReadoutConfig((tiny.backbone.width,) * 4, projection=16, embedding=256, groups=2))
    models = Models(DemoFlux(tiny.backbone, tiny.models[1]), head, None)
    few = replace(
        Region().settings, inversion=InversionSettings(steps=4, skip=1), drag=RegionDragSettings(transport_steps=1, intensify_steps=1)
    )
    rows = {name: replace(row, settings=few) for name, row in ROWS.items() if isinstance(row, Region)}
    assert list(rows) == ["flux_region", "flux_region_soft", "flux_region_warp", "flux_region_readout"]
    pictures = {name: row(models, next(iter(_small(1, 0)))).image for name, row in rows.items()}
    plain = pictures.pop("flux_region")
    assert plain.isfinite().all()
    assert all(not torch.equal(picture, plain) for picture in pictures.values())
    report = run(1, 0, ["flux_region"], models=models, rows=rows)
    assert report["methods"]["flux_region"]["nfe_backward"] == 2 and json.loads(json.dumps(report)) == report


def _small(n: int, seed: int):
    return (replace(case, size=96) for case in sample_cases(n, np.random.default_rng(seed).integers(99)))
