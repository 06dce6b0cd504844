"""Tests of the pack in the real frontend: a ComfyUI server of their own, and its page in Chromium, in both renderers.

Run them with the Python that ComfyUI runs with, plus pytest, pytest-timeout and playwright (the Python package alone):

    COMFYUI_PATH=/path/to/ComfyUI /path/to/comfy-venv/bin/python -m pytest tests/browser

COMFYUI_URL names a server that runs already, with the pack in it, to try things out faster. CHROMIUM_PATH names the browser where it is not
`chromium`, `chromium-browser` or `google-chrome`. COMFYUI_FRONTEND names the folder of another frontend than the installed one; the oldest
one that the pack's ComfyUI asks for is in old/comfyui_frontend_package/static after

    pip install --no-deps --target old comfyui-frontend-package==1.42.10

Without ComfyUI, the package or the browser every module is skipped, saying so.

    def test_something(page, problems): ...       # runs twice: with the classic renderer and with Nodes 2.0

`page` is a playwright Page on an empty graph with the pack loaded; `problems` what its console has complained about so far.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

COMFYUI = os.environ.get("COMFYUI_PATH") or os.environ.get("COMFYUI_URL")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
RENDERERS = {"classic": False, "nodes2": True}
"""The values of the setting Comfy.VueNodes.Enabled."""
BLANK = """async () => {
  app.canvas.setGraph(app.rootGraph ?? app.graph);
  await app.extensionManager.command.execute("Comfy.NewBlankWorkflow");
  app.graph.clear();
}"""
"""A workflow of its own for each test, with an undo of its own."""
OURS = ("ComfyUI-Dragfield", "/dragfield/")
"""In what the console complains about when it comes from our files or our part of the server. The page itself asks for files that a fresh
server does not have, and for models on hosts that it is cut off from."""


def _absent() -> str | None:
    if not COMFYUI:
        return "COMFYUI_PATH does not name a ComfyUI"
    if importlib.util.find_spec("playwright") is None:
        return "the Python package playwright is not installed"
    return None if CHROMIUM else f"no browser found: none of {', '.join(NAMES)}, and no CHROMIUM_PATH"


class _Absent(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        pytest.skip(f"{self.path.name}: {_absent()}, see tests/browser/conftest.py", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return _Absent.from_parent(parent, path=module_path) if _absent() else None


@pytest.fixture(scope="session")
def comfyui_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a ComfyUI with this checkout as its only pack answers."""
    if os.environ.get("COMFYUI_URL"):
        yield os.environ["COMFYUI_URL"].rstrip("/")
        return
    spec = importlib.util.spec_from_file_location("host_server", Path(__file__).parents[1] / "host" / "server.py")
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    frontend = os.environ.get("COMFYUI_FRONTEND")
    arguments = ["--front-end-root", str(Path(frontend).resolve())] if frontend else []
    with server.serving(os.environ["COMFYUI_PATH"], tmp_path_factory.mktemp("browser") / "base", *arguments) as running:
        yield running.url


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session", params=list(RENDERERS))
def renderer(request: pytest.FixtureRequest) -> str:
    return request.param


class Opened:
    """One page for many tests: opening ComfyUI takes longer than most of them."""

    def __init__(self, browser: Any, url: str, renderer: str) -> None:
        set_setting(url, "Comfy.VueNodes.Enabled", RENDERERS[renderer])
        set_setting(url, "Comfy.TutorialCompleted", True)
        self.renderer = renderer
        self.problems: list[str] = []
        self.context = browser.new_context(viewport={"width": 1600, "height": 1000}, permissions=["clipboard-read", "clipboard-write"])
        self.context.route(lambda asked: not asked.startswith((url, "blob:", "data:")), lambda route: route.abort())
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.page.on("console", lambda said: self.hear(f"{said.text} ({said.location['url']})") if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(f"{error}\n{error.stack}"))
        self.page.goto(url)
        self.page.wait_for_function("Boolean(window.app?.vueAppReady && window.LiteGraph?.registered_node_types?.DragfieldEdit)")

    def hear(self, words: str) -> None:
        if any(name in words for name in OURS):
            self.problems.append(words)


@pytest.fixture(scope="session")
def opened() -> Iterator[dict[str, Opened]]:
    """The page that is open, under "page"."""
    kept: dict[str, Opened] = {}
    yield kept
    for one in kept.values():
        one.context.close()


@pytest.fixture
def tab(comfyui_url: str, browser: Any, renderer: str, opened: dict[str, Opened]) -> Iterator[Opened]:
    held = opened.get("page")
    if held is None or held.renderer != renderer or held.problems:
        if held is not None:
            held.context.close()
        opened["page"] = held = Opened(browser, comfyui_url, renderer)
    held.page.evaluate(BLANK)
    yield held


@pytest.fixture
def problems(tab: Opened) -> list[str]:
    """Uncaught exceptions of the page in this test, and errors that come from our files."""
    return tab.problems


@pytest.fixture
def page(tab: Opened) -> Any:
    """ComfyUI's page with an empty graph, in one of the renderers, cut off from every other host."""
    return tab.page


@pytest.fixture
def french(comfyui_url: str, browser: Any) -> Iterator[Any]:
    """A page of its own, in French."""
    set_setting(comfyui_url, "Comfy.Locale", "fr")
    try:
        held = Opened(browser, comfyui_url, "nodes2")
        yield held.page
        held.context.close()
    finally:
        set_setting(comfyui_url, "Comfy.Locale", "en")


def set_setting(url: str, name: str, value: Any) -> None:
    """A setting of ComfyUI, as its settings dialog would save it; read when the page loads."""
    request = urllib.request.Request(f"{url}/settings/{name}", json.dumps(value).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60):
        pass


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"browser_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def scene(comfyui_url: str) -> str:
    """A picture among the server's inputs, its ball transparent, for the mask; beside it a smaller one, small.png."""
    from PIL import Image, ImageDraw

    upload = _beside("canvas_hand").upload
    image = Image.new("RGBA", (512, 384), (150, 195, 235, 255))
    pen = ImageDraw.Draw(image)
    pen.rectangle([0, 260, 512, 384], fill=(120, 160, 90, 255))
    pen.rectangle([300, 165, 420, 280], fill=(180, 85, 63, 255))
    pen.ellipse([80, 250, 165, 335], fill=(45, 110, 145, 0))
    upload(comfyui_url, image.resize((256, 192)), "dragfield_small.png")
    return upload(comfyui_url, image, "dragfield_scene.png")


@pytest.fixture
def draw(page: Any, scene: str) -> Callable[..., tuple[str, Any]]:
    """draw(x) -> the id of a canvas on the picture, and the hand on it."""

    hands = _beside("canvas_hand")

    def make(x: float = 480) -> tuple[str, Any]:
        page.evaluate("app.canvas.ds.offset = [0, 0]; app.canvas.ds.scale = 1")
        loader = page.evaluate(hands.ADD, ["LoadImage", x - 340, 160])
        page.evaluate("([id, name]) => { app.graph.getNodeById(id).widgets[0].value = name }", [loader, scene])
        canvas = page.evaluate(hands.ADD, ["DragfieldCanvas", x, 130])
        page.evaluate("([a, b]) => { app.graph.getNodeById(a).connect(0, app.graph.getNodeById(b), 'image') }", [loader, canvas])
        return canvas, hands.hand_of(page, canvas)

    return make
