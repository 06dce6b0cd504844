"""Make the pictures of the subject adapters' help pages: `COMFYUI_PATH=... python scripts/subject_pictures.py [NODE...]`.

web/docs/DragfieldLoadSubjectAdapter.webp is the example subject_1_demo in the real frontend, after a run; DragfieldEncodeSubject.webp what
an adapter is shown of a scene; DragfieldAdapterInject.webp reconstructions with and without the demo model's adapter, under the drift that
suite demo-adapter measures. Run it with the Python that ComfyUI runs with, plus playwright and diffusers.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dragfield.benchmarks.demo import to_picture, with_adapter
from dragfield.benchmarks.demo_adapter import EDIT_GUIDANCE, INVERSION
from dragfield.core.adapters.crop import subject_crop
from dragfield.core.demo.adapter import DemoAdapter
from dragfield.core.demo.cases import sample_case
from dragfield.core.demo.flux import load
from dragfield.core.demo.text import embed
from dragfield.core.sampling.inversion import invert, reconstruct

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "web" / "docs"
SEED, SIDE, GAP = 5, 256, 12
SHOWN = ("DragfieldLoadSubjectAdapter", "DragfieldEncodeSubject", "DragfieldAdapterInject", "DragfieldLoadDemoModel")
BOX = """types => {
  const [ox, oy] = app.canvas.ds.offset, scale = app.canvas.ds.scale;
  const own = app.canvas.canvas.getBoundingClientRect();
  const nodes = app.graph._nodes.filter(node => types.includes(node.type));
  const left = Math.min(...nodes.map(node => node.pos[0])), top = Math.min(...nodes.map(node => node.pos[1])) - 42;
  const right = Math.max(...nodes.map(node => node.pos[0] + node.size[0]));
  const bottom = Math.max(...nodes.map(node => node.pos[1] + node.size[1]));
  const at = (x, y) => [own.x + (x + ox) * scale, own.y + (y + oy) * scale];
  const [x0, y0] = at(left - 15, top - 15), [x1, y1] = at(right + 15, bottom + 15);
  return {x: x0, y: y0, width: x1 - x0, height: y1 - y0};
}"""


def main() -> None:
    case = sample_case(np.random.default_rng([SEED, 0]), "relocation", SIDE)
    made = {"EncodeSubject": lambda: encoded(case), "AdapterInject": lambda: reconstructed(case), "LoadSubjectAdapter": in_the_frontend}
    for name in sys.argv[1:] or made:
        save(made[name](), f"Dragfield{name}")


def encoded(case) -> Image.Image:
    """The picture with a mask on it, and what is seen of it without the mask, with it, and on white."""
    picture, mask = to_picture(case.source), case.region
    marked = (case.source * 255).round().astype(np.uint8).copy()
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(marked, contours, -1, (255, 255, 255), 2, cv2.LINE_AA)
    seen = [subject_crop(picture, mask, ground) for ground in ("picture", "white")]
    return beside([marked, *(pixels(x) for x in seen)])


@torch.no_grad()
def reconstructed(case) -> Image.Image:
    """The picture; inverted and denoised at the paper's guidance, with another scene's prompt, without the adapter and with it."""
    model, other = load(), sample_case(np.random.default_rng([SEED + 1, 0]), "relocation", SIDE)
    picture = to_picture(case.source)
    z0, own, wrong = model.autoencoder.encode(picture), embed([case.scene.caption]), embed([other.scene.caption])
    shown = [pixels(model.autoencoder.decode(z0))]
    for backbone in (model.backbone, with_adapter(model, DemoAdapter.load(), picture)):
        path = reconstruct(backbone, invert(backbone, z0, own, INVERSION), wrong, guidance=EDIT_GUIDANCE)
        shown.append(pixels(model.autoencoder.decode(path[-1])))
    return beside(shown)


def in_the_frontend() -> Image.Image:
    conftest, host = module("tests/browser/conftest.py"), module("tests/host/server.py")
    workflow = json.loads((ROOT / "example_workflows" / "subject_1_demo.json").read_text(encoding="utf-8"))
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        host.serving(os.environ["COMFYUI_PATH"], Path(folder) / "base") as running,
        sync_playwright() as playwright,
    ):
        conftest.set_setting(running.url, "Comfy.VueNodes.Enabled", False)
        conftest.set_setting(running.url, "Comfy.TutorialCompleted", True)
        browser = playwright.chromium.launch(executable_path=conftest.CHROMIUM, args=conftest.FLAGS)
        page = browser.new_page(viewport={"width": 1900, "height": 1300})
        page.goto(running.url)
        page.wait_for_function("Boolean(window.app?.vueAppReady && window.LiteGraph?.registered_node_types?.DragfieldEdit)")
        page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        page.evaluate("app.queuePrompt(0)")
        report = next(node["id"] for node in workflow["nodes"] if node["type"] == "DragfieldReport")
        page.wait_for_function("id => Boolean(app.nodeOutputs[id])", arg=report, timeout=1_500_000)
        page.evaluate("app.canvas.ds.scale = 1; app.canvas.ds.offset = [400, 150]; app.graph.setDirtyCanvas(true, true)")
        page.wait_for_timeout(2000)
        shot = page.screenshot(clip=page.evaluate(BOX, list(SHOWN)))
        browser.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def pixels(picture: Tensor) -> np.ndarray:
    return (picture[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255).round().astype(np.uint8)


def beside(pictures: list[np.ndarray]) -> Image.Image:
    squares = [np.asarray(Image.fromarray(x).resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for x in pictures]
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for square in squares for part in (square, gap)][:-1], axis=1))


def save(picture: Image.Image, name: str) -> None:
    path = DOCS / f"{name}.webp"
    picture.save(path, quality=80, method=6)
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size / 1024:.0f} KB", flush=True)


def module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


if __name__ == "__main__":
    main()
