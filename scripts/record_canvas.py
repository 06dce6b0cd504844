"""Record docs/canvas.webp: the drag canvas driven in a real ComfyUI, from the first line to the measured result.

    COMFYUI_PATH=... python scripts/record_canvas.py [FILE]

Run it with the Python that ComfyUI runs with, plus playwright; the browser is found as tests/browser/conftest.py says. COMFYUI_URL names a
server that runs already. An object of a demo scene is encircled and dragged to where the scene's own drag says, the demo model edits the
picture, Drag Report says whether it arrived.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from PIL import Image

from dragfield.core.demo.cases import sample_case
from dragfield.core.field.geometry import centroid

ROOT = Path(__file__).resolve().parents[1]
SEED, SIZE = 27, 256
NODE = (470, 640)
LONG = 1400
"""ms that a frame worth looking at stays."""

POINTER = """() => {
  const pointer = document.createElement("div");
  pointer.id = "recorded-pointer";
  pointer.innerHTML = '<svg width="22" height="22" viewBox="0 0 22 22">' +
    '<path d="M3 2l14 8-6.5 1.6-3.3 6z" fill="#fff" stroke="#111" stroke-width="1.4"/></svg>';
  pointer.style.cssText = "position:fixed;z-index:99999;pointer-events:none;left:0;top:0";
  document.body.append(pointer);
}"""

GRAPH = """async ([width, height]) => {
  app.graph.clear();
  const kinds = {model: "LoadDemoModel", canvas: "Canvas", edit: "Edit", report: "Report"};
  const nodes = {load: LiteGraph.createNode("LoadImage")};
  nodes.load.pos = [-500, 1500];
  app.graph.add(nodes.load);
  let x = 0;
  for (const [name, kind] of Object.entries(kinds)) {
    nodes[name] = LiteGraph.createNode("Dragfield" + kind);
    nodes[name].pos = [x, name === "canvas" ? 60 : 1500];
    app.graph.add(nodes[name]);
    x += 500;
  }
  const {load, model, canvas, edit, report} = nodes;
  load.widgets[0].value = "dragfield_recorded.png";
  load.connect(0, canvas, "image");
  load.connect(0, edit, "image");
  load.connect(0, report, "before");
  model.connect(0, edit, "model");
  model.connect(1, edit, "clip");
  model.connect(2, edit, "vae");
  canvas.connect(0, edit, "drag");
  canvas.connect(0, report, "drag");
  edit.connect(0, report, "after");
  canvas.setSize([width, height]);
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [-canvas.pos[0] + 110, 90];
  app.graph.setDirtyCanvas(true, true);
  window.recorded = nodes;
}"""


class Recorder:
    def __init__(self, page: Any, hand: Any) -> None:
        self.page, self.hand = page, hand
        self.frames: list[Image.Image] = []
        self.times: list[int] = []
        self.clip: dict[str, float] = {}

    def shot(self, ms: int = 70) -> None:
        picture = Image.open(io.BytesIO(self.page.screenshot(clip=self.clip))).convert("RGB")
        self.frames.append(picture)
        self.times.append(ms)

    def pointer(self, x: float, y: float) -> None:
        self.page.mouse.move(x, y)
        self.page.evaluate("([x, y]) => { document.getElementById('recorded-pointer').style.translate = `${x}px ${y}px` }", [x, y])

    def go(self, *points: tuple[float, float], every: int = 1, ms: int = 70) -> None:
        """Along points of the picture, with a frame for each of `every`."""
        for i, point in enumerate(points):
            self.pointer(*self.hand.at(point))
            if i % every == 0:
                self.hand.settle()
                self.shot(ms)

    def press(self, locator: Any, ms: int = LONG // 2) -> None:
        box = locator.bounding_box()
        self.pointer(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.shot(300)
        locator.click()
        self.hand.settle()
        self.shot(ms)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.frames[0].save(path, save_all=True, append_images=self.frames[1:], duration=self.times, loop=0, quality=68, method=6)
        print(f"{path}: {len(self.frames)} frames, {sum(self.times) / 1000:.0f} s, {path.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "canvas.webp"
    conftest, hands = module("tests/browser/conftest.py"), module("tests/browser/canvas_hand.py")
    case = sample_case(np.random.default_rng([SEED, 0]), "relocation", SIZE)
    from playwright.sync_api import sync_playwright

    with server() as url, sync_playwright() as playwright:
        upload(url, Image.fromarray((case.source * 255).round().astype(np.uint8)), "dragfield_recorded.png")
        conftest.set_setting(url, "Comfy.VueNodes.Enabled", False)
        conftest.set_setting(url, "Comfy.TutorialCompleted", True)
        browser = playwright.chromium.launch(executable_path=conftest.CHROMIUM, args=conftest.FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.goto(url)
        page.wait_for_function("Boolean(window.app?.vueAppReady && window.LiteGraph?.registered_node_types?.DragfieldEdit)")
        page.evaluate(GRAPH, list(NODE))
        page.wait_for_function("document.querySelector('.df-fact')?.textContent")
        page.evaluate(POINTER)
        hand = hands.Hand(page, page.locator(".df-root"))
        record(Recorder(page, hand), case).save(path)
        browser.close()


def record(film: Recorder, case: Any) -> Recorder:
    hand, page = film.hand, film.page
    page.wait_for_timeout(800)
    box = page.locator(".df-root").bounding_box()
    film.clip = {"x": box["x"] - 12, "y": box["y"] - 84, "width": box["width"] + 24, "height": box["height"] + 96}
    film.shot(LONG)
    film.press(hand.button("Lasso"), 300)
    mask = cv2.dilate(case.region.astype(np.uint8), np.ones((5, 5)))
    contour = max(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)[:, 0] + 0.5
    ring = [tuple(point / SIZE) for point in contour[:: max(1, len(contour) // 40)]]
    film.go(ring[0])
    page.mouse.down()
    film.go(*ring, ring[0], every=2, ms=50)
    page.mouse.up()
    hand.settle()
    film.shot(LONG // 2)
    start = np.array(centroid(case.region)) / SIZE
    end = np.array(case.drag.regions[0].target) / SIZE
    path = [tuple(start + (end - start) * (1 - np.cos(np.pi * t)) / 2) for t in np.linspace(0, 1, 22)]
    film.go(path[0])
    page.mouse.down()
    film.go(*path)
    page.mouse.up()
    hand.settle()
    film.shot(LONG)
    page.evaluate("app.queuePrompt(0)")
    page.wait_for_function("Boolean(app.nodeOutputs[recorded.report.id]?.dragfield)", timeout=1_500_000)
    hand.root.locator(".df-verdict[data-arrived]").wait_for()
    film.press(hand.button("Show the result"), LONG)
    film.press(hand.button("Compare before and after"), LONG // 2)
    slider = hand.root.locator(".df-slider").bounding_box()
    page.mouse.move(slider["x"] + 12, slider["y"] + slider["height"] / 2)
    page.mouse.down()
    for t in np.linspace(0, 1, 24):
        film.go((0.5 + 0.42 * np.sin(2 * np.pi * t), 0.5))
    page.mouse.up()
    film.press(hand.button("Compare before and after"), 2 * LONG)
    return film


@contextmanager
def server() -> Iterator[str]:
    if os.environ.get("COMFYUI_URL"):
        yield os.environ["COMFYUI_URL"].rstrip("/")
        return
    with tempfile.TemporaryDirectory() as folder:
        with module("tests/host/server.py").serving(os.environ["COMFYUI_PATH"], Path(folder) / "base") as running:
            yield running.url


def upload(url: str, image: Image.Image, name: str) -> None:
    file = io.BytesIO()
    image.save(file, "PNG")
    head = (
        '--mark\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--mark\r\n'
        f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    )
    body = head.encode() + file.getvalue() + b"\r\n--mark--\r\n"
    request = urllib.request.Request(f"{url}/upload/image", body, {"Content-Type": "multipart/form-data; boundary=mark"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        json.load(answer)


def module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


if __name__ == "__main__":
    main()
