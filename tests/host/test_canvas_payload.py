"""What nodes send to the Drag Canvas in the browser: pictures, linked masks and texts, and which operation arrived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch

from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from dragfield.nodes.canvas import DragCanvas
from dragfield.nodes.drag_edit import DragEdit
from dragfield.nodes.report import DragReport

SIZE = (96, 64)


def box(x0: float, y0: float, x1: float, y1: float) -> Any:
    return ((((x0, y0), (x1, y0), (x1, y1), (x0, y1)),),)


def drag(*operations: Any) -> str:
    return DragInstruction(operations, size=SIZE).to_json()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews are written to a folder of the test."""
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))


@pytest.fixture
def image() -> torch.Tensor:
    made = torch.rand(1, SIZE[1], SIZE[0], 3, generator=torch.Generator().manual_seed(3)) * 0.1 + 0.4
    made[:, 13:38, 20:43] = torch.rand(1, 25, 23, 3, generator=torch.Generator().manual_seed(4))
    return made


def test_the_report_tells_the_canvas_of_each_operation_by_its_id(image: torch.Tensor) -> None:
    asked = drag(
        DrawnRegion("pin", box(0.8, 0.8, 0.95, 0.95), id="rock"),
        DrawnPoints((((0.25, 0.4), (0.6, 0.5)), ((0.4, 0.3), (0.7, 0.4))), id="points"),
        DrawnRegion("relocation", box(0.2, 0.2, 0.45, 0.6), (0.6, 0.5), id="cup"),
        DrawnRegion("relocation", box(0.5, 0.7, 0.6, 0.9), (0.3, 0.8), id="hidden", visible=False),
    )
    (sent,) = DragReport.execute(image, image, asked).ui["dragfield"]
    assert sent["drag"] == asked
    assert [one["id"] for one in sent["operations"]] == ["cup", "points", "points"]
    # Nothing was edited, so nothing arrived.
    for one in sent["operations"]:
        assert one["arrived"] is False and one["off"] > 5 and isinstance(one["advice"], str)
    assert {"filename", "type"} <= sent["after"].keys()
    json.dumps(sent)


def test_what_arrived_is_told_so(image: torch.Tensor) -> None:
    moved = image.clone()
    moved[:, 13:38, 20:43] = 0.45
    moved[:, 20:45, 46:69] = image[:, 13:38, 20:43]
    asked = drag(DrawnRegion("relocation", box(20 / 96, 13 / 64, 43 / 96, 38 / 64), (57.5 / 96, 32.5 / 64), id="cup"))
    (sent,) = DragReport.execute(image, moved, asked).ui["dragfield"]
    assert [(one["id"], one["arrived"]) for one in sent["operations"]] == [("cup", True)]


def test_the_canvas_sends_what_it_can_only_know_after_a_run(image: torch.Tensor, tmp_path: Path) -> None:
    asked = drag(DrawnRegion("relocation", box(0.2, 0.2, 0.45, 0.6), (0.6, 0.5)))
    masks = torch.zeros(2, SIZE[1], SIZE[0])
    masks[0, 5:20, 5:20] = 1
    sent = DragCanvas.execute(asked, image.repeat(2, 1, 1, 1), masks).ui
    assert sent["drag"] == [asked]
    assert len(sent["picture"]) == 1 and len(sent["masks"]) == 2
    for shown in (*sent["picture"], *sent["masks"]):
        assert (tmp_path / shown["subfolder"] / shown["filename"]).exists()
    # Under "images", ComfyUI would show them below the canvas.
    assert "images" not in sent
    assert set(DragCanvas.execute(asked, image).ui) == {"drag", "picture"}


def test_a_canvas_alone_is_something_to_run_and_one_without_a_picture_stops_nobody() -> None:
    """ComfyUI refuses to run what leads to no output node; a sentence reaches only who waits for the drag."""
    assert DragCanvas.GET_SCHEMA().is_output_node and DragEdit.GET_SCHEMA().is_output_node
    alone = DragCanvas.execute(DragInstruction().to_json())
    assert "connect the picture" in alone.block_execution
    assert DragCanvas.execute(drag(DrawnRegion("relocation", box(0.2, 0.2, 0.45, 0.6), (0.6, 0.5)))).block_execution is None
