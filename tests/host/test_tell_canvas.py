"""What a run says to the canvas: the part of the picture that it works on, and what its steps are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from server import PromptServer

from dragfield.core.picture.window import Window
from dragfield.nodes.host.tell_canvas import tell_stage, tell_window

WINDOW = Window(32, 0, 64, 48, (128, 96))


def said(monkeypatch: pytest.MonkeyPatch, client: str | None) -> list[tuple[Any, ...]]:
    heard: list[tuple[Any, ...]] = []
    server = SimpleNamespace(client_id=client, send_sync=lambda *message: heard.append(message))
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    return heard


def test_a_window_is_told_as_parts_of_the_picture_and_a_stage_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = said(monkeypatch, "me")
    tell_window(WINDOW, (128, 96), "12.edit")
    tell_stage("drag", "12.edit")
    assert heard == [
        ("dragfield.run", {"node": "12.edit", "window": [0.25, 0.0, 0.5, 0.5]}, "me"),
        ("dragfield.run", {"node": "12.edit", "stage": "drag"}, "me"),
    ]


def test_nothing_is_said_where_nobody_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    to_nobody = said(monkeypatch, None)
    tell_window(WINDOW, (128, 96), "12")
    # Nor of no node: none is being executed here.
    of_nothing = said(monkeypatch, "me")
    tell_stage("drag")
    monkeypatch.delattr(PromptServer, "instance")
    tell_stage("drag", "12")
    assert to_nobody == of_nothing == []
