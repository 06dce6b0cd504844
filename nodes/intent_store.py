"""What was answered about a drag, kept in ComfyUI's user folder: a choice in a workflow stays true, and nobody is asked twice."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import folder_paths

from ..core.instruction import DragInstruction
from ..core.intent.answer import AnswerError, Intent, read_intent
from ..core.intent.request import Request

KEPT = 200
"""Answers that are kept; the ones unused for longest go first."""


def key_of(request: Request, backend: str, model: str) -> str:
    """Changes with the picture, the drag on it, and who is asked; not with prompts or the choice."""
    digest = hashlib.sha256(repr((backend, model, request.text, request.picture.shape)).encode())
    digest.update(request.picture.tobytes())
    digest.update(request.marked.tobytes())
    return digest.hexdigest()[:32]


def load(key: str, instruction: DragInstruction) -> Intent | None:
    path = _folder() / f"{key}.json"
    try:
        intent = read_intent(path.read_text(encoding="utf-8"), instruction)
        path.touch()
    except (OSError, AnswerError):
        return None
    return intent


def save(key: str, intent: Intent) -> None:
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{key}.json").write_text(intent.to_json(), encoding="utf-8")
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[KEPT:]:
        with contextlib.suppress(OSError):
            path.unlink()


def _folder() -> Path:
    return Path(folder_paths.get_user_directory()) / "default" / "dragfield" / "intents"
