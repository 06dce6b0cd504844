"""What a node says of a run stands on the node, in both renderers, and neither in the prompt nor in the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def test_a_report_is_read_on_its_node(page: Any, problems: list[str], renderer: str) -> None:
    workflow = json.loads((ROOT / "example_workflows" / "0_start_here.json").read_text(encoding="utf-8"))
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_function("count => app.graph._nodes.length === count", arg=len(workflow["nodes"]))
    page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    words = page.locator("textarea.df-words")
    assert words.count() == 0
    page.evaluate("app.queuePrompt(0)")
    words.first.wait_for(state="visible", timeout=60_000)
    page.wait_for_function("() => document.querySelector('textarea.df-words').value.includes('arrived')")
    page.wait_for_timeout(500)
    if folder := os.environ.get("DRAGFIELD_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"words_{renderer}.png"))
    box = words.first.bounding_box()
    assert box["width"] > 40 and box["height"] > 20 and words.count() == 1
    assert words.first.evaluate("one => one.readOnly")
    sent = page.evaluate("async () => JSON.stringify(await app.graphToPrompt())")
    assert "dragfield words" not in sent and "likeness to the truth" not in sent
    # Another run says it anew, in the same box.
    page.evaluate("document.querySelector('textarea.df-words').value = ''")
    page.evaluate(
        "app.graph._nodes.find((node) => node.type === 'DragfieldLoadDemoScene').widgets.find((one) => one.name === 'seed').value += 1"
    )
    page.evaluate("app.queuePrompt(0)")
    page.wait_for_function("() => document.querySelector('textarea.df-words').value.includes('px off')", timeout=60_000)
    assert words.count() == 1 and problems == []
