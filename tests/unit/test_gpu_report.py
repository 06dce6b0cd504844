"""The report of a graphics card, rehearsed on this machine; what runs in a ComfyUI is rehearsed in tests/host."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_report.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gpu_report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


def test_what_needs_no_comfyui_runs_to_its_end(tmp_path: Path) -> None:
    parts = ["correct", "iteration", "edits", "points", "profile"]
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--small", "--device", "cpu", "--parts", ",".join(parts)]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(report["parts"]) == parts
    assert all(part["ended"] == "done" and len(part["rows"]) > 2 for part in report["parts"].values())
    checks = {row["check"]: row for row in report["parts"]["correct"]["rows"] if "check" in row}
    assert all(row["value"] == 0 for name, row in checks.items() if "the same again" in name or "background" in name)
    small, large = (row for row in report["parts"]["iteration"]["rows"] if "side" in row)
    assert small["published_s"] > 0 and large["ours_gib"] > large["checkpointed_gib"]
    assert "| check |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_part_that_takes_too_long_is_cut_off_and_the_next_one_runs(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = dict(script.PARTS)
    parts["correct"] = type(parts["correct"])("slow", 0.2, "correct", "correct")
    monkeypatch.setattr(script, "PARTS", parts)
    arguments = [str(tmp_path), "--small", "--device", "cpu"]
    assert script.run_all(["correct", "iteration"], tmp_path, 100, arguments) == 1
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["parts"]["correct"] == {"ended": "cut off at 0 s", "seconds": pytest.approx(0.2, abs=5.5), "rows": []}
    assert report["parts"]["iteration"]["ended"] == "done"


def test_without_time_a_part_is_left_out_and_the_report_says_so(script, tmp_path: Path) -> None:
    assert script.run_all(["correct"], tmp_path, 1, [str(tmp_path)]) == 1
    assert "no time left" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_part_that_fails_says_why(script, tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--small", "--device", "moon"]
    assert script.one("correct", tmp_path, 60, arguments).startswith("failed (1): ")


def test_a_row_that_was_half_written_is_left_out(script, tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    path.write_text('{"a": 1}\n{"b": 2.5, "c": "x|y"}\n{"d": ', encoding="utf-8")
    rows = script.rows_of(path)
    assert rows == [{"a": 1}, {"b": 2.5, "c": "x|y"}]
    assert script.table(rows).splitlines() == ["| a | b | c |", "| --- | --- | --- |", "| 1 |  |  |", "|  | 2.5 | x/y |"]


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path), "--parts", "speed"], text=True, capture_output=True)
    assert done.returncode == 2 and "there is no part 'speed'" in done.stderr
