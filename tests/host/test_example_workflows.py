"""The example workflows as files: our nodes in them are as their schemas say, links agree on both sides, and the graph is tidy.

The ones for the demo model are run by test_nodes_server.py; the others need weights that no test has, so this is what is known of them.
"""

from __future__ import annotations

import asyncio
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import dragfield

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
WITHOUT_EXAMPLE = {
    "DragfieldFromPoints", "DragfieldLoadReDBench", "DragfieldFireFlowSampler",
}  # fmt: skip
"""What needs another pack or a data set; any other node is in an example."""
TITLE = 30
"""Height of a node's title bar, which lies above its position."""


async def _nodes() -> list[Any]:
    return await (await dragfield.comfy_entrypoint()).get_node_list()


@pytest.fixture(scope="module")
def infos() -> dict[str, Any]:
    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA().get_v1_info(node) for node in asyncio.run(_nodes())}


@pytest.fixture(params=WORKFLOWS, ids=[path.stem for path in WORKFLOWS])
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


def widgets_of(info: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, type and options of every widget in the order of its value; a seed has a second one behind it."""
    found = []
    for group in ("required", "optional"):
        for name, spec in info.input.get(group, {}).items():
            kind, options = spec[0], spec[1] if len(spec) > 1 else {}
            if kind in WIDGETS and not options.get("forceInput"):
                found.append((name, kind, options))
                if options.get("control_after_generate"):
                    found.append((f"{name}, afterwards", "COMBO", {"options": ["fixed", "increment", "decrement", "randomize"]}))
    return found


def fits(value: Any, kind: str, options: dict[str, Any]) -> bool:
    if kind == "COMBO":
        return value in options["options"]
    if kind in ("STRING", "BOOLEAN"):
        return isinstance(value, str if kind == "STRING" else bool)
    whole = isinstance(value, int) or (kind == "FLOAT" and isinstance(value, float))
    return whole and not isinstance(value, bool) and options.get("min", value) <= value <= options.get("max", value)


def test_values_of_our_nodes_are_those_of_the_schema_in_its_order(workflow: dict[str, Any], infos: dict[str, Any]) -> None:
    ours = [node for node in workflow["nodes"] if node["type"].startswith("Dragfield")]
    assert ours
    for node in ours:
        expected = widgets_of(infos[node["type"]])
        assert len(node["widgets_values"]) == len(expected), node["type"]
        for value, (name, kind, options) in zip(node["widgets_values"], expected, strict=True):
            if (node["type"], name) == ("DragfieldLoadSubjectAdapter", "file"):
                continue  # which adapters there are depends on the files of who opens it
            assert fits(value, kind, options), (node["type"], name, value)


def test_sockets_of_our_nodes_are_those_of_the_schema(workflow: dict[str, Any], infos: dict[str, Any]) -> None:
    for node in (node for node in workflow["nodes"] if node["type"].startswith("Dragfield")):
        info = infos[node["type"]]
        known = {name for group in info.input.values() for name in group}
        assert {entry["name"] for entry in node["inputs"]} <= known, node["type"]
        assert [entry["name"] for entry in node["outputs"]] == list(info.output_name), node["type"]
        needed = {name for name, spec in info.input["required"].items() if spec[0] not in WIDGETS or spec[1].get("forceInput")}
        linked = {entry["name"] for entry in node["inputs"] if entry["link"] is not None}
        assert needed <= linked, (node["type"], needed - linked)


def test_links_are_written_alike_on_both_sides(workflow: dict[str, Any]) -> None:
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len({link[0] for link in workflow["links"]}) == len(workflow["links"])
    for number, source, output, target, slot, _ in workflow["links"]:
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == number
    assert sum(entry["link"] is not None for node in nodes.values() for entry in node["inputs"]) == len(workflow["links"])


def test_a_note_says_which_files_and_how_much_memory_it_takes(workflow: dict[str, Any]) -> None:
    notes = "\n".join(node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    assert notes.startswith("# ") and "**Files" in notes and "**Memory:**" in notes


def test_a_card_shows_each_example_in_few_bytes(request: pytest.FixtureRequest, workflow: dict[str, Any]) -> None:
    card = ROOT / "example_workflows" / f"{request.node.callspec.id}.jpg"
    assert card.exists() and card.stat().st_size <= 25_000


def test_the_first_example_and_every_demo_has_a_canvas_to_draw_on(workflow: dict[str, Any]) -> None:
    """Drawn on the canvas itself: a linked drag can't be changed by hand."""
    kinds = {node["type"] for node in workflow["nodes"]}
    if not kinds & {"DragfieldLoadDemoModel", "DragfieldLoadDemoUNet"}:
        return
    canvases = [node for node in workflow["nodes"] if node["type"] == "DragfieldCanvas"]
    assert canvases
    for canvas in canvases:
        assert json.loads(canvas["widgets_values"][0])["operations"]
        assert all(entry["link"] is None for entry in canvas["inputs"] if entry["name"] == "drag")


def test_the_first_example_comes_first_and_demos_show_different_scenes() -> None:
    assert WORKFLOWS[0].stem == "0_start_here"
    scenes = [
        tuple(node["widgets_values"])
        for path in WORKFLOWS
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]
        if node["type"] == "DragfieldLoadDemoScene"
    ]
    assert len(scenes) >= 13 and len(set(scenes)) == len(scenes)


def test_no_node_lies_on_another(workflow: dict[str, Any]) -> None:
    boxes = [(node["type"], *node["pos"], *node["size"]) for node in workflow["nodes"]]
    for (a, ax, ay, aw, ah), (b, bx, by, bw, bh) in combinations(boxes, 2):
        apart = ax + aw <= bx or bx + bw <= ax or ay + ah <= by - TITLE or by + bh <= ay - TITLE
        assert apart, (a, b)


def test_every_node_is_shown_in_an_example_but_those_that_need_more(infos: dict[str, Any]) -> None:
    used = {node["type"] for path in WORKFLOWS for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]}
    assert set(infos) - used == WITHOUT_EXAMPLE
