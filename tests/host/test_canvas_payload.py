"""What nodes send to the Drag Canvas in the browser: pictures, linked masks and texts, and which operation arrived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from comfy_api.latest import io

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


def test_what_arrived_is_reported_so(image: torch.Tensor) -> None:
    moved = image.clone()
    moved[:, 13:38, 20:43] = image[:, 39:64, 0:23]
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


def asked(name: str, **values: Any) -> dict[str, Any]:
    return {"class_type": name, "inputs": values}


def reported(before: torch.Tensor, after: torch.Tensor, prompt: dict[str, Any]) -> str:
    """The report's text, run in a graph of these nodes; node 9 is the report."""
    clone = DragReport.PREPARE_CLASS_CLONE({"hidden_inputs": {io.Hidden.prompt: prompt, io.Hidden.unique_id: "9"}})
    region = DrawnRegion("relocation", box(0.2, 0.2, 0.45, 0.6), (0.6, 0.5), id="cup")
    return clone.execute(before, after, drag(region))[0]


def test_advice_names_only_settings_of_the_nodes_in_the_graph_that_leave_room(image: torch.Tensor) -> None:
    edit = {"2": asked("DragfieldEdit", model=["1", 0], method="dragfield", iterations=70, guidance=0.0, skip=6, margin=0.08)}
    still = reported(image, image, {**edit, "1": asked("CheckpointLoaderSimple"), "9": asked("DragfieldReport", after=["2", 0])})
    assert "Nothing has moved: try more iterations" in still
    for word in ("guidance", "transport", "Latent Warp", "attention", "drawn scenes"):
        assert word not in still
    smashed = image.clone()
    smashed[:, 13:38, 20:43] = 0.45
    smashed[:, 19:44, 46:69] = 0.7 * smashed[:, 19:44, 46:69] + 0.3 * torch.rand(1, 25, 23, 3, generator=torch.Generator().manual_seed(9))
    region = {
        "1": asked("DragfieldLoadDemoModel"),
        "2": asked("DragfieldRegionOptimizer", model=["1", 0], guidance=2.0, hold_attention=True, transport=50),
        "9": asked("DragfieldReport", after=["2", 0]),
    }
    advised = reported(image, smashed, region)
    assert "lower guidance of the Region Optimizer" in advised and "hold_attention" not in advised and "drawn scenes only" in advised
    # Without any node of ours the finding stands alone.
    assert "try" not in reported(image, image, {"9": asked("DragfieldReport", after=["3", 0]), "3": asked("LoadImage", image="a.png")})


def test_each_picture_of_a_batch_is_judged(image: torch.Tensor) -> None:
    moved = image.clone()
    moved[:, 13:38, 20:43] = 0.45
    moved[:, 19:44, 46:69] = image[:, 13:38, 20:43]
    region = DrawnRegion("relocation", box(20 / 96, 13 / 64, 43 / 96, 38 / 64), (57.5 / 96, 31.5 / 64), id="cup")
    text, picture, arrived, off, numbers = DragReport.execute(image, torch.cat([moved, image]), drag(region)).args
    assert "picture 1" in text and "picture 2" in text and text.count("did not arrive") == 1
    assert picture.shape[0] == 2 and arrived is False and off > 20
    assert [one["operations"][0]["arrived"] for one in json.loads(numbers)["pictures"]] == [True, False]
    (sent,) = DragReport.execute(image, torch.cat([moved, image]), drag(region)).ui["dragfield"]
    assert sent["operations"][0]["arrived"] is False and sent["operations"][0]["verdict"] == "still"
    with pytest.raises(ValueError, match="batches of 2 and 3"):
        DragReport.execute(image.repeat(2, 1, 1, 1), image.repeat(3, 1, 1, 1), drag(region))
