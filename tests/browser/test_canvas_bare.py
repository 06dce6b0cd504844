"""The drag canvas on a bare page, without ComfyUI: what each tool does with mouse, keyboard and fingers."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import io
import itertools
import json
import random
import statistics
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from dragfield.core.instruction import DragInstruction

ROOT = Path(__file__).resolve().parents[2]
BALL = ((0.15, 0.62), (0.34, 0.88))
HOUSE = ((0.54, 0.26), (0.86, 0.73))


def beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"browser_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hand_module = beside("canvas_hand")
Hand, operations = hand_module.Hand, hand_module.operations


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def bare_url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(ROOT)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/tests/browser/bare.html"
    server.shutdown()


@pytest.fixture
def open_bare(browser: Any, bare_url: str) -> Iterator[Any]:
    """open_bare(query, **context) -> (hand, texts, problems)."""
    contexts = []

    def open_page(query: str = "", **options: Any) -> tuple[Any, Any, list[str]]:
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(bare_url + query)
        page.wait_for_function("Boolean(window.ready)")
        hand = Hand(page, page.locator(".df-root"))
        hand.settle()
        return hand, lambda: page.evaluate("texts"), problems

    yield open_page
    for context in contexts:
        context.close()


def test_a_rectangle_is_one_step_and_dragging_it_another(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.5, 0.8))
    assert len(texts()) == 2
    (region,) = operations(texts()[-1])
    assert region["task"] == "relocation"
    assert region["target"] == pytest.approx([0.505, 0.8], abs=0.01)
    hand_module.picture(hand.page, "bare")
    assert problems == []


@pytest.mark.parametrize(
    "key, path", [("r", BALL), ("o", BALL), ("l", ((0.2, 0.6), (0.3, 0.6), (0.3, 0.8), (0.2, 0.8))), ("b", ((0.2, 0.7), (0.35, 0.7)))]
)
def test_each_tool_draws_a_region_that_python_reads(open_bare: Any, key: str, path: Any) -> None:
    hand, texts, problems = open_bare()
    hand.stage.focus()
    hand.key(key)
    hand.drag(*path)
    (region,) = DragInstruction.from_json(texts()[-1]).operations
    assert DragInstruction.from_json(texts()[-1]).size == (1024, 768)
    assert len(region.region[0][0]) >= 3
    assert problems == []


def test_a_polygon_is_clicked_and_closed_with_enter(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.stage.focus()
    hand.key("p")
    for point in ((0.2, 0.2), (0.4, 0.2), (0.9, 0.9), (0.3, 0.4)):
        hand.click(point)
        hand.page.wait_for_timeout(400)
    hand.key("Backspace", "Enter")
    (region,) = operations(texts()[-1])
    assert len(region["region"][0][0]) == 3


def test_the_eraser_takes_from_a_region_and_its_displacement_stays(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.5, 0.75))
    hand.key("e")
    hand.drag((0.16, 0.6), (0.16, 0.9), steps=12)
    before, after = (operations(text)[0] for text in texts()[-2:])
    assert before["region"] != after["region"]
    assert after["target"][0] > before["target"][0]


def test_what_goes_along_is_drawn_erased_taken_back_and_dragged_with_its_region(open_bare: Any) -> None:
    hand, texts, problems = open_bare()

    def along(text: str) -> Any:
        return operations(text)[0].get("along")

    hand.key("g")
    assert "Select points or a region" in hand.root.locator(".df-hint").inner_text()
    hand.drag(*BALL)
    button = hand.root.get_by_role("button", name="Draw what goes along with Region 1: its shadow, its reflection, something it holds")
    button.click()
    hand.settle()
    assert button.get_attribute("aria-pressed") == "true" and "goes along" in hand.root.locator(".df-hint").inner_text()
    hand.key("r")
    hand.drag((0.2, 0.9), (0.4, 0.97))
    assert len(operations(texts()[-1])) == 1 and along(texts()[-1])
    # A region again: what is dragged is all of it.
    assert button.get_attribute("aria-pressed") == "false" and button.get_attribute("data-has") == ""
    before = along(texts()[-1])
    hand.drag((0.38, 0.94), (0.68, 0.94))
    moved = operations(texts()[-1])[0]
    assert moved["target"][0] == pytest.approx(0.245 + 0.3, abs=0.02) and moved["along"] == before
    hand.key("g", "b")
    hand.drag((0.38, 0.935), (0.5, 0.935))
    grown = along(texts()[-1])
    assert max(x for (outer, *_) in grown for x, _ in outer) == pytest.approx(0.53, abs=0.03) and len(grown) == 1
    hand.key("e")
    hand.drag((0.46, 0.8), (0.46, 0.99))
    assert len(along(texts()[-1])) >= 2 or max(x for (outer, *_) in along(texts()[-1]) for x, _ in outer) < 0.47
    hand.key("Control+z")
    assert along(texts()[-1]) == grown
    hand.key("Control+z", "Control+z", "Control+z")
    assert along(texts()[-1]) is None
    hand.key("Control+y")
    region = operations(texts()[-1])[0]["region"]
    hand.key("Alt+ArrowLeft")
    assert operations(texts()[-1])[0]["region"] == region
    assert along(texts()[-1])[0][0][0][0] == pytest.approx(before[0][0][0][0] - 1 / 1024, abs=1e-5)
    hand_module.picture(hand.page, "bare_along")
    hand.key("Delete", "Escape")
    assert len(operations(texts()[-1])) == 1 and along(texts()[-1]) is None
    assert hand.page.evaluate("editor.session.state.part") == "region"
    for text in texts():
        DragInstruction.from_json(text)
    assert problems == []


def test_what_points_take_along_is_clicked_drawn_erased_taken_back_and_goes_with_them(open_bare: Any) -> None:
    hand, texts, problems = open_bare()

    def selected(text: str) -> Any:
        return operations(text)[0].get("selected")

    def box(text: str) -> list[float]:
        corners = [corner for polygon in selected(text) for ring in polygon for corner in ring]
        return [min(x for x, _ in corners), min(y for _, y in corners), max(x for x, _ in corners), max(y for _, y in corners)]

    def colour(point: Any) -> tuple[int, ...]:
        x, y = hand.at(point)
        shot = Image.open(io.BytesIO(hand.page.screenshot(clip={"x": x - 1, "y": y - 1, "width": 3, "height": 3})))
        return shot.convert("RGB").getpixel((1, 1))

    hand.stage.focus()
    hand.key("d")
    hand.drag((0.245, 0.75), (0.5, 0.75))
    button = hand.root.get_by_role("button", name="Select what Points 1 takes along: by default it is looked for")
    button.click()
    hand.settle()
    assert button.get_attribute("aria-pressed") == "true"
    assert "Click what the points take along" in hand.root.locator(".df-hint").inner_text()
    hand.click((0.22, 0.8))
    assert box(texts()[-1]) == pytest.approx([*BALL[0], *BALL[1]], abs=0.03)
    assert len(texts()) == 2 and button.get_attribute("data-has") == ""
    # It has gone: what was under it is ground, and it is where its handle goes.
    hand.key("m", "v")
    at = colour((0.5, 0.68))
    hand.key("i")
    assert colour((0.245, 0.68)) == pytest.approx(at, abs=12) and colour((0.5, 0.68)) != pytest.approx(at, abs=12)
    hand.key("t", "m")
    clicked = selected(texts()[-1])
    hand.key("r")
    hand.drag((0.3, 0.7), (0.45, 0.8))
    assert box(texts()[-1])[2] == pytest.approx(0.45, abs=0.01) and len(selected(texts()[-1])) == 1
    hand.key("g", "e")
    hand.drag((0.4, 0.6), (0.4, 0.9))
    assert box(texts()[-1])[2] != pytest.approx(0.45, abs=0.01) or len(selected(texts()[-1])) > 1
    hand.key("Control+z", "Control+z")
    assert selected(texts()[-1]) == clicked
    hand_module.picture(hand.page, "bare_selected")
    hand.key("Delete")
    assert selected(texts()[-1]) is None and len(operations(texts()[-1])) == 1
    hand.key("Control+z", "Escape")
    assert selected(texts()[-1]) == clicked and hand.page.evaluate("editor.session.state.part") == "region"
    for text in texts():
        DragInstruction.from_json(text)
    assert DragInstruction.from_json(texts()[-1]).version == 2
    # Its handle elsewhere: said before anything runs.
    hand.key("v")
    hand.drag((0.245, 0.75), (0.8, 0.2))
    assert "No handle that moves lies in what is selected" in hand.root.locator(".df-hint").inner_text()
    assert problems == []


def test_an_object_is_clicked_pinned_and_bent(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.stage.focus()
    hand.key("k")
    assert "Click an object" in hand.root.locator(".df-hint").inner_text()
    hand.click((0.24, 0.8))
    (points,) = operations(texts()[-1])
    (pin,) = points["pairs"]
    assert pin[0] == pin[1] == pytest.approx([0.24, 0.8], abs=0.01) and points["selected"]
    hand.click((0.3, 0.76))
    hand.drag((0.23, 0.68), (0.3, 0.6))
    (bent,) = operations(texts()[-1])
    assert bent["selected"] == points["selected"] and len(bent["pairs"]) == 3 and len(texts()) == 3
    assert bent["pairs"][2][0] == pytest.approx([0.23, 0.68], abs=0.01) and bent["pairs"][2][1] == pytest.approx([0.3, 0.6], abs=0.01)
    assert bent["pairs"][0] == pin
    # A pin that is there is taken hold of.
    hand.drag((0.3, 0.6), (0.25, 0.58))
    (again,) = operations(texts()[-1])
    assert len(again["pairs"]) == 3 and again["pairs"][2][1] == pytest.approx([0.25, 0.58], abs=0.01)
    hand_module.picture(hand.page, "bare_bend")
    hand.key("Delete")
    assert len(operations(texts()[-1])[0]["pairs"]) == 2
    hand.key("Control+z", "Control+z", "Control+z", "Control+z")
    assert operations(texts()[-1]) == [points]
    # Beside it another object: points of its own.
    hand.click((0.7, 0.6))
    assert len(operations(texts()[-1])) == 2
    hand.key("Control+z")
    # By keys alone: a pin in the middle of the view, then nudged.
    hand.key("Escape", "k", "Shift+N")
    house = operations(texts()[-1])[-1]
    assert house["kind"] == "points" and house["selected"] and house["pairs"][0][0] == house["pairs"][0][1]
    hand.key("ArrowRight")
    assert operations(texts()[-1])[-1]["pairs"][0][1][0] > house["pairs"][0][1][0]
    for text in texts():
        DragInstruction.from_json(text).validate()
    assert problems == []


def test_what_is_sent_behind_something_passes_behind_it(open_bare: Any) -> None:
    hand, texts, problems = open_bare()

    def colour(point: Any) -> tuple[int, ...]:
        x, y = hand.at(point)
        shot = Image.open(io.BytesIO(hand.page.screenshot(clip={"x": x - 1, "y": y - 1, "width": 3, "height": 3})))
        return shot.convert("RGB").getpixel((1, 1))

    house = colour((0.6, 0.65))
    hand.key("o")
    hand.drag(*BALL)
    hand.drag((0.245, 0.75), (0.6, 0.6))
    hand.key("m")
    assert colour((0.6, 0.65)) != pytest.approx(house, abs=12)
    hand.root.get_by_role("button", name="Send behind: click or draw what stays in front").click()
    assert "Click what stays in front" in hand.root.locator(".df-hint").inner_text()
    hand.click((0.6, 0.65))
    front = operations(texts()[-1])[1]
    assert front["task"] == "pin" and front["front"] is True and DragInstruction.from_json(texts()[-1]).version == 2
    assert colour((0.6, 0.65)) == pytest.approx(house, abs=3) and colour((0.52, 0.65)) != pytest.approx(house, abs=12)
    assert hand.page.evaluate("editor.session.state.part") == "region"
    hand.key("m")
    hand_module.picture(hand.page, "bare_front")
    button = hand.root.get_by_role("button", name="Let what moves pass behind Region 2")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert "front" not in operations(texts()[-1])[1] and button.get_attribute("aria-pressed") == "false"
    hand.key("f")
    assert operations(texts()[-1])[1] == front
    hand.key("Control+z", "Control+z", "Control+z")
    assert len(operations(texts()[-1])) == 1
    hand.stage.focus()
    hand.key("f", "r")
    hand.drag((0.5, 0.1), (0.55, 0.95))
    (_, drawn) = operations(texts()[-1])
    assert drawn["front"] is True and len(drawn["region"][0][0]) == 4
    for text in texts():
        DragInstruction.from_json(text)
    assert problems == []


def test_a_stroke_that_touches_the_selected_region_grows_it_and_one_beside_it_is_another(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.stage.focus()
    hand.key("b")
    hand.drag((0.2, 0.3), (0.3, 0.3))
    hand.drag((0.3, 0.3), (0.4, 0.3))
    assert len(operations(texts()[-1])) == 1
    hand.drag((0.2, 0.8), (0.3, 0.8))
    assert len(operations(texts()[-1])) == 2


def test_a_rotation_turns_about_its_anchor_and_shift_snaps(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.drag(*HOUSE)
    hand.key("2")
    hand.drag((0.7, 0.45), (0.85, 0.55), keys="Shift")
    hand.settle()
    assert float(hand.root.locator(".df-number").first.input_value()) % 15 == pytest.approx(0, abs=0.1)
    (region,) = operations(texts()[-1])
    assert region["task"] == "rotation" and region["anchor"] == pytest.approx([0.7, 0.73], abs=0.01)


def test_a_box_around_the_selected_region_scales_turns_and_mirrors_it(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.drag((0.1, 0.5), (0.3, 0.7))
    hand.drag((0.2, 0.6), (0.5, 0.5))

    def last() -> dict[str, Any]:
        return operations(texts()[-1])[0]

    # The region lies from (0.4, 0.4) to (0.6, 0.6); its grips are 8 px outside of that.
    corner, steps = hand.beside((0.6, 0.6), 8, 8), len(texts())
    hand.drag(corner, (corner[0] + 0.1, corner[1] + 0.1))
    assert last()["scale"] == pytest.approx([1.5, 1.5], abs=0.01) and last()["target"] == pytest.approx([0.55, 0.55], abs=0.01)
    assert len(texts()) == steps + 1
    hand.button("Undo").click()
    assert "scale" not in last()
    hand.drag(corner, (corner[0] + 0.1, corner[1]), keys="Shift")
    assert last()["scale"] == pytest.approx([1.5, 1], abs=0.01)
    side = hand.beside((0.4, 0.5), -8, 0)
    hand.drag(side, (side[0] + 0.6, side[1]))
    assert last()["scale"] == pytest.approx([-1.5, 1], abs=0.02) and last()["target"] == pytest.approx([0.85, 0.5], abs=0.01)
    hand.drag((0.85, 0.5), (0.5, 0.5))
    middle = hand.beside((0.65, 0.5), 8, 0)
    hand.drag(middle, (middle[0] - 0.05, middle[1]), keys="Alt")
    assert last()["scale"] == pytest.approx([-1, 1], abs=0.02) and last()["target"] == pytest.approx([0.5, 0.5], abs=0.01)
    # 90 degrees about the middle, in px of the picture.
    away = hand.beside((0.5, 0.4), 0, -30)
    hand.drag(away, (0.5 + (0.5 - away[1]) * 0.75, 0.5), keys="Shift")
    assert last()["angle"] == 90
    hand_module.picture(hand.page, "bare_box")
    hand.button("Flip left and right").click()
    assert last()["angle"] == -90 and last().get("scale", [1, 1]) == pytest.approx([1, 1], abs=0.02)
    assert DragInstruction.from_json(texts()[-1]).version == 2
    assert problems == []


def test_a_copy_leaves_the_original_where_it_is_seen(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.5, 0.4))
    hand.key("m")

    def blue(point: tuple[float, float]) -> bool:
        x, y = hand.at(point)
        shot = Image.open(io.BytesIO(hand.page.screenshot(clip={"x": x - 2, "y": y - 2, "width": 4, "height": 4}))).convert("RGB")
        red, _, blue = shot.resize((1, 1), Image.BOX).getpixel((0, 0))
        return blue > red + 60

    assert blue((0.505, 0.44)) and not blue((0.25, 0.79))
    hand.button("Copy it: the original stays").click()
    hand.settle()
    assert hand.button("Copy it: the original stays").get_attribute("aria-pressed") == "true"
    assert operations(texts()[-1])[0]["copy"] is True
    assert blue((0.505, 0.44)) and blue((0.25, 0.79))
    hand.stage.focus()
    hand.key("c")
    assert "copy" not in operations(texts()[-1])[0]
    assert problems == []


def test_scaling_turning_flipping_and_copying_by_keyboard(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.stage.focus()
    hand.key("n", "Control+ArrowUp", "Control+ArrowUp", ".", "Shift+V", "c")
    (region,) = operations(texts()[-1])
    assert region["scale"] == pytest.approx([1.1025, -1.1025], abs=1e-4) and region["angle"] == -1 and region["copy"] is True
    hand.root.get_by_label("Width, of what it was").fill("50")
    hand.root.get_by_label("Height, of what it was").fill("200")
    hand.root.get_by_label("Angle, clockwise").fill("30")
    hand.root.get_by_label("Angle, clockwise").press("Enter")
    (region,) = operations(texts()[-1])
    assert region["scale"] == [0.5, 2] and region["angle"] == 30
    hand.root.get_by_label("Width, of what it was").fill("5")
    hand.settle()
    assert operations(texts()[-1])[0]["scale"] == [0.5, 2] and "10 %" in hand.root.locator(".df-hint").inner_text()
    hand.stage.focus()
    hand.key("3")
    assert not operations(texts()[-1])[0].keys() & {"scale", "angle", "copy"}
    hand.key("c")
    assert "moved or rotated" in hand.root.locator(".df-hint").inner_text()
    assert problems == []


def test_an_end_is_pulled_and_the_other_end_held_and_let_go(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.drag((0.6, 0.4), (0.7, 0.6))
    hand.key("3")
    hand.drag((0.65, 0.5), (0.8, 0.5))
    (region,) = operations(texts()[-1])
    assert region["task"] == "deformation" and region["target"] == pytest.approx([0.8, 0.5], abs=0.01) and "anchor" not in region
    hold = hand.button("Keep the other end in place, or let it go")
    hold.click()
    assert operations(texts()[-1])[0]["anchor"] == pytest.approx([0.5, 0.5], abs=0.01)
    hand.drag((0.5, 0.5), (0.3, 0.55))
    (region,) = DragInstruction.from_json(texts()[-1]).operations
    assert region.anchor == pytest.approx((0.3, 0.55), abs=0.01) and region.target == pytest.approx((0.8, 0.5), abs=0.01)
    hand_module.picture(hand.page, "bare_deformation")
    hand.settle()
    assert hold.get_attribute("aria-pressed") == "true"
    hand.key("a")
    assert "anchor" not in operations(texts()[-1])[0]
    assert problems == []


def test_points_are_dragged_or_clicked_and_their_ends_can_be_moved(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.stage.focus()
    hand.key("d")
    hand.drag((0.2, 0.2), (0.4, 0.25))
    hand.click((0.6, 0.6))
    hand.click((0.7, 0.7))
    (points,) = operations(texts()[-1])
    assert len(points["pairs"]) == 2
    hand.drag((0.4, 0.25), (0.5, 0.5))
    (points,) = operations(texts()[-1])
    assert points["pairs"][0][1] == pytest.approx([0.5, 0.5], abs=0.01)


UPPER = """([x, y, away]) => {
  const s = editor.stage, v = s.view, r = s.upper.width / s.box[0];
  return [...s.pen.getImageData((v.panX + x * s.size[0] * v.zoom) * r, (v.panY + y * s.size[1] * v.zoom + away) * r, 1, 1).data];
}"""
"""[x, y, css px farther down] -> the colour of what lies over the picture."""


def test_a_loupe_shows_where_a_point_is_set_and_where_its_key_is_held(open_bare: Any) -> None:
    hand, texts, problems = open_bare("?size=4096x3072")
    page = hand.page
    hand.key("d")
    # From the ball to the wall of the house, of which the loupe is full, while the sky lies behind it.
    page.mouse.move(*hand.at((0.24, 0.75)))
    page.mouse.down()
    page.mouse.move(*hand.at((0.6, 0.6)), steps=4)
    hand.settle()
    assert page.evaluate(UPPER, [0.6, 0.6, -60]) == pytest.approx([181, 85, 63, 255], abs=6)
    hand_module.picture(page, "bare_loupe")
    page.mouse.up()
    hand.settle()
    assert page.evaluate(UPPER, [0.6, 0.6, -60])[3] == 0
    page.mouse.move(*hand.at((0.6, 0.65)))
    page.keyboard.down("z")
    hand.settle()
    assert page.evaluate(UPPER, [0.6, 0.65, -60]) == pytest.approx([181, 85, 63, 255], abs=6)
    page.keyboard.up("z")
    hand.settle()
    assert page.evaluate(UPPER, [0.6, 0.65, -60])[3] == 0
    # With single px to be seen nobody needs it while a point is dragged.
    page.evaluate("editor.stage.zoom(40, [...editor.stage.box].map((side) => side / 2))")
    hand.settle()
    x, y = page.evaluate("(() => { const r = editor.stage.element.getBoundingClientRect(); return [r.x + 150, r.y + 250] })()")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 40, steps=3)
    hand.settle()
    assert page.evaluate("editor.stage.gesture.exact() !== null && editor.stage.pen.getImageData(...[190, 230].map("
                         "(v) => v * editor.stage.upper.width / editor.stage.box[0]), 1, 1).data[3]") == 0
    page.mouse.up()
    assert len(texts()) == 2 and problems == []


def test_everything_can_be_done_by_keyboard(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.stage.focus()
    hand.key("n", "ArrowRight", "ArrowRight", "Shift+ArrowDown")
    (region,) = operations(texts()[-1])
    assert region["target"] == pytest.approx([0.5 + 2 / 1024, 0.5 + 10 / 768], abs=1e-3)
    hand.key("Shift+N", "ArrowUp")
    assert [operation["kind"] for operation in operations(texts()[-1])] == ["region", "points"]
    hand.key("Escape", "Tab", "2", ".", "Shift+.")
    assert operations(texts()[-1])[0]["task"] == "rotation"
    hand.key("Control+d", "Delete")
    assert len(operations(texts()[-1])) == 2
    hand.key("Escape")
    assert hand.root.locator("[aria-current]").count() == 0
    assert problems == []


def test_held_arrow_keys_are_one_step_of_undo(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.stage.focus()
    hand.key("n")
    drawn = texts()[-1]
    for _ in range(5):
        hand.page.keyboard.down("ArrowLeft")
    hand.page.keyboard.up("ArrowLeft")
    hand.key("Control+z")
    assert texts()[-1] == drawn
    hand.key("Control+Shift+z")
    assert operations(texts()[-1])[0]["target"][0] == pytest.approx(0.5 - 5 / 1024, abs=1e-3)


def test_clicking_again_selects_what_lies_below(open_bare: Any) -> None:
    hand, _, _ = open_bare()
    hand.drag((0.2, 0.2), (0.5, 0.5))
    hand.key("r")
    hand.drag((0.3, 0.3), (0.6, 0.6))
    chosen = []
    for _ in range(3):
        hand.click((0.36, 0.45))
        chosen.append(hand.root.locator("[aria-current] .df-name").get_attribute("placeholder"))
        hand.page.wait_for_timeout(400)
    assert len(set(chosen)) == 2


def test_the_list_renames_hides_duplicates_and_deletes(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.drag(*BALL)
    hand.root.locator(".df-name").fill("ball")
    hand.root.locator(".df-name").press("Enter")
    hand.root.locator(".df-name").blur()
    hand.button("Hide ball").click()
    hand.settle()
    (region,) = operations(texts()[-1])
    assert region["name"] == "ball" and region["visible"] is False
    hand.root.locator(".df-row").get_by_role("button", name="Duplicate").click()
    hand.settle()
    assert hand.rows().count() == 2
    hand.root.locator(".df-row").first.get_by_role("button", name="Delete").click()
    hand.settle()
    assert hand.rows().count() == 1


def test_numbers_set_exact_values(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.drag(*BALL)
    field = hand.root.locator(".df-number").first
    field.fill("100")
    field.blur()
    hand.settle()
    (region,) = operations(texts()[-1])
    middle = sum(x for x, _ in region["region"][0][0]) / 4
    assert (region["target"][0] - middle) * 1024 == pytest.approx(100, abs=1.0)
    assert field.input_value() == "100"


def test_copy_and_paste_carry_an_operation_to_another_page(open_bare: Any) -> None:
    hand, texts, _ = open_bare("", permissions=["clipboard-read", "clipboard-write"])
    hand.drag(*BALL)
    hand.key("Control+c")
    other, other_texts, _ = open_bare("", permissions=["clipboard-read", "clipboard-write"])
    other.stage.focus()
    other.key("Control+v")
    other.page.wait_for_timeout(200)
    assert operations(other_texts()[-1])[0]["region"] == operations(texts()[-1])[0]["region"]


def test_the_preview_moves_the_picture_and_leaves_no_copy(open_bare: Any) -> None:
    hand, _, _ = open_bare()
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.5, 0.75))
    hand.key("Escape")
    colour = "([x, y]) => { const s = editor.stage, v = s.view, r = s.lower.width / s.box[0];" \
        "return [...s.base.context.getImageData((v.panX + x * s.size[0] * v.zoom) * r, (v.panY + y * s.size[1] * v.zoom) * r, 1, 1).data] }"
    blue = [47, 109, 143]
    assert hand.page.evaluate(colour, [0.5, 0.78])[:3] == pytest.approx(blue, abs=12)
    assert hand.page.evaluate(colour, [0.24, 0.78])[:3] != pytest.approx(blue, abs=12)
    hand.key("i")
    assert hand.page.evaluate(colour, [0.24, 0.78])[:3] == pytest.approx(blue, abs=12)


COLOUR = """([layer, x, y]) => {
  const s = editor.stage, v = s.view, r = s.lower.width / s.box[0], pen = layer ? s.pen : s.base.context;
  return [...pen.getImageData((v.panX + x * s.size[0] * v.zoom) * r, (v.panY + y * s.size[1] * v.zoom) * r, 1, 1).data];
}"""
BLUE = [47, 109, 143]


def test_before_and_after_are_compared_with_a_slider(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.5, 0.75))
    hand.key("Escape")
    hand.button("Compare before and after").click()
    slider = hand.root.get_by_role("slider", name="Compare before and after")
    box = slider.bounding_box()
    hand.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    hand.page.mouse.down()
    hand.page.mouse.move(*hand.at((0.4, 0.3)), steps=4)
    hand.page.mouse.up()
    hand.settle()
    assert int(slider.get_attribute("aria-valuenow")) == pytest.approx(40, abs=1)
    # To the left the ball is where it was, to the right where it goes.
    for x in (0.24, 0.5):
        assert hand.page.evaluate(COLOUR, [0, x, 0.79])[:3] == pytest.approx(BLUE, abs=12)
    slider.press("Home")
    hand.settle()
    assert slider.get_attribute("aria-valuenow") == "0"
    assert hand.page.evaluate(COLOUR, [0, 0.24, 0.79])[:3] != pytest.approx(BLUE, abs=12)
    slider.press("ArrowRight")
    hand.settle()
    assert slider.get_attribute("aria-valuenow") == "2"
    assert len(texts()) == 2 and problems == []


def test_the_preview_is_seen_on_its_way_and_nothing_of_that_is_saved(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    slider = hand.root.get_by_role("slider", name="How far the preview has moved")
    assert not slider.is_visible()
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.64, 0.75))
    hand.key("Escape")
    assert slider.input_value() == "1"
    for _ in range(10):
        slider.press("ArrowLeft")
    hand.settle()
    assert slider.input_value() == "0.5" and slider.get_attribute("aria-valuetext") == "50 % of the way"
    assert hand.page.evaluate(COLOUR, [0, 0.44, 0.79])[:3] == pytest.approx(BLUE, abs=12)
    for x in (0.24, 0.64):
        assert hand.page.evaluate(COLOUR, [0, x, 0.79])[:3] != pytest.approx(BLUE, abs=12)
    slider.press("Home")
    hand.settle()
    assert hand.page.evaluate(COLOUR, [0, 0.24, 0.79])[:3] == pytest.approx(BLUE, abs=12)
    slider.dblclick()
    hand.settle()
    assert slider.input_value() == "1"
    assert len(texts()) == 2 and problems == []


def test_what_goes_along_moves_in_the_preview_and_pins_keep_what_is_theirs(open_bare: Any) -> None:
    hand, _, problems = open_bare()
    upper, lower = ([[[[0.15, y], [0.34, y], [0.34, y + 0.13], [0.15, y + 0.13]]]] for y in (0.62, 0.75))

    def show(region: list[Any], *others: dict[str, Any], **more: Any) -> None:
        moved = {"kind": "region", "task": "relocation", "target": [0.5, 0.685], "region": region, **more}
        hand.page.evaluate("(text) => editor.load(text)", json.dumps({"version": 1, "operations": [moved, *others]}))
        hand.settle()

    def blue(x: float) -> bool:
        return hand.page.evaluate(COLOUR, [0, x, 0.82])[:3] == pytest.approx(BLUE, abs=12)

    show(upper)
    assert blue(0.24)
    show(upper, along=lower)
    assert blue(0.495) and not blue(0.24)
    show([*upper, *lower], {"kind": "region", "task": "pin", "region": lower})
    assert blue(0.24) and not blue(0.495)
    assert problems == []


@pytest.mark.parametrize("shape", ["rectangles", "around"])
def test_the_outline_of_the_mask_is_a_margin_away_from_what_moves(open_bare: Any, shape: str) -> None:
    hand, _, problems = open_bare()
    hand.drag((0.2, 0.4), (0.3, 0.6))
    hand.drag((0.25, 0.5), (0.6, 0.5))
    hand.key("Escape")
    hand.page.evaluate("(shape) => editor.setArea({shape, margin: 0.1})", shape)
    hand.button("Show where the edit may change the picture").click()
    hand.settle()
    hand_module.picture(hand.page, f"bare_mask_{shape}")
    # A tenth of 768 px is 0.075 of the width.
    drawn = [sum(hand.page.evaluate(COLOUR, [1, x / 400, 0.5 + y])[3] for y in (-0.02, 0, 0.02)) for x in range(30, 75)]
    assert [30 + i for i, alpha in enumerate(drawn) if alpha][0] / 400 == pytest.approx(0.125, abs=0.01)
    assert problems == []


@pytest.mark.parametrize("shape", ["rectangles", "around"])
def test_the_outline_of_the_mask_runs_along_pins_and_the_editable_area(open_bare: Any, shape: str) -> None:
    hand, _, problems = open_bare()
    hand.drag((0.2, 0.4), (0.3, 0.6))
    hand.drag((0.25, 0.5), (0.6, 0.5))
    hand.key("Escape", "r")
    hand.drag((0.36, 0.42), (0.42, 0.75))
    hand.key("4", "Escape")
    hand.page.evaluate(
        """(shape) => {
          editor.session.act({type: "editable", outline: [[[[0.15, 0.1], [0.95, 0.1], [0.95, 0.9], [0.15, 0.9]]]]});
          editor.setArea({shape, margin: 0.1});
        }""",
        shape,
    )
    hand.settle()
    pinned = hand.page.evaluate(COLOUR, [1, 0.39, 0.6])[3]
    hand.button("Show where the edit may change the picture").click()
    hand.settle()
    hand_module.picture(hand.page, f"bare_mask_{shape}_cut")

    def rim(x: float, y: float) -> bool:
        """Whether something is drawn on a short stretch of an upright line."""
        return any(hand.page.evaluate(COLOUR, [1, x + dx, y + dy])[3] for dy in (-0.02, -0.01, 0, 0.01, 0.02) for dx in (0, 0.003, 0.006))

    # The margin alone would reach to 0.125.
    assert rim(0.151, 0.5) and not rim(0.122, 0.5)
    # Under the drag, the pin cuts a notch; in it is no rim, and the pin looks as it did.
    assert hand.page.evaluate(COLOUR, [1, 0.39, 0.6])[3] == pinned
    assert problems == []


def test_the_mask_of_points_is_a_square_around_each_and_none_is_drawn_where_none_is_known(open_bare: Any) -> None:
    hand, _, problems = open_bare()
    hand.key("d")
    hand.drag((0.5, 0.5), (0.7, 0.5))
    hand.key("Escape")
    hand.page.evaluate("editor.setArea({shape: 'soft', margin: 0.1})")
    hand.button("Show where the edit may change the picture").click()
    hand.settle()
    hand_module.picture(hand.page, "bare_mask_soft")

    def rim() -> list[float]:
        drawn = [sum(hand.page.evaluate(COLOUR, [1, x / 400, 0.4 + y])[3] for y in (-0.02, 0, 0.02)) for x in range(100, 180)]
        return [(100 + i) / 400 for i, alpha in enumerate(drawn) if alpha]

    # Two standard deviations are 154 of 1024 px.
    assert rim()[0] == pytest.approx(0.35, abs=0.01)
    hand.page.evaluate("editor.setArea({shape: 'none', margin: 0})")
    hand.settle()
    assert rim() == [] and problems == []


def test_a_result_and_its_verdicts_are_shown(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.drag(*BALL)
    assert hand.button("Show the result").is_disabled()
    hand.page.evaluate(
        """async () => {
          await editor.setResult(scene(512, 384));
          const { id } = editor.session.state.operations[0];
          editor.setVerdicts(new Map([[id, [{ id, arrived: false, off: 12.4, advice: "raise the iterations" }]]]));
        }"""
    )
    hand.settle()
    hand.key("u")
    assert hand.button("Show the result").get_attribute("aria-pressed") == "true"
    verdict = hand.root.locator(".df-verdict[data-arrived=false]")
    assert verdict.get_attribute("aria-label") == "Did not arrive, 12 px off.\nraise the iterations"
    hand_module.picture(hand.page, "bare_result")
    hand.page.evaluate("editor.setResult(null)")
    hand.settle()
    assert hand.button("Show the preview").get_attribute("aria-pressed") == "true"
    assert len(texts()) == 1 and problems == []


def test_who_edits_sees_the_preview_and_a_result_of_the_drag_before_is_marked(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.5, 0.8))
    hand.page.evaluate("editor.setResult(scene(512, 384))")
    result = hand.button("Show the result")
    result.click()
    hand.settle()
    assert result.get_attribute("aria-pressed") == "true" and result.get_attribute("data-old") is None
    # Half of the way of a drag, the button still down: what it does is seen.
    hand.page.mouse.move(*hand.at((0.5, 0.8)))
    hand.page.mouse.down()
    hand.page.mouse.move(*hand.at((0.7, 0.5)), steps=4)
    hand.settle()
    assert hand.button("Show the preview").get_attribute("aria-pressed") == "true"
    hand.page.mouse.up()
    hand.settle()
    old = hand.button("What came of the drag before its last change")
    assert old.get_attribute("data-old") == ""
    old.click()
    hand.settle()
    assert "before its last change" in hand.root.locator(".df-notice").inner_text()
    hand.button("Undo").click()
    hand.settle()
    assert hand.button("Show the result").get_attribute("data-old") is None


def test_escape_closes_the_keyboard_help(open_bare: Any) -> None:
    hand, _, _ = open_bare()
    hand.drag(*BALL)
    for press in (lambda: hand.key("?"), lambda: hand.button("Keyboard help").click()):
        press()
        page = hand.root.locator(".df-help")
        page.wait_for(state="visible")
        hand.page.keyboard.press("Escape")
        page.wait_for(state="hidden")
    # The region was not deselected on the way.
    assert hand.root.locator(".df-row[aria-current]").count() == 1


@pytest.mark.parametrize("task", ["1", "2", "3"])
def test_alt_moves_the_drawn_region_whatever_of_it_is_held(open_bare: Any, task: str) -> None:
    hand, texts, _ = open_bare()
    hand.drag(*BALL)
    hand.key(task)

    def ring() -> tuple[float, float]:
        return operations(texts()[-1])[0]["region"][0][0][0]

    before = ring()
    hand.drag((0.245, 0.75), (0.345, 0.65), keys="Alt")
    after = ring()
    assert [after[0] - before[0], after[1] - before[1]] == pytest.approx([0.1, -0.1], abs=0.01)


def test_the_drag_on_the_picture_can_be_hidden(open_bare: Any) -> None:
    hand, _, _ = open_bare()
    hand.drag(*BALL)
    drawn = """(root) => {
      const layer = root.querySelectorAll(".df-layer")[1];
      return layer.getContext("2d").getImageData(0, 0, layer.width, layer.height).data.some((value) => value > 0);
    }"""
    assert hand.root.evaluate(drawn)
    hand.key("m")
    hand.page.mouse.move(2, 2)
    hand.settle()
    assert not hand.root.evaluate(drawn)
    hand.button("Show or hide the drag on the picture").click()
    hand.settle()
    assert hand.root.evaluate(drawn)


def test_a_second_paste_lies_beside_the_first(open_bare: Any) -> None:
    hand, texts, _ = open_bare(permissions=["clipboard-read", "clipboard-write"])
    hand.drag(*BALL)
    hand.stage.press("Control+c")
    for count in (2, 3, 4):
        hand.stage.press("Control+v")
        hand.page.wait_for_function("(count) => JSON.parse(texts.at(-1)).operations.length === count", arg=count)
    found = [operation["region"][0][0] for operation in operations(texts()[-1])]
    boxes = [(min(x for x, _ in ring), min(y for _, y in ring), max(x for x, _ in ring), max(y for _, y in ring)) for ring in found]
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] + 1e-3 or b[2] <= a[0] + 1e-3 or a[3] <= b[1] + 1e-3 or b[3] <= a[1] + 1e-3
    assert "Shares" not in hand.root.locator(".df-hint").inner_text()


@pytest.mark.parametrize("width", [280, 420])
def test_a_warning_is_seen_whole_and_moves_nothing(open_bare: Any, width: int) -> None:
    hand, _, _ = open_bare(f"?width={width}")
    hand.drag(*BALL)
    before = hand.stage.bounding_box()
    hand.key("r")
    hand.page.evaluate("editor.tell({key: 'problem.overlap', params: {percent: 40, other: 'Region 1'}})")
    hand.settle()
    whole = hand.root.locator(".df-whole")
    cut = whole.evaluate("(element) => [element.scrollWidth - element.clientWidth, element.scrollHeight - element.clientHeight]")
    assert max(cut) <= 1 and whole.inner_text().endswith("merge them.")
    box = whole.bounding_box()
    assert box["y"] >= before["y"] and box["y"] + box["height"] <= before["y"] + before["height"]
    hand_module.picture(hand.page, f"bare_warning_{width}")
    after = hand.stage.bounding_box()
    assert [after[side] for side in ("y", "width", "height")] == [before[side] for side in ("y", "width", "height")]


def test_a_guess_looks_like_one_and_a_drag_drawn_on_it_is_checked(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    notice = hand.root.locator(".df-notice")
    guess = "{key: 'picture.guess', params: {node: 'Load Image'}}"
    hand.page.evaluate(f"editor.setPicture(scene(512, 384), null, {guess})")
    notice.filter(has_text="Load Image").wait_for()
    assert hand.stage.get_attribute("data-guess") == ""
    hand_module.picture(hand.page, "bare_guess")
    hand.drag(*BALL)
    # The same picture, only larger: nothing to say but its size.
    hand.page.evaluate("editor.setPicture(scene(1024, 768))")
    hand.page.wait_for_function("document.querySelector('.df-fact').textContent.startsWith('1024')")
    hand.settle()
    assert hand.stage.get_attribute("data-guess") is None and "512 × 384" in notice.inner_text() and "guess" not in notice.inner_text()
    # Another shape, and another picture of the same shape.
    for other, words in (("scene(512, 300)", "another shape: 512 × 300"), ("upsideDown()", "the picture is another one")):
        hand.page.evaluate(f"editor.setPicture(scene(512, 384), null, {guess})")
        notice.filter(has_text="Load Image").wait_for()
        hand.key("ArrowRight")
        hand.page.evaluate(
            """async (other) => {
              const upsideDown = () => {
                const { source } = editor.stage.base.picture.levels[0];
                const canvas = Object.assign(document.createElement("canvas"), { width: 512, height: 384 });
                const pen = canvas.getContext("2d");
                pen.setTransform(1, 0, 0, -1, 0, 384);
                pen.drawImage(source, 0, 0);
                return canvas.toDataURL();
              };
              await editor.setPicture(eval(other));
            }""",
            other,
        )
        notice.filter(has_text=words).wait_for()
    # Whoever goes on has seen it.
    hand.key("ArrowRight")
    notice.wait_for(state="hidden")


def test_a_picture_that_cannot_be_had_is_reported_once(open_bare: Any) -> None:
    hand, _, problems = open_bare("?empty")
    hand.page.evaluate("editor.setPicture('/missing.png', 'The linked picture is seen after a run.')")
    hand.root.locator(".df-notice", has_text="could not be loaded").wait_for()
    hand.settle()
    assert "after a run" not in hand.root.inner_text()
    assert hand.root.inner_text().count("could not be loaded") == 1


def test_a_picture_that_loads_is_announced(open_bare: Any) -> None:
    hand, _, problems = open_bare("?empty")
    held: list[Any] = []
    hand.page.route("**/slow.png*", lambda route: held.append(route))
    hand.page.evaluate("void editor.setPicture('/slow.png', 'The linked picture is seen after a run.')")
    hand.root.locator(".df-notice", has_text="The picture is loading.").wait_for()
    assert hand.stage.get_attribute("aria-busy") == "true"
    shot = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(shot, "PNG")
    held[0].fulfill(body=shot.getvalue(), content_type="image/png")
    hand.root.locator(".df-notice").wait_for(state="hidden")
    assert hand.stage.get_attribute("aria-busy") is None and hand.root.locator(".df-fact").inner_text() == "64 × 48"
    # While another one is seen it is told if it takes long.
    hand.page.evaluate("void editor.setPicture('/slow.png?2')")
    hand.root.locator(".df-notice", has_text="The picture is loading.").wait_for()
    held[1].abort()
    hand.root.locator(".df-notice", has_text="could not be loaded").wait_for()
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []


def test_a_run_shows_its_steps_and_its_latent_is_drawn_where_it_works(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    page = hand.page
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.5, 0.75))
    hand.key("Escape")
    run = """async ([value, stage, colour]) => {
      const canvas = new OffscreenCanvas(8, 8), pen = canvas.getContext("2d");
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 8, 8);
      await editor.setRun({value, max: 8, stage, window: [0.5, 0, 0.5, 1], preview: await canvas.convertToBlob()});
    }"""
    page.evaluate(run, [0, "invert", "#f0f"])
    hand.settle()
    bar = hand.root.get_by_role("progressbar", name="Progress of the run")
    assert bar.is_visible() and bar.get_attribute("aria-valuetext") == "Inverting the picture: step 0 of 8"
    page.evaluate(run, [5, "denoise", "#0f0"])
    hand.settle()
    hand_module.picture(page, "bare_run")
    assert bar.inner_text() == "Making the picture: step 5 of 8" and bar.get_attribute("aria-valuenow") == "5"
    assert page.evaluate(COLOUR, [0, 0.75, 0.2])[:3] == pytest.approx([0, 255, 0], abs=3)
    assert page.evaluate(COLOUR, [0, 0.25, 0.2])[1:3] != pytest.approx([255, 0], abs=40)
    # Whoever edits meanwhile sees what that does; the run goes on.
    hand.key("v", "Tab", "ArrowRight")
    assert bar.is_visible() and page.evaluate(COLOUR, [0, 0.75, 0.2])[1:3] != pytest.approx([255, 0], abs=40)
    page.evaluate(run, [6, "denoise", "#0f0"])
    hand.settle()
    assert page.evaluate(COLOUR, [0, 0.75, 0.2])[1:3] != pytest.approx([255, 0], abs=40)
    page.evaluate("editor.setRun(null)")
    hand.settle()
    assert not bar.is_visible() and hand.root.locator(".df-live").inner_text() == "The run is over."
    assert len(texts()) == 3 and problems == []


def test_the_menu_saves_clears_and_opens_a_drag(open_bare: Any, tmp_path: Path) -> None:
    hand, texts, problems = open_bare("", permissions=["clipboard-read", "clipboard-write"])
    hand.drag(*BALL)

    def item(name: str) -> Any:
        hand.button("More").click()
        return hand.root.get_by_role("menuitem", name=name)

    save = item("Save as a file")
    with hand.page.expect_download() as download:
        save.click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "drag.json" and file.read_text(encoding="utf-8") == texts()[-1]
    item("Copy the drag").click()
    item("Remove everything").click()
    assert operations(texts()[-1]) == []
    opener = item("Open a file")
    with hand.page.expect_file_chooser() as chooser:
        opener.click()
    chooser.value.set_files(file)
    hand.page.wait_for_function("texts.length === 3")
    assert operations(texts()[-1]) == operations(texts()[0])
    broken = tmp_path / "broken.json"
    broken.write_text("{not a drag")
    opener = item("Open a file")
    with hand.page.expect_file_chooser() as chooser:
        opener.click()
    chooser.value.set_files(broken)
    hand.root.locator(".df-hint", has_text="not valid JSON").wait_for()
    item("Paste a drag").click()
    hand.page.wait_for_function("texts.length === 4")
    assert len(operations(texts()[-1])) == 2
    hand.button("Undo").click()
    assert len(operations(texts()[-1])) == 1
    prompt = item("Copy the drag").locator("xpath=..").get_by_label("What changes")
    prompt.fill("the ball lies further right")
    prompt.blur()
    assert DragInstruction.from_json(texts()[-1]).editing_prompt == "the ball lies further right"
    assert problems == []


def test_regions_that_cover_each_other_are_named_before_a_run(open_bare: Any) -> None:
    hand, _, _ = open_bare()
    hand.drag((0.2, 0.2), (0.5, 0.5))
    hand.key("r")
    hand.drag((0.45, 0.2), (0.8, 0.5))
    warning = hand.root.locator(".df-hint[data-warning]").inner_text()
    assert warning.startswith("Region 2: Shares 17 % with #1, counted on the smaller one")


def test_two_fingers_zoom_and_draw_nothing(open_bare: Any) -> None:
    hand, texts, problems = open_bare("", has_touch=True)
    fingers = hand.page.context.new_cdp_session(hand.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(map(hand.at, points))]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (0.4, 0.5))
    touch("touchStart", (0.4, 0.5), (0.6, 0.5))
    for step in range(1, 6):
        touch("touchMove", (0.4 - 0.04 * step, 0.5), (0.6 + 0.04 * step, 0.5))
    touch("touchEnd")
    hand.settle()
    assert texts() == []
    assert hand.page.evaluate("editor.stage.ownView.zoom") > 1.5 * hand.page.evaluate("editor.stage.size && 0.37")
    hand.key("0")
    touch("touchStart", BALL[0])
    touch("touchMove", (0.3, 0.8))
    touch("touchMove", BALL[1])
    touch("touchEnd")
    hand.settle()
    assert len(texts()) == 1
    assert problems == []


def test_a_pointer_that_is_lost_leaves_nothing_stuck(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.drag(*BALL)
    before = texts()
    hand.page.mouse.move(*hand.at((0.24, 0.75)))
    hand.page.mouse.down()
    hand.page.mouse.move(*hand.at((0.5, 0.5)))
    hand.page.evaluate("editor.stage.element.dispatchEvent(new PointerEvent('pointercancel', {pointerId: 1, bubbles: true}))")
    hand.page.mouse.up()
    hand.page.mouse.move(*hand.at((0.8, 0.2)))
    hand.settle()
    assert texts() == before
    assert hand.page.evaluate("[editor.stage.gesture, editor.session.gesturing, editor.stage.held]") == [None, False, False]
    # Let go outside of the node: the capture brings the end of the gesture back.
    hand.page.mouse.move(*hand.at((0.24, 0.75)))
    hand.page.mouse.down()
    hand.page.mouse.move(990, 790, steps=4)
    hand.page.mouse.up()
    hand.settle()
    assert hand.page.evaluate("[editor.stage.gesture, editor.session.gesturing]") == [None, False]
    assert problems == []


def test_the_style_belongs_to_the_canvas_and_nothing_is_written_to_the_page(open_bare: Any) -> None:
    hand, _, _ = open_bare()
    assert hand.root.locator("style").count() == 1
    elsewhere = "document.querySelectorAll('style').length - document.querySelectorAll('.df-root style, head > style').length"
    assert hand.page.evaluate(elsewhere) == 0 and hand.page.evaluate("document.head.querySelectorAll('style').length") == 1
    assert hand.page.evaluate("getComputedStyle(document.querySelector('.df-toolbar')).display") == "flex"
    hand.root.evaluate("(root) => root.remove()")
    assert hand.page.evaluate("document.querySelectorAll('body style').length") == 0


def test_everything_that_can_be_pressed_has_a_name(open_bare: Any) -> None:
    hand, _, _ = open_bare()
    hand.drag(*BALL)
    named = """[...document.querySelectorAll('button, input:not([hidden]), select, textarea, [role=slider], [tabindex="0"]')]
      .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')?.textContent.trim()))
      .map((e) => e.outerHTML)"""
    assert hand.page.evaluate(named) == []
    keys = "[...document.querySelectorAll('.df-help dd, .df-hint, [aria-label]')].map((e) => e.ariaLabel || e.textContent)"
    texts = hand.page.evaluate(keys)
    assert [text for text in texts if "." in text and " " not in text] == []


def test_a_foreign_text_is_followed_through_the_history(open_bare: Any) -> None:
    hand, texts, _ = open_bare()
    hand.drag(*BALL)
    hand.drag((0.24, 0.75), (0.5, 0.8))
    drawn, moved = texts()
    page = hand.page
    page.evaluate("(text) => editor.load(text)", drawn)
    assert page.evaluate("[editor.session.canUndo, editor.session.canRedo]") == [True, True]
    page.evaluate("(text) => editor.load(text)", moved)
    assert page.evaluate("[editor.session.canUndo, editor.session.canRedo]") == [True, False]
    assert len(texts()) == 2


def test_a_text_that_cannot_be_read_is_kept_and_explained(open_bare: Any) -> None:
    hand, texts, problems = open_bare()
    hand.page.evaluate("editor.load('{\"version\": 9}')")
    hand.settle()
    assert "version" in hand.root.locator(".df-hint").inner_text()
    assert hand.page.evaluate("editor.session.text") == '{"version": 9}'
    assert texts() == [] and problems == []


@pytest.mark.timeout(1500)
def test_fifty_random_gesture_sequences_never_throw_and_python_reads_what_comes_of_them(open_bare: Any) -> None:
    hand, texts, problems = open_bare("?size=320x240")
    page = hand.page
    tools = ["r", "o", "l", "p", "b", "e", "d", "k", "g", "f", "v"]
    keys = [*tools, "1", "2", "3", "4", "Control+d", "Control+z", "Control+y", "n", "Shift+N", "Enter", "Escape", "ArrowLeft",
            "Shift+ArrowDown", "Alt+ArrowUp", ".", ",", "h", "PageUp", "i", "t", "[", "]", "Tab", "0"]  # fmt: skip
    for seed in range(50):
        dice = random.Random(seed)
        page.evaluate("(text) => editor.load(text)", '{"version": 1, "operations": []}')
        hand.stage.focus()
        for _ in range(8):
            page.keyboard.press(dice.choice(tools + keys))
            if dice.random() < 0.25:
                continue
            held, tool = page.evaluate("[editor.session.state.operations.length, editor.session.state.tool]")
            points = [hand.at((dice.uniform(-0.1, 1.1), dice.uniform(-0.1, 1.1))) for _ in range(dice.randint(1, 4))]
            page.mouse.move(*points[0])
            page.mouse.down()
            for point in points[1:]:
                page.mouse.move(*point, steps=2)
            page.mouse.up()
            # Only the eraser may take an operation away.
            assert tool == "eraser" or page.evaluate("editor.session.state.operations.length") >= held, (seed, tool)
        assert problems == [], seed
        assert page.evaluate("[editor.session.gesturing, editor.stage.held]") == [False, False], seed
    for text in texts():
        DragInstruction.from_json(text)
    assert len(texts()) > 100


MOVES = """async () => {
  const stage = editor.stage, rect = stage.element.getBoundingClientRect(), took = [];
  const pointerId = [...stage.touches.down.keys()][0];
  for (let i = 0; i < 21; i++) {
    const before = performance.now();
    stage.element.dispatchEvent(new PointerEvent("pointermove", {
      pointerId, pointerType: "mouse", buttons: 1, bubbles: true, clientX: rect.left + 80 + i * 6, clientY: rect.top + 90 + i * 4,
    }));
    cancelAnimationFrame(stage.pending);
    stage.draw();
    // Read back, so that all of it is really painted.
    for (const pen of [stage.base.context, stage.pen]) pen.getImageData(0, 0, 1, 1);
    took.push(performance.now() - before);
    await new Promise(requestAnimationFrame);
  }
  return took;
}"""
"""21 moves of a pointer that is held down -> ms by the clock of each."""


@pytest.mark.parametrize("area", [None, "rectangles", "around"])
def test_moving_the_pointer_paints_within_a_frame(open_bare: Any, area: str | None) -> None:
    """area: the shape of the mask whose rim is drawn meanwhile."""
    hand, texts, _ = open_bare("?size=4096x4096")
    page = hand.page
    for column, row in itertools.product(range(5), range(4)):
        page.evaluate(
            """([x, y]) => editor.session.act({type: "add", operation: {id: "", kind: "region", name: "", colour: 0, visible: true,
              task: "relocation", anchor: null, target: [x + 0.12, y + 0.08],
              region: [[Array.from({length: 60}, (_, i) =>
                [x + 0.05 + 0.04 * Math.cos(i / 9.55), y + 0.06 + 0.04 * Math.sin(i / 9.55)])]]}})""",
            [0.02 + 0.17 * column, 0.02 + 0.2 * row],
        )
    if area:
        page.evaluate("(shape) => editor.setArea({shape, margin: 0.08})", area)
        hand.key("w")
    hand.key("v")
    hand.settle()
    page.mouse.move(*hand.at((0.07, 0.08)))
    page.mouse.down()
    meter = page.context.new_cdp_session(page)
    # Of the page's own thread, so that other programs on the machine do not count.
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        return 1000 * next(one["value"] for one in meter.send("Performance.getMetrics")["metrics"] if one["name"] == "TaskDuration")

    spent, medians = [], []
    for _ in range(5):
        before = busy()
        medians.append(statistics.median(page.evaluate(MOVES)))
        spent.append((busy() - before) / 21)
    page.mouse.up()
    print("a move: " + ", ".join(f"{mine:.1f} ms of the page, {clock:.1f} by clock" for mine, clock in zip(spent, medians, strict=True)))
    assert min(spent) < 16
    assert operations(texts()[-1])[0]["target"] != operations(texts()[-2])[0]["target"]
