"""Drag Metrics: the values are core's own, of each picture alone, and what is missing is said in a sentence."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import pytest
import torch
from PIL import Image
from test_subject_encoders import pair

from dragfield.benchmarks.evaluation.datasets import open_dataset
from dragfield.core.demo.unet import WEIGHTS as DEMO_UNET
from dragfield.core.field.masks import adaptive_gradient_mask
from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from dragfield.core.metrics import perceptual
from dragfield.core.metrics.backbones import Backbones
from dragfield.core.metrics.judged import Judged, operations_of
from dragfield.core.metrics.table import METRICS, mean_value
from dragfield.core.picture.drawn_field import DrawnField
from dragfield.nodes.host.subject_encoders import ComfyVision
from dragfield.nodes.metrics import KEY, DragMetrics, metrics_to_take

SIZE = (96, 64)
ALONE = [name for name, metric in METRICS.items() if not metric.needs and not metric.of_truth]
"""What can be taken of two pictures and a drag."""


def picture(seed: int) -> torch.Tensor:
    """[1, H, W, 3] in levels of 8 bits, as a file holds them."""
    return torch.randint(0, 256, (1, SIZE[1], SIZE[0], 3), generator=torch.Generator().manual_seed(seed)) / 255


def pictures(*seeds: int) -> torch.Tensor:
    return torch.cat([picture(seed) for seed in seeds])


BEFORE, AFTER = picture(0), picture(1)
BOX = ((((0.2, 0.2), (0.45, 0.2), (0.45, 0.6), (0.2, 0.6)),),)
DRAG = DragInstruction(
    (DrawnRegion("relocation", BOX, (0.6, 0.5)), DrawnPoints((((0.5, 0.8), (0.7, 0.7)),))), size=SIZE, background_prompt="a fox"
).to_json()  # fmt: skip


def taken(after: torch.Tensor = AFTER, before: torch.Tensor = BEFORE, drag: Any = DRAG, **given: Any) -> tuple[str, dict, list[dict]]:
    """The node's outputs, JSON and CSV read."""
    values = {"metrics": "", "lpips": "none", "prompt": "", "seed": 0, **given}
    # As ComfyUI runs nodes.
    with torch.inference_mode():
        text, numbers, table = DragMetrics.execute(before, after, drag, **values).args
    return text, json.loads(numbers), list(csv.DictReader(io.StringIO(table)))


def array(image: torch.Tensor) -> np.ndarray:
    return image[0].numpy()


def judged(after: torch.Tensor = AFTER, mask: np.ndarray | None = None, **more: Any) -> Judged:
    drag = DragInstruction.from_json(DRAG).rasterise(*SIZE)
    area = adaptive_gradient_mask(drag) if mask is None else mask
    return Judged(array(BEFORE), array(after), area, operations_of(drag), drag, **more)


def of_core(names: list[str], edit: Judged, networks: Backbones | None = None) -> dict[str, Any]:
    return {name: METRICS[name].measure(edit, networks or Backbones()) for name in names}


@pytest.fixture
def lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a random AlexNet's file in models/lpips, with random heads."""
    folder = tmp_path / "lpips"
    folder.mkdir()
    g = torch.Generator().manual_seed(5)
    shapes = {f"features.{name}": value.shape for name, value in perceptual.LPIPS().features.state_dict().items()}
    torch.save({name: torch.randn(shape, generator=g) * 0.05 for name, shape in shapes.items()}, folder / "alexnet.pth")
    heads = {f"lin{k}.model.1.weight": torch.rand(1, n, 1, 1, generator=g) for k, n in enumerate(perceptual.CHANNELS)}
    torch.save(heads, tmp_path / "heads.pth")
    for module in ("dragfield.core.metrics.perceptual", "dragfield.nodes.metrics"):
        monkeypatch.setattr(f"{module}.packaged_heads", lambda: tmp_path / "heads.pth")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, KEY, ([str(folder)], {".pth"}))
    folder_paths.filename_list_cache.pop(KEY, None)
    yield "alexnet.pth"
    folder_paths.filename_list_cache.pop(KEY, None)


# Equal to core


def test_with_nothing_more_connected_all_that_can_be_taken_is_and_equals_core() -> None:
    text, numbers, table = taken()
    assert numbers["pictures"] == [of_core(ALONE, judged())]
    assert numbers["unedited"] == [of_core(ALONE, judged(BEFORE))]
    assert [row["metric"] for row in table] == ALONE
    head, *lines = text.splitlines()
    assert head.split() == ["metric", "value", "unedited", "unit", "better"]
    for row, line in zip(table, lines, strict=False):
        metric, value = METRICS[row["metric"]], mean_value(numbers["pictures"][0][row["metric"]])
        assert row["value"] == ("" if value is None else str(value)) and (row["unit"], row["better"]) == (metric.unit, metric.better)
        still = mean_value(numbers["unedited"][0][row["metric"]])
        said = ["-" if v is None else f"{v:.4g}" for v in (value, still)]
        assert line.split()[: 4 + len(metric.unit.split())] == [metric.name, *said, *metric.unit.split(), metric.better]


def test_each_operation_has_a_value_of_its_own() -> None:
    text, numbers, _ = taken(metrics="arrival")
    values = numbers["pictures"][0]["arrival"]
    assert len(values) == 2 and numbers["mean"]["arrival"] == sum(values) / 2
    assert f"lower   operations: {values[0]:.4g}, {values[1]:.4g}" in text


def test_a_truth_brings_its_metrics_and_a_mask_counts_where_it_fades_too() -> None:
    truth, soft = picture(2), torch.zeros(1, SIZE[1], SIZE[0])
    soft[:, 10:40, 20:70] = 0.2
    _, numbers, _ = taken(truth=truth, mask=soft, metrics="ssim_truth, psnr_truth,psnr_background")
    expected = judged(mask=soft[0].numpy() > 0, truth=array(truth))
    assert numbers["pictures"] == [of_core(["ssim_truth", "psnr_truth", "psnr_background"], expected)]
    assert list(numbers["pictures"][0]) == ["ssim_truth", "psnr_truth", "psnr_background"]
    assert numbers["mask"] == {"given": True, "share": pytest.approx(30 * 50 / 96 / 64)}


def test_lpips_equals_core(lpips: str, tmp_path: Path) -> None:
    names = ["if", "if_bg", "if_s2t", "if_s2s"]
    _, numbers, _ = taken(lpips=lpips)
    expected = of_core(names, judged(), Backbones(lpips=tmp_path / "lpips" / lpips, lpips_heads=tmp_path / "heads.pth"))
    assert {name: numbers["pictures"][0][name] for name in names} == expected
    assert numbers["unedited"][0]["if"] == 1 and expected["if"] < 1
    assert set(numbers["pictures"][0]) == {*ALONE, *names}


def test_clip_is_asked_of_what_is_connected() -> None:
    connected, own = pair("clip")
    after = torch.ones_like(BEFORE)
    _, numbers, _ = taken(after, clip_vision=connected, metrics="clip")
    with torch.no_grad():
        assert numbers["pictures"] == [of_core(["clip"], judged(after), Backbones(clip=ComfyVision(connected, "clip")))]
        # transformers' own model with the same weights
        expected = of_core(["clip"], judged(after), Backbones(clip=own))["clip"]
    assert numbers["mean"]["clip"] == pytest.approx(expected, abs=1e-4) and expected < 0.999
    assert numbers["unedited_mean"]["clip"] == pytest.approx(1, abs=1e-5)


def test_mean_distances_are_cores_with_the_prompt_of_the_drag_and_the_seed() -> None:
    pytest.importorskip("diffusers")
    text, numbers, _ = taken(metrics="md,md1", dift_folder="demo", seed=7)
    with torch.no_grad():
        expected = of_core(["md", "md1"], judged(prompt="a fox", seed=7), Backbones(dift=DEMO_UNET))
    assert numbers["pictures"] == [expected] and numbers["prompt"] == "a fox" and "bundled UNet" in text


# The mask


def test_a_mask_is_made_as_for_a_data_set(tmp_path: Path) -> None:
    Image.fromarray(np.rint(array(BEFORE) * 255).astype(np.uint8)).save(tmp_path / "fox.png")
    (tmp_path / "fox.json").write_text(DRAG, encoding="utf-8")
    case = open_dataset("folder", tmp_path).read("fox")
    after = Image.fromarray(np.rint(array(AFTER) * 255).astype(np.uint8))
    text, numbers, _ = taken()
    assert numbers["pictures"] == [of_core(ALONE, case.judged(after, 0))]
    assert numbers["mask"] == {"given": case.mask_given, "share": float(case.mask.mean())} and not case.mask_given
    assert "made as published" in text


def test_a_field_is_judged_as_its_drag() -> None:
    field = DrawnField(DragInstruction.from_json(DRAG).rasterise(*SIZE))
    assert taken(drag=field)[1]["pictures"] == taken()[1]["pictures"]


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="the mask is empty"):
        taken(mask=torch.zeros(1, SIZE[1], SIZE[0]))


# Batches


def test_each_picture_of_a_batch_is_judged_alone_and_the_mean_is_given() -> None:
    text, numbers, table = taken(pictures(1, 2, 3))
    assert numbers["pictures"] == [taken(picture(seed))[1]["pictures"][0] for seed in (1, 2, 3)]
    assert numbers["unedited"] == taken()[1]["unedited"] * 3
    assert numbers["mean"]["ssim_source"] == pytest.approx(sum(one["ssim_source"] for one in numbers["pictures"]) / 3)
    assert [row["picture"] for row in table[:: len(ALONE)]] == ["mean", "1", "2", "3"]
    assert "mean of 3 pictures" in text and "picture 3" in text


def test_no_value_depends_on_the_order_of_a_batch() -> None:
    pytest.importorskip("diffusers")
    given = {"metrics": "md2,psnr_source", "dift_folder": "demo"}
    one, other = (taken(pictures(*seeds), **given)[1]["pictures"] for seeds in ((1, 2), (2, 1)))
    assert one == other[::-1] and one[0] != one[1]


def test_pairs_of_a_batch_belong_together() -> None:
    both = taken(pictures(1, 2), pictures(0, 3), truth=pictures(4, 5))[1]
    assert both["pictures"][1] == taken(picture(2), picture(3), truth=picture(5))[1]["pictures"][0]
    assert both["unedited"][1] == taken(picture(3), picture(3), truth=picture(5))[1]["pictures"][0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"after": AFTER[:, :32]}, "the edited picture is 96 x 32 px but the one before 96 x 64: make them the same size"),
        ({"truth": AFTER[:, :, :48]}, "the true picture is 48 x 64 px"),
        ({"mask": torch.ones(1, 32, 96)}, "the mask is 96 x 32 px but the picture is 96 x 64"),
        ({"after": pictures(1, 2), "before": pictures(0, 3, 4)}, "batches of 2 and 3 pictures do not belong together"),
    ],
)
def test_what_does_not_belong_together_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        taken(**given)


# What is asked for, and what it needs


def test_an_unknown_metric_is_refused_before_a_run_and_in_it() -> None:
    told = DragMetrics.validate_inputs(metrics="psnr_source, fid")
    assert told == f"metric 'fid' is unknown: use some of {', '.join(METRICS)}"
    with pytest.raises(ValueError, match="metric 'fid' is unknown"):
        taken(metrics="fid")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("psnr_truth", "metric psnr_truth needs the picture as it should be: connect it to truth"),
        ("if_bg", "metric if_bg needs LPIPS: put AlexNet .* into models/lpips"),
        ("clip", "metric clip needs CLIP: .* connect it to clip_vision"),
        ("md", "metric md needs Stable Diffusion: name its folder"),
    ],
)
def test_a_metric_says_what_to_connect(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        taken(metrics=f"psnr_source,{name}")


def test_before_a_run_only_what_is_certainly_missing_is_refused() -> None:
    assert "needs LPIPS" in DragMetrics.validate_inputs(metrics="if", lpips="none")
    assert "needs Stable Diffusion" in DragMetrics.validate_inputs(metrics="md", lpips="none")
    assert DragMetrics.validate_inputs(metrics="if,md", lpips=None, dift_folder=None) is True
    assert DragMetrics.validate_inputs(metrics="clip,psnr_truth", lpips="none") is True
    assert DragMetrics.validate_inputs(metrics="", lpips="none") is True
    assert DragMetrics.validate_inputs(drag="{", metrics="") is not True


def test_a_file_or_folder_that_is_not_there_is_named(lpips: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "there is no file 'other.pth' in models/lpips" in DragMetrics.validate_inputs(lpips="other.pth")
    monkeypatch.setattr("dragfield.nodes.metrics.packaged_heads", lambda: None)
    assert "pip install torchmetrics" in DragMetrics.validate_inputs(lpips=lpips)
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    assert "is not inside diffusers" in DragMetrics.validate_inputs(dift_folder="../lpips")
    assert "has no unet/config.json" in DragMetrics.validate_inputs(dift_folder="sd21")
    (tmp_path / "diffusers" / "sd21" / "unet").mkdir(parents=True)
    (tmp_path / "diffusers" / "sd21" / "unet" / "config.json").write_text("{}")
    assert DragMetrics.validate_inputs(metrics="md", dift_folder="sd21") is True


def test_networks_that_no_metric_asks_for_are_not_read(lpips: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(perceptual.LPIPS, "load", read)
    assert list(taken(metrics="psnr_source", lpips=lpips, clip_vision=object(), dift_folder="demo")[1]["mean"]) == ["psnr_source"]
    with pytest.raises(AssertionError, match="read"):
        taken(metrics="if", lpips=lpips)


def test_names_may_be_repeated_and_spaced() -> None:
    there = dict.fromkeys(("lpips", "clip", "dift", "dreamsim", "judge", "truth"), True)
    assert [metric.name for metric in metrics_to_take(" dai_5 ,psnr_source,, dai_5", there)] == ["dai_5", "psnr_source"]
    assert [metric.name for metric in metrics_to_take(" ", there)] == list(METRICS)


# A judge, and DreamSim


@contextmanager
def judging_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict]]:
    """A server that gives the first picture it sees of an edit 9 and 1, and the edited one 6 and 8; the settings name it."""
    asked: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pictures = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
            asked.append({"key": self.headers["Authorization"], "seed": body["seed"], "model": body["model"]})
            quality, drag = (9, 1) if pictures[0] == pictures[2] else (6, 8)
            told = json.dumps({"words": "a fox, smeared" if drag > 5 else "nothing moved", "quality": quality, "drag": drag})
            data = json.dumps({"choices": [{"message": {"content": told}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("DRAGFIELD_API_URL", f"http://127.0.0.1:{running.server_address[1]}/v1")
    monkeypatch.setenv("DRAGFIELD_API_KEY", "secret")
    try:
        yield asked
    finally:
        running.shutdown()
        running.server_close()


def test_a_judge_scores_the_edit_beside_the_unedited_picture_and_its_words_are_read_on_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    with judging_server(monkeypatch) as asked:
        text, numbers, table = taken(metrics="gscore,gscore_drag,psnr_source", judge=" qwen ", votes=2, seed=5)
    assert [numbers[of][0]["gscore"] for of in ("pictures", "unedited")] == [6, 9]
    assert [numbers[of][0]["gscore_drag"] for of in ("pictures", "unedited")] == [8, 1]
    assert [(one["key"], one["seed"], one["model"]) for one in asked] == [("Bearer secret", seed, "qwen") for seed in (5, 6)] * 2
    assert "The judge on picture 1: a fox, smeared" in text and "one model's taste" in text
    assert numbers["remarks"][0]["judge"]["quality"] == {"mean": 6, "spread": 0} and len(numbers["remarks"][0]["judge"]["votes"]) == 2
    assert [row["value"] for row in table[:2]] == ["6.0", "8.0"] and "secret" not in text + json.dumps(numbers)


def test_nobody_is_asked_unless_a_judge_is_named_and_its_scores_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with judging_server(monkeypatch) as asked:
        assert "remarks" not in taken()[1] and "remarks" not in taken(metrics="psnr_source", judge="qwen")[1]
        told = DragMetrics.validate_inputs(metrics="gscore", judge="")
        assert told.startswith("metric gscore needs a language model that sees pictures: write its name on your server in judge")
        assert DragMetrics.validate_inputs(metrics="gscore", judge="qwen") is True
        assert DragMetrics.validate_inputs(metrics="gscore", judge=None) is True
    assert asked == []
    monkeypatch.setenv("DRAGFIELD_API_URL", "http://example.com/v1")
    assert "the key would be sent in the clear to example.com" in DragMetrics.validate_inputs(metrics="gscore", judge="qwen")


def test_a_folder_without_dreamsim_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    assert "metric dreamsim needs DreamSim: name its folder" in DragMetrics.validate_inputs(metrics="dreamsim")
    assert "has no dino_vitb16_single_lora" in DragMetrics.validate_inputs(metrics="dreamsim", dreamsim_folder="sim")
    (tmp_path / "dreamsim" / "sim" / "dino_vitb16_single_lora").mkdir(parents=True)
    (tmp_path / "dreamsim" / "sim" / "dino_vitb16_single_lora" / "adapter_config.json").write_text("{}")
    assert DragMetrics.validate_inputs(metrics="dreamsim", dreamsim_folder="sim") is True
