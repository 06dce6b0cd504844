"""The canvas is seen: linked, promoted to a subgraph, reloaded, far away. What is judged are the pixels of the screen."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("browser_canvas_hand", Path(__file__).with_name("canvas_hand.py"))
hands = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hands)
ADD, VALUE, Hand, hand_of, operations, picture, seen, wait = (
    hands.ADD, hands.VALUE, hands.Hand, hands.hand_of, hands.operations, hands.picture, hands.seen, hands.wait,
)  # fmt: skip

SKY, GRASS, HOUSE = (4, 6, 7), (3, 5, 2), (5, 2, 1)
"""Of the scene, each colour in eight steps."""
BALL = ((0.15, 0.6), (0.34, 0.9))
RELOAD = "async () => { const graph = JSON.parse(JSON.stringify(app.rootGraph.serialize())); await app.loadGraphData(graph) }"


def look(page: Any, root: Any) -> set[tuple[int, int, int]]:
    """What is seen once it stands still; the pointer away, nothing loading."""
    page.mouse.move(400, 930)
    page.wait_for_timeout(1500)
    return seen(root)


def test_a_linked_drag_is_seen_live_and_after_a_reload(page: Any, draw: Any, problems: list[str], renderer: str) -> None:
    canvas, hand = draw()
    assert {SKY, GRASS, HOUSE} <= look(page, hand.root)
    linked = json.dumps({"version": 1, "operations": [{"kind": "points", "name": "linked", "pairs": [[[0.2, 0.2], [0.3, 0.2]]]}]})
    text = page.evaluate(ADD, ["PrimitiveString", 100, 700])
    page.evaluate(
        """([from, to, text]) => {
          app.graph.getNodeById(from).widgets[0].value = text;
          app.graph.getNodeById(from).connect(0, app.graph.getNodeById(to), "drag");
        }""",
        [text, canvas, linked],
    )
    hand.root.locator(".df-notice", has_text="link").wait_for()
    assert {SKY, GRASS, HOUSE} <= look(page, hand.root)
    page.evaluate(RELOAD)
    hand = hand_of(page, canvas)
    assert {SKY, GRASS, HOUSE} <= look(page, hand.root)
    assert hand.root.locator(".df-name").input_value() == "linked"
    picture(page, f"seen_{renderer}_linked")
    assert problems == []


def test_a_canvas_is_seen_at_the_zoom_that_templates_open_at(page: Any, draw: Any, problems: list[str], renderer: str) -> None:
    _, hand = draw()
    page.evaluate("app.canvas.ds.scale = 0.42; app.canvas.setDirty(true, true)")
    assert {SKY, GRASS, HOUSE} <= look(page, hand.root)
    assert problems == []


def test_wheel_middle_and_right_button_go_on_to_the_graph(page: Any, draw: Any, problems: list[str], renderer: str) -> None:
    _, hand = draw()
    place = "[app.canvas.ds.scale, ...app.canvas.ds.offset]"
    page.mouse.click(250, 900)
    before = page.evaluate(place)
    page.mouse.move(*hand.at((0.5, 0.5)))
    page.mouse.wheel(0, -200)
    wait(page, "app.canvas.ds.scale > argument", before[0])
    page.evaluate("app.canvas.ds.scale = 1; app.canvas.ds.offset = [0, 0]; app.canvas.setDirty(true, true)")
    hand.steady()
    x, y = hand.at((0.5, 0.5))
    page.mouse.move(x, y)
    page.mouse.down(button="middle")
    page.mouse.move(x + 80, y + 30, steps=4)
    page.mouse.up(button="middle")
    wait(page, "Math.abs(app.canvas.ds.offset[0] - 80) < 3 && Math.abs(app.canvas.ds.offset[1] - 30) < 3")
    # Let go, it moves nothing any more.
    page.mouse.move(x, y, steps=3)
    assert page.evaluate("app.canvas.ds.offset[0]") == pytest.approx(80, abs=3)
    hand.steady()
    page.mouse.click(*hand.at((0.5, 0.5)), button="right")
    page.locator(".litecontextmenu, [role=menu]:not(.df-menu), .p-contextmenu, .p-popover").first.wait_for(state="visible")
    picture(page, f"seen_{renderer}_menu")
    page.keyboard.press("Escape")
    page.mouse.click(250, 900)
    assert hand.rows().count() == 0
    assert problems == []


INSIDE = """(id) => {
  const { subgraph, node } = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
  const inner = subgraph.nodes.find((one) => one.type === "DragfieldCanvas");
  const input = subgraph.addInput("drag", "STRING");
  input.connect(inner.inputs.find((one) => one.name === "drag"), inner);
  return String(node.id);
}"""
ENTER = """() => {
  const host = app.rootGraph.nodes.find((node) => node.subgraph);
  app.canvas.setGraph(host.subgraph);
  const inner = host.subgraph.nodes.find((node) => node.type === "DragfieldCanvas");
  [app.canvas.ds.scale, app.canvas.ds.offset] = [1, [-inner.pos[0] + 400, -inner.pos[1] + 130]];
}"""


def entered(page: Any) -> Any:
    """The hand on the canvas inside the subgraph."""
    page.evaluate(ENTER)
    mark = """() => {
      const inner = app.canvas.graph.nodes.find((node) => node.type === "DragfieldCanvas");
      const root = inner?.widgets.find((widget) => widget.name === "drag").element.querySelector(".df-root");
      if (!root?.isConnected || !root.querySelector(".df-fact").textContent) return false;
      root.dataset.node = "inner";
      return true;
    }"""
    page.wait_for_function(mark)
    hand = Hand(page, page.locator(".df-root[data-node='inner']"))
    hand.steady()
    return hand


def test_a_drag_promoted_to_its_subgraph_is_drawn_inside_and_is_what_runs(page: Any, draw: Any, problems: list[str], renderer: str) -> None:
    canvas, hand = draw()
    hand.drag(*BALL)
    host = page.evaluate(INSIDE, canvas)
    hand = entered(page)
    assert {SKY, GRASS, HOUSE} <= look(page, hand.root)
    hand.key("v")
    hand.drag((0.24, 0.75), (0.6, 0.75))
    picture(page, f"seen_{renderer}_promoted")

    def asked() -> list[dict[str, Any]]:
        page.evaluate("app.canvas.setGraph(app.rootGraph)")
        prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
        (inputs,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "DragfieldCanvas")
        return operations(inputs["drag"])

    drawn = asked()
    assert drawn[0]["target"][0] == pytest.approx(0.6, abs=0.05)
    assert operations(page.evaluate("(id) => app.graph.getNodeById(id).widgets.find((one) => one.name === 'drag').value", host)) == drawn
    page.evaluate(RELOAD)
    hand = entered(page)
    assert {SKY, GRASS, HOUSE} <= look(page, hand.root) and hand.rows().count() == 1
    assert asked() == drawn
    hand = entered(page)
    hand.key("ArrowRight")
    assert asked()[0]["target"][0] > drawn[0]["target"][0]
    assert problems == []
