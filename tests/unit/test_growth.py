"""How cost grows: counts equal those taken by hand, the base is one in every axis, and the plot puts each ratio where it belongs."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")

from dragfield.benchmarks import growth  # noqa: E402
from dragfield.benchmarks.growth_plot import GAP, PANEL, TOP, plot  # noqa: E402

SMALL = {
    "tiny-flux": ({**growth.demo_flux.CONFIG, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
                   "axes_dims_rope": (4, 6, 6), "joint_attention_dim": 12, "pooled_projection_dim": 6}, 5),
    "tiny-unet": ({**growth.SD15, "block_out_channels": (32, 32, 32, 32), "cross_attention_dim": 12, "norm_num_groups": 8}, 5),
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "MODELS", SMALL)


BASE = {"model": "tiny-flux", "size": 64}


@pytest.fixture
def report() -> dict:
    axes = {"size": (64, 128), "dtype": ("float32", "bfloat16"), "model": ("tiny-flux", "tiny-unet"), "operations": (1, 3)}
    return growth.run(growth.Setup(**BASE), axes, repeats=1)


def test_the_base_is_one_in_every_axis_and_the_others_are_counted_as_by_hand(report: dict) -> None:
    assert list(report["axes"]) == ["size", "dtype", "model", "operations"]
    for rows in report["axes"].values():
        assert rows[0]["ratio"] == {"seconds": 1, "flops": 1, "memory_bytes": 1}
        for row in rows:
            assert row["ratio"]["flops"] == row["flops"] / rows[0]["flops"] and min(row["seconds"], row["memory_bytes"]) > 0
    small, large = report["axes"]["size"]
    # Four times as many tokens of the picture, beside as many of the prompt.
    assert small["flops"] * 2.5 < large["flops"] and large["memory_bytes"] > 2.5 * small["memory_bytes"]
    one, half = report["axes"]["dtype"]
    assert half["flops"] == one["flops"] and half["memory_bytes"] < one["memory_bytes"]
    alone, three = report["axes"]["operations"]
    # The network does not know how many regions there are; to read its maps at more places is little, even beside one as small.
    assert alone["flops"] < three["flops"] < 1.1 * alone["flops"]
    setup = growth.Setup("tiny-unet", 64)
    steps = growth.Iteration(setup, "cpu")
    assert report["axes"]["model"][1]["flops"] == growth.count_flops(steps) > 0


def test_a_base_that_no_value_names_is_measured_all_the_same() -> None:
    (row,) = growth.run(growth.Setup(**BASE), {"size": (128,)}, repeats=1)["axes"]["size"]
    assert row["value"] == 128 and row["ratio"]["flops"] > 2


def test_progress_is_told_before_each_setup_and_ends_below_the_total() -> None:
    told: list[tuple] = []
    growth.run(growth.Setup(**BASE), {"operations": (1, 2)}, repeats=1, progress=lambda *at: told.append(at))
    assert told == [(0, 2, "operations 1"), (1, 2, "operations 2")]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [({"model": "sdxl"}, "model 'sdxl' is unknown: use one of tiny-flux"), ({"size": 100}, "size 100 does not fit: use multiples of 64"),
     ({"operations": 9}, "9 operations: use 1 to 8"), ({"operations": 0}, "0 operations")],
)  # fmt: skip
def test_a_setup_that_can_t_be_is_refused(told: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        growth.Setup(**BASE | told)


def test_eight_regions_lie_apart_and_land_on_the_picture() -> None:
    drawn = [growth._disc(256, i) for i in range(growth.MOST)]
    assert torch.stack([torch.from_numpy(one.mask) for one in drawn]).sum(0).max() == 1
    assert all(one.mask.mean() == pytest.approx(0.02, rel=0.05) and 0 < one.target[0] < 256 for one in drawn)


def test_tables_and_plot_are_written_and_say_the_same(report: dict, tmp_path: Path) -> None:
    growth.write(report, tmp_path / "new")
    with (tmp_path / "new" / "growth.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["changed"], line["to"]) for line in lines[:3]] == [("size", "64"), ("size", "128"), ("dtype", "float32")]
    assert float(lines[1]["FLOP x"]) == report["axes"]["size"][1]["ratio"]["flops"]
    assert (tmp_path / "new" / "growth.md").read_text().splitlines()[2].startswith("| size | 64 | ")
    assert "tiny-unet" in (tmp_path / "new" / "growth.svg").read_text()


RATIOS = {"seconds": 2.0, "flops": 4.0, "memory_bytes": 0.5}
AXES = {
    "size": [{"value": 128, "ratio": dict.fromkeys(RATIOS, 1.0)}, {"value": 256, "ratio": RATIOS}],
    "model": [{"value": "a<b", "ratio": dict.fromkeys(RATIOS, 1.0)}, {"value": "c", "ratio": RATIOS}],
}


def test_a_plot_is_whole_xml_without_scripts_that_knows_both_themes() -> None:
    text = plot(AXES)
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg") and "prefers-color-scheme: dark" in text and "a&lt;b" in text
    assert "<script" not in text and "href" not in text and len(text) < 20_000
    width, height = map(float, root.get("viewBox").split()[2:])
    assert width >= 2 * (PANEL[0] + GAP[0]) and height >= TOP + PANEL[1]


def test_a_mark_stands_at_the_height_of_its_ratio_and_numbers_are_joined() -> None:
    panel, words = re.findall(r"<g transform.*?</g>", plot(AXES), re.DOTALL)
    heights = {float(y): power for y, power in re.findall(r'y="([\d.]+)" text-anchor="end">×([\d/]+)<', panel) if "/" not in power}
    level = {power: y - 4 for y, power in heights.items()}
    times = [float(y) for y in re.findall(r'<circle class="seconds" cx="[\d.]+" cy="([\d.]+)"', panel)]
    assert times == pytest.approx([level["1"], level["2"]], abs=0.1)
    flops = [float(y) + 3.5 for y in re.findall(r'<rect class="flops" x="[\d.]+" y="([\d.]+)"', panel)]
    assert flops == pytest.approx([level["1"], level["4"]], abs=0.1)
    assert panel.count("<polyline") == 3 and words.count("<polyline") == 0
    assert "<title>memory ×0.5</title>" in panel
