"""Nodes that make a drag of what other nodes say: points, tracks and masks, on a picture of any size."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from comfy_api.latest import io
from comfy_extras.nodes_bounding_boxes import CreateBoundingBoxes
from comfy_extras.nodes_wanmove import GenerateTracks

from dragfield.core.field.geometry import centroid
from dragfield.core.instruction import DragInstruction, InstructionError
from dragfield.core.instruction.operations import Drag
from dragfield.nodes.drag_from_boxes import DragFromBoxes
from dragfield.nodes.drag_from_masks import DragFromMasks
from dragfield.nodes.drag_from_points import DragFromPoints
from dragfield.nodes.drag_to_boxes import DragToBoxes

SIZE = (240, 160)
IMAGE = torch.zeros(1, 160, 240, 3)


class Masks(DragFromMasks):
    """As ComfyUI runs it: with its hidden inputs."""

    hidden = SimpleNamespace(unique_id=None)


def square(scale: float = 1.0, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """A MASK of x 40-90, y 50-100 on a picture of SIZE, enlarged."""
    mask = torch.zeros(1, round(size[1] * scale), round(size[0] * scale))
    mask[:, round(50 * scale) : round(100 * scale), round(40 * scale) : round(90 * scale)] = 1
    return mask


def drag_of(drag: Any, size: tuple[int, int] = SIZE) -> Drag:
    return DragInstruction.from_json(drag[0]).rasterise(*size)


def moved(mask: torch.Tensor, **more: Any) -> Drag:
    settings = {"task": "relocation", "move_x": 85.0, "move_y": 0.0, "angle": 0.0, "anchor_x": 0.0, "anchor_y": 0.0}
    return drag_of(Masks.execute(mask, **settings | more))


def displacement(drag: Drag) -> np.ndarray:
    region = drag.regions[-1]
    return np.subtract(region.target, centroid(region.mask))


@pytest.mark.parametrize("scale", [1.0, 4.25, 0.5, 0.7])
def test_a_mask_of_another_size_than_the_picture_moves_as_many_pixels_of_the_picture(scale: float) -> None:
    drag = moved(square(scale), image=IMAGE)
    assert np.allclose(displacement(drag), (85, 0), atol=0.1)
    assert np.allclose(centroid(drag.regions[0].mask), (65, 75), atol=0.1)
    assert abs(drag.regions[0].mask.sum() / 2500 - 1) < 0.03


def test_what_goes_along_is_of_the_region_and_does_not_count_for_its_middle() -> None:
    shadow = torch.zeros(1, 160, 240)
    shadow[:, 90:120, 40:90] = 1
    (region,) = moved(square(), along=shadow, image=IMAGE).regions
    assert np.allclose(region.target, (65 + 85, 75), atol=0.1)
    assert region.along[100:120, 40:90].all() and region.along.sum() == 20 * 50, "what is the region itself does not go along with it"
    assert moved(square(), along=torch.zeros(1, 160, 240)).regions[0].along is None


def test_a_region_scales_turns_on_its_way_and_is_copied() -> None:
    whole = torch.zeros(1, 160, 240)
    whole[:, 40:60, 60:100] = 1
    (text,) = Masks.execute(whole, "relocation", 30.0, 20.0, 25.0, 0.0, 0.0, image=IMAGE, scale_x=-1.5, scale_y=0.5, copy=True).args
    (region,) = DragInstruction.from_json(text).rasterise(240, 160).regions
    assert (region.scale, region.angle, region.copy) == ((-1.5, 0.5), 25.0, True)
    (text,) = Masks.execute(whole, "rotation", 0.0, 0.0, 25.0, 60.0, 60.0, image=IMAGE, scale_x=2.0, scale_y=2.0).args
    (region,) = DragInstruction.from_json(text).rasterise(240, 160).regions
    assert region.scale == (2.0, 2.0) and region.angle == 0.0 and not region.copy
    with pytest.raises(InstructionError, match="x of scale is 0; use 0.1 to 10"):
        Masks.execute(whole, "relocation", 0.0, 0.0, 0.0, 0.0, 0.0, image=IMAGE, scale_x=0.0)
    with pytest.raises(InstructionError, match="a pin has a scale"):
        Masks.execute(whole, "pin", 0.0, 0.0, 0.0, 0.0, 0.0, image=IMAGE, copy=True)


def test_a_drag_before_says_how_large_the_picture_is() -> None:
    before = DragInstruction(size=SIZE).to_json()
    assert np.allclose(displacement(moved(square(4.25), drag=before)), (85, 0), atol=0.1)
    assert np.allclose(displacement(moved(square())), (85, 0), atol=0.1)


def test_a_target_mask_and_an_anchor_are_the_pictures_too() -> None:
    target = torch.zeros(1, 320, 480)
    target[:, 100:200, 250:350] = 1
    assert np.allclose(displacement(moved(square(4.25), image=IMAGE, target_mask=target)), (85, 0), atol=0.1)
    turned = moved(square(4.25), image=IMAGE, task="rotation", angle=90.0, anchor_x=65.0, anchor_y=130.0)
    assert np.allclose(turned.regions[0].target, (120, 130), atol=0.2)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="the mask is 200 x 200 px but the picture is 240 x 160, which is another shape"):
        moved(square(size=(200, 200)), image=IMAGE)
    with pytest.raises(ValueError, match="the target mask is 160 x 240 px but the picture is 240 x 160"):
        moved(square(), image=IMAGE, target_mask=square(size=(160, 240)))


def test_without_the_picture_the_node_says_whose_pixels_count(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr("dragfield.nodes.drag_from_masks.show_text", lambda text, _: shown.append(text))
    moved(square(4.25))
    assert shown == ["pixels of the mask, 1020 x 680; connect image if the picture has another size"]
    moved(square(), image=IMAGE)
    moved(square(), drag=DragInstruction(size=SIZE).to_json())
    moved(square(), target_mask=square())
    assert len(shown) == 1


def points(handles: Any, targets: Any = None, **more: Any) -> list:
    text = [side if isinstance(side, str) else json.dumps(side) for side in (handles, "" if targets is None else targets)]
    drag = drag_of(DragFromPoints.execute(IMAGE, *text, **more))
    return [p for pair in drag.points for p in (pair.handle, pair.target)]


def test_points_are_read_in_pixels_in_fractions_and_of_a_canvas_of_another_size() -> None:
    drawn = [{"x": 65, "y": 75}, {"x": 150, "y": 75}]
    assert np.allclose(points(drawn), [(65, 75), (150, 75)])
    assert np.allclose(points(drawn[:1], drawn[1:]), [(65, 75), (150, 75)])
    doubled = [{"x": 2 * p["x"], "y": 2 * p["y"]} for p in drawn]
    assert np.allclose(points(doubled, canvas_width=480, canvas_height=320), [(65, 75), (150, 75)])
    part = [{"x": p["x"] / 240, "y": p["y"] / 160} for p in drawn]
    assert np.allclose(points(part[:1], part[1:]), [(65, 75), (150, 75)])
    with pytest.raises(InstructionError, match="are they fractions of the picture, or pixels in its corner"):
        points(part)
    assert np.allclose(points(part, units="fractions"), [(65, 75), (150, 75)])


def test_tracks_of_comfyui_are_a_drag() -> None:
    tracks = GenerateTracks.execute(
        width=480, height=320, start_x=0.25, start_y=0.5, mid_x=0.5, mid_y=0.5, end_x=0.75, end_y=0.5, num_frames=9, num_tracks=2,
        track_spread=0.1,
    )[0]  # fmt: skip
    found = points("", tracks=tracks, canvas_width=480, canvas_height=320)
    assert np.allclose(found, [(60, 70), (180, 70), (60, 90), (180, 90)])
    with pytest.raises(InstructionError, match="tracks and handles are both given"):
        points([{"x": 65, "y": 75}, {"x": 150, "y": 75}], tracks=tracks)


class Boxes(DragFromBoxes):
    """As ComfyUI runs it: with its hidden inputs."""

    hidden = SimpleNamespace(unique_id=None)


BALL = ((np.mgrid[:160, :240][1] - 65) ** 2 + (np.mgrid[:160, :240][0] - 75) ** 2 < 25**2)[..., None]
"""A ball about (65, 75), 25 px in radius."""
GROUND = 0.4 + 0.05 * np.random.default_rng(0).random((160, 240, 1))
SCENE = torch.from_numpy(np.where(BALL, (0.9, 0.3, 0.1), GROUND).astype(np.float32))[None]


def boxed(boxes: Any, targets: Any = None, **more: Any) -> Drag:
    return drag_of(Boxes.execute(SCENE, boxes, **{"moves": "object", "targets": targets, **more}))


def test_boxes_of_create_bounding_boxes_are_a_drag_in_pixels_of_its_own_canvas() -> None:
    def drawn(x: float) -> io.NodeOutput:
        at = {"x": round(x * 960), "y": round(45 / 160 * 640), "width": 240, "height": 240}
        return CreateBoundingBoxes.execute(960, 640, editor_state=[at])

    before, after = drawn(35 / 240), drawn(105 / 240)
    by_boxes = boxed(before.result[1], after.result[1], canvas_width=960, canvas_height=640)
    for drag in (by_boxes, boxed(before.result[2], after.result[2])):
        found, ball = drag.regions[0].mask, BALL[..., 0]
        assert np.allclose(displacement(drag), (70, 0), atol=0.3) and (found & ball).sum() / (found | ball).sum() > 0.9
    whole = boxed(before.result[1], after.result[1], canvas_width=960, canvas_height=640, moves="box")
    assert whole.regions[0].mask.sum() == 60 * 60


def test_masks_say_what_of_the_boxes_moves() -> None:
    drag = boxed([{"x": 0, "y": 0, "width": 120, "height": 160}], [{"x": 60, "y": 0, "width": 120, "height": 160}], mask=square())
    assert np.allclose(displacement(drag), (60, 0), atol=0.01) and drag.regions[0].mask.sum() == 2500


def test_a_drag_as_boxes_and_back_goes_as_far() -> None:
    drawn = Masks.execute(square(), "relocation", 85.0, 20.0, 0.0, 0.0, 0.0)[0]
    before, after, layout = DragToBoxes.execute(SCENE, drawn, "").result
    assert before == [[{"x": 40, "y": 50, "width": 50, "height": 50}]] and after == [[{"x": 125, "y": 70, "width": 50, "height": 50}]]
    for boxes, targets in ((before, after), (layout, None), (json.loads(json.dumps(before)), after)):
        assert np.allclose(displacement(boxed(boxes, targets, moves="box")), (85, 20), atol=0.3)
    row = json.loads(layout[layout.index("[") :])[0]
    assert row["src_bbox"] == [312, 167, 625, 375] and row["tgt_bbox"] == [438, 521, 750, 729]
    assert CreateBoundingBoxes.execute(240, 160, bboxes=before).result[1] == before


def test_boxes_that_go_nowhere_and_targets_that_do_not_match_are_refused() -> None:
    one = [{"x": 40, "y": 50, "width": 50, "height": 50}]
    with pytest.raises(InstructionError, match="no box goes anywhere"):
        boxed(one)
    with pytest.raises(InstructionError, match="1 boxes and 2 targets"):
        boxed(one, one * 2)


def test_points_take_a_selection_along_which_a_mask_of_any_size_says() -> None:
    handles, targets = '[{"x": 65, "y": 75}]', '[{"x": 125, "y": 75}]'
    for scale in (1.0, 0.5):
        drag = drag_of(DragFromPoints.execute(IMAGE, handles, targets, selection=square(scale)))
        assert np.array_equal(drag.points[0].selected, square()[0].numpy() > 0)
    assert drag_of(DragFromPoints.execute(IMAGE, handles, targets)).points[0].selected is None
    with pytest.raises(InstructionError, match="no handle of operation 1 that moves lies in what is selected"):
        DragFromPoints.execute(IMAGE, '[{"x": 5, "y": 5}]', targets, selection=square())
