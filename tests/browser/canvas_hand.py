"""The hand of a user on a drag canvas, on the bare page and in ComfyUI: it knows only what is on the screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PLACE = """(root, [x, y]) => {
  const stage = root.querySelector(".df-stage"), rect = stage.getBoundingClientRect();
  const [width, height] = root.querySelector(".df-fact").textContent.split("×").map(Number);
  const zoom = Math.min((stage.clientWidth - 20) / width, (stage.clientHeight - 20) / height), shown = rect.width / stage.clientWidth;
  return [
    rect.left + ((stage.clientWidth - width * zoom) / 2 + x * width * zoom) * shown,
    rect.top + ((stage.clientHeight - height * zoom) / 2 + y * height * zoom) * shown,
  ];
}"""
"""Where a normalised point of the fitted picture is on the page."""

Point = tuple[float, float]


class Hand:
    def __init__(self, page: Any, root: Any) -> None:
        """root: the locator of one canvas."""
        self.page = page
        self.root = root
        self.stage = root.locator(".df-stage")

    def at(self, point: Point) -> Point:
        return tuple(self.root.evaluate(PLACE, list(point)))

    def drag(self, *points: Point, keys: str = "", steps: int = 6) -> None:
        """Press at the first point, pass the others, let go at the last one, with a key held down."""
        self.page.mouse.move(*self.at(points[0]))
        if keys:
            self.page.keyboard.down(keys)
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(point), steps=steps)
        self.page.mouse.up()
        if keys:
            self.page.keyboard.up(keys)
        self.settle()

    def click(self, point: Point, count: int = 1) -> None:
        self.page.mouse.click(*self.at(point), click_count=count)
        self.settle()

    def key(self, *keys: str) -> None:
        for key in keys:
            self.stage.press(key)
        self.settle()

    def button(self, name: str) -> Any:
        """A button by what it is called, its key left out."""
        return self.root.get_by_role("button", name=name, exact=True)

    def rows(self) -> Any:
        return self.root.locator(".df-row")

    def steady(self) -> None:
        """The stage has stayed in its place for a while: whoever lays it out has finished."""
        before, same = None, 0
        while same < 3:
            self.page.wait_for_timeout(120)
            now = self.root.evaluate(PLACE, [0.5, 0.5])
            before, same = now, same + 1 if now == before else 0

    def settle(self) -> None:
        """Two frames: what was done is drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def operations(text: str) -> list[dict[str, Any]]:
    return json.loads(text).get("operations", [])


def picture(page: Any, name: str) -> None:
    """A screenshot, where DRAGFIELD_SCREENSHOTS names a folder for them."""
    import os

    folder = os.environ.get("DRAGFIELD_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
