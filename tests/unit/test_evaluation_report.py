"""The page of a run: it holds every row, asks nothing of a network, and works in a browser without a complaint."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dragfield.benchmarks.evaluation.plan import Plan
from dragfield.benchmarks.evaluation.run import run
from dragfield.core.formats import drag100
from dragfield.core.instruction.operations import Drag, PointOperation
from dragfield.core.metrics.backbones import Backbones
from dragfield.core.metrics.judge import Judge

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves the folder of a test off the path
from chat_server import completion, send, server  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, NAMES)), None)
HOSTILE = "<b>&'100%#?"
"""A sample's name that a page might trip over."""


def told(page: Path) -> dict:
    """What a page holds."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)[1])


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """Two runs of three samples, one of which can't be read; the second with another seed, beside the first."""
    folder = tmp_path_factory.mktemp("runs")
    for i, name in enumerate(("a", "broken", HOSTILE)):
        picture = Image.fromarray(np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8))
        drag100.write(folder / "data" / name, picture, Drag((64, 48), (), (PointOperation((20.5, 20.5), (30.5 + 5 * i, 22.5)),)))
    (folder / "data" / "broken" / "points.json").write_text("{}")
    verdict = completion(json.dumps({"words": f"smeared {HOSTILE}", "quality": 4, "drag": 8}))
    with server(lambda handler, n: send(handler, 200, verdict)) as (url, _):
        judge = Backbones(judge=Judge(url, "m", votes=2))
        for name, seed in (("one", 0), ("two", 1)):
            plan = Plan.make(
                suite="drag100", data=folder / "data", methods=("no_edit", "pixel_warp"), seed=seed, base="no_edit", backbones=judge
            )
            run(plan, folder / name, compare=folder / "one" if name == "two" else None)
    return folder / "one", folder / "two"


def test_every_row_is_in_the_page(runs: tuple[Path, Path]) -> None:
    data = told(runs[0] / "report.html")
    assert set(data["samples"]) == {"a", "broken", HOSTILE} and list(data["columns"]) == ["no_edit", "pixel_warp"]
    warp = data["columns"]["pixel_warp"]
    assert (warp["count"], warp["failed"]) == (3, 1) and "points" in warp["rows"]["broken"]["error"]
    assert warp["rows"]["a"]["values"]["arrival"] < data["columns"]["no_edit"]["rows"]["a"]["values"]["arrival"]
    assert set(data["pictures"]) == {"a", HOSTILE}
    # What no sample has a value of is no column.
    assert "psnr_truth" not in data["metrics"] and data["first"] == "arrival"
    (difference,) = data["differences"]
    assert (difference["of"], difference["less"]) == ("pixel_warp", "no_edit") and difference["means"]["arrival"]["value"] < 0


def test_the_ablation_is_in_the_page_and_in_its_tables(runs: tuple[Path, Path]) -> None:
    found = told(runs[0] / "report.html")["ablation"]
    assert list(found["rows"]) == ["no_edit (base)", "pixel_warp"] and found["metrics"][-1] == "gscore_drag"
    cell = found["rows"]["pixel_warp"]["arrival"]
    assert (cell["pairs"], cell["left"], cell["beyond"]) == (2, 1, "better") and cell["difference"]["value"] < 0
    assert "2, 1 left out" in (runs[0] / "ablation.md").read_text("utf-8") and (runs[0] / "ablation.csv").is_file()


def test_another_run_stands_beside_and_is_subtracted_from_its_namesake(runs: tuple[Path, Path]) -> None:
    data = told(runs[1] / "report.html")
    assert list(data["columns"]) == ["no_edit", "pixel_warp", "no_edit (one)", "pixel_warp (one)"]
    same = [d for d in data["differences"] if d["less"] == "pixel_warp (one)"]
    assert [d["means"]["arrival"] for d in same] == [{"value": 0.0, "error": 0.0}]
    picture = data["columns"]["pixel_warp (one)"]["rows"]["a"]["picture"]
    assert (runs[1] / picture).resolve() == (runs[0] / "samples" / "pixel_warp" / "a" / "edited.png").resolve()


def test_the_page_asks_nothing_of_a_network_and_ends_where_it_should(runs: tuple[Path, Path]) -> None:
    text = (runs[1] / "report.html").read_text("utf-8")
    assert not re.search(r"https?:|//[a-z]+\.|@import|src=[\"']", text) and HOSTILE not in text
    assert text.count("</script>") == 2


def test_only_runs_of_one_suite_are_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    plan = Plan.make(suite="drag100", data=runs[0].parent / "data", methods=("no_edit",))
    with pytest.raises(ValueError, match="holds no run"):
        run(plan, tmp_path / "out", compare=tmp_path)
    (tmp_path / "run.json").write_text('{"suite": "redbench"}')
    with pytest.raises(ValueError, match="holds a run of redbench, this is one of drag100"):
        run(plan, tmp_path / "out", compare=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no browser found: none of chromium, chromium-browser, google-chrome, and no CHROMIUM_PATH")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="the Python package playwright is not installed")
def test_the_page_works_in_a_browser_without_a_complaint(runs: tuple[Path, Path]) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900}, offline=True)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto((runs[1] / "report.html").as_uri())
        # Worst first: what failed, then the longest way left.
        assert page.locator(".sample h3").all_text_contents()[0] == "broken"
        page.locator("#method").select_option("no_edit")
        assert page.locator(".sample h3").all_text_contents() == ["broken", HOSTILE, "a"]
        page.locator("#best").check()
        assert page.locator(".sample h3").all_text_contents()[:2] != ["broken", HOSTILE]
        pictures = page.locator(".sample img")
        for i in range(pictures.count()):
            pictures.nth(i).scroll_into_view_if_needed()
            pictures.nth(i).evaluate("image => image.decode()")
        # The ablation: a difference on the two samples that could be read, green.
        assert page.locator("#ablation tbody tr td:first-child").all_text_contents() == ["no_edit (base)", "pixel_warp"]
        at = page.locator("#ablation thead th").all_text_contents().index("arrival ↓") + 1
        cell = page.locator(f"#ablation tbody tr:last-child td:nth-child({at})")
        assert cell.text_content().endswith("n 2, 1 left out") and cell.locator(".best").text_content().startswith("-")
        # Before and after under the slider.
        page.get_by_role("button", name="pixel_warp on a, before and after", exact=True).click()
        assert page.locator("dialog").is_visible() and page.locator("#named").text_content() == "pixel_warp on a"
        assert page.locator("#words p").all_text_contents() == [f"The judge: smeared {HOSTILE}"] * 2
        assert "gscore 4.00" in page.locator("#values").text_content()
        page.locator(".slider input").fill("250")
        assert page.locator(".slider .over").evaluate("image => getComputedStyle(image).clipPath") == "inset(0px 75% 0px 0px)"
        page.get_by_role("button", name="Close").click()
        # A heading sorts, up and then down.
        column = page.locator("#all thead button").all_text_contents().index("arrival ↓")
        found = []
        for _ in range(2):
            page.locator("#all thead button").nth(column).click()
            cells = page.locator(f"#all tbody tr td:nth-child({column + 1})").all_text_contents()
            found.append([float(cell) for cell in cells if cell != "–"])
        assert found[0] == sorted(found[0]) and found[1] == sorted(found[1], reverse=True) and len(found[0]) == 8
        browser.close()
    assert complaints == []
