"""The showcase: everything it promises is on disk, its numbers are those of the pictures, and it can be run again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dragfield.core.demo import showcase
from dragfield.core.demo.cases import sample_cases
from dragfield.core.demo.flux import DemoFlux
from dragfield.core.demo.sheet import BORDER, GUTTER, Cell, Row, contact_sheet

pytest.importorskip("diffusers")

PICTURES = {"input", "drag", "mask", "reconstruction", "preview", "pixel_warp", "dragflow", "dragfield", "truth"}


@pytest.fixture(scope="module")
def shown(tiny_flux, tiny_autoencoder, tmp_path_factory):
    """One case, shown with few drag iterations: (folder, report, what was told)."""
    folder, reports = tmp_path_factory.mktemp("demo") / "new" / "folder", []
    with pytest.MonkeyPatch.context() as patch:
        few = replace(showcase.DRAGFLOW.drag, transport_steps=4, intensify_steps=1)
        patch.setattr(showcase, "DRAGFLOW", replace(showcase.DRAGFLOW, drag=few))
        model = DemoFlux(tiny_flux, tiny_autoencoder)
        report = showcase.run(folder, lambda *at: reports.append(at), cases=1, model=model)
    return folder, report, reports


def test_sheet_pictures_and_report_are_written(shown):
    folder, report, _ = shown
    assert {path.name for path in folder.iterdir()} == {"demo.png", "report.json", "1-relocation"}
    assert {path.stem for path in (folder / "1-relocation").iterdir()} == PICTURES
    assert all(Image.open(path).size == (256, 256) for path in (folder / "1-relocation").iterdir())
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report, default=str))
    width, height = Image.open(folder / "demo.png").size
    assert width == 2 * BORDER + 7 * 256 + 6 * GUTTER and height > 256


def test_the_report_says_what_was_done_and_how_well(shown):
    _, report, _ = shown
    (case,) = report["cases"]
    assert report["seconds"] > 0 and set(report["settings"]) == {"dragflow", "dragfield"}
    assert list(case["methods"]) == ["no_edit", "pixel_warp", "dragflow", "dragfield"]
    assert case["methods"]["no_edit"]["source_left"] == pytest.approx(1)
    assert all(figures["background_max_abs"] == 0 for figures in case["methods"].values())
    assert case["drag"].startswith("relocation, ") and case["prompt"]
    assert case["reconstruction_psnr_db"] > 0 and case["autoencoder_psnr_db"] > 0


def test_a_picture_is_inverted_once_for_both_methods(shown):
    _, report, _ = shown
    (case,) = report["cases"]
    assert case["inversion"]["nfe_forward"] == 16
    # Five iterations, three more passes for the reference between tokens, and the denoising.
    assert (case["methods"]["dragflow"]["nfe_forward"], case["methods"]["dragflow"]["nfe_backward"]) == (5 + 3 + 16, 5)
    assert 0 < case["methods"]["dragfield"]["nfe_forward"] <= 16


def test_the_pictures_on_disk_have_the_inputs_background(shown):
    folder, _, _ = shown
    case = next(iter(sample_cases(1, showcase.SEED)))
    pictures = {path.stem: np.asarray(Image.open(path)) for path in (folder / "1-relocation").iterdir()}
    assert np.array_equal(pictures["input"], np.rint(case.source * 255).astype(np.uint8))
    assert np.array_equal(pictures["truth"], np.rint(case.truth * 255).astype(np.uint8))
    for name in ("pixel_warp", "dragflow", "dragfield", "preview"):
        same = (pictures[name] == pictures["input"]).all(-1)
        assert 0.5 < same.mean() < 0.995, name


def test_what_happens_is_reported_to_the_end(shown):
    *_, reports = shown
    assert [at[0] for at in reports] == sorted(at[0] for at in reports)
    assert {total for _, total, _ in reports} == {4} and reports[-1][0] == 4
    said = " ".join(what for *_, what in reports)
    assert all(word in said for word in ("inversion", "reconstruction", "dragflow drag 5/5", "dragflow denoise 15/15", "dragfield denoise"))


def test_a_table_row_names_the_case_and_the_method_first(shown):
    _, report, _ = shown
    rows = list(showcase.rows(report))
    assert [next(iter(row.values())) for row in rows] == [
        f"1-relocation {method}" for method in ("no_edit", "pixel_warp", "dragflow", "dragfield")
    ]
    assert all(row["centroid_error_px"] >= 0 for row in rows)


def test_a_wish_for_no_cases_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="0 cases show nothing: use 1 or more"):
        showcase.run(tmp_path / "out", cases=0)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_found_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(showcase, "load", lambda: pytest.fail("the model was loaded"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        showcase.run(tmp_path / "file")


def test_drags_are_described_in_a_few_words():
    words = [showcase.describe(case) for case in sample_cases(4, showcase.SEED)]
    assert [text.split(",")[0] for text in words] == ["relocation", "rotation", "relocation", "deformation"]
    assert words[0].endswith(" px") and "clockwise" in words[1] and "°" in words[1]


def test_the_mask_picture_fades_what_may_not_change_and_outlines_both_masks():
    picture = np.full((40, 40, 3), 100, np.uint8)
    published, ours = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    published[8:32, 8:32] = True
    ours[14:26, 14:26] = True
    shaded = showcase.shade(picture, published, ours)
    assert (shaded[20, 20] == 100).all() and (shaded[2, 2] > 200).all()
    assert tuple(shaded[8, 20]) == showcase.SOURCE and tuple(shaded[14, 20]) == showcase.TARGET
    assert (picture == 100).all()


def test_a_sheet_places_pictures_under_their_columns():
    cells = [Cell(np.full((30, 50, 3), value, np.uint8), "a caption") for value in (10, 90)]
    sheet = np.asarray(contact_sheet("title", "note", ["one", "two"], [Row("first", "", cells), Row("second", "", cells)]))
    for column, value in enumerate((10, 90)):
        left = BORDER + column * (50 + GUTTER)
        rows = np.flatnonzero((sheet[:, left : left + 50] == value).all((1, 2)))
        assert len(rows) == 60 and len(np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)) == 2


def test_text_that_is_too_wide_is_cut_at_its_place():
    cell = Cell(np.full((30, 50, 3), 10, np.uint8), "a caption far too long for fifty pixels")
    sheet = np.asarray(contact_sheet("t", "n", ["a title far too long"], [Row("h" * 50, "n" * 50, [cell])]))
    assert sheet.shape[1] == 50 + 2 * BORDER
    assert (sheet[:, BORDER + 50 + 4 :] == 255).all()


def test_a_sheet_of_unlike_pictures_or_missing_ones_is_refused():
    small, large = (Cell(np.zeros((side, side, 3), np.uint8)) for side in (8, 9))
    with pytest.raises(ValueError, match="all of one size"):
        contact_sheet("", "", ["a", "b"], [Row("", "", [small, large])])
    with pytest.raises(ValueError, match="1 pictures for 2 columns"):
        contact_sheet("", "", ["a", "b"], [Row("first", "", [small])])
