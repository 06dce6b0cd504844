"""Variants of a method and ablation tables: settings by name, differences on the same samples, the papers' rows."""

from __future__ import annotations

import csv
import json
import random
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dragfield.benchmarks.evaluation.ablation import SETS, Ablation, ablation, in_order, in_words, paper_rows, write_ablation
from dragfield.benchmarks.evaluation.datasets import open_dataset
from dragfield.benchmarks.evaluation.editors import Editors
from dragfield.benchmarks.evaluation.plan import Plan
from dragfield.benchmarks.evaluation.run import run
from dragfield.benchmarks.evaluation.store import Row, Store
from dragfield.benchmarks.evaluation.variants import Variant, read_variants, with_settings
from dragfield.core.edits.directdrag import PUBLISHED as PUBLISHED_POINTS
from dragfield.core.edits.directdrag import DirectDragSettings, FlowPointSettings
from dragfield.core.edits.directdrag import ablation as published_rows
from dragfield.core.edits.dragfield import DragFieldSettings
from dragfield.core.edits.dragflow import PUBLISHED, DragFlowSettings
from dragfield.core.formats import drag100, red_bench
from dragfield.core.formats.picture_file import decode
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation

SIZE = (64, 48)


def rows(method: str, metric: str, *values, errors: dict[int, dict[str, str]] | None = None) -> list[Row]:
    """Samples s0, s1, ... of a method."""
    errors = errors or {}
    return [Row(method, f"s{i}", {metric: v}, errors.get(i, {})) for i, v in enumerate(values)]


def picture() -> Image.Image:
    return Image.fromarray(np.uint8(np.random.default_rng(0).uniform(0, 255, (SIZE[1], SIZE[0], 3))))


def points(folder: Path, count: int = 2) -> Path:
    for i in range(count):
        drag100.write(folder / f"s{i}", picture(), Drag(SIZE, (), (PointOperation((20.5, 20.5), (32.5 + i, 22.5)),)))
    return folder


def regions(folder: Path, count: int = 2) -> Path:
    mask = np.zeros(SIZE[::-1], bool)
    mask[10:20, 10:20] = True
    for i in range(count):
        drag = Drag(SIZE, (RegionOperation(mask, "relocation", (40.5 - i, 20.5)),), (PointOperation((15.5, 15.5), (40.5 - i, 20.5)),))
        red_bench.write(folder / f"a{i + 1}", picture(), drag)
    return folder


def test_a_difference_is_that_of_pairs_and_so_is_its_error() -> None:
    # Differences 0.1, 0.3, 0.2: mean 0.2, standard deviation 0.1, error 0.1 / sqrt(3).
    found = ablation(
        rows("base", "if_bg", 0.2, 0.5, 0.7, 0.9) + rows("other", "if_bg", 0.3, 0.8, 0.9, None), ("base", "other"), ("if_bg",), "base"
    )  # fmt: skip
    step = found.steps["other"]["if_bg"]
    assert step.difference.value == pytest.approx(0.2) and step.difference.error == pytest.approx(0.1 / 3**0.5)
    assert (step.difference.count, step.left_out, step.beyond) == (3, 1, "better")
    assert step.mean.value == pytest.approx(2 / 3)
    base = found.steps["base"]["if_bg"]
    assert base.mean.value == pytest.approx(0.575) and base.difference is None and base.beyond == ""
    assert in_words(step) == "0.6667 (+0.2000 ± 0.0577, n 3, 1 left out) *"


@pytest.mark.parametrize(
    ("metric", "theirs", "mark"),
    [
        ("if_bg", (0.5, 0.6, 0.7), "worse"),
        ("if_s2s", (0.5, 0.6, 0.7), "better"),
        ("if_bg", (0.9, 0.6, 0.9), ""),
    ],
)
def test_a_mark_stands_beyond_two_errors_and_knows_which_way_is_better(metric: str, theirs: tuple, mark: str) -> None:
    # Less (0.8, 0.8, 0.8): -0.2 +- 0.0577, and 0 +- 0.1.
    found = ablation(rows("b", metric, 0.8, 0.8, 0.8) + rows("o", metric, *theirs), ("b", "o"), (metric,), "b")
    assert found.steps["o"][metric].beyond == mark


def test_one_pair_has_no_error_and_no_mark() -> None:
    step = ablation(rows("b", "md1", [4.0]) + rows("o", "md1", [1.0]), ("b", "o"), ("md1",), "b").steps["o"]["md1"]
    assert (step.difference.value, step.difference.error, step.beyond) == (-3.0, None, "")


def test_what_failed_in_one_is_left_out_and_counted_what_has_no_value_in_both_is_not() -> None:
    broken = {1: {"edit": "broke"}, 2: {"md1": "no network"}}
    base, other = rows("b", "md1", [4.0], [4.0], [4.0], None), rows("o", "md1", [3.0], None, None, None, errors=broken)
    step = ablation(base + other, ("b", "o"), ("md1",), "b").steps["o"]["md1"]
    assert (step.difference.count, step.left_out) == (1, 2)
    # A sample that one of the two has not come to yet.
    step = ablation(base + other[:1], ("b", "o"), ("md1",), "b").steps["o"]["md1"]
    assert (step.difference.count, step.left_out) == (1, 3)
    nothing = ablation(base + rows("o", "md1", None, None), ("b", "o"), ("md1",), "b").steps["o"]["md1"]
    assert nothing.difference is None and in_words(nothing) == "-"


def test_a_pooled_metric_s_mean_is_over_operations_and_its_pairs_are_samples() -> None:
    base, other = rows("b", "md", [1.0, 3.0], [8.0]), rows("o", "md", [1.0, 1.0], [5.0])
    found = ablation(base + other, ("b", "o"), ("md",), "b")
    assert (found.steps["b"]["md"].mean.value, found.steps["b"]["md"].mean.count) == (4.0, 3)
    change = found.steps["o"]["md"].difference
    # Samples differ by 1 - 2 and 5 - 8.
    assert (change.value, change.error, change.count) == (-2.0, pytest.approx(1.0), 2)


def test_no_number_depends_on_the_order_of_rows(tmp_path: Path) -> None:
    rng = random.Random(0)
    all_rows = [row for name in ("a", "b", "c") for row in rows(name, "if_bg", *(rng.random() for _ in range(50)))]
    write_ablation(tmp_path, ablation(all_rows, ("a", "b", "c"), ("if_bg",), "b"))
    before = (tmp_path / "ablation.csv").read_bytes(), (tmp_path / "ablation.md").read_bytes()
    rng.shuffle(all_rows)
    write_ablation(tmp_path, ablation(all_rows, ("a", "b", "c"), ("if_bg",), "b"))
    assert ((tmp_path / "ablation.csv").read_bytes(), (tmp_path / "ablation.md").read_bytes()) == before
    write_ablation(tmp_path, None)
    assert list(tmp_path.iterdir()) == []


def test_columns_are_in_the_papers_order() -> None:
    assert in_order(("arrival", "md2", "md1", "if", "if_s2s", "if_bg", "if_s2t", "md", "clip")) == (
        "if_bg", "if_s2t", "if_s2s", "md1", "md2", "if", "clip", "md", "arrival",
    )  # fmt: skip


def test_the_tables_say_the_same(tmp_path: Path) -> None:
    write_ablation(tmp_path, ablation(rows("b", "if_bg", 0.5, 0.5) + rows("o", "if_bg", 0.7, 0.8), ("b", "o"), ("if_bg",), "b"))
    (base, other) = csv.DictReader((tmp_path / "ablation.csv").read_text("utf-8").splitlines())
    assert base == {"method": "b", "if_bg": "0.5", "if_bg difference": "base", "if_bg error": "", "if_bg pairs": "", "if_bg left out": "",
                    "if_bg beyond": ""}  # fmt: skip
    assert other == {"method": "o", "if_bg": "0.75", "if_bg difference": "0.25", "if_bg error": "0.05", "if_bg pairs": "2",
                     "if_bg left out": "0", "if_bg beyond": "better"}  # fmt: skip
    told = (tmp_path / "ablation.md").read_text("utf-8").splitlines()
    assert told[:4] == [
        "| method | if_bg ↑ |", "| --- | --- |", "| b (base) | 0.5000 |", "| o | 0.7500 (+0.2500 ± 0.0500, n 2) * |",
    ]  # fmt: skip


def test_settings_are_changed_by_name_and_nothing_else_is() -> None:
    told = {"drag.transport_steps": 10, "inversion.kv_blocks": "none", "guidance": 2, "kv": False, "field.point_mode": "idw"}
    made = with_settings(DragFlowSettings(), told)
    assert made.drag.transport_steps == 10 and made.guidance == 2.0 and isinstance(made.guidance, float)
    plain = DragFlowSettings()
    assert made == replace(
        plain, drag=replace(plain.drag, transport_steps=10), inversion=replace(plain.inversion, kv_blocks="none"), guidance=2.0, kv=False,
        field=replace(plain.field, point_mode="idw"),
    )  # fmt: skip
    assert with_settings(PUBLISHED_POINTS, {}) == PUBLISHED_POINTS
    changed = with_settings(DirectDragSettings(), {"warp": None, "soft_mask.sigma": 20, "drag.betas": [0, 0.9], "readout.size": [32, 32]})
    assert changed.warp is None and changed.soft_mask.sigma == 20.0
    assert changed.drag.betas == (0.0, 0.9) and changed.readout.size == (32, 32)
    # A part that is off begins at its defaults.
    assert with_settings(replace(DirectDragSettings(), warp=None), {"warp.ratio": 1}).warp.ratio == 1.0


@pytest.mark.parametrize("settings", [DragFlowSettings(), PUBLISHED, DragFieldSettings(), DirectDragSettings(), FlowPointSettings()])
def test_every_setting_that_json_has_words_for_can_be_said(settings) -> None:
    """Each field of each part, set to the value that it has: the same settings come out."""

    def told(part, within: str = ""):
        for one in fields(part):
            value = getattr(part, one.name)
            if is_dataclass(value):
                yield from told(value, f"{within}{one.name}.")
            elif value is None or isinstance(value, bool | int | float | str):
                yield f"{within}{one.name}", value

    names = dict(told(settings))
    assert len(names) > 20 and with_settings(settings, names) == settings


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"speed": 3}, "setting speed is unknown: use one of inversion, drag, guidance"),
        ({"drag.speed": 3}, "setting drag.speed is unknown: use one of transport_steps"),
        ({"guidance.high": 3}, "setting guidance has no parts"),
        ({"drag": 3}, "setting drag is 3: give its parts, such as drag.transport_steps"),
        ({"drag.transport_steps": 1.5}, "setting drag.transport_steps is 1.5: give a whole number"),
        ({"drag.transport_steps": True}, "setting drag.transport_steps is true: give a whole number"),
        ({"kv": 1}, "setting kv is 1: give true or false"),
        ({"guidance": "high"}, "setting guidance is 'high': give a number"),
        ({"drag.patience": "never"}, "give a whole number or null"),
        ({"drag.trail": "sometimes"}, "trail = 'sometimes' is unknown: use 'reset' or 'free'"),
        ({"drag.rate": -1}, "rates must be positive"),
        ({"drag.taps": ["double-3"]}, "setting drag.taps is"),
        ({"seed": 3}, "leave seed out"),
        ({"inversion.skip": 25}, "skip = 25 leaves no step of 25"),
        ({"inversion.kv_blocks": "ridge"}, "block choice 'ridge' is unknown"),
        ({"ties": "grid_sample"}, "ties = 'grid_sample' knows rigid regions alone"),
    ],
)
def test_settings_that_can_not_be_are_refused_before_a_model_is_read(told: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"variant v: .*{re.escape(sentence)}"):
        Editors(("v",), variants=(Variant("v", "dragflow", settings=told),))


def test_a_walk_of_points_that_can_not_be_is_refused_too() -> None:
    for told, sentence in (({"inversion.strength": 2}, "strength = 2.0 is outside"), ({"drag_steps": 0}, "a drag at 0 timesteps")):
        with pytest.raises(ValueError, match=f"variant v: {re.escape(sentence)}"):
            Editors(("v",), variants=(Variant("v", "directdrag", settings=told),))


@pytest.mark.parametrize("option", ["--variants", "--ablation", "--ablate", "--readout"])
def test_suites_of_drawn_cases_know_no_variants(option: str) -> None:
    typer = pytest.importorskip("typer.testing")
    from dragfield.cli.app import app

    refused = typer.CliRunner().invoke(app, ["bench", "--suite", "demo", option, "dragflow"])
    assert refused.exit_code == 2 and f"{option} is of data sets" in refused.output


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ([], "holds no variants"),
        ({"v": {"settings": {}}}, "variant v names no method"),
        ({"v": {"method": "dragflow", "steps": 3}}, "variant v has 'steps', which is unknown"),
        ({"v": {"method": "dragflow", "settings": []}}, "settings an object"),
        ({"../v": {"method": "dragflow"}}, "can't be named"),
        ({"v.": {"method": "dragflow"}}, "can't be named"),
        ({"DragFlow": {"method": "dragflow"}}, "another one's folder already"),
        ({"v": {"method": "dragflow"}, "V": {"method": "dragflow"}}, "another one's folder already"),
        ({"v": {"method": "no_edit"}}, "use one of dragfield, dragflow, directdrag, directdrag_flow"),
        ({"v": {"method": "dragfield", "preset": "published"}}, "nobody published dragfield"),
        ({"v": {"method": "dragflow", "preset": "best"}}, "there is no preset 'best'"),
    ],
)
def test_a_file_of_variants_that_can_not_be_is_refused(tmp_path: Path, told, sentence: str) -> None:
    (tmp_path / "v.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=re.escape(sentence)):
        variants = read_variants(tmp_path / "v.json")
        Editors([variant.name for variant in variants], variants=variants)


def test_a_run_is_not_taken_up_under_other_settings_of_one_name(tmp_path: Path) -> None:
    data = regions(tmp_path / "data", 1)

    def plan(*variants: Variant) -> Plan:
        methods = ("no_edit", *(variant.name for variant in variants))
        return Plan.make(suite="redbench", data=data, methods=methods, metrics=("max_background",), variants=variants, base="no_edit")

    short, long = (Variant("v", "dragflow", settings={"drag.transport_steps": steps}) for steps in (1, 2))
    Store(tmp_path / "out", plan(short)).begin()
    Store(tmp_path / "out", plan(short))
    with pytest.raises(ValueError, match=r"holds a variant v with .*transport_steps = 1\), this one has .*transport_steps = 2\)"):
        Store(tmp_path / "out", plan(long))
    # Others may be added, and the first is known still.
    Store(tmp_path / "out", plan(replace(long, name="w"))).begin()
    assert set(json.loads((tmp_path / "out" / "run.json").read_text())["variants"]) == {"v", "w"}
    with pytest.raises(ValueError, match="--ablate magic is none of the rows: use one of no_edit, v"):
        Plan.make(suite="redbench", data=data, methods=("no_edit", "v"), variants=(short,), base="magic")


def test_the_rows_of_directdrag_are_those_of_its_paper() -> None:
    variants = SETS["directdrag"]
    made = [with_settings(PUBLISHED_POINTS, variant.settings) for variant in variants]
    assert made == list(published_rows(PUBLISHED_POINTS).values())
    assert [variant.method for variant in SETS["dragflow"]] == ["directdrag_flow", "dragflow", "dragflow", "dragflow"]
    region, whole, held = (with_settings(PUBLISHED, variant.settings) for variant in SETS["dragflow"][1:])
    assert whole == held == PUBLISHED and region == replace(PUBLISHED, hard_mask=False)
    assert [variant.adapter for variant in SETS["dragflow"]] == [None, None, None, 1.0]


def test_the_adapters_row_is_of_the_bundled_model_alone() -> None:
    names = [variant.name for variant in paper_rows("dragflow", bundled=True)]
    assert names[-1] == "dragflow-adapter" and [variant.name for variant in paper_rows("dragflow", bundled=False)] == names[:-1]
    assert paper_rows(None, bundled=True) == ()
    held = Variant("held", "dragflow", adapter=1.0)
    for told in ({"model": "folder", "variants": (held,)}, {"variants": (replace(held, method="directdrag"),)}):
        with pytest.raises(ValueError, match="variant held: a subject adapter is there for the bundled FLUX alone"):
            Editors(("held",), **told)


@pytest.mark.parametrize(("adapter", "sentence"), [
    (0, "an adapter at strength 0; use a number above 0, at most 5"), (7.5, "at strength 7.5"), (float("nan"), "holds NaN|strength nan"),
    ("on", "adapter is 'on'; give its strength"), (True, "adapter is true; give its strength"),
])  # fmt: skip
def test_a_strength_that_can_t_be_is_refused(tmp_path: Path, adapter: object, sentence: str) -> None:
    (tmp_path / "v.json").write_text(json.dumps({"held": {"method": "dragflow", "adapter": adapter}}))
    with pytest.raises(ValueError, match=sentence):
        read_variants(tmp_path / "v.json")


def test_the_adapter_is_at_work_as_strongly_as_it_is_asked_to_be(tmp_path: Path) -> None:
    """The same edit with the bundled adapter by hand. Another strength is another picture, and part of what a name stands for."""
    pytest.importorskip("diffusers")
    import torch

    from dragfield.core.demo.adapter import DemoAdapter, with_subject
    from dragfield.core.picture.working_size import to_picture, to_tensor, working_size

    data = regions(tmp_path / "data", 1)
    (tmp_path / "v.json").write_text(json.dumps({
        name: {"method": "dragflow", "settings": FEW | {"paste_back": False}, **({"adapter": strength} if strength else {})}
        for name, strength in (("bare", None), ("held", 1.0), ("more", 2.0))
    }))  # fmt: skip
    variants = read_variants(tmp_path / "v.json")
    editors = Editors(("bare", "held", "more"), variants=variants)
    case = open_dataset("redbench", data).read("a1")
    made = {name: np.asarray(editors.edit(name, case, 3).picture) for name in ("bare", "held", "more")}
    assert len({picture.tobytes() for picture in made.values()}) == 3
    backbone, autoencoder = editors._models["flux"]
    size = working_size(case.size, 256)
    image = to_tensor(decode(case.picture), size)
    run_edit, settings = editors._engines["held"]
    words = [editors._words[key] for key in editors._keys("held", case.prompts)]
    with torch.no_grad():
        held = with_subject(backbone, autoencoder, DemoAdapter.load(), image, 1.0)
    edit = run_edit(held, autoencoder, image, case.regions.rasterise(*size), *words, settings=replace(settings, seed=3))
    assert np.array_equal(np.asarray(to_picture(edit.image, decode(case.picture), None)), made["held"])
    asked = {"suite": "redbench", "data": data, "methods": ("held",), "metrics": ("psnr_source",)}
    run(Plan.make(**asked, variants=variants), tmp_path / "out")
    with pytest.raises(ValueError, match="holds a variant held with dragflow .*; adapter at 1"):
        Store(tmp_path / "out", Plan.make(**asked, variants=(replace(variants[1], adapter=2.0),)))


FEW = {"drag.transport_steps": 1, "drag.intensify_steps": 0, "inversion.steps": 4, "inversion.skip": 2}


def test_variants_of_the_demo_model_are_run_and_compared_by_one_command(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    typer = pytest.importorskip("typer.testing")
    from dragfield.cli.app import app

    told = {"one": {"method": "dragflow", "settings": FEW}, "two": {"method": "dragflow", "settings": FEW | {"drag.transport_steps": 2}}}
    (tmp_path / "v.json").write_text(json.dumps(told))
    out = tmp_path / "out"
    arguments = ["bench", "--suite", "redbench", "--data", str(regions(tmp_path / "data")), "--out", str(out), "--variants",
                 str(tmp_path / "v.json"), "--metrics", "arrival,psnr_source", "--device", "cpu"]  # fmt: skip
    ran = typer.CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    assert {path.name for path in (out / "samples").iterdir()} == {"no_edit", "pixel_warp", "one", "two"}
    table = (out / "ablation.csv").read_bytes()
    lines = {line["method"]: line for line in csv.DictReader(table.decode().splitlines())}
    assert list(lines) == ["no_edit", "pixel_warp", "one", "two"] and lines["one"]["psnr_source difference"] == "base"
    assert lines["two"]["psnr_source pairs"] == "2" and float(lines["two"]["psnr_source difference"]) != 0
    page = re.search(r'id="data">(.*?)</script>', (out / "report.html").read_text("utf-8"), re.DOTALL)[1]
    assert json.loads(page)["ablation"]["rows"]["two"]["psnr_source"]["pairs"] == 2
    # Taken up again: nothing is done twice, and nothing under other settings.
    edited = out / "samples" / "two" / "a1" / "edited.png"
    before = edited.stat().st_mtime_ns
    assert typer.CliRunner().invoke(app, arguments).exit_code == 0
    assert edited.stat().st_mtime_ns == before and (out / "ablation.csv").read_bytes() == table
    told["two"]["settings"]["drag.rate"] = 0.1
    (tmp_path / "v.json").write_text(json.dumps(told))
    refused = typer.CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2 and "holds a variant two" in refused.output.replace("\n", " ")


def test_the_papers_ablations_run_on_the_demo_models(tmp_path: Path) -> None:
    """With as few steps as there can be."""
    pytest.importorskip("diffusers")
    # The readout pulls at the first step of a round, and at the very first nothing differs yet.
    little = {"directdrag": {"drag.rounds": 2, "drag_steps": 1, "inversion.steps": 4}, "dragflow": FEW}
    little["directdrag_flow"] = {"drag.rounds": 1, "drag_steps": 1, "inversion.steps": 4, "inversion.skip": 2}
    for name, suite, data in (("dragflow", "redbench", regions), ("directdrag", "drag100", points)):
        variants = tuple(replace(one, settings=dict(one.settings) | little[one.method]) for one in SETS[name])
        names = tuple(one.name for one in variants)
        plan = Plan.make(
            suite=suite, data=data(tmp_path / name, 1), methods=names, metrics=("psnr_source",), variants=variants, base=names[0]
        )
        outcome = run(plan, tmp_path / f"{name}-out")
        assert [row.errors for row in outcome.rows] == [{}] * len(names)
        assert isinstance(outcome.ablation, Ablation)
        pictures = {path.read_bytes() for path in (tmp_path / f"{name}-out" / "samples").rglob("edited.png")}
        # Every part changes something.
        assert len(pictures) == len(names)


def test_an_ablation_whose_rows_need_a_head_is_refused_without_one() -> None:
    from dragfield.cli.bench_sets import Rows, chosen

    with pytest.raises(ValueError, match="for which folder has no head: give one by --readout"):
        chosen(Rows(ablation="directdrag"), "folder", None)
    told = chosen(Rows(ablation="directdrag"), None, None)
    assert told["base"] == "directdrag-baseline" and told["methods"][:2] == ("no_edit", "pixel_warp")
    assert chosen(Rows("dragflow,no_edit", base="no_edit"), None, None)["base"] == "no_edit"
    assert chosen(Rows(), None, None)["base"] is None
    with pytest.raises(ValueError, match="--readout nowhere is no file"):
        Editors(("directdrag",), readout=Path("nowhere"))
