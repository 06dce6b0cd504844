"""The drag canvas from Python's side: its own tests pass, its types hold, and every drag that it writes is read here."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from dragfield.core.instruction import DragInstruction, DrawnRegion

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODE = shutil.which("node")
TSC = ROOT / "node_modules" / ".bin" / "tsc"

PAGE = re.compile(r"\b(window|document|body|documentElement)\.addEventListener|\.prototype\b|\beval\(|document\.head")
"""What reaches beyond the canvas."""

needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def run(*command: str | Path) -> str:
    ran = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=280)
    assert ran.returncode == 0, f"{ran.stdout[-6000:]}\n{ran.stderr[-2000:]}"
    return ran.stdout


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_node
@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name)
def test_the_canvas_passes_its_own_tests(path: Path) -> None:
    run(NODE, "--test", path)


@pytest.mark.skipif(not TSC.exists(), reason="TypeScript is not installed; run npm install")
def test_the_types_of_the_canvas_hold() -> None:
    run(TSC, "-p", ROOT / "tsconfig.json")


def test_nothing_listens_outside_of_its_own_element_and_nothing_of_others_is_patched() -> None:
    """What breaks other packs, and what they break: listeners on the page, changed prototypes, styles and timers left behind."""
    found = []
    for file in sorted((ROOT / "web").rglob("*.*js")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if PAGE.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def test_the_shared_vectors_are_what_core_answers_today() -> None:
    for name, cases in load(HERE / "make_vectors.py").vectors().items():
        written = json.loads((HERE / "vectors" / f"{name}.json").read_text(encoding="utf-8"))
        assert len(written) == len(cases)
        for one, other in zip(written, cases, strict=True):
            assert same(one, other), f"{name}: {one['name']} has changed; run python tests/web/make_vectors.py"


@needs_node
def test_whatever_a_hand_does_python_reads_it_and_the_regions_are_short() -> None:
    sessions = json.loads(run(NODE, HERE / "gestures.mjs", "50"))
    assert len(sessions) == 50
    regions = alongs = selections = 0
    for value in {value for values in sessions for value in values}:
        instruction = DragInstruction.from_json(value)
        assert len(instruction.operations) == len(json.loads(value)["operations"])
        for drawn, written in zip(instruction.operations, json.loads(value)["operations"], strict=True):
            if isinstance(drawn, DrawnRegion):
                regions += 1
                alongs += "along" in written
                assert (drawn.along is None) == ("along" not in written)
                for outline in (written["region"], written.get("along", [])):
                    assert len(json.dumps(outline, separators=(",", ":"))) <= 8192
            else:
                selections += "selected" in written
                assert (drawn.selected is None) == ("selected" not in written)
    assert regions > 100 and alongs > 20 and selections > 20


def same(one: object, other: object) -> bool:
    """Equal, but for the last digits of floats, which differ between machines."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, int | float):
        return one == pytest.approx(other, abs=1e-6)
    return one == other
