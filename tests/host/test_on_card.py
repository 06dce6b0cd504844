"""What users run on a graphics card, run on tests/card's stand-in for one: by another pytest, for a process has one device."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODES = ("nodes_values", "nodes_unet", "nodes_unet_region", "nodes_subject", "subject_patches", "subject_weights")
CARDS = {"a card": (*NODES, "gradients"), "one without float64": NODES[:3]}


@pytest.mark.skipif(bool(os.environ.get("COMFYUI_CARD") or os.environ.get("COMFYUI_GPU")), reason="this is on a card already")
@pytest.mark.skipif(not (shutil.which("c++") and shutil.which("ninja")), reason="the stand-in for a card is built with c++ and ninja")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", CARDS)
def test_the_nodes_work_where_tensors_of_the_cpu_are_refused(kind: str) -> None:
    modules = [str(HERE / f"test_{name}.py") for name in CARDS[kind]]
    given = {**os.environ, "COMFYUI_CARD": "1", **({"CARD_WITHOUT_FLOAT64": "1"} if "float64" in kind else {})}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "-p", "no:cacheprovider", *modules]
    done = subprocess.run(command, env=given, cwd=HERE.parents[1], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
