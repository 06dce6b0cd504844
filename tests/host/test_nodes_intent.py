"""Drag Intent asks once, remembers, and sends nothing unless it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch

from dragfield.core.instruction import DragInstruction, DrawnRegion
from dragfield.nodes.drag_intent import DragIntent

SQUARE = [[[(0.2, 0.2), (0.45, 0.2), (0.45, 0.6), (0.2, 0.6)]]]
IMAGE = torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(0))
REST = {"model": "eyes", "choice": 0, "ask_again": False, "timeout": 10.0}


def drag(x: float = 0.6) -> str:
    return DragInstruction((DrawnRegion("relocation", SQUARE, (x, 0.5)),), size=(48, 32)).to_json()


def run(drag: str, backend: str, **other: Any) -> Any:
    return DragIntent.execute(IMAGE, drag, backend, **{**REST, **other})


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))
    for variable in ("DRAGFIELD_API_URL", "DRAGFIELD_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "user"


@pytest.fixture
def asked(user: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | None]]:
    """The keys that a server was asked with, a request each; it answers with two candidates. The key is in ComfyUI's settings."""
    keys: list[str | None] = []
    candidates = [{"editing_prompt": p, "regions": [{"task": t}]} for p, t in (("moved", "relocation"), ("pulled", "deformation"))]
    content = json.dumps({"background_prompt": "noise", "candidates": candidates})
    reply = json.dumps({"choices": [{"message": {"content": content}}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    (user / "default").mkdir(parents=True)
    (user / "default" / "comfy.settings.json").write_text(json.dumps({"Dragfield.Intent.Key": "secret", "Comfy.Other": 3}))
    monkeypatch.setenv("DRAGFIELD_API_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
    yield keys
    server.shutdown()
    server.server_close()


def test_without_a_model_tasks_are_guessed_and_nothing_is_kept(user: Path) -> None:
    filled, prompt, edit_prompt, text, shown = run(drag(), "geometry").result
    assert DragInstruction.from_json(filled).operations[0].task == "relocation" and (prompt, edit_prompt) == ("", "")
    assert text == "1. (no prompt) [relocation]" and shown.shape == IMAGE.shape
    assert not user.exists()


def test_candidates_are_shown_first_and_the_choice_is_not_asked_for_again(asked: list[str | None]) -> None:
    first = run(drag(), "server")
    assert first.block_execution.startswith("choose what the drag means: set choice to 1-2")
    assert "2. pulled [deformation]" in first.result[3]
    chosen = run(drag(), "server", choice=2)
    assert chosen.block_execution is None and chosen.result[1:3] == ("noise", "pulled")
    assert DragInstruction.from_json(chosen.result[0]).operations[0].task == "deformation"
    assert asked == ["Bearer secret"]
    assert "secret" not in repr(chosen.result[:4])


def test_a_key_in_the_environment_comes_before_the_one_in_the_settings(asked: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAGFIELD_API_KEY", "from outside")
    assert "from outside" not in repr(run(drag(), "server").result[:4])
    assert asked == ["Bearer from outside"]


def test_another_drag_is_asked_about_anew_and_so_is_one_that_is_to_be(asked: list[str | None]) -> None:
    run(drag(), "server", choice=1)
    run(drag(0.7), "server", choice=1)
    run(drag(), "server", choice=1, model="other")
    assert len(asked) == 3
    run(drag(), "server", choice=1, ask_again=True)
    assert len(asked) == 4


def test_a_choice_made_for_another_drag_is_shown_the_new_candidates_first(asked: list[str | None]) -> None:
    run(drag(), "server")
    assert run(drag(), "server", choice=2).result[2] == "pulled"
    with pytest.raises(ValueError, match=r"chosen for another drag(.|\n)*1. moved .relocation.\n2. pulled"):
        run(drag(0.7), "server", choice=2)
    assert run(drag(0.7), "server", choice=2).result[2] == "pulled"
    with pytest.raises(ValueError, match="without ask_again"):
        run(drag(0.7), "server", choice=2, ask_again=True)
    assert len(asked) == 3


def test_a_choice_beyond_the_candidates_is_refused(asked: list[str | None]) -> None:
    with pytest.raises(ValueError, match="choose one from 1 to 2"):
        run(drag(), "server", choice=3)


@pytest.mark.parametrize("name", ["../secrets", "/etc", ".", "a/../../b"])
def test_a_workflow_cannot_lead_out_of_the_models_folder(user: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not inside LLM"):
        run(drag(), "local model", model=name)


def test_a_model_that_is_not_named_is_refused_before_anything_starts() -> None:
    assert "no model is named" in DragIntent.validate_inputs(drag(), "server", " ")
    assert DragIntent.validate_inputs(drag(), "geometry", "") is True
