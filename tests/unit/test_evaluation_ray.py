"""The Ray engine gives what the local one gives, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dragfield.benchmarks.evaluation import ray_engine
from dragfield.benchmarks.evaluation.plan import Plan
from dragfield.benchmarks.evaluation.ray_engine import Cluster
from dragfield.benchmarks.evaluation.run import run
from dragfield.benchmarks.evaluation.work import Files, Task, Worker
from dragfield.core.formats import drag100
from dragfield.core.instruction.operations import Drag, PointOperation

ray = pytest.importorskip("ray", reason="ray is not installed")


class Slow(Worker):
    """Leaves its process id behind for whoever wants to kill it, and takes its time."""

    def do(self, task: Task) -> Files:
        marks = Path(os.environ["DRAGFIELD_TEST_MARKS"])
        (marks / str(os.getpid())).touch()
        if task.sample == os.environ.get("DRAGFIELD_TEST_DEADLY"):
            with (marks / "deaths").open("a") as deaths:
                deaths.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.3)
        return super().do(task)


@pytest.fixture(scope="module")
def marks(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module", autouse=True)
def cluster(marks: Path):
    """A cluster of this machine alone."""
    paths = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    variables = {"DRAGFIELD_TEST_MARKS": str(marks), "DRAGFIELD_TEST_DEADLY": "deadly", "PYTHONPATH": paths}
    ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR", include_dashboard=False, runtime_env={"env_vars": variables})
    yield
    ray.shutdown()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for i in range(8):
        picture = Image.fromarray(np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8))
        drag100.write(tmp_path / "data" / f"s{i:02d}", picture, Drag((64, 48), (), (PointOperation((20.5, 20.5), (28.5, 22.5)),)))
    return tmp_path / "data"


def plan(data: Path, *methods: str) -> Plan:
    return Plan.make(suite="drag100", data=data, methods=methods or ("no_edit", "pixel_warp"), threads=1)


def files(out: Path) -> dict[str, bytes]:
    kept = (path for path in out.rglob("*") if path.is_file() and path.name not in ("cost.json", ".lock", "report.html"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in kept}


def test_two_workers_one_of_them_killed_end_as_one_process_does(data: Path, marks: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ray_engine, "Worker", Slow)
    killed: list[int] = []

    def kill(done: int, total: int, what: str) -> None:
        if done == 5 and not killed:
            pid = int(next(path.name for path in marks.iterdir() if path.name.isdecimal()))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    spread = run(plan(data), tmp_path / "ray", engine=Cluster(workers=2), progress=kill)
    run(plan(data), tmp_path / "local")
    processes = {path.name for path in marks.iterdir() if path.name.isdecimal()}
    # Two at first, and a third in the place of the one that was killed.
    assert killed and len(processes) == 3
    assert spread.done == 16 and not any(row.errors for row in spread.rows)
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_a_model_gives_the_same_pictures_on_a_cluster(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    few = Plan.make(suite="drag100", data=data, methods=("dragfield",), limit=1, threads=1)
    run(few, tmp_path / "ray", engine=Cluster(workers=1))
    run(few, tmp_path / "local")
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_a_sample_that_kills_its_workers_is_a_row_and_the_others_go_on(data: Path, marks: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ray_engine, "Worker", Slow)
    monkeypatch.setattr(ray_engine, "RETRIES", 1)
    (data / "s00").rename(data / "deadly")
    outcome = run(plan(data, "no_edit"), tmp_path / "out", engine=Cluster(workers=2))
    errors = {row.sample: row.errors.get("edit") for row in outcome.rows}
    assert len(errors) == 8 and "died 2 times" in errors.pop("deadly") and set(errors.values()) == {None}
    assert (marks / "deaths").read_text() == "xx"


def test_the_command_takes_the_engine(data: Path, tmp_path: Path) -> None:
    typer = pytest.importorskip("typer.testing")
    from dragfield.cli.app import app
    from dragfield.cli.bench_sets import engine_of

    arguments = ["bench", "--suite", "drag100", "--data", str(data), "--methods", "no_edit,pixel_warp", "--limit", "2"]
    for name, more in (("ray", ["--engine", "ray", "--workers", "2"]), ("local", [])):
        ran = typer.CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / name), *more])
        assert ran.exit_code == 0, ran.output
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    # Cards are asked of the cluster: this machine may have none.
    assert engine_of((2, 0.5, "auto"), "auto") == (Cluster(2, 0.5, "auto"), "cuda")
    assert engine_of((2, None, None), "cuda") == (Cluster(2, 1.0), "cuda") and engine_of((2, None, None), "auto") == (Cluster(2), "cpu")


def test_a_cluster_that_is_too_small_is_told(data: Path, tmp_path: Path) -> None:
    for engine, sentence in ((Cluster(workers=99), "ask for 99 CPUs"), (Cluster(gpus=0.5), "ask for 0.5 GPUs")):
        with pytest.raises(ValueError, match=sentence):
            run(plan(data), tmp_path / "out", engine=engine)
