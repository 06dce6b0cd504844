"""Suite `real` judges what an edit starts from on pairs of frames whose outcome is known; here a pair that this test draws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from dragfield.benchmarks import real, real_points
from dragfield.benchmarks.tiny_autoencoder import TinyAutoencoder
from dragfield.cli.app import app
from dragfield.core.edits import dragflow as edit
from dragfield.core.formats.real_motion import read
from dragfield.core.instruction.guarded_json import InstructionError


def ground() -> np.ndarray:
    y, x = np.mgrid[:96, :128]
    return np.stack([120 + 30 * np.sin(x / 3.0), 130 + 30 * np.sin(y / 4.0), 110 + 0 * x], -1)


def write(folder: Path, shift: int = 40) -> Path:
    """A red square of 24 px that moves by `way` px to the right over a striped ground."""
    pair = folder / "pair_1"
    pair.mkdir(parents=True)
    for name, x in (("before", 20), ("after", 20 + shift)):
        picture, mask = ground(), np.zeros((96, 128), np.uint8)
        mask[36:60, x : x + 24] = 255
        picture[mask > 0] = (200, 30, 30)
        Image.fromarray(picture.astype(np.uint8)).save(pair / f"{name}.png")
        Image.fromarray(mask).save(pair / f"thing_{name}.png")
    tracks = [[x, y, x + shift, y] for x in (24, 32, 40) for y in (40, 48, 56)]
    (pair / "tracks.json").write_text(json.dumps(tracks))
    (pair / "pair.json").write_text(json.dumps({"clip": "drawn", "handle": [32, 48], "target": [32 + shift, 48]}))
    return folder


def test_a_pair_is_read_as_it_lies_there(tmp_path: Path) -> None:
    (pair,) = read(write(tmp_path))
    assert (pair.name, pair.clip, pair.size, pair.handle, pair.target) == ("pair_1", "drawn", (128, 96), (32.0, 48.0), (72.0, 48.0))
    assert pair.object_before.sum() == pair.object_after.sum() == 24 * 24 and pair.valid.all() and pair.tracks.shape == (9, 4)


def test_the_figures_say_who_did_what(tmp_path: Path) -> None:
    report = real.run(write(tmp_path))
    rows = report["methods"]
    assert report["suite"] == "real" and report["pairs"] == 1 and list(rows) == list(real.METHODS)
    assert set(rows["start"]) == {*real.FIGURES, "worse_than_pixel_warp", "by_pair"} and list(rows["start"]["by_pair"]) == ["pair_1"]
    # A rigid shift is what a warp does: the object is right, and so is what was not touched.
    for name in ("pixel_warp", "start"):
        assert rows[name]["thing_db"] == rows[name]["ground_beside_db"] == real.BEST_DB
    assert rows["no_edit"]["thing_db"] < 15
    # Stripes that go on under the object are found elsewhere; a smooth fill has none of them.
    assert rows["start"]["uncovered_ground_db"] > rows["pixel_warp"]["uncovered_ground_db"] + 3
    assert rows["start"]["uncovered_texture"] > 0.6 > rows["pixel_warp"]["uncovered_texture"]
    assert rows["start"]["worse_than_pixel_warp"] == 0


def test_a_row_that_spoils_the_ground_beside_counts_as_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(real.METHODS, "dirty", lambda pair, field: real.pixel_warp(pair, field) * 0.9)
    assert real.run(write(tmp_path), ["dirty"])["methods"]["dirty"]["worse_than_pixel_warp"] == 1


def test_the_null_test_claims_nothing_on_flat_ground_and_something_beside_a_real_shadow() -> None:
    flat = np.full((128, 128, 3), 0.5, np.float32)
    assert real.null_test([("flat", flat)]) == {"discs": 8, "shadows": 0.0}


def test_the_command_writes_the_report_and_the_worst_pairs(tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    answer = CliRunner().invoke(
        app,
        [
            "bench", "--suite", "real", "--data", str(data), "--methods", "pixel_warp, start", "--json", str(tmp_path / "r.json"),
            "--sheet", str(tmp_path / "s.png"),
        ],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    assert list(json.loads((tmp_path / "r.json").read_text())["methods"]) == ["pixel_warp", "start"]
    assert Image.open(tmp_path / "s.png").size == (4 * 360, 360)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda pair: (pair / "after.png").unlink(), "has no after"),
        (lambda pair: Image.new("RGB", (20, 20)).save(pair / "after.png"), "make them the same size"),
        (lambda pair: Image.new("L", (128, 96)).save(pair / "thing_before.png"), "mark the object"),
        (lambda pair: (pair / "pair.json").write_text('{"handle": [1]}'), r"the handle of pair_1 .*write it as \[x, y\]"),
        (lambda pair: (pair / "pair.json").write_text("[]"), "write an object with handle and target"),
        (lambda pair: (pair / "tracks.json").write_text("[[1, 2, 3]]"), "tracks.json is no list"),
        (lambda pair: (pair / "pair.json").unlink(), "holds no pair of frames"),
    ],
)
def test_what_is_damaged_is_said_in_one_sentence(tmp_path: Path, harm, sentence: str) -> None:
    harm(write(tmp_path) / "pair_1")
    with pytest.raises(InstructionError, match=sentence):
        read(tmp_path)


def test_an_unknown_row_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown methods x: use some of no_edit"):
        real.run(write(tmp_path), ["x"])
    with pytest.raises(InstructionError, match="is no folder"):
        read(tmp_path / "absent")
    answer = CliRunner().invoke(app, ["bench", "--suite", "real"])
    assert answer.exit_code == 2


def test_handles_are_the_middle_one_and_then_the_farthest() -> None:
    tracks = np.array([[0, 0, 0, 0], [10, 0, 0, 0], [4, 0, 0, 0], [6, 8, 0, 0]], float)
    assert real_points.handles_of(tracks, 3) == [2, 3, 1]


def test_the_default_takes_the_square_along_and_leaves_the_ground(tmp_path: Path) -> None:
    rows = real_points.run(read(write(tmp_path)))
    assert {"points_1", "points_3", "points_1_latent_warp", "points_3_near", "points_1_discs", "points_1_true_object_shifted"} <= set(rows)
    assert rows["points_1"]["error_px"] < 1.0 and rows["points_1"]["carried"] == 1.0
    assert rows["points_1"]["ground_moved_px"] < rows["points_1_latent_warp"]["ground_moved_px"]
    assert rows["points_1_true_object_shifted"]["error_px"] == pytest.approx(0.0) and rows["points_1_near"]["error_px"] > 1.0
    assert list(rows["points_1"]["by_pair"]) == ["pair_1"] and set(rows["points_1"]["by_pair"]["pair_1"]) == set(real_points.FIGURES)


def tiny_files(folder: Path) -> Path:
    """An autoencoder of TAESD's layout with random weights: 3 blocks a resolution, pooled where the latents are, 4 channels."""
    torch.manual_seed(0)

    def block(number: int, pooled: bool) -> dict[str, torch.Tensor]:
        made = {}
        for i in (0, 2, 4):
            made |= {f"{number}.conv.{i}.weight": torch.randn(8, 8, 3, 3) * 0.1, f"{number}.conv.{i}.bias": torch.zeros(8)}
        if pooled:
            made |= {
                f"{number}.pool.0.weight": torch.randn(32, 8, 1, 1) * 0.1, f"{number}.pool.1.weight": torch.ones(32),
                f"{number}.pool.1.bias": torch.zeros(32), f"{number}.pool.3.weight": torch.randn(8, 32, 1, 1) * 0.1,
            }  # fmt: skip
        return made

    def conv(number: int, width: int, out: int, bias: bool = True) -> dict[str, torch.Tensor]:
        return {f"{number}.weight": torch.randn(out, width, 3, 3) * 0.2, **({f"{number}.bias": torch.zeros(out)} if bias else {})}

    encoder = conv(0, 3, 8) | block(1, False)
    for first, pooled in ((2, False), (6, False), (10, True)):
        encoder |= conv(first, 8, 8, bias=False)
        for number in range(first + 1, first + 4):
            encoder |= block(number, pooled)
    decoder = conv(1, 4, 8)
    for first, pooled in ((3, True), (8, False), (13, False)):
        for number in range(first, first + 3):
            decoder |= block(number, pooled)
        decoder |= conv(first + 4, 8, 8, bias=False)
    folder.mkdir()
    save_file(encoder | conv(14, 8, 4), folder / "x_encoder.safetensors")
    save_file(decoder | block(18, False) | conv(19, 8, 3), folder / "x_decoder.safetensors")
    return folder


def test_an_autoencoder_adds_its_rows(tmp_path: Path) -> None:
    files = tiny_files(tmp_path / "tiny")
    tiny = TinyAutoencoder.load(files)
    z = tiny.encode(torch.rand(1, 3, 32, 48))
    assert (tiny.latent_channels, tuple(z.shape), tuple(tiny.decode(z).shape)) == (4, (1, 4, 4, 6), (1, 3, 32, 48))
    rows = real.run(write(tmp_path / "data"), ["start"], autoencoder=files)["methods"]
    assert list(rows) == ["start", "encoded", "latent_warp"]
    # Random weights give nothing back: what is pasted shows at its rim, what was never encoded does not.
    assert rows["start"]["seam_levels"] == 0 < rows["encoded"]["seam_levels"]
    (files / "x_decoder.safetensors").unlink()
    with pytest.raises(ValueError, match="holds 0 files"):
        TinyAutoencoder.load(files)


def test_files_of_another_layout_are_refused(tmp_path: Path) -> None:
    files = tiny_files(tmp_path / "tiny")
    wrong = {"0.weight": torch.zeros(8, 3, 3, 3), "1.norm.weight": torch.zeros(8), "1.weight": torch.zeros(8, 8, 3, 3)}
    save_file(wrong, files / "x_encoder.safetensors")
    with pytest.raises(ValueError, match="is no encoder of TAESD's layout"):
        TinyAutoencoder.load(files)


def test_a_model_adds_whole_edits(tmp_path: Path, flux_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"steps": 4, "skip": 2}
    drag = replace(edit.PUBLISHED.drag, transport_steps=1, intensify_steps=1)
    short = replace(edit.PUBLISHED, inversion=replace(edit.PUBLISHED.inversion, **few), drag=drag)
    monkeypatch.setattr(edit, "PUBLISHED", short)
    rows = real.run(write(tmp_path), ["no_edit"], model=str(flux_folder))["methods"]
    assert list(rows) == ["no_edit", "dragfield", "dragflow"]
    for name in ("dragfield", "dragflow"):
        assert rows[name]["whole_mask_db"] is not None and rows[name]["thing_db"] != rows["no_edit"]["thing_db"]


def test_a_selection_is_compared_with_regions_drawn_by_hand(tmp_path: Path) -> None:
    picture, labels = ground(), np.zeros((96, 128), np.uint8)
    labels[36:60, 20:44] = 7
    picture[labels > 0] = (200, 30, 30)
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(labels).save(tmp_path / "a_segments.png")
    found = real_points.selection(real._segmented(tmp_path))
    assert found["regions"] == 1 and found["iou"] > 0.8
    assert real_points.selection([]) == {"regions": 0, "iou": None}
