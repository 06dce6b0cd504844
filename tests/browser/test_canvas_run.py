"""Runs from the canvas in ComfyUI: a guess becomes the picture, a canvas and a Drag Edit alone run, and what went wrong is said."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("browser_canvas_hand", Path(__file__).with_name("canvas_hand.py"))
hands = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hands)
ADD, VALUE, hand_of, operations, picture, wait = hands.ADD, hands.VALUE, hands.hand_of, hands.operations, hands.picture, hands.wait

BALL = ((0.15, 0.6), (0.34, 0.9))


def between(page: Any, canvas: str, kind: str, values: dict[str, Any]) -> str:
    """A node of that kind between LoadImage and the canvas."""
    return page.evaluate(
        """([canvas, kind, values]) => {
          const node = LiteGraph.createNode(kind);
          node.pos = [140, 560];
          app.graph.add(node);
          for (const [name, value] of Object.entries(values)) {
            const widget = node.widgets.find((one) => one.name === name);
            widget.value = value;
            widget.callback?.(value);
          }
          app.graph.nodes.find((one) => one.type === "LoadImage").connect(0, node, 0);
          node.connect(0, app.graph.getNodeById(canvas), "image");
          return String(node.id);
        }""",
        [canvas, kind, values],
    )


def test_a_guess_says_so_and_runs_to_the_picture_that_comes_in(page: Any, draw: Any, problems: list[str], renderer: str) -> None:
    canvas, hand = draw()
    crop = between(page, canvas, "ImageCrop", {"width": 400, "height": 200, "x": 60, "y": 120})
    notice = hand.root.locator(".df-notice")
    notice.filter(has_text="Load Image").wait_for()
    assert hand.stage.get_attribute("data-guess") == ""
    hand.drag(*BALL)
    drawn = page.evaluate(VALUE, canvas)
    picture(page, f"run_{renderer}_guess")
    hand.root.get_by_role("button", name="Run this part").click()
    hand.root.locator(".df-fact", has_text="400 × 200").wait_for()
    notice.filter(has_text="another shape").wait_for()
    assert hand.stage.get_attribute("data-guess") is None and page.evaluate(VALUE, canvas) == drawn
    picture(page, f"run_{renderer}_true")
    # What makes the picture is set otherwise: what is seen is of the run before.
    page.evaluate("(id) => { app.graph.getNodeById(id).widgets.find((one) => one.name === 'x').value = 100 }", crop)
    notice.filter(has_text="before the last change").wait_for()
    assert hand.stage.get_attribute("data-guess") == ""
    assert problems == []


def test_cores_newer_nodes_let_the_picture_through(page: Any, draw: Any, problems: list[str]) -> None:
    canvas, hand = draw()
    between(page, canvas, "ResizeImageMaskNode", {})
    hand.root.locator(".df-notice", has_text="Load Image").wait_for()
    assert hand.root.locator(".df-fact").inner_text() == "512 × 384"
    assert problems == []


WATCHED = """(id) => {
  const element = app.graph.getNodeById(id).widgets.find((widget) => widget.name === "drag").element;
  const line = element.querySelector(".df-running"), lower = element.querySelector(".df-layer"), pen = lower.getContext("2d");
  const before = pen.getImageData(0, 0, lower.width, lower.height).data;
  window.watched = [];
  const look = () => {
    const now = pen.getImageData(0, 0, lower.width, lower.height).data;
    let changed = 0;
    for (let i = 0; i < before.length; i += 4) if (Math.abs(now[i] - before[i]) > 8) changed++;
    watched.push([line.textContent, before.length === now.length && changed > before.length / 80]);
  };
  new MutationObserver(look).observe(line, { childList: true, subtree: true, characterData: true, attributes: true });
  // What is drawn comes after the text that tells of it.
  setInterval(look, 50);
}"""
"""From now on each text of the line of progress goes into `watched`, with whether a twentieth of the picture looked different then or a
moment later."""


@pytest.mark.timeout(900)
def test_a_run_with_nothing_drawn_says_what_to_do_and_a_drag_edit_alone_runs(page: Any, problems: list[str], renderer: str) -> None:
    page.evaluate("app.canvas.ds.offset = [0, 0]; app.canvas.ds.scale = 0.8")
    ids = {}
    for i, (name, kind) in enumerate({"scene": "LoadDemoScene", "model": "LoadDemoModel", "canvas": "Canvas", "edit": "Edit"}.items()):
        ids[name] = page.evaluate(ADD, [f"Dragfield{kind}", 100 + 330 * i + 140 * (i > 2), 130])
    page.evaluate(
        """(ids) => {
          const node = (name) => app.graph.getNodeById(ids[name]);
          const set = (name, widget, value) => (node(name).widgets.find((one) => one.name === widget).value = value);
          node("scene").connect(0, node("canvas"), "image");
          node("scene").connect(0, node("edit"), "image");
          node("canvas").connect(0, node("edit"), "drag");
          ["model", "clip", "vae"].forEach((name, i) => node("model").connect(i, node("edit"), name));
          set("scene", "seed", 5);
          set("scene", "control_after_generate", "fixed");
          set("edit", "steps", 6);
          set("edit", "skip", 2);
          set("edit", "iterations", 2);
          app.queuePrompt(0);
        }""",
        ids,
    )
    hand = hand_of(page, ids["canvas"])
    hand.root.locator(".df-notice", has_text="Nothing is drawn that moves").wait_for()
    page.locator(".p-toast, [data-sonner-toaster], [role=alert], [role=status]", has_text="the drag moves nothing").first.wait_for()
    picture(page, f"run_{renderer}_nothing")
    hand.key("n", "Shift+ArrowRight", "Shift+ArrowRight")
    hand.root.locator(".df-notice").wait_for(state="hidden")
    page.evaluate("app.extensionManager.setting.set('Comfy.Execution.PreviewMethod', 'latent2rgb')")
    # The preview has its ground by then, and changes no more.
    page.wait_for_timeout(600)
    page.evaluate(WATCHED, ids["canvas"])
    page.evaluate("app.queuePrompt(0)")
    bar = hand.root.get_by_role("progressbar", name="Progress of the run")
    bar.wait_for()
    picture(page, f"run_{renderer}_running")
    wait(page, "app.nodeOutputs[argument]?.images?.length", ids["edit"])
    bar.wait_for(state="hidden")
    page.evaluate("app.extensionManager.setting.set('Comfy.Execution.PreviewMethod', 'default')")
    steps = page.evaluate("watched")
    assert [stage for stage in ("Inverting", "Making") if not any(text.startswith(stage) for text, _ in steps)] == []
    assert any(drawn for _, drawn in steps)
    assert problems == []
