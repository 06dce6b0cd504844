"""Runs over data sets: killed and taken up again they end with the same files; what fails is a row; nothing depends on order."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dragfield.benchmarks.evaluation import run as running
from dragfield.benchmarks.evaluation.datasets import open_dataset
from dragfield.benchmarks.evaluation.plan import Plan, seed_of
from dragfield.benchmarks.evaluation.run import run, shown_time
from dragfield.benchmarks.evaluation.store import Row, Store
from dragfield.benchmarks.evaluation.summary import as_published, mean_of, paired
from dragfield.core.formats import drag100, red_bench
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves the folder of a test off the path
from chat_server import completion, send, server  # noqa: E402

SIZE = (64, 48)
FLOORS = ("no_edit", "pixel_warp")


def samples(folder: Path, count: int) -> Path:
    """A folder of Drag100 with pictures of noise, a square of it dragged."""
    for i in range(count):
        rng = np.random.default_rng(i)
        picture = Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))
        drag100.write(folder / f"s{i:03d}", picture, Drag(SIZE, (), (PointOperation((20.5, 20.5), (28.5 + i % 5, 22.5)),)))
    return folder


def plan(data: Path, *methods: str, **told) -> Plan:
    return Plan.make(**{"suite": "drag100", "data": data, "methods": methods or FLOORS, "threads": 1, **told})


def files(out: Path) -> dict[str, bytes]:
    """All of a run but what it cost, and its lock."""
    kept = (path for path in out.rglob("*") if path.is_file() and path.name not in ("cost.json", ".lock", "report.html"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in kept}


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")
def test_a_run_of_200_samples_killed_five_times_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 100)
    alone = run(plan(data), tmp_path / "alone")
    assert alone.done == len(alone.rows) == 200
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from dragfield.benchmarks.evaluation.plan import Plan\nfrom dragfield.benchmarks.evaluation.run import run\n"
        "plan = Plan.make(suite='drag100', data=Path(sys.argv[1]), methods=('no_edit', 'pixel_warp'), threads=1)\n"
        "print(run(plan, Path(sys.argv[2])).done)\n"
    )
    out, rng, before = tmp_path / "killed", random.Random(0), 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", program, str(data), str(out)], stdout=subprocess.DEVNULL)
        enough = before + rng.randrange(5, 35)
        # The files of earlier starts are there already: it is killed in what it does itself.
        while process.poll() is None and len(list(out.glob("samples/*/*/edit.json"))) < enough:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        stands = len(list(out.glob("samples/*/*/edit.json")))
        assert before < stands < 200
        before = stands
    ended = subprocess.run([sys.executable, "-c", program, str(data), str(out)], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    # What was whole was not done again; one sample may have been edited and not yet judged.
    assert 200 - before <= int(ended.stdout) <= 201 - before
    assert files(out) == files(tmp_path / "alone")
    with (out / "results.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 200 and len({(row["method"], row["sample"]) for row in rows}) == 200


def test_a_sample_that_fails_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 3)
    told = data / "s001" / "points.json"
    whole = told.read_bytes()
    told.write_text('{"points": [[1, 2], [3, 4], [5, 6]]}')
    out = tmp_path / "out"
    first = run(plan(data), out)
    assert list(first.unreadable) == ["s001"] and first.done == len(first.rows) == 6
    failed = [row for row in first.rows if row.errors]
    assert [(row.method, row.sample) for row in failed] == [("no_edit", "s001"), ("pixel_warp", "s001")]
    assert "an even number of points" in failed[0].errors["edit"] and failed[0].values == {}
    assert "an even number of points" in (out / "results.csv").read_text()
    told.write_bytes(whole)
    assert run(plan(data), out).done == 0
    mended = run(plan(data), out, retry=True)
    assert mended.done == 2 and not any(row.errors for row in mended.rows)
    run(plan(data), tmp_path / "whole")
    assert files(out) == files(tmp_path / "whole")


def test_an_editor_that_breaks_stops_nothing(tmp_path: Path, monkeypatch) -> None:
    from dragfield.benchmarks.evaluation.editors import Editors

    real = Editors.edit

    def breaks(self, method, case, seed):
        if case.name == "s000":
            raise RuntimeError("the card\nis on fire")
        return real(self, method, case, seed)

    monkeypatch.setattr(Editors, "edit", breaks)
    rows = run(plan(samples(tmp_path / "data", 2)), tmp_path / "out").rows
    assert [row.errors.get("edit") for row in rows] == ["RuntimeError: the card is on fire"] * 2 + [None] * 2


def test_a_model_that_can_not_be_read_ends_the_run_and_is_no_sample_s_fault(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    (tmp_path / "model" / "transformer").mkdir(parents=True)
    told = plan(samples(tmp_path / "data", 2), "no_edit", "dragfield", model=str(tmp_path / "model"))
    with pytest.raises(OSError, match="has no vae/config.json"):
        run(told, tmp_path / "out")
    assert not list((tmp_path / "out").glob("samples/dragfield/*"))


def test_no_value_depends_on_order_or_on_what_else_is_run(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 3)
    run(plan(data, "pixel_warp", "no_edit"), tmp_path / "all")
    run(plan(data, "pixel_warp", limit=1), tmp_path / "first")
    all_files, few = files(tmp_path / "all"), files(tmp_path / "first")
    assert all(all_files[name] == few[name] for name in few if name.startswith("samples"))
    assert seed_of(0, "s001") != seed_of(0, "s002") != seed_of(1, "s002") and seed_of(0, "s001") == seed_of(0, "s001")


def test_metrics_samples_and_methods_added_later_end_as_if_asked_at_once(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 3)
    run(plan(data, "no_edit", metrics=("arrival",), limit=2), tmp_path / "out")
    edited = (tmp_path / "out" / "samples" / "no_edit" / "s000" / "edited.png").stat().st_mtime_ns
    run(plan(data, "no_edit", "pixel_warp"), tmp_path / "out")
    assert (tmp_path / "out" / "samples" / "no_edit" / "s000" / "edited.png").stat().st_mtime_ns == edited
    run(plan(data, "no_edit", "pixel_warp"), tmp_path / "once")
    assert files(tmp_path / "out") == files(tmp_path / "once")
    # What was measured before stays in the tables when less is asked.
    fewer = run(plan(data, "no_edit", "pixel_warp", metrics=("arrival",)), tmp_path / "out")
    assert "psnr_source" in fewer.plan.metrics and files(tmp_path / "out") == files(tmp_path / "once")


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 1)
    run(plan(data), tmp_path / "out")
    with pytest.raises(ValueError, match="--seed 0, this one asks 1"):
        run(plan(data, seed=1), tmp_path / "out")
    with pytest.raises(ValueError, match="holds samples and no run.json"):
        (tmp_path / "out" / "run.json").unlink()
        run(plan(data), tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="folders are held by POSIX locks")
def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    ours = plan(samples(tmp_path / "data", 1))
    with Store(tmp_path / "out", ours).alone(), pytest.raises(ValueError, match="another run is writing"):
        run(ours, tmp_path / "out")


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"methods": ("magic",)}, "method 'magic' is unknown: use some of no_edit"),
        ({"metrics": ("beauty",)}, "metric 'beauty' is unknown"),
        ({"model": "nowhere", "methods": ("dragfield",)}, "dragfield needs a model with transformer/, and nowhere has none"),
        ({"suite": "redbench"}, "holds no sample of redbench"),
    ],
)
def test_a_plan_that_can_not_be_carried_out_is_refused_before_it_begins(tmp_path: Path, told: dict, sentence: str) -> None:
    data = samples(tmp_path / "data", 1)
    with pytest.raises(ValueError, match=sentence):
        Plan.make(**{"suite": "drag100", "data": data, "methods": FLOORS, **told})


def test_a_method_that_fits_no_sample_and_samples_that_none_can_read_are_refused(tmp_path: Path) -> None:
    red_bench.write(tmp_path / "red" / "a1", Image.new("RGB", SIZE), Drag(SIZE, (RegionOperation(square(), "relocation", (40.0, 20.0)),)))
    regions = plan(tmp_path / "red", "directdrag", suite="redbench")
    with pytest.raises(ValueError, match="holds no drag for directdrag: directdrag drags points"):
        run(regions, tmp_path / "out")
    data = samples(tmp_path / "data", 1)
    (data / "s000" / "original.jpg").unlink()
    with pytest.raises(ValueError, match="no sample of .* can be read"):
        run(plan(data), tmp_path / "other")


def square() -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[10:20, 10:20] = True
    return mask


def test_the_demo_models_edit_whole_data_sets(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    drag = Drag(SIZE, (RegionOperation(square(), "relocation", (40.5, 20.5)),), (PointOperation((15.5, 15.5), (40.5, 20.5)),))
    red_bench.write(tmp_path / "red" / "a1", Image.fromarray(np.uint8(np.random.default_rng(0).uniform(0, 255, (48, 64, 3)))), drag)
    outcome = run(plan(tmp_path / "red", "dragfield", "dragflow", "directdrag", suite="redbench"), tmp_path / "out")
    assert [row.errors for row in outcome.rows] == [{}] * 3
    assert all(row.seconds > 0 and row.nfe_forward > 0 for row in outcome.rows)
    pictures = [Image.open(tmp_path / "out" / "samples" / row.method / "a1" / "edited.png") for row in outcome.rows]
    assert [picture.size for picture in pictures] == [SIZE] * 3
    assert len({picture.tobytes() for picture in pictures}) == 3


DATA = Path(os.environ.get("DRAGFIELD_DATA") or Path(__file__).parents[3] / "shared" / "data")
HURRIED = {"dragfield": {"inversion.steps": 6, "inversion.skip": 2},
           "directdrag": {"drag.rounds": 2, "drag_steps": 1, "inversion.steps": 4},
           "dragflow": {"drag.transport_steps": 1, "drag.intensify_steps": 1, "inversion.steps": 4, "inversion.skip": 2}}  # fmt: skip


@pytest.mark.skipif(not DATA.is_dir(), reason="no real samples: DRAGFIELD_DATA points nowhere")
@pytest.mark.parametrize(
    ("suite", "folder", "methods"),
    [("redbench", "red_demo", ("dragfield", "dragflow", "directdrag")), ("dragbench", "dragbench", ("dragfield", "directdrag")),
     ("dragbench-dr", "dragbench", ("dragfield",)), ("drag100", "drag100", ("dragfield", "directdrag")),
     ("real-motion", "real_motion", ("dragfield", "dragflow"))],
)  # fmt: skip
def test_real_samples_go_the_whole_way_on_the_demo_models(suite: str, folder: str, methods: tuple[str, ...], tmp_path: Path) -> None:
    """Edited in a hurry at the demo models' size, judged by all that needs no file, reported."""
    pytest.importorskip("diffusers")
    from dragfield.benchmarks.evaluation.variants import Variant
    from dragfield.core.metrics.table import METRICS

    variants = tuple(Variant(f"{name}-hurried", name, settings=HURRIED[name]) for name in methods)
    names = (*FLOORS, *(variant.name for variant in variants))
    judged = plan(DATA / folder, *names, suite=suite, variants=variants, limit=2)
    assert set(judged.metrics) == {name for name, metric in METRICS.items() if not metric.needs}
    outcome = run(judged, tmp_path / "out")
    assert len(outcome.rows) == 2 * len(names) and [row.errors for row in outcome.rows] == [{}] * len(outcome.rows)
    for row in outcome.rows:
        with Image.open(tmp_path / "out" / "samples" / row.method / row.sample / "edited.png") as edited:
            assert edited.size == open_dataset(suite, DATA / folder).read(row.sample).size
        assert isinstance(row.values["psnr_background"], float) and row.values["arrival"]
    assert (tmp_path / "out" / "report.html").is_file()


def test_all_published_metrics_of_a_data_set_end_in_its_published_table(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    import torch

    from dragfield.core.demo.unet import WEIGHTS
    from dragfield.core.metrics.backbones import Backbones
    from dragfield.core.metrics.perceptual import CHANNELS, LPIPS

    torch.manual_seed(0)
    torch.save({f"features.{name}": value for name, value in LPIPS().features.state_dict().items()}, tmp_path / "alexnet.pth")
    torch.save({f"lin{k}.model.1.weight": torch.ones(1, c, 1, 1) for k, c in enumerate(CHANNELS)}, tmp_path / "heads.pth")
    networks = Backbones(lpips=tmp_path / "alexnet.pth", lpips_heads=tmp_path / "heads.pth", dift=WEIGHTS)
    picture = Image.fromarray(np.uint8(np.random.default_rng(0).uniform(0, 255, (48, 64, 3))))
    red_bench.write(tmp_path / "red" / "a1", picture, Drag(SIZE, (RegionOperation(square(), "relocation", (40.5, 20.5)),)))
    outcome = run(plan(tmp_path / "red", suite="redbench", backbones=networks), tmp_path / "out")
    assert [row.errors for row in outcome.rows] == [{}, {}]
    still, warped = (dict(row.values) for row in outcome.rows)
    assert (still["if"], still["if_bg"], still["if_s2s"]) == (1, 1, 1)
    # The floor that only moves pixels comes nearer to the target, by every network.
    assert warped["if_s2t"] > still["if_s2t"] and warped["md1"] < still["md1"]
    table = (tmp_path / "out" / "published" / "no_edit.csv").read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("image_name,notes,IF_bg") and table[1].startswith("a1,-,1.0,") and table[-1].startswith("MEAN,-,1.0,")
    # A second network for the same metric would mix two scales in one table.
    torch.save({}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="was measured with --lpips-heads"):
        Store(tmp_path / "out", plan(tmp_path / "red", suite="redbench", backbones=Backbones(lpips_heads=tmp_path / "other.pth")))


def test_a_judges_words_are_kept_with_its_numbers_and_no_second_judge_is_mixed_in(tmp_path: Path) -> None:
    from dragfield.core.metrics.backbones import Backbones
    from dragfield.core.metrics.judge import Judge

    def reply(handler, n: int) -> None:
        seed = seen.bodies[n]["seed"]
        if seen.bodies[n]["model"] == "mute":
            send(handler, 200, completion("I would rather not."))
        else:
            send(handler, 200, completion(json.dumps({"words": f"seed {seed}", "quality": seed % 11, "drag": 5})))

    data, out = samples(tmp_path / "data", 2), tmp_path / "out"
    with server(reply) as (url, seen):
        judged = {"metrics": ("psnr_source", "gscore", "gscore_drag"), "backbones": Backbones(judge=Judge(url, "m", votes=2))}
        run(plan(data, metrics=("psnr_source",)), out)
        first = run(plan(data, **judged), out)
        asked = len(seen.bodies)
        assert first.done == 4 and asked == 2 * 4 and run(plan(data, **judged), out).done == 0 and len(seen.bodies) == asked
        for row in first.rows:
            begin = seed_of(0, row.sample, "metrics")
            assert [vote["seed"] for vote in row.remarks["judge"]["votes"]] == [begin, begin + 1]
            assert [vote["words"] for vote in row.remarks["judge"]["votes"]] == [f"seed {begin}", f"seed {begin + 1}"]
            assert row.values["gscore"] == (begin % 11 + (begin + 1) % 11) / 2 and row.values["gscore_drag"] == 5 and not row.errors
        run(plan(data, **judged), tmp_path / "again")
        assert files(out) == files(tmp_path / "again")
        kept = json.loads((out / "samples" / "no_edit" / "s000" / "metrics.json").read_text())["remarks"]["judge"]
        assert kept["votes"][0]["words"].startswith("seed") and kept["quality"]["spread"] >= 0
        assert f"seed {seed_of(0, 's000', 'metrics')}" in (out / "report.html").read_text(encoding="utf-8")
        # A metric that is added later leaves the words where they are, and asks nobody.
        asked = len(seen.bodies)
        kept = run(plan(data, **(judged | {"metrics": ("ssim_source",)})), out)
        assert all(row.remarks["judge"]["votes"] for row in kept.rows) and len(seen.bodies) == asked
        for other in (Judge(url, "other", votes=2), Judge(url, "m", votes=2, temperature=0.4), Judge(url, "m")):
            with pytest.raises(ValueError, match="was measured with --judge m at 127.0.0.1:.*, 2 votes at temperature 0, this run names"):
                Store(out, plan(data, **(judged | {"backbones": Backbones(judge=other)})))
        # A judge that says no number is an error of its rows; the others have theirs.
        silent = run(plan(data, **(judged | {"backbones": Backbones(judge=Judge(url, "mute"))})), tmp_path / "mute")
        assert all(set(row.errors) == {"gscore", "gscore_drag"} and set(row.values) == {"psnr_source"} for row in silent.rows)
        said = "mute was asked twice: the answer 'I would rather not.' gives no number for quality"
        assert said in (tmp_path / "mute" / "results.csv").read_text()


def test_progress_ends_with_the_time_left(tmp_path: Path) -> None:
    told = []
    run(plan(samples(tmp_path / "data", 2), "no_edit"), tmp_path / "out", progress=lambda *at: told.append(at))
    assert [at[:2] for at in told] == [(0, 2), (1, 2), (2, 2)] and told[-1][2] == "no_edit s001, 0 s left"
    assert [shown_time(s) for s in (3.4, 89, 90, 5000, 7500)] == ["3 s", "89 s", "2 min", "83 min", "2 h 05 min"]


def rows(**values) -> list[Row]:
    count = len(next(iter(values.values())))
    return [Row("m", f"s{i}", {name: column[i] for name, column in values.items()}, {}) for i in range(count)]


def test_means_are_over_samples_and_differences_over_pairs() -> None:
    mine, other = rows(arrival=[[1.0, 3.0], [6.0], None]), rows(arrival=[[1.0], [2.0], [9.0]])
    mean = mean_of(mine, "arrival")
    assert (mean.value, mean.error, mean.count) == (4.0, 2.0, 2)
    difference = paired(mine, other, "arrival")
    assert (difference.value, difference.error, difference.count) == (2.5, pytest.approx(1.5), 2)
    assert mean_of(mine, "ssim_truth") is None


def test_the_published_table_is_laid_out_as_published() -> None:
    found = rows(if_bg=[0.99114, 0.98], if_s2t=[0.9, 0.8], if_s2s=[0.5, 0.6], md1=[[10.00049], [3.0, 5.0]], md2=[[4.0], [5.0]])
    table = as_published(found)
    assert table[0] == ["image_name", "notes", "IF_bg  ⬆️", "IF_s2t ⬆️", "IF_s2s ⬇️", "MD_1   ⬇️", "MD_2   ⬇️"]
    assert table[1] == ["s0", "-", 0.991, 0.9, 0.5, 10.0, 4.0]
    assert table[-1] == ["MEAN", "-", 0.986, 0.85, 0.55, 7.0, 4.5]


def test_the_command_runs_a_data_set_and_goes_on_with_it(tmp_path: Path) -> None:
    typer = pytest.importorskip("typer.testing")
    from dragfield.cli.app import app

    data, out = samples(tmp_path / "data", 2), tmp_path / "out"
    arguments = ["bench", "--suite", "drag100", "--data", str(data), "--out", str(out), "--methods", "no_edit, pixel_warp"]
    first = typer.CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "drag100: 2 samples, seed 0, model demo" in first.output and "truth" not in first.output
    again = files(out)
    assert typer.CliRunner().invoke(app, arguments).exit_code == 0 and files(out) == again
    for missing, sentence in (("--data", "needs its samples"), ("--out", "keeps every result")):
        at = arguments.index(missing)
        refused = typer.CliRunner().invoke(app, arguments[:at] + arguments[at + 2 :])
        assert refused.exit_code == 2 and sentence in refused.output
    assert json.loads((out / "run.json").read_text())["suite"] == "drag100"


def test_an_engine_may_give_tasks_in_any_order(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 3)

    def backwards(plan, tasks, prompts):
        yield from running.local(plan, reversed(list(tasks)), prompts)

    run(plan(data), tmp_path / "one")
    run(plan(data), tmp_path / "two", engine=backwards)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_folder_of_instructions_is_edited_by_one_command(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    typer = pytest.importorskip("typer.testing")
    from dragfield.cli.app import app
    from dragfield.core.instruction import DragInstruction

    told = DragInstruction.from_drag(Drag(SIZE, (RegionOperation(square(), "relocation", (40.5, 20.5)),)))
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / f"{name}.json").write_text(told.to_json())
        Image.fromarray(np.uint8(np.random.default_rng(0).uniform(0, 255, (48, 64, 3)))).save(tmp_path / "in" / f"{name}.png")
    arguments = ["edit", "--batch", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    ran = typer.CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0 and "2 of 2 edits" in ran.output, ran.output
    pictures = [Image.open(tmp_path / "out" / "samples" / "dragfield" / name / "edited.png") for name in ("one", "two")]
    assert all(picture.size == SIZE for picture in pictures)
    # Each sample draws its own noise.
    assert pictures[0].tobytes() != pictures[1].tobytes()
    refused = typer.CliRunner().invoke(app, [*arguments, "--lean"])
    assert refused.exit_code == 2 and "leave --lean out" in refused.output
    assert typer.CliRunner().invoke(app, ["edit"]).exit_code == 2


@pytest.mark.parametrize("bundled", [True, False])
@pytest.mark.parametrize("method", ["dragfield", "dragflow", "directdrag"])
def test_the_evaluation_edits_as_the_edit_command_does(tmp_path: Path, method: str, bundled: bool) -> None:
    """The same picture bit for bit, on the bundled models with our settings and on a folder with the published ones."""
    pytest.importorskip("diffusers")
    typer = pytest.importorskip("typer.testing")
    from dragfield.cli.app import app
    from dragfield.core.demo import flux, unet

    picture = Image.fromarray(np.uint8(np.random.default_rng(0).uniform(0, 255, (48, 64, 3))))
    if method == "directdrag":
        drag100.write(tmp_path / "data" / "a1", picture, Drag(SIZE, (), (PointOperation((20.5, 20.5), (40.5, 24.5)),)))
    else:
        drag = Drag(SIZE, (RegionOperation(square(), "relocation", (40.5, 20.5)),), (), "a red square", "moved")
        red_bench.write(tmp_path / "data" / "a1", picture, drag)
    folder = (unet if method == "directdrag" else flux).WEIGHTS
    told = {} if bundled else {"model": str(folder)}
    suite = "drag100" if method == "directdrag" else "redbench"
    outcome = run(plan(tmp_path / "data", method, suite=suite, metrics=("max_background",), **told), tmp_path / "out")
    assert outcome.rows[0].errors == {}
    arguments = ["edit", str(tmp_path / "data" / "a1"), "--method", method, "--output", str(tmp_path / "edit.png"), "--device", "cpu"]
    arguments += [] if bundled else ["--model", str(folder)]
    arguments += ["--no-lora"] if method == "directdrag" else []
    arguments += ["--seed", str(seed_of(0, "a1"))] if method != "directdrag" else []
    ran = typer.CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    with Image.open(tmp_path / "edit.png") as theirs, Image.open(tmp_path / "out" / "samples" / method / "a1" / "edited.png") as ours:
        assert ours.tobytes() == theirs.tobytes()
