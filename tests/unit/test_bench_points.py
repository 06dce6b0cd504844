"""The point suite: drags told by points, rows of the paper's ablation, errors measured by looks, and a report of one shape."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from dragfield.benchmarks import points  # noqa: E402
from dragfield.benchmarks.points import PointModel, handle_error, point_drag_of, run  # noqa: E402
from dragfield.core.demo.cases import sample_cases  # noqa: E402
from dragfield.core.model.backbone import Conditioning  # noqa: E402
from dragfield.core.model.readout import ReadoutConfig, ReadoutHead  # noqa: E402
from dragfield.core.sampling.ddim_inversion import DDIMSettings  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from point_world import ConvBackbone  # noqa: E402


class Means:
    """An autoencoder that keeps the mean of 8x8 px."""

    latent_channels, factor = 4, 8

    def encode(self, image):
        small = torch.nn.functional.avg_pool2d(image, 8) * 4 - 2
        return torch.cat([small, small.mean(1, keepdim=True)], dim=1)

    def decode(self, z):
        return torch.nn.functional.interpolate((z[:, :3] + 2) / 4, scale_factor=8, mode="bilinear").clamp(0, 1)


def tiny(head: bool = True) -> PointModel:
    torch.manual_seed(0)
    read = ReadoutHead(ReadoutConfig((24, 24), projection=16, embedding=8, groups=2)) if head else None
    return PointModel(ConvBackbone(), Means(), read)


def quick() -> dict:
    drag = replace(points.ROWS["directdrag"].drag, rounds=1, steps_per_round=1)
    short = dict(inversion=DDIMSettings(4, 0.5), drag=drag, drag_steps=1)
    return {name: settings and replace(settings, **short) for name, settings in points.ROWS.items()}


@pytest.fixture
def no_prompt(monkeypatch):
    monkeypatch.setattr(points, "empty_prompt", lambda: Conditioning(torch.zeros(1, 1, 4)))


def test_the_rows_are_the_papers_in_its_order() -> None:
    assert list(points.ROWS) == ["no_edit", "baseline", "soft_mask", "readout", "directdrag"]
    added = [(s.soft_mask is not None, s.readout is not None, s.warp is not None) for s in points.ROWS.values() if s]
    assert added == [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]
    assert not any(s.paste_back for s in points.ROWS.values() if s)


def test_the_report_has_the_shape_of_suite_demo(no_prompt) -> None:
    report = run(1, 3, model=tiny(), rows=quick())
    assert (report["suite"], report["cases"], report["seed"], report["skipped"]) == ("demo-points", 1, 3, {})
    assert list(report["methods"]) == list(points.ROWS)
    figures = report["methods"]["directdrag"]
    assert {"centroid_error_px", "psnr_truth_db", "nfe_forward", "handle_error_px", "tracked_px", "psnr_outside_db"} <= set(figures)
    assert report["methods"]["no_edit"]["nfe_forward"] == 0 and report["methods"]["no_edit"]["tracked_px"] is None
    assert report["methods"]["baseline"]["nfe_backward"] == 1 and figures["tracked_px"] > 0
    assert json.loads(json.dumps(report)) == report


def test_what_the_published_code_does_runs_on_request(no_prompt) -> None:
    asked = points.ON_REQUEST
    assert not set(asked) & set(points.ROWS) and asked["soft_mask_transposed"].soft_mask.transposed
    assert (asked["published_warp"].warp.spread, asked["published_warp"].warp.ratio) == ("faded", 0.15)
    with pytest.raises(ValueError, match="soft_mask_transposed, published_warp"):
        run(1, 3, ["magic"], model=tiny())


def test_without_a_head_the_rows_that_need_one_are_skipped_by_name(no_prompt) -> None:
    report = run(1, 3, ["soft_mask", "readout"], model=tiny(head=False), rows=quick())
    assert list(report["methods"]) == ["soft_mask"] and "train one" in report["skipped"]["readout"]


def test_without_a_model_the_suite_says_what_to_do(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="No demo UNet in"):
        points.load_model(tmp_path)


def test_points_follow_the_truth() -> None:
    for case in sample_cases(4, 5):
        drag = point_drag_of(case)
        assert drag.regions == () and len(drag.points) == (2 if case.task == "rotation" else 1)
        for pair in drag.points:
            x, y = pair.target
            near = case.landed[max(0, int(y) - 12) : int(y) + 13, max(0, int(x) - 12) : int(x) + 13]
            assert near.any()


def test_the_handle_error_is_none_for_the_truth_and_the_way_for_the_source() -> None:
    case = next(sample_cases(1, 2))
    assert handle_error(case, case.truth) == 0.0
    assert handle_error(case, case.source) == pytest.approx(float(np.hypot(*case.shift)), abs=3.0)


def test_unknown_rows_and_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="'magic' is unknown"):
        run(1, 0, ["magic"], model=tiny())
    with pytest.raises(ValueError, match="measure nothing"):
        run(0, model=tiny())
