"""Boxes of drags: around what moves, before and after, in the words of ComfyUI and of FLUX 3, and read from both again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dragfield.core.field import DragField
from dragfield.core.formats.boxes import MovedBox, bounding_boxes, boxes_of, layout_prompt, read
from dragfield.core.instruction.guarded_json import InstructionError
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.picture.cutout import object_in_box

SIZE = (200, 100)


def region(task: str = "relocation", target=(110.0, 45.0), anchor=None, name: str = "") -> RegionOperation:
    mask = np.zeros((100, 200), bool)
    mask[30:50, 20:60] = True
    return RegionOperation(mask, task, target, anchor, name)


def pixels(box) -> tuple[int, ...]:
    return tuple(round(v * side, 6) for v, side in zip(box, (*SIZE, *SIZE), strict=True))


def test_a_region_that_is_moved_has_its_own_box_before_and_after():
    (box,) = boxes_of(DragField.from_drag(Drag(SIZE, (region(name="Red car!"),))))
    assert pixels(box.before) == (20, 30, 60, 50) and pixels(box.after) == (90, 35, 130, 55)
    assert box.displacement == pytest.approx((70 / 200, 5 / 100)) and box.name == "Red car!"


def test_a_turned_region_has_the_box_that_it_is_turned_into_and_one_at_the_border_is_cut():
    (turned,) = boxes_of(DragField.from_drag(Drag(SIZE, (region("rotation", (60.0, 80.0), (60.0, 40.0)),))))
    x0, y0, x1, y1 = pixels(turned.after)
    assert (x1 - x0, y1 - y0) == pytest.approx((20, 40), abs=2)
    (cut,) = boxes_of(DragField.from_drag(Drag(SIZE, (region(target=(190.0, 40.0)),))))
    assert pixels(cut.after) == (170, 30, 200, 50)


def test_a_pulled_region_has_its_own_box_without_what_stretches_behind_it():
    (box,) = boxes_of(DragField.from_drag(Drag(SIZE, (region("deformation"),))))
    assert pixels(box.after) == (90, 35, 130, 55)


def test_points_have_boxes_of_what_they_take_along_else_of_their_surroundings():
    drag = Drag(SIZE, points=(PointOperation((40.0, 40.0), (110.0, 45.0)),))
    (near,) = boxes_of(DragField.from_drag(drag))
    assert near.displacement == pytest.approx((70 / 200, 5 / 100))
    selected = np.zeros((100, 200), bool)
    selected[30:50, 20:60] = True
    (body,) = boxes_of(DragField.from_drag(drag, selected=selected))
    assert pixels(body.before) == (20, 30, 60, 50) and body.displacement == pytest.approx((70 / 200, 5 / 100))


def test_boxes_of_a_drag_partway_are_partway():
    field = DragField.from_drag(Drag(SIZE, (region(),)))
    assert pixels(boxes_of(field.between(0, 0.5))[0].after) == pytest.approx((55, 32.5, 95, 52.5), abs=1)


def test_what_is_written_for_comfyui_is_read_again_whatever_it_is_wrapped_in():
    written = bounding_boxes([(0.1, 0.3, 0.3, 0.5), (0.5, 0.0, 1.0, 1.0)], SIZE)
    assert written == [[{"x": 20, "y": 30, "width": 40, "height": 20}, {"x": 100, "y": 0, "width": 100, "height": 100}]]
    for data in (written, written[0], json.dumps(written), json.dumps(written[0])):
        assert [pixels(box.before) for box in read(data, SIZE)] == [(20, 30, 60, 50), (100, 0, 200, 100)]
    assert pixels(read(written[0][0], SIZE)[0].before) == (20, 30, 60, 50)


def test_a_layout_says_where_things_are_and_go_whatever_the_pictures_size():
    moved = (MovedBox((0.1, 0.3, 0.3, 0.5), (0.45, 0.35, 0.65, 0.55), "Red car!"), MovedBox((0.5, 0.0, 1.0, 1.0), (0.5, 0.0, 1.0, 0.9)))
    text = layout_prompt(moved, looks="a street")
    rows = json.loads(text[text.index("[") :])
    assert rows[0] == {
        "id": "red_car_1", "from": "ref_image_0", "src_bbox": [300, 100, 500, 300], "tgt_bbox": [350, 450, 550, 650], "desc": "Red car!",
    }  # fmt: skip
    assert rows[1]["id"] == "object_1" and rows[1]["desc"] == "a street"
    assert "<red_car_1> and <object_1>" in text and "<ref_image_0>" in text
    again = read(text, (7, 5))
    assert [box.before for box in again] == [box.before for box in moved] and again[0].after == moved[0].after


def test_what_is_new_in_a_layout_is_nowhere_yet_and_left_out():
    rows = [
        {"id": "hat_1", "from": None, "src_bbox": None, "tgt_bbox": [0, 0, 100, 100], "desc": "a hat"},
        {"id": "cat_1", "from": "ref_image_0", "src_bbox": [100, 100, 300, 300], "tgt_bbox": [100, 500, 300, 700], "desc": "a cat"},
    ]
    (only,) = read(f"Move the cat <cat_1> [and give it a hat <hat_1>]. {json.dumps(rows)}", SIZE)
    assert only.name == "a cat" and only.displacement == pytest.approx((0.4, 0))
    (plain,) = read([{"bbox": [500, 100, 300, 0], "desc": "a dog"}], SIZE)
    assert plain.before == (0.0, 0.3, 0.1, 0.5) and plain.after is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "holds 0; give 1 to 64"), ("{", "not valid JSON"), ([1], "box 1 of boxes is 1"), ([{"x": 1}], "y of box 1"),
        ([{"bbox": [0, 0, 10]}], "write \\[top, left, bottom, right\\]"), ([{"bbox": [0, 0, 1001, 10]}], "0 to 1000"),
        ([{"x": 300, "y": 0, "width": 10, "height": 10}], "holds nothing of the picture"), ([{"bbox": [5, 5, 5, 9]}], "holds nothing"),
        ([{"src_bbox": [0, 0, 9, 9]}], "tgt_bbox of box 1"),
    ],
)  # fmt: skip
def test_boxes_that_are_none_are_refused_in_one_sentence(data, words):
    with pytest.raises(InstructionError, match=words):
        read(data, SIZE)


def test_the_object_in_a_box_is_told_from_the_ground_around_it():
    y, x = np.mgrid[:120, :160]
    ball = (x - 80) ** 2 + (y - 60) ** 2 < 25**2
    ground = np.stack([0.3 + 0.05 * np.sin(x / 3), 0.5 + 0.05 * np.cos(y / 4), 0.3 + 0 * x], -1)
    picture = np.where(ball[..., None], (0.8, 0.2, 0.1), ground).astype(np.float32)
    found = object_in_box(picture, (50, 30, 110, 90))
    assert (found & ball).sum() / (found | ball).sum() > 0.93
    assert not object_in_box(picture, (0, 0, 160, 120)).any()
