"""scripts/comfyui_batch.py: a folder of drags through two servers, each of which is killed once."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "comfyui_batch.py"
SIZE, COUNT = (64, 64), 8

pytestmark = pytest.mark.timeout(1800)


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"host_{path.stem}", path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


comfy, batch = module(Path(__file__).with_name("server.py")), module(SCRIPT)

WORKFLOW = {
    "picture": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "canvas": {"class_type": "DragfieldCanvas", "inputs": {"image": ["picture", 0], "drag": '{"version":1,"operations":[]}'}},
    "preview": {
        "class_type": "DragfieldPreview",
        "inputs": {"image": ["picture", 0], "drag": ["canvas", 0], "progress": 1.0, "deformation": "stretch"},
    },
    "save": {"class_type": "SaveImage", "inputs": {"images": ["preview", 0], "filename_prefix": "batch"}},
}
"""The cheapest that drags: the picture warped, without a model."""


def drag(x: float) -> str:
    region = [[[[0.2, 0.2], [0.5, 0.2], [0.5, 0.5], [0.2, 0.5]]]]
    return json.dumps({"version": 1, "operations": [{"kind": "region", "task": "relocation", "region": region, "target": [x, 0.6]}]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Samples, each a drag of its own."""
    made = tmp_path / "drags"
    made.mkdir()
    for i in range(COUNT):
        picture = Image.fromarray(np.random.default_rng(i).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))
        picture.save(made / f"s {i}.png")
        (made / f"s {i}.json").write_text(drag(0.6 + i / 50))
    return made


def workflow(tmp_path: Path, prompt: dict) -> Path:
    path = tmp_path / "workflow_api.json"
    path.write_text(json.dumps(prompt))
    return path


def started(folder: Path, out: Path, workflow: Path, *urls: str, **options: float) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(folder), "--workflow", str(workflow), "--out", str(out)]
    command += [word for url in urls for word in ("--server", url)]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def lines_until(process: subprocess.Popen, word: str) -> list[str]:
    found = []
    for line in process.stdout:
        found.append(line)
        if word in line:
            return found
    raise AssertionError(f"{word!r} was never said:\n{''.join(found)}")


def test_two_servers_each_killed_once_make_every_picture(tmp_path: Path, folder: Path) -> None:
    comfyui, out = os.environ["COMFYUI_PATH"], tmp_path / "out"
    ports = comfy.free_port(), comfy.free_port()
    one, two = (f"http://127.0.0.1:{port}" for port in ports)
    with ExitStack() as stack:
        first, second = (stack.enter_context(comfy.serving(comfyui, tmp_path / f"server{i}", port=port)) for i, port in enumerate(ports))
        path = workflow(tmp_path, WORKFLOW)
        process = started(folder, out, path, one, two, patience=900)
        lines_until(process, f"1 of {COUNT}: ")
        for server in (first, second):
            os.killpg(server.pid, signal.SIGKILL)
        done = len(list(out.glob("*.png")))
        assert 1 <= done < COUNT
        again = [stack.enter_context(comfy.serving(comfyui, tmp_path / f"again{i}", port=port)) for i, port in enumerate(ports)]
        told, _ = process.communicate(timeout=600)
        assert process.returncode == 0 and "is tried again" in told, told
        assert sorted(path.name for path in out.iterdir()) == [f"s {i}.png" for i in range(COUNT)]
        for i in range(COUNT):
            made, source = (np.asarray(Image.open(place / f"s {i}.png")).astype(int) for place in (out, folder))
            # Each is its own drag of its own picture: its corner is as it was, its target is not.
            assert np.array_equal(made[:8, :8], source[:8, :8]) and not np.array_equal(made, source)
        # What is there is not asked for again; what is missing is.
        (out / "s 3.png").unlink()
        before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
        resumed = started(folder, out, path, one, two)
        told, _ = resumed.communicate(timeout=600)
        assert resumed.returncode == 0 and f"{COUNT - 1} of {COUNT} are there already" in told and "1 of 1: s 3" in told
        assert {name: (out / name).stat().st_mtime_ns for name in before} == before and (out / "s 3.png").is_file()
        # A drag that is wrong is told in the words of the server, and does not stop the others.
        (folder / "s 1.json").write_text("{")
        for name in ("s 1.png", "s 2.png"):
            (out / name).unlink()
        broken = started(folder, out, path, one, two, retries=1)
        told, _ = broken.communicate(timeout=600)
        assert broken.returncode == 1 and "1 of 2 are missing" in told
        assert "JSON" in json.loads((out / "errors.json").read_text())["s 1"] and (out / "s 2.png").is_file()
        assert again


def test_workflows_that_leave_it_open_are_refused(tmp_path: Path, folder: Path, capsys) -> None:
    two = {**WORKFLOW, "other": WORKFLOW["picture"]}
    for prompt, sentence in (
        ({"nodes": [], "links": []}, "is no workflow in API format"),
        (two, "2 nodes that could be the LoadImage; name the one to use by --picture-node"),
        ({"picture": WORKFLOW["picture"]}, "0 nodes that could be the node with a drag"),
    ):
        arguments = [str(folder), "--workflow", str(workflow(tmp_path, prompt)), "--out", str(tmp_path / "out")]
        assert batch.main(arguments) == 2 and sentence in capsys.readouterr().err
    made = batch.Workflow.read(workflow(tmp_path, two), "other", None)
    assert made.of("a.png", "{}")["other"]["inputs"]["image"] == "a.png" and made.prompt["other"]["inputs"]["image"] == "example.png"


def test_no_server_and_no_drag_are_told(tmp_path: Path, folder: Path, capsys) -> None:
    path = str(workflow(tmp_path, WORKFLOW))
    url = f"http://127.0.0.1:{comfy.free_port()}"
    assert batch.main([str(folder), "--workflow", path, "--out", str(tmp_path / "out"), "--server", url]) == 2
    assert f"no ComfyUI answers at {url}" in capsys.readouterr().err and not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    assert batch.main([str(tmp_path / "empty"), "--workflow", path, "--out", str(tmp_path / "out")]) == 2
    assert "holds no drag" in capsys.readouterr().err
