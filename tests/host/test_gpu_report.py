"""The parts of a graphics card's report that run in a ComfyUI, rehearsed on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_report.py"
PARTS = ["comfyui", "limits", "families", "dynamic", "host_tests"]


def test_what_needs_a_comfyui_runs_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--small", "--device", "cpu", "--parts", ",".join(PARTS)]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["parts"]
    assert [part["ended"] for part in found.values()] == ["done"] * len(PARTS)
    rows = {name: [row for row in found[name]["rows"] if "side" in row] for name in PARTS}
    # Two precisions, two sides, four plans; two precisions on one card; two families of two sides.
    assert [len(rows[name]) for name in PARTS] == [16, 2, 4, 2, 0]
    assert {row["given_up"] for row in rows["comfyui"]} == {
        "nothing", "bank_on_host", "bank_on_host checkpoint", "bank_on_host checkpoint checkpoints_on_host",
    }  # fmt: skip
    assert all(row["iteration_s"] > 0 and row["velocity_s"] > 0 for part in rows.values() for row in part)
    assert found["host_tests"]["rows"][1]["passed"] > 20


def test_without_a_comfyui_such_a_part_says_so(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--small", "--device", "cpu", "--parts", "families"]
    environment = {name: value for name, value in os.environ.items() if name != "COMFYUI_PATH"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert done.returncode == 1 and "COMFYUI_PATH does not name a ComfyUI" in done.stdout
