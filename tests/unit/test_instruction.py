"""DragInstruction: what it means on a picture, and that it travels unchanged."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dragfield.core.field import DragField
from dragfield.core.field.masks import adaptive_gradient_mask
from dragfield.core.instruction import MAX_OPERATIONS, DragInstruction, DrawnPoints, DrawnRegion, InstructionError
from dragfield.core.instruction.checks import MAX_PIXELS
from dragfield.core.instruction.guarded_json import MAX_DEPTH, MAX_DIGITS, MAX_TEXT
from dragfield.core.instruction.on_picture import MIN_PIXELS, OVERLAP
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.instruction.schema import MAX_PAIRS, MAX_PROMPT, MAX_SIDE, MAX_VERTICES
from dragfield.core.picture.window import crop_drag, window_around


def box(x0: float, y0: float, x1: float, y1: float) -> tuple:
    return ((((x0, y0), (x1, y0), (x1, y1), (x0, y1)),),)


LEFT, RIGHT = box(0.1, 0.2, 0.3, 0.6), box(0.5, 0.2, 0.7, 0.6)
EVERYTHING = DragInstruction(
    operations=(
        DrawnRegion("relocation", LEFT, target=(0.25, 0.5), name="Tasse \u676f"),
        DrawnRegion("rotation", RIGHT, target=(0.8, 0.6), anchor=(0.6, 0.9), id="arm"),
        DrawnRegion("deformation", box(0.1, 0.8, 0.2, 0.9), target=(0.3, 0.85), visible=False),
        DrawnRegion("pin", box(0.8, 0.0, 1.0, 0.1)),
        DrawnPoints((((0.2, 0.1), (0.3, 0.1)), ((0.9, 0.9), (0.8, 0.95)))),
    ),
    background_prompt="a cup on a table", editing_prompt="the cup moves right", size=(640, 480),
    editable=box(0.0, 0.0, 1.0, 0.95),
)


def test_json_round_trip_is_exact_and_stable() -> None:
    text = EVERYTHING.to_json()
    again = DragInstruction.from_json(text)
    assert again == EVERYTHING and hash(again) == hash(EVERYTHING)
    assert again.to_json() == text
    assert DragInstruction.from_json(text.encode()) == EVERYTHING
    assert DragInstruction.from_json(json.loads(text)) == EVERYTHING
    assert DragInstruction.from_json("\ufeff" + text) == EVERYTHING


def test_json_is_compact_and_leaves_out_defaults() -> None:
    text = DragInstruction((DrawnPoints((((0.5, 0.25), (0.75, 0.25)),)),)).to_json()
    assert text == '{"version":1,"operations":[{"id":"1","kind":"points","pairs":[[[0.5,0.25],[0.75,0.25]]]}]}'


def test_ids_are_given_once_and_kept() -> None:
    ids = [o.id for o in EVERYTHING.operations]
    assert len(set(ids)) == len(ids) and "" not in ids and ids[1] == "arm"
    assert [o.id for o in replace(EVERYTHING, operations=EVERYTHING.operations[::-1]).operations] == ids[::-1]


def test_given_ids_survive_beside_numbered_ones() -> None:
    pins = [DrawnRegion("pin", LEFT, id=i) for i in ("", "1", "", "3")]
    assert [o.id for o in DragInstruction(tuple(pins)).operations] == ["2", "1", "4", "3"]


def test_rasterise_scales_points_and_masks_to_the_picture() -> None:
    drag = EVERYTHING.rasterise(100, 50)
    assert drag.size == (100, 50)
    cup = drag.regions[0]
    assert cup.mask.shape == (50, 100) and cup.mask.dtype == bool
    expected = np.zeros((50, 100), bool)
    expected[10:30, 10:30] = True
    assert np.array_equal(cup.mask, expected)
    assert cup.target == (25.0, 25.0) and cup.anchor is None and cup.name == "Tasse \u676f"
    assert drag.regions[1].anchor == pytest.approx((60.0, 45.0))
    assert drag.points[0] == PointOperation((20.0, 5.0), (30.0, 5.0))
    assert (drag.background_prompt, drag.editing_prompt) == ("a cup on a table", "the cup moves right")
    assert drag.editable is not None and drag.editable.mean() == 47 / 50


def test_hidden_operations_are_kept_but_take_no_part() -> None:
    drag = EVERYTHING.rasterise(100, 50)
    assert [r.task for r in drag.regions] == ["relocation", "rotation", "pin"]
    hidden = replace(EVERYTHING, operations=tuple(replace(o, visible=False) for o in EVERYTHING.operations))
    nothing = hidden.rasterise(100, 50)
    assert nothing.regions == () and nothing.points == ()
    assert EVERYTHING.moves and not hidden.moves and len(hidden.operations) == 5


def test_pins_and_an_empty_drawing_move_nothing() -> None:
    assert not DragInstruction().moves
    assert not DragInstruction((DrawnRegion("pin", LEFT),)).moves
    assert DragInstruction((DrawnPoints((((0.1, 0.1), (0.2, 0.2)),)),)).moves
    assert DragInstruction().rasterise(8, 8).regions == ()


def test_points_on_the_border_lie_in_a_pixel() -> None:
    drag = DragInstruction((DrawnPoints((((0.0, 0.0), (1.0, 1.0)),)),)).rasterise(40, 30)
    x, y = (np.float32(v) for v in drag.points[0].target)
    assert int(x) == 39 and int(y) == 29
    assert drag.points[0].handle == (0.0, 0.0)


def test_a_drag_comes_back_from_its_instruction_pixel_for_pixel() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 37, 53), bool)
    masks[0, 3:20, 4:30] = rng.random((17, 26)) < 0.7
    masks[1, 22:34, 8:50] = rng.random((12, 42)) < 0.7
    drag = Drag((53, 37), (RegionOperation(masks[0], "relocation", (30.5, 20.5), name="a"),
                           RegionOperation(masks[1], "rotation", (40.25, 3.5), (10.5, 36.0))),
                (PointOperation((1.5, 2.5), (52.5, 36.5)),), "ground", "edit", editable=~masks[0])
    again = DragInstruction.from_json(DragInstruction.from_drag(drag).to_json()).rasterise(53, 37)
    for before, after in zip(drag.regions, again.regions, strict=True):
        assert np.array_equal(before.mask, after.mask) and (before.task, before.name) == (after.task, after.name)
        assert after.target == pytest.approx(before.target, abs=1e-6)
    assert again.regions[1].anchor == pytest.approx((10.5, 36.0), abs=1e-6)
    assert again.points[0].target == pytest.approx((52.5, 36.5), abs=1e-6)
    assert np.array_equal(again.editable, drag.editable)
    assert again.editing_prompt == "edit"


def test_a_painted_region_fits_in_eight_kilobytes() -> None:
    y, x = np.mgrid[:1024, :1024]
    angle = np.arctan2(y - 500, x - 480)
    mask = np.hypot(x - 480, y - 500) < 250 + 60 * np.sin(5 * angle) + 8 * np.sin(31 * angle)
    drag = Drag((1024, 1024), (RegionOperation(mask, "relocation", (600.0, 500.0)),))
    instruction = DragInstruction.from_drag(drag, tolerance=1.0)
    assert len(instruction.to_json()) < 8 * 1024
    found = instruction.rasterise(1024, 1024).regions[0].mask
    assert (found != mask).sum() < 0.01 * mask.sum()


def test_a_deformation_with_an_anchor_travels_and_stretches_away_from_it() -> None:
    pulled = DragInstruction((DrawnRegion("deformation", box(0.4, 0.4, 0.5, 0.6), (0.65, 0.5), anchor=(0.1, 0.5)),))
    assert DragInstruction.from_json(pulled.to_json()) == pulled
    drag = pulled.rasterise(100, 100)
    assert drag.regions[0].anchor == pytest.approx((10.0, 50.0))
    field = DragField.from_drag(drag, deformation="stretch")
    # From the anchor at 10 to the moved edge at 60 all is stretched from 10..40, and nothing beyond the anchor.
    row = field.backward()[50, :, 0]
    assert not field.moved()[50, :10].any() and field.moved()[50, 11:70].all()
    assert row[35].item() == pytest.approx(10 + 25.5 * 30 / 50, abs=0.1)


def test_what_goes_along_travels_moves_and_does_not_count_for_the_centroid() -> None:
    square, shadow = ((((0.1, 0.1), (0.3, 0.1), (0.3, 0.3), (0.1, 0.3)),),), ((((0.1, 0.3), (0.3, 0.3), (0.3, 0.4), (0.1, 0.4)),),)
    drawn = DragInstruction((DrawnRegion("relocation", square, (0.6, 0.2), along=shadow),))
    again = DragInstruction.from_json(drawn.to_json())
    assert again == drawn and json.loads(drawn.to_json())["operations"][0]["along"] == [[[list(p) for p in shadow[0][0]]]]
    drag = again.rasterise(100, 100)
    (region,) = drag.regions
    assert region.mask.sum() == 400 and region.along.sum() == 200 and not (region.mask & region.along).any()
    moved = DragField.from_drag(drag).moved().numpy()
    # By the way of the square's own middle, (20, 20) to (60, 20): 40 px, shadow and all.
    assert np.array_equal(moved, np.roll(region.body, 40, axis=1))
    assert adaptive_gradient_mask(drag)[region.body].all() and adaptive_gradient_mask(drag)[moved].all()
    assert DragInstruction.from_drag(drag).rasterise(100, 100).regions[0].along.sum() == 200
    window = window_around(moved | region.body, drag, 64)
    assert crop_drag(drag, window).regions[0].along.any()
    with pytest.raises(InstructionError, match="pinned regions stay"):
        DrawnRegion("pin", square, along=shadow)


def test_a_region_that_changes_on_its_way_is_version_2_and_travels_whole() -> None:
    drawn = DragInstruction((
        DrawnRegion("relocation", LEFT, (0.25, 0.5), scale=(-1.5, 0.5), angle=-30, copy=True),
        DrawnRegion("rotation", RIGHT, (0.8, 0.6), (0.6, 0.9), scale=(2, 2)),
    ))  # fmt: skip
    assert drawn.version == 2 and DragInstruction.from_json(drawn.to_json()) == drawn
    # An instruction of version 1 that becomes one is one.
    assert replace(DragInstruction(size=(9, 9)), operations=drawn.operations).version == 2
    first, second = json.loads(drawn.to_json())["operations"]
    assert (first["scale"], first["angle"], first["copy"]) == ([-1.5, 0.5], -30, True)
    assert second["scale"] == [2, 2] and not second.keys() & {"angle", "copy"}
    drag = drawn.rasterise(200, 100)
    assert (drag.regions[0].scale, drag.regions[0].angle, drag.regions[0].copy) == ((-1.5, 0.5), -30, True)
    again = DragInstruction.from_drag(drag).rasterise(200, 100)
    assert [(r.scale, r.angle, r.copy) for r in again.regions] == [(r.scale, r.angle, r.copy) for r in drag.regions]
    window = window_around(drag.regions[1].mask, drag, 64)
    assert crop_drag(drag, window).regions[-1].scale == (2, 2)


def test_what_changes_nothing_is_not_written_and_needs_no_new_version() -> None:
    plain = DragInstruction.from_json(EVERYTHING.to_json())
    still = replace(plain.operations[0], scale=(1, 1), angle=0, copy=False)
    assert replace(plain, operations=(still, *plain.operations[1:]), version=2).to_json() == EVERYTHING.to_json()
    assert json.loads(EVERYTHING.to_json())["version"] == 1


def test_copies_share_their_source_with_each_other_and_with_what_moves() -> None:
    one = DrawnRegion("relocation", LEFT, (0.5, 0.5))
    drag = DragInstruction((one, replace(one, copy=True), replace(one, copy=True, target=(0.8, 0.5)))).rasterise(100, 100)
    assert all(np.array_equal(r.mask, drag.regions[0].mask) for r in drag.regions)
    with pytest.raises(InstructionError, match="at most 2% may overlap"):
        DragInstruction((one, replace(one, target=(0.8, 0.5)))).rasterise(100, 100)


def test_a_region_scaled_to_less_than_four_pixels_is_refused() -> None:
    small = DrawnRegion("relocation", box(0.5, 0.5, 0.55, 0.55), (0.8, 0.8), scale=(0.1, 0.5))
    with pytest.raises(InstructionError, match=r"scaled by 0.1 x 0.5, covers 1.2 pixels .* shrink it less"):
        DragInstruction((small,)).rasterise(100, 100)


def test_regions_of_a_drag_never_share_a_pixel() -> None:
    near = DragInstruction((DrawnRegion("relocation", box(0.1, 0.1, 0.5, 0.5), (0.4, 0.4)),
                            DrawnRegion("relocation", box(0.497, 0.1, 0.9, 0.5), (0.8, 0.8))))
    first, second = (r.mask for r in near.rasterise(1000, 100).regions)
    assert not (first & second).any()
    assert first.sum() == 400 * 40 and second.sum() == 400 * 40


def test_twenty_operations_on_sixteen_megapixels_take_well_under_a_second() -> None:
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    rings = [tuple(zip((0.1 + 0.2 * (k % 5) + 0.09 * np.cos(turn)).tolist(),
                       (0.125 + 0.25 * (k // 5) + 0.1 * np.sin(turn)).tolist(), strict=True)) for k in range(20)]
    instruction = DragInstruction(tuple(DrawnRegion("relocation", ((ring,),), (0.5, 0.5)) for ring in rings))
    seconds = []
    for _ in range(3):
        # This process's own time: what else runs on the machine does not count.
        start = time.process_time()
        instruction.rasterise(4096, 4096)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.8


SQUARE = [[[[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]]]]
REFUSED = {
    "an unknown version": ({"version": 3}, "version is 3; this Dragfield reads versions 1 to 2"),
    "a version of true": ({"version": True}, "version is true"),
    "a missing version": ({"operations": []}, 'add "version": 1'),
    "a misspelled key": ({"version": 1, "operation": []}, "unknown key 'operation'; did you mean 'operations'"),
    "a number for operations": ({"version": 1, "operations": 3}, "operations is 3; write a list"),
    "an unknown kind": ({"version": 1, "operations": [{"kind": "blob"}]}, "operation 1 has the kind 'blob'"),
    "an operation that is a list": ({"version": 1, "operations": [[]]}, "operation 1 is []; write an object"),
    "an unknown task": ({"task": "move"}, "task is 'move'; use one of relocation"),
    "an unhashable task": ({"task": ["pin"]}, "task is ['pin']"),
    "a missing target": ({"target": None}, "relocation has no target"),
    "a target off the picture": ({"target": [1.4, 0.5]}, "x of target is 1.4; it must be from 0 to 1, move it onto"),
    "a target of three numbers": ({"target": [0, 0, 0]}, "target is [0, 0, 0]; write it as two numbers"),
    "a boolean coordinate": ({"target": [True, 0.5]}, "x of target is true, not a number"),
    "a string coordinate": ({"target": ["0.5", 0.5]}, "x of target is '0.5', not a number"),
    "a nan": ({"target": [float("nan"), 0.5]}, "x of target is nan; it must be from 0 to 1"),
    "an infinity": ({"target": [0.5, float("inf")]}, "y of target is inf"),
    "a huge integer": ({"target": [10**5000, 0.5]}, "an integer of more than 18 digits"),
    "rotation without an anchor": ({"task": "rotation"}, "rotation has no anchor; add the point"),
    "an anchor without rotation": ({"anchor": [0.5, 0.5]}, "relocation has an anchor, which only rotation and deformation use"),
    "a pin with a target": ({"task": "pin"}, "a pin has a target"),
    "an anchor far away": ({"task": "rotation", "anchor": [2.5, 0]}, "x of anchor is 2.5; it must be from -1 to 2"),
    "a factor of nothing": ({"scale": [0, 1]}, "x of scale is 0; use 0.1 to 10, or -0.1 to -10 to mirror"),
    "a factor of eleven": ({"scale": [1, -11]}, "y of scale is -11; it must be from -10 to 10"),
    "one factor for both": ({"scale": 2}, "scale is 2; write it as two numbers"),
    "a turn and a half": ({"angle": 540}, "angle is 540; it must be from -180 to 180"),
    "a copy by number": ({"copy": 1}, "copy is 1; write true or false"),
    "a scaled pin": ({"task": "pin", "target": None, "scale": [2, 2]}, "a pin has a scale, an angle or a copy"),
    "a copied deformation": ({"task": "deformation", "copy": True}, "a deformation has a scale, an angle or a copy"),
    "a rotation by an angle": ({"task": "rotation", "anchor": [0, 0], "angle": 9}, "a rotation has an angle, but its target says"),
    "scaled in version 1": (
        {"version": 1, "operations": [{"kind": "region", "task": "relocation", "region": SQUARE, "target": [0.5, 0.5], "scale": [2, 2]}]},
        'version 1 does not know; write "version": 2',
    ),
    "an empty region": ({"region": []}, "region is empty; give it polygons"),
    "a single ring as region": ({"region": SQUARE[0][0]}, "wrap a single ring as [[ring]]"),
    "a region of one vertex": ({"region": [[[[0.1, 0.1]]]]}, "has 1 corners; a ring needs at least 3"),
    "a closed line as region": ({"region": [[[[0.1, 0.1], [0.2, 0.2], [0.1, 0.1]]]]}, "has 2 corners"),
    "a vertex off the picture": ({"region": [[[[0, 0], [1, 0], [1, 1.2]]]]}, "y of vertex 3 of ring 1 of polygon 1"),
    "a region of words": ({"region": "all of it"}, "region is 'all of it'; write a list of polygons"),
    "visible as a number": ({"visible": 1}, "visible is 1; write true or false"),
    "a name that is a number": ({"name": 7}, "name is 7; write a text"),
    "half a surrogate pair": ({"name": "\ud800"}, "half a surrogate pair at character 1"),
    "an endless name": ({"name": "x" * 201}, "name is 201 characters long; at most 200"),
    "a misspelled key of an operation": ({"anchors": [0, 0]}, "unknown key 'anchors'; did you mean 'anchor'"),
    "a size of words": ({"version": 1, "size": "big"}, "size is 'big'; write it as two whole numbers"),
    "a size of 100 megapixels": ({"version": 1, "size": [10000, 10000]}, "100 megapixels; at most 67"),
    "a fractional size": ({"version": 1, "size": [10.5, 10]}, "width of size is 10.5; pixels are counted in whole"),
    "a size of nothing": ({"version": 1, "size": [0, 10]}, "width of size is 0; it must be from 1"),
    "a prompt that is a list": ({"version": 1, "prompts": {"editing": []}}, "the editing prompt is []; write a text"),
    "an endless prompt": ({"version": 1, "prompts": {"background": "x" * 10_001}}, "10,001 characters long"),
    "no pairs": ({"version": 1, "operations": [{"kind": "points", "pairs": []}]}, "at least one [handle, target]"),
    "half a pair": ({"version": 1, "operations": [{"kind": "points", "pairs": [[[0, 0]]]}]}, "pair 1 is"),
    "too many pairs": ({"version": 1, "operations": [{"kind": "points", "pairs": [[[0, 0], [1, 1]]] * 1025}]}, "1,025"),
    "too many operations": ({"version": 1, "operations": [{}] * 65}, "65 operations; at most 64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_refused_in_one_sentence(case: str) -> None:
    change, expected = REFUSED[case]
    data = change
    if not change.keys() & {"version", "operations"}:
        region = {"kind": "region", "task": "relocation", "region": SQUARE, "target": [0.5, 0.5]}
        data = {"version": 2, "operations": [region | change]}
    with pytest.raises(InstructionError) as caught:
        DragInstruction.from_json(data)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message and len(message) < 300
    message.encode("utf-8")


@pytest.mark.parametrize(("text", "expected"), {
    "": "is empty text; draw a region",
    "{": "is not valid JSON (Expecting property name",
    "[1, 2]": "is a list; write an object",
    "7": "the instruction is 7; write an object",
    "null": "the instruction is null; write an object",
    '{"version": NaN}': "holds NaN",
    '{"version": -Infinity}': "holds -Infinity",
    '{"version": 1, "version": 1}': "gives the key 'version' twice",
    '{"version": ' + "9" * 100_000 + "}": "an integer of 100,000 digits",
    '{"version": 1e999}': "version is inf",
    "[" * 100_000: "nests 100,000 brackets; at most 10",
    '{"a":' * 3000 + "1" + "}" * 3000: "nests 3,000 brackets",
    " " * 2_000_001: "2,000,001 characters long; at most 2,000,000",
    '"' + '\\"' * 500_000: "is not valid JSON (Unterminated string",
    b"\xff\xfe{}": "is not UTF-8 text at byte 0",
}.items())
def test_broken_text_is_refused_quickly(text: str | bytes, expected: str) -> None:
    start = time.process_time()
    with pytest.raises(InstructionError) as caught:
        DragInstruction.from_json(text)
    assert expected in str(caught.value) and len(str(caught.value)) < 300
    assert time.process_time() - start < 2.0


def test_brackets_inside_a_prompt_are_not_nesting() -> None:
    prompt = '[[[[[[[[[[[[ \\" {{{{{{{{{{'
    text = json.dumps({"version": 1, "prompts": {"editing": prompt}})
    assert DragInstruction.from_json(text).editing_prompt == prompt


def test_a_ring_may_be_closed_by_repeating_its_first_point() -> None:
    [[ring]] = SQUARE
    closed = DrawnRegion("pin", [[[*ring, ring[0], ring[0]]]])
    assert closed == DrawnRegion("pin", SQUARE)


def test_remarks_and_nulls_are_skipped() -> None:
    data = {"version": 1, "_by": "hand", "size": None, "operations": [
        {"kind": "region", "task": "pin", "region": SQUARE, "target": None, "anchor": None, "_colour": [1, 2]}]}
    assert DragInstruction.from_json(data).operations == (DrawnRegion("pin", SQUARE, id="1"),)


def on_picture(*operations: DrawnRegion | DrawnPoints, size: tuple[int, int] = (100, 100)) -> str:
    with pytest.raises(InstructionError) as caught:
        DragInstruction(operations).validate(*size)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300
    return message


def test_a_region_without_area_is_refused() -> None:
    line = (((0.1, 0.1), (0.5, 0.5), (0.3, 0.3)),)
    assert "operation 1 ('hair') covers 0 pixels" in on_picture(DrawnRegion("pin", (line,), name="hair"))


def test_a_region_of_one_pixel_is_refused_only_where_it_is_one() -> None:
    dot = DrawnRegion("relocation", box(0.5, 0.5, 0.51, 0.51), (0.2, 0.2))
    assert "covers 1 pixels of the 100 x 100 picture" in on_picture(dot)
    assert DragInstruction((dot,)).rasterise(1000, 1000).regions[0].mask.sum() == 100


def test_overlapping_operations_are_refused_with_both_names() -> None:
    message = on_picture(DrawnRegion("relocation", box(0, 0, 0.5, 0.5), (0.9, 0.9), name="cup"),
                         DrawnRegion("deformation", box(0.4, 0.4, 0.8, 0.8), (0.9, 0.9)))
    assert "operation 2 and operation 1 ('cup') share 100 pixels, 6% of the smaller" in message


def test_pins_may_overlap_but_not_cover_what_moves() -> None:
    moving = DrawnRegion("relocation", box(0.2, 0.2, 0.4, 0.4), (0.9, 0.9))
    pins = (DrawnRegion("pin", box(0.3, 0.0, 1, 1)), DrawnRegion("pin", box(0, 0.5, 1, 1)))
    assert len(DragInstruction((moving, *pins)).rasterise(50, 50).regions) == 3
    assert "operation 1 lies wholly under pins" in on_picture(moving, DrawnRegion("pin", box(0, 0, 1, 1)))


def test_a_rotation_needs_a_direction() -> None:
    region = box(0.2, 0.2, 0.4, 0.4)
    assert "the anchor lies on the region's centroid (30.0, 30.0)" in on_picture(
        DrawnRegion("rotation", region, (0.5, 0.5), anchor=(0.3, 0.304)))
    assert "the target lies on the anchor (60.0, 60.0)" in on_picture(
        DrawnRegion("rotation", region, (0.6, 0.605), anchor=(0.6, 0.6)))


def test_a_rotation_may_not_carry_its_region_off_the_picture() -> None:
    far = DrawnRegion("rotation", box(0.8, 0.0, 1.0, 0.2), (0.5, 0.9), anchor=(0.5, 0.8))
    assert "the centroid lands at (50.0, 160.6), off the picture of 100 x 100" in on_picture(far)


def test_one_handle_cannot_have_two_targets() -> None:
    assert "second target" in on_picture(DrawnPoints((((0.1, 0.1), (0.2, 0.2)),)),
                                         DrawnPoints((((0.1, 0.1), (0.3, 0.2)),)))


def test_handles_within_a_pixel_cannot_go_to_two_places() -> None:
    said = on_picture(DrawnPoints((((0.1, 0.1), (0.2, 0.2)), ((0.105, 0.1), (0.3, 0.2)))))
    assert said == ("handles (10.0, 10.0) and (10.5, 10.0) of operation 1 lie 0.5 pixels apart on the 100 x 100 picture, but their targets "
                    "10; one place cannot go to two, move the handles apart or remove one")
    two = DrawnPoints((((0.1, 0.1), (0.2, 0.2)),), name="ear"), DrawnPoints((((0.1, 0.105), (0.1, 0.105)),))
    assert "of operation 1 ('ear') and operation 2 lie 0.5 pixels apart" in on_picture(*two)


def test_neighbours_may_go_together_or_lie_a_pixel_apart() -> None:
    near = DrawnPoints((((0.1, 0.1), (0.2, 0.2)), ((0.105, 0.1), (0.205, 0.2))))
    assert len(DragInstruction((near,)).rasterise(100, 100).points) == 2
    apart = DrawnPoints((((0.1, 0.1), (0.2, 0.2)), ((0.105, 0.1), (0.3, 0.2))))
    assert len(DragInstruction((apart,)).rasterise(200, 200).points) == 2


def test_a_hundred_megapixels_and_masks_without_end_are_refused() -> None:
    pin = DrawnRegion("pin", LEFT)
    assert "100 megapixels; at most 67" in on_picture(pin, size=(10_000, 10_000))
    assert "need more than 1 GiB of masks" in on_picture(*[pin] * 17, size=(8192, 8192))
    with pytest.raises(InstructionError, match="height of the picture's size is 0"):
        DragInstruction().rasterise(10, 0)
    with pytest.raises(InstructionError, match="width of the picture's size is true"):
        DragInstruction().rasterise(True, 10)
    wide = Drag((20_000, 20_000), (RegionOperation(np.ones((1, 1), bool), "pin"),))
    with pytest.raises(InstructionError, match="width of size is 20000"):
        DragInstruction.from_drag(wide)


def test_validate_uses_the_size_it_was_drawn_on() -> None:
    dot = DrawnRegion("pin", box(0.5, 0.5, 0.52, 0.52))
    DragInstruction((dot,), size=(200, 200)).validate()
    with pytest.raises(InstructionError, match="covers 1 pixels"):
        DragInstruction((dot,), size=(50, 50)).validate()
    with pytest.raises(InstructionError, match="has no size; give width and height"):
        DragInstruction((dot,)).validate()


def test_outlines_that_would_cost_minutes_to_fill_are_refused() -> None:
    zigzag = ((tuple((float(i % 2), i / 2000) for i in range(2000)),),)
    with pytest.raises(InstructionError, match="picture sides long; at most 500"):
        DragInstruction((DrawnRegion("pin", zigzag),))
    many = ((tuple((0.5 + (i % 2) * 1e-3, i / 30_000) for i in range(15_000)),),)
    with pytest.raises(InstructionError, match="more than 20,000 vertices"):
        DragInstruction((DrawnRegion("pin", many), DrawnRegion("pin", many)))


def test_the_documented_examples_mean_what_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "instruction.md").read_text(encoding="utf-8")
    examples = [DragInstruction.from_json(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    drags = [example.rasterise(200, 100) for example in examples]
    assert [d.regions[0].task if d.regions else "points" for d in drags] == [
        "relocation", "relocation", "relocation", "rotation", "deformation", "pin", "relocation", "points", "points"]
    assert drags[2].regions[0].scale == (-1.5, 1.5) and drags[2].regions[0].angle == 20 and drags[2].regions[0].copy
    assert drags[5].regions[0].mask.sum() == 160 * 80 - 40 * 20
    for number in (MAX_VERTICES, MAX_PAIRS, MAX_PROMPT, MAX_TEXT, MAX_SIDE):
        assert f"{number:,}" in page
    for number in (MAX_OPERATIONS, MAX_DEPTH, MAX_DIGITS, MIN_PIXELS, round(100 * OVERLAP), MAX_PIXELS // 10**6):
        assert f" {number} " in page
