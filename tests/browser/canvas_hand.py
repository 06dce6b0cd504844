"""The hand of a user on a drag canvas, on the bare page and in ComfyUI: it knows only what is on the screen."""

from __future__ import annotations

import io
import json
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

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

UNIT = """(root) => {
  const stage = root.querySelector(".df-stage");
  const [width, height] = root.querySelector(".df-fact").textContent.split("×").map(Number);
  const zoom = Math.min((stage.clientWidth - 20) / width, (stage.clientHeight - 20) / height);
  return [1 / (zoom * width), 1 / (zoom * height)];
}"""
"""How much of the fitted picture a px of the stage is."""

ADD = """([kind, x, y]) => {
  const node = LiteGraph.createNode(kind);
  node.pos = [x, y];
  app.graph.add(node);
  return String(node.id);
}"""
VALUE = "(id) => app.graph.getNodeById(id).widgets.find((widget) => widget.name === 'drag').value"

Point = tuple[float, float]


class Hand:
    def __init__(self, page: Any, root: Any) -> None:
        """root: the locator of one canvas."""
        self.page = page
        self.root = root
        self.stage = root.locator(".df-stage")

    def at(self, point: Point) -> Point:
        return tuple(self.root.evaluate(PLACE, list(point)))

    def beside(self, point: Point, right: float, down: float) -> Point:
        """The place that many px of the stage beside a point."""
        unit = self.root.evaluate(UNIT)
        return point[0] + right * unit[0], point[1] + down * unit[1]

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


def hand_of(page: Any, canvas: str, picture: bool = True) -> Any:
    """The hand on the canvas of a node, once it and its picture are there."""
    mark = """([id, picture]) => {
      const element = app.graph.getNodeById(id).widgets.find((widget) => widget.name === "drag")?.element.querySelector(".df-root");
      if (!element?.isConnected || (picture && !element.querySelector(".df-fact").textContent)) return false;
      element.dataset.node = id;
      return true;
    }"""
    page.wait_for_function(mark, arg=[canvas, picture])
    hand = Hand(page, page.locator(f".df-root[data-node='{canvas}']"))
    if picture:
        hand.steady()
    return hand


def wait(page: Any, what: str, argument: Any = None) -> None:
    page.wait_for_function(f"(argument) => Boolean({what})", arg=argument)


def upload(url: str, image: Image.Image, name: str) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    head = (
        '--mark\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--mark\r\n'
        f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    )
    body = head.encode() + file.getvalue() + b"\r\n--mark--\r\n"
    request = urllib.request.Request(f"{url}/upload/image", body, {"Content-Type": "multipart/form-data; boundary=mark"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["name"]


def seen(root: Any) -> set[tuple[int, int, int]]:
    """The colours that a screen shows where a canvas has its picture, each in eight steps; of what is not there, one or none."""
    box = root.locator(".df-stage").bounding_box()
    if box is None or box["width"] < 20 or box["height"] < 20:
        return set()
    shot = Image.open(io.BytesIO(root.page.screenshot(clip=box))).convert("RGB")
    found = shot.getcolors(shot.width * shot.height)
    steps: dict[tuple[int, int, int], int] = {}
    for count, colour in found:
        step = tuple(value // 32 for value in colour)
        steps[step] = steps.get(step, 0) + count
    return {step for step, count in steps.items() if count > 0.02 * shot.width * shot.height}
