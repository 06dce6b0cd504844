"""Every example workflow opens in the real frontend, in both renderers: nothing is missing, changed, covered or complained about.

DRAGFIELD_SCREENSHOTS names a folder that gets a picture of each, to be looked at.
"""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
OTHER_PACKS = {"UnetLoaderGGUF"}
"""Nodes that an example takes from another pack, and names in its note."""
TITLE = 30

pytestmark = pytest.mark.timeout(1800)


def test_the_pack_loads_without_a_complaint(page: Any, problems: list[str]) -> None:
    assert page.evaluate("Object.keys(LiteGraph.registered_node_types).filter(name => name.startsWith('Dragfield')).length") >= 16
    page.wait_for_timeout(1000)
    assert problems == []


def test_every_example_opens_as_it_was_saved_and_is_tidy(page: Any, renderer: str, problems: list[str]) -> None:
    wrong = {}
    for path in WORKFLOWS:
        saved = json.loads(path.read_text(encoding="utf-8"))
        problems.clear()
        opened = _open(page, saved)
        _picture(page, f"{path.stem}_{renderer}")
        if found := [*_changed(saved, opened), *_covered(opened), *problems]:
            wrong[path.stem] = found
    assert wrong == {}


def _open(page: Any, workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of the graph as the page has them, after a moment to lay them out."""
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_function("count => app.graph._nodes.length === count", arg=len(workflow["nodes"]))
    page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.wait_for_timeout(2500)
    return page.evaluate("""() => {
        const saved = new Map(app.graph.serialize().nodes.map((node) => [String(node.id), node]));
        return app.graph._nodes.map((node) => ({
            id: Number(node.id), type: node.type, pos: [...node.pos], size: [...node.size],
            known: node.type in LiteGraph.registered_node_types || node.type.endsWith("Note"),
            values: saved.get(String(node.id)).widgets_values ?? [],
            links: (saved.get(String(node.id)).inputs ?? []).filter((input) => input.link != null).length,
        }));
    }""")


def _changed(saved: dict[str, Any], opened: list[dict[str, Any]]) -> list[str]:
    """What the frontend does not know, or has read otherwise than it was written."""
    found = []
    before = {node["id"]: node for node in saved["nodes"]}
    for node in opened:
        was = before[node["id"]]
        if node["known"] == (node["type"] in OTHER_PACKS):
            found.append(f"{node['type']} is {'known' if node['known'] else 'missing'}")
        if node["type"].startswith("Dragfield") and node["values"][: len(was["widgets_values"])] != was["widgets_values"]:
            found.append(f"{node['type']} holds {node['values']} instead of {was['widgets_values']}")
        if node["links"] != sum(entry["link"] is not None for entry in was["inputs"]):
            found.append(f"{node['type']} has lost a link")
    return found


def _covered(opened: list[dict[str, Any]]) -> list[str]:
    """Pairs of nodes that lie on each other at the sizes they really have."""
    found = []
    for a, b in combinations(opened, 2):
        (ax, ay), (aw, ah), (bx, by), (bw, bh) = a["pos"], a["size"], b["pos"], b["size"]
        if not (ax + aw <= bx or bx + bw <= ax or ay + ah <= by - TITLE or by + bh <= ay - TITLE):
            found.append(f"{a['type']} at {a['pos']}, {a['size']} and {b['type']} at {b['pos']}, {b['size']} overlap")
    return found


def _picture(page: Any, name: str) -> None:
    if folder := os.environ.get("DRAGFIELD_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")
