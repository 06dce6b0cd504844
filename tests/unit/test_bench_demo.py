"""The demo suite: floors that are what they say, methods that are judged alike, and a report of one shape."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dragfield.benchmarks import demo
from dragfield.benchmarks.demo import METHODS, as_points, case_mask, gained, run, summarise
from dragfield.core.demo.cases import sample_cases
from dragfield.core.demo.flux import DemoFlux
from dragfield.core.demo.measure import Measured
from dragfield.core.field.geometry import centroid

pytest.importorskip("diffusers")

FIGURES = {
    "centroid_error_px", "rotation_error_deg", "psnr_truth_db", "psnr_truth_mask_db", "psnr_truth_seam_db", "object_ssim",
    "background_max_abs", "source_left", "seconds",
    "nfe_forward", "nfe_backward",
}  # fmt: skip
FREE = {"point_flow", "region"}
"""Rows of the ablation that have no mask yet."""
OF_ANY_MODEL = [name for name in METHODS if name != "dragflow_adapter"]
"""The bundled adapter fits the bundled model alone."""


@pytest.fixture(scope="module")
def tiny_model(tiny_flux, tiny_autoencoder) -> DemoFlux:
    return DemoFlux(tiny_flux, tiny_autoencoder)


@pytest.fixture(scope="module")
def report(tiny_model) -> dict:
    return run(1, 3, OF_ANY_MODEL, model=tiny_model)


def test_the_report_has_every_figure_of_every_method(report):
    assert (report["suite"], report["cases"], report["seed"]) == ("demo", 1, 3)
    assert list(report["methods"]) == OF_ANY_MODEL
    assert {"no_edit", "pixel_warp", "latent_copy_paste", "point_flow", "region", "region_masked", "dragflow", "dragfield"} <= set(METHODS)
    for figures in report["methods"].values():
        assert set(figures) == FIGURES
        assert set(figures["centroid_error_px"]) == {"mean", "p90"} and set(figures["rotation_error_deg"]) == {"mean"}
    assert json.loads(json.dumps(report)) == report


def test_the_ablation_compares_each_row_with_the_one_before_it(report):
    assert [(name, step["over"]) for name, step in report["ablation"].items()] == [
        ("region", "point_flow"), ("region_masked", "region"), ("dragflow", "region_masked")
    ]  # fmt: skip
    means = report["methods"]
    for name, step in report["ablation"].items():
        difference = means[name]["psnr_truth_mask_db"] - means[step["over"]]["psnr_truth_mask_db"]
        assert step["psnr_truth_mask_db"]["mean"] == pytest.approx(difference) and step["psnr_truth_mask_db"]["error"] is None


def test_gains_are_reported_with_their_standard_error():
    def rows(*values):
        return [{"measured": Measured(v, None, 0.0, 10 * v, 0.0, None, 0.0, 0.0)} for v in values]

    found = gained(rows(1.0, 2.0, 3.0), rows(2.0, 4.0, 6.0))
    assert found["centroid_error_px"] == {"mean": 2.0, "error": pytest.approx(3**-0.5)}
    assert found["psnr_truth_mask_db"]["mean"] == 20.0


def test_floors_cost_no_network_and_edits_do(report):
    passes = {name: (figures["nfe_forward"], figures["nfe_backward"]) for name, figures in report["methods"].items()}
    assert passes["no_edit"] == passes["pixel_warp"] == (0, 0)
    # The reference between tokens takes three passes.
    assert passes["dragflow"] == (16 + (3 + 70) + 16, 70)
    assert passes["latent_copy_paste"] == (16 + 16, 0)
    assert 20 < passes["dragfield"][0] <= 0.4 * (16 + (3 + 70) + 16)


def test_no_masked_method_touches_the_background(report):
    for name, figures in report["methods"].items():
        assert (figures["background_max_abs"] == 0) == (name not in FREE), name


@pytest.mark.parametrize("method", ["pixel_warp", "latent_copy_paste", "dragfield"])
def test_deformations_stay_in_the_mask_too(method, tiny_model):
    case = next(case for case in sample_cases(8, 3) if case.task == "deformation")
    picture, _, _ = METHODS[method](tiny_model, case, case_mask(case))
    difference = np.abs(picture[0].permute(1, 2, 0).numpy() - case.source).max(-1)
    assert difference[~case_mask(case)].max() == 0


def test_doing_nothing_leaves_the_object_where_it_stood(report):
    case = next(iter(sample_cases(1, 3)))
    nothing = report["methods"]["no_edit"]
    assert nothing["centroid_error_px"]["mean"] == pytest.approx(np.hypot(*case.shift), rel=0.15)
    assert nothing["source_left"] == pytest.approx(1) and nothing["rotation_error_deg"]["mean"] is None


def test_warping_pixels_carries_the_object_to_its_target(report):
    warped, nothing = (report["methods"][name]["centroid_error_px"]["mean"] for name in ("pixel_warp", "no_edit"))
    # The tiny autoencoder blurs all it is given, so this is no more than a direction.
    assert warped != nothing


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(tiny_model):
    def figures(seed):
        found = run(2, seed, ["no_edit", "pixel_warp"], model=tiny_model)["methods"]
        return {name: {key: value for key, value in row.items() if key != "seconds"} for name, row in found.items()}

    assert figures(5) == figures(5) != figures(6)


def test_progress_is_reported_before_each_edit(tiny_model):
    reports = []
    run(2, 0, ["no_edit", "pixel_warp"], model=tiny_model, progress=lambda *at: reports.append(at))
    assert reports[:4] == [(0, 4, "no_edit"), (1, 4, "pixel_warp"), (2, 4, "no_edit"), (3, 4, "pixel_warp")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((4, 0, ["magic"]), "'magic' is unknown: use no_edit, pixel_warp"), ((0, 0), "0 cases measure nothing: use 1 or more")],
)
def test_what_cannot_be_measured_is_refused_before_a_model_is_loaded(arguments, words, monkeypatch):
    monkeypatch.setattr(demo, "load", lambda: pytest.fail("the model was loaded"))
    with pytest.raises(ValueError, match=words):
        run(*arguments)


def test_a_drag_by_points_has_the_regions_centroids_as_handles():
    for case in sample_cases(4, 3):
        (operation,) = case.drag.regions
        points = as_points(case.drag)
        assert points.regions == () and len(points.points) == 1
        assert points.points[0].handle == pytest.approx(centroid(operation.mask))
        assert points.points[0].target == operation.target


def test_means_leave_out_what_a_case_does_not_have():
    def row(px, turn, left, seconds):
        return {"measured": Measured(px, turn, 20.0, 10.0, px / 100, left, 15.0, 0.5), "seconds": seconds, "forward": 4, "backward": 2}

    found = summarise([row(1.0, None, 0.5, 1.0), row(3.0, 8.0, None, 2.0), row(5.0, 4.0, 0.1, 3.0)])
    assert found["centroid_error_px"] == {"mean": 3.0, "p90": pytest.approx(4.6)}
    assert found["rotation_error_deg"] == {"mean": 6.0}
    assert found["source_left"] == pytest.approx(0.3)
    assert (found["psnr_truth_seam_db"], found["object_ssim"]) == (15.0, 0.5)
    assert found["background_max_abs"] == 0.05, "the worst of all, not a mean"
    assert (found["seconds"], found["nfe_forward"], found["nfe_backward"]) == (2.0, 4, 2)
    assert summarise([row(1.0, None, None, 1.0)])["source_left"] is None
