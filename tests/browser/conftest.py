"""Tests of the pack in the real frontend: a ComfyUI server of their own, and its page in Chromium, in both renderers.

Run them with the Python that ComfyUI runs with, plus pytest, pytest-timeout and playwright (the Python package alone):

    COMFYUI_PATH=/path/to/ComfyUI /path/to/comfy-venv/bin/python -m pytest tests/browser

COMFYUI_URL names a server that runs already, with the pack in it, to try things out faster. CHROMIUM_PATH names the browser where it is not
`chromium`, `chromium-browser` or `google-chrome`. Without ComfyUI, the package or the browser every module is skipped, saying so.

    def test_something(page, problems): ...       # runs twice: with the classic renderer and with Nodes 2.0

`page` is a playwright Page on an empty graph with the pack loaded; `problems` what its console has complained about so far.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
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
NOT_OURS = (
    "/userdata", "/user.css", "ComfyApp graph accessed before initialization", "Ignored attempt to cancel a touchmove event",
)  # fmt: skip
"""What the page complains about without any pack: files that a fresh server does not have, its own start, its pinch when it is slow."""


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
    with server.serving(os.environ["COMFYUI_PATH"], tmp_path_factory.mktemp("browser") / "base") as running:
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
        self.page.on("console", lambda said: self.complain(f"{said.text} ({said.location['url']})") if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complain(str(error)))
        self.page.goto(url)
        self.page.wait_for_function("Boolean(window.app?.vueAppReady && window.LiteGraph?.registered_node_types?.DragfieldEdit)")

    def complain(self, words: str) -> None:
        if not any(known in words for known in NOT_OURS):
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
    """Errors and uncaught exceptions of the page in this test, but for those of ComfyUI alone."""
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
