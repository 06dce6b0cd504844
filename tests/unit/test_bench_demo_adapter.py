"""Suite demo-adapter: an adapter that adds nothing gains nothing, and the demo suite's last row has the adapter at work everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dragfield.benchmarks import demo, demo_adapter
from dragfield.core.backbones.flux import DiffusersFlux
from dragfield.core.demo.adapter import DemoAdapter
from dragfield.core.demo.dragflow_settings import DRAGFLOW
from dragfield.core.demo.flux import DemoFlux, build
from dragfield.core.optimise.region_drag import RegionDragSettings
from dragfield.core.sampling.inversion import InversionSettings

pytest.importorskip("diffusers")


class Coarse:
    """An autoencoder that only makes the picture smaller."""

    latent_channels, factor = 16, 8

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(image, 8).repeat(1, 6, 1, 1)[:, :16]

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(z[:, :3], scale_factor=8.0).clamp(0, 1)


@pytest.fixture(scope="module")
def model() -> DemoFlux:
    torch.manual_seed(0)
    return DemoFlux(DiffusersFlux(build()), Coarse())


def test_an_adapter_that_adds_nothing_gains_nothing_and_the_report_is_whole(model: DemoFlux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_adapter, "TURNS", 1)
    reports: list[tuple[int, int]] = []
    settings = InversionSettings(steps=3, skip=1)
    report = demo_adapter.run(
        1, 3, model=model, adapter=DemoAdapter().eval(), settings=settings,
        edit=replace(DRAGFLOW, inversion=settings, drag=RegionDragSettings(transport_steps=1, intensify_steps=1)),
        progress=lambda done, total, _: reports.append((done, total)),
    )  # fmt: skip
    assert (report["suite"], report["cases"], report["seed"]) == ("demo-adapter", 1, 3)
    assert list(report["drift"]) == list(demo_adapter.DRIFTS)
    assert all(row["gain_db"] == 0 and row["with_db"] == row["without_db"] for row in report["drift"].values())
    assert report["edits"]["without"]["psnr_truth_db"] == report["edits"]["with"]["psnr_truth_db"]
    assert report["edits"]["gain"]["psnr_truth_mask_db"] == {"mean": 0, "error": None}
    assert report["drag_iteration"]["with_seconds"] > 0 and reports == [(i, 12) for i in range(12)]
    assert json.loads(json.dumps(report)) == report
    with pytest.raises(ValueError, match="0 cases measure nothing"):
        demo_adapter.run(0, model=model, adapter=DemoAdapter())


def test_the_last_row_of_the_ablation_reads_the_picture_it_edits(model: DemoFlux, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = {}

    def edit(backbone, *arguments, settings):
        handed.update(backbone=backbone, settings=settings)
        return SimpleNamespace(image=torch.zeros(1, 3, 8, 8), nfe_forward=1, nfe_backward=2)

    monkeypatch.setattr(demo, "dragflow", edit)
    monkeypatch.setattr(demo.DemoAdapter, "load", classmethod(lambda cls: cls().eval()))
    case = next(demo.sample_cases(1, 0))
    _, forward, backward = demo.dragflow_adapter(model, case, np.zeros((256, 256), bool))
    (injection,) = handed["backbone"].subjects.injections
    assert (forward, backward) == (1, 2) and handed["settings"] is demo.DRAGFLOW
    assert injection.subject.tensors["tokens"].shape == (1, 64, 96) and injection.strength == 1.0
