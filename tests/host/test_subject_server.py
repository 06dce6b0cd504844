"""The examples of subject adapters and of drag intent in a real ComfyUI server."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(3600)


def beside(name: str) -> ModuleType:
    """A helper module of this folder, which pytest's importlib mode does not put on the path."""
    spec = importlib.util.spec_from_file_location(f"host_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


comfy, workflow_prompt = beside("server"), beside("workflow_prompt")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with comfy.serving(os.environ["COMFYUI_PATH"], tmp_path_factory.mktemp("comfyui") / "base") as running:
        yield running


def run(server: Any, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    workflow = json.loads((ROOT / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    prompt = workflow_prompt.prompt_of(workflow, server.get("/object_info"))
    history = server.run(prompt)
    assert comfy.failure(history) is None
    return prompt, history


def report(prompt: dict[str, Any], history: dict[str, Any]) -> str:
    return next(history["outputs"][i]["text"][0] for i, n in prompt.items() if n["class_type"] == "DragfieldReport")


def test_an_intent_guessed_from_geometry_is_shown_and_its_drag_arrives(server: Any) -> None:
    prompt, history = run(server, "intent_1_geometry")
    shown = next(history["outputs"][i]["text"][0] for i, n in prompt.items() if n["class_type"] == "DragfieldIntent")
    assert "relocation" in shown
    assert "did not arrive" not in report(prompt, history)


def test_a_drag_with_the_demo_models_subject_adapter_arrives(server: Any) -> None:
    found = report(*run(server, "subject_1_demo"))
    assert "background: untouched" in found and "did not arrive" not in found
