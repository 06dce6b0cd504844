"""The displacement field: what moves where, on any grid, at any progress."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dragfield.core.field import DragField
from dragfield.core.field.drag_field import REMEMBERED
from dragfield.core.field.geometry import Motion, cell_centres, centroid, cut_shape, rounded_centroid, transform
from dragfield.core.field.masks import resample
from dragfield.core.field.moves import RegionMove
from dragfield.core.field.warp import sample, splat, warp
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation

DATA = Path(os.environ.get("DRAGFIELD_DATA") or Path(__file__).parents[3] / "shared" / "data") / "red_demo"
SIZE = (64, 48)


def polygon(*corners: tuple[float, float], size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, [np.array(corners, np.int32)], 1)
    return mask > 0


def box(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def shifted(mask: np.ndarray, dx: float, dy: float, task: str = "relocation", name: str = "") -> RegionOperation:
    x, y = centroid(mask)
    return RegionOperation(mask, task, (x + dx, y + dy), name=name)


def field_of(*regions: RegionOperation, **kw) -> DragField:
    editable = kw.pop("editable", None)
    return DragField.from_drag(Drag(SIZE, regions, editable=editable), **kw)


SLANTED = polygon((8, 10), (30, 6), (26, 27), (11, 31))
DRAGS = {
    "relocation": Drag(SIZE, (shifted(SLANTED, 17.3, 8.6),)),
    "rotation": Drag(SIZE, (RegionOperation(SLANTED, "rotation", (20, 34), (40.0, 20.5)),)),
    "deformation": Drag(SIZE, (shifted(SLANTED, 9, -5, "deformation"),)),
    "two, one pin": Drag(
        SIZE,
        (
            shifted(box(5, 5, 15, 15), 20, 3),
            RegionOperation(box(30, 3, 36, 12), "pin"),
            RegionOperation(polygon((40, 30), (60, 33), (50, 45)), "rotation", (40, 20), (40.0, 30.0)),
        ),
    ),
    "scaled, mirrored, turned on its way": Drag(
        SIZE, (replace(shifted(SLANTED, 17.3, 8.6), scale=(-0.6, 1.3), angle=25.0), shifted(box(40, 2, 50, 9), 3, 20)),
    ),
    "a copy of what moves": Drag(
        SIZE,
        (
            shifted(SLANTED, 17.3, 8.6),
            replace(shifted(SLANTED, 4.0, 9.0), copy=True, scale=(1.2, 1.2)),
            RegionOperation(box(8, 8, 20, 20), "pin"),
        ),
    ),
    "points": Drag(SIZE, points=(PointOperation((20.5, 20.5), (34, 25)), PointOperation((50.5, 10.5), (46, 20)))),
    "points in an area": Drag(SIZE, points=(PointOperation((20, 20), (26, 25)),), editable=box(8, 8, 40, 40)),
    "all of it": Drag(
        SIZE,
        (shifted(box(5, 5, 15, 15), 20, 3), RegionOperation(box(30, 3, 36, 12), "pin")),
        (PointOperation((30.5, 35.5), (40, 30)),),
        editable=box(0, 0, 60, 48),
    ),
}
GRIDS = [None, (32, 24), (100, 31)]


@pytest.mark.parametrize("name", DRAGS)
@pytest.mark.parametrize(
    "options", [{}, {"point_mode": "nearest"}, {"point_mode": "latent_warp", "deformation": "stretch"}]
)
@pytest.mark.parametrize("size", GRIDS)
@pytest.mark.parametrize("progress", [0.0, 0.37, 1.0])
def test_every_cell_is_exactly_one_of_moved_vacated_and_kept(name, options, size, progress) -> None:
    field = DragField.from_drag(DRAGS[name], **options)
    parts = [field.moved(progress, size), field.vacated(progress, size), field.kept(progress, size)]
    assert torch.equal(sum(p.int() for p in parts), torch.ones_like(parts[0], dtype=torch.int32))
    still = cell_centres((0, 0, *(size or SIZE)), torch.float32)
    backward = field.backward(progress, size)
    assert backward.dtype == torch.float32 and torch.equal(backward[~parts[0]], still[~parts[0]])


@pytest.mark.parametrize("name", DRAGS)
@pytest.mark.parametrize("options", [{}, dict(point_mode="latent_warp", deformation="stretch")])
@pytest.mark.parametrize("size", GRIDS)
def test_at_progress_zero_nothing_has_moved(name, options, size) -> None:
    field = DragField.from_drag(DRAGS[name], **options)
    assert torch.equal(field.backward(0.0, size), cell_centres((0, 0, *(size or SIZE)), torch.float32))
    assert not field.vacated(0.0, size).any()
    image = torch.randn(1, 2, *(size or SIZE)[::-1])
    assert torch.equal(warp(image, field, progress=0.0), image)


def test_a_drag_of_nothing_is_the_identity() -> None:
    field = field_of(RegionOperation(SLANTED, "pin"))
    image = torch.randn(1, 3, 48, 64)
    assert torch.equal(warp(image, field), image)
    assert field.kept().all() and field.operations == () and field.weights() == ()


@pytest.mark.parametrize(("dx", "dy"), [(11, 4), (-6, 9), (0, 13)])
@pytest.mark.parametrize("mask", [SLANTED, box(9, 9, 20, 30)])
def test_relocation_by_whole_cells_shifts_the_mask_exactly(mask, dx, dy) -> None:
    field = field_of(shifted(mask, dx, dy))
    expected = np.roll(mask, (dy, dx), axis=(0, 1))
    assert np.array_equal(field.moved().numpy(), expected)
    assert np.array_equal(field.vacated().numpy(), mask & ~expected)


@pytest.mark.parametrize("scale", [(2.0, 2.0), (-1.0, 1.0), (1.0, -1.5), (0.5, 1.7), (0.3, -0.3)])
@pytest.mark.parametrize("angle", [0.0, 33.0])
def test_a_scaled_mirrored_and_turned_region_covers_what_opencv_covers(scale, angle) -> None:
    size = (160, 120)
    mask = polygon((58, 35), (103, 30), (96, 77), (80, 82), (61, 79), size=size)
    x, y = centroid(mask)
    field = DragField.from_drag(Drag(size, (RegionOperation(mask, "relocation", (x + 7.4, y - 2.9), scale=scale, angle=angle),)))
    # OpenCV's own turn, counter-clockwise for positive angles, and a scaling before it; its positions are indices of pixels.
    turn = np.vstack((cv2.getRotationMatrix2D((x - 0.5, y - 0.5), -angle, 1.0), (0, 0, 1)))
    scaling = np.array([[scale[0], 0, (x - 0.5) * (1 - scale[0])], [0, scale[1], (y - 0.5) * (1 - scale[1])], [0, 0, 1]])
    matrix = (np.array([[1, 0, 7.4], [0, 1, -2.9], [0, 0, 1]]) @ turn @ scaling)[:2]
    # Drawn eight times as large and averaged down: the share of each pixel, whatever its factor.
    large = cv2.resize(mask.astype(np.float32), None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    finer = np.array([[8, 0, 3.5], [0, 8, 3.5], [0, 0, 1]])
    drawn = cv2.warpAffine(large, (finer @ np.vstack((matrix, (0, 0, 1))) @ np.linalg.inv(finer))[:2], (1280, 960))
    expected = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA) > 0.5
    moved = field.moved().numpy()
    # A soft mask above one half, against stairs of whole pixels: a pixel of the rim may fall on either side.
    rim = cv2.morphologyEx(expected.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert not ((moved != expected) & ~rim).any() and (moved != expected).sum() <= 0.04 * expected.sum()
    assert np.array_equal(field.vacated().numpy(), mask & ~moved)


def test_a_copy_lands_as_what_moves_does_and_leaves_nothing() -> None:
    move = shifted(SLANTED, 11, 4)
    field, moved = field_of(replace(move, copy=True)), field_of(move)
    assert torch.equal(field.moved(), moved.moved()) and torch.equal(field.backward(), moved.backward())
    assert not field.vacated().any() and field.moves()
    goal, goes = field.forward()
    assert not goes.any() and torch.equal(goal, cell_centres((0, 0, *SIZE), torch.float32))


def test_a_copy_is_taken_from_under_a_pin_and_of_what_another_operation_moves() -> None:
    mask = box(10, 10, 20, 20)
    copy = replace(shifted(mask, 20, 0), copy=True)
    field = field_of(copy, RegionOperation(mask, "pin"))
    assert np.array_equal(field.moved().numpy(), box(30, 10, 40, 20))
    field = field_of(copy, shifted(mask, 0, 20))
    assert np.array_equal(field.moved().numpy(), box(30, 10, 40, 20) | box(10, 30, 20, 40))
    assert np.array_equal(field.vacated().numpy(), mask)


def test_a_region_that_shrinks_below_a_cell_is_still_seen() -> None:
    mask = box(16, 8, 32, 40)
    field = field_of(replace(shifted(mask, 12.7, 0), scale=(0.1, 0.5)))
    seen = field.moved(1.0, (8, 6))
    # 1.6 x 16 px on cells of 8 px: two of them one above the other, in the column of the target.
    assert seen.any(dim=0).nonzero().flatten().tolist() == [4] and 1 <= int(seen.sum()) <= 3
    assert len(field.samples(0, 1.0, (8, 6))[0]) == int(seen.sum())


def test_a_mirrored_region_reads_from_right_to_left() -> None:
    mask = box(10, 10, 20, 16)
    image = torch.arange(64.0).expand(1, 1, 48, 64)
    mirrored = warp(image, field_of(replace(shifted(mask, 0, 20), scale=(-1, 1))))
    assert mirrored[0, 0, 30:36, 10:20].tolist() == [list(range(19, 9, -1))] * 6


def test_half_of_a_shift_by_two_cells_of_a_finer_grid_is_one_cell() -> None:
    field = field_of(shifted(box(10, 10, 20, 20), 4, 0))
    coarse = field.moved(0.5, (32, 24))
    assert np.array_equal(coarse.numpy(), np.pad(box(5, 5, 10, 10, (32, 24)), ((0, 0), (1, 0)))[:, :-1])


@pytest.mark.parametrize("task", ["relocation", "rotation"])
def test_the_moved_region_lands_with_its_centroid_on_the_target(task) -> None:
    start = np.array(centroid(SLANTED))
    anchor = np.array([33.0, 25.0])
    angle = math.radians(-40)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    target = anchor + turn @ (start - anchor) if task == "rotation" else start + (15.4, 9.7)
    field = field_of(RegionOperation(SLANTED, task, tuple(target), tuple(anchor) if task == "rotation" else None))
    # Half a cell: a mask of whole cells cannot be placed more finely.
    assert centroid(field.moved().numpy()) == pytest.approx(tuple(target), abs=0.5)


@pytest.mark.parametrize("grid", [(64, 48), (128, 96), (48, 48)])
def test_the_content_at_the_centroid_lands_at_the_target_on_every_grid(grid) -> None:
    field = field_of(shifted(SLANTED, 17.3, 8.6))
    ramp = cell_centres((0, 0, *grid), torch.float32).movedim(-1, 0)[None]
    scale = torch.tensor(grid) / torch.tensor(SIZE)
    x, y = centroid(SLANTED)
    there = torch.tensor([x + 17.3, y + 8.6]) * scale
    assert torch.allclose(sample(warp(ramp, field), there)[0], torch.tensor([x, y]) * scale, atol=1e-3)


def test_frozen_numbers_of_a_turned_quadrilateral() -> None:
    field = DragField.from_drag(DRAGS["rotation"])
    assert field.regions[0].motion.angle == pytest.approx(-40.0152751, abs=1e-6)
    assert [int(m.sum()) for m in (field.moved(), field.vacated(), field.kept())] == [429, 292, 2351]
    assert [int(m.sum()) for m in (field.moved(0.5, (32, 24)), field.vacated(0.5, (32, 24)))] == [105, 33]
    assert centroid(field.moved().numpy()) == pytest.approx((22.7074592, 32.2552448), abs=1e-6)
    target, source = field.samples(0, 1.0, (32, 24))
    assert len(target) == 105 and target[0].tolist() == [11.5, 8.5]
    assert source[0].tolist() == pytest.approx([14.6153, 3.4443], abs=1e-4)


def test_pins_are_kept_and_their_content_is_not_carried_elsewhere() -> None:
    pin, region = box(30, 10, 40, 20), box(5, 5, 25, 25)
    inside = box(10, 10, 14, 14)
    field = field_of(shifted(region, 18, 0), RegionOperation(pin, "pin"), RegionOperation(inside, "pin"))
    kept = field.kept()
    assert kept[torch.from_numpy(pin | inside)].all()
    assert not (field.moved() & torch.from_numpy(np.roll(inside, 18, axis=1))).any()


def test_nothing_outside_of_the_editable_area_moves_or_empties() -> None:
    editable = box(0, 0, 32, 48)
    field = field_of(shifted(box(20, 5, 44, 25), 10, 15), editable=editable)
    outside = ~torch.from_numpy(editable)
    assert field.kept()[outside].all() and field.moved().any() and field.vacated().any()


def test_a_later_region_covers_an_earlier_one() -> None:
    first, second = shifted(box(2, 2, 12, 12), 30, 20), shifted(box(40, 2, 50, 12), -8, 20)
    layout = field_of(first, second).layout()
    assert torch.equal(layout.operation == 1, torch.from_numpy(box(32, 22, 42, 32)))
    assert not (layout.operation == 0).any()
    assert torch.equal(layout.vacated, torch.from_numpy(first.mask | second.mask))


def test_samples_are_the_moved_cells_and_where_they_come_from() -> None:
    field = DragField.from_drag(DRAGS["two, one pin"])
    assert field.operations == ("region 1", "region 2")
    for op in (0, 1):
        target, source = field.samples(op, 0.8, (32, 24))
        cells = (field.layout(0.8, (32, 24)).operation == op).nonzero().flip(1) + 0.5
        assert torch.equal(target, cells.float())
        read = sample(field.backward(0.8, (32, 24)).movedim(-1, 0)[None], target)[0].T
        assert torch.equal(read, source)


def test_weights_favour_small_regions_and_sum_to_one() -> None:
    small, large = box(2, 2, 8, 8), box(20, 5, 60, 40)
    weights = field_of(shifted(small, 3, 3), shifted(large, 1, 1)).weights()
    raw = [min(5.0, 1 + 0.5 / (s + 0.1)) for s in (36 / 3072, 1400 / 3072)]
    assert weights == pytest.approx([r / sum(raw) for r in raw])
    assert field_of(shifted(small, 3, 3)).weights() == (1.0,)


def test_a_field_can_be_made_from_parts() -> None:
    spin = Motion(SIZE, shift=(10.0, 0.0), angle=90.0, anchor=centroid(SLANTED))
    field = DragField(SIZE, (RegionMove(SLANTED, spin, name="spun"),))
    assert field.operations == ("spun",)
    assert centroid(field.moved().numpy()) == pytest.approx((centroid(SLANTED)[0] + 10, centroid(SLANTED)[1]), abs=0.5)


def test_forward_and_backward_agree_on_whole_cells() -> None:
    field = field_of(shifted(SLANTED, 11, 4))
    forward, moving = field.forward()
    assert np.array_equal(moving.numpy(), SLANTED)
    image = torch.randn(1, 2, 48, 64)
    pushed, filled = splat(image, forward, source=moving)
    assert torch.equal(filled, field.moved())
    assert torch.equal(pushed[..., filled], warp(image, field)[..., filled])


def test_a_thin_region_never_vanishes_on_its_way() -> None:
    field = field_of(shifted(box(10, 10, 12, 40), 20, 5))
    for k in range(51):
        assert field.moved(k / 50, (32, 24)).any()
        assert len(field.samples(0, k / 50, (32, 24))[0]) > 0


def test_a_region_smaller_than_a_cell_is_refused_by_name() -> None:
    field = field_of(shifted(box(10, 10, 12, 12), 20, 5, name="eye"))
    for ask in (field.moved, field.vacated, field.kept, field.backward, field.forward):
        with pytest.raises(ValueError, match="eye is smaller than one cell of a grid of 8x6"):
            ask(1.0, (8, 6))


def test_a_region_that_leaves_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="has left the picture at progress 1 .* move its target inside"):
        field_of(shifted(box(10, 10, 20, 20), 200, 0)).moved()


def test_a_region_that_is_covered_cannot_be_supervised() -> None:
    field = field_of(shifted(box(10, 10, 20, 20), 20, 0), RegionOperation(box(25, 5, 45, 25), "pin"))
    assert not field.moved().any()
    with pytest.raises(ValueError, match="region 1 cannot be seen"):
        field.samples(0)


@pytest.mark.parametrize("progress", [-0.1, 1.5, math.nan])
def test_progress_outside_of_0_to_1_is_refused(progress) -> None:
    with pytest.raises(ValueError, match="progress is"):
        DragField.from_drag(DRAGS["relocation"]).moved(progress)


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="8x8 but the picture is 64x48"):
        field_of(shifted(np.ones((8, 8), bool), 1, 1))
    with pytest.raises(ValueError, match="deformation = 'bend' is unknown"):
        field_of(deformation="bend")
    with pytest.raises(ValueError, match="a grid of 0x5 cells"):
        DragField.from_drag(DRAGS["relocation"]).moved(1.0, (0, 5))
    with pytest.raises(IndexError, match="there is no operation 1"):
        DragField.from_drag(DRAGS["relocation"]).samples(1)


# From the published code: cut map (w, h), shift in cells or degrees, centroid, target, cells before, cells after.
RED_DEMO = {
    "cartoon": ((216, 216), 29.4275, (67, 150), (87, 146), 1995, 2006),
    "cat": ((264, 296), -28.2669, (178, 148), (162, 138), 2627, 2639),
    "human": ((248, 224), 29.8084, (94, 54), (98, 78), 1558, 1563),
    "train": ((256, 256), (35, 20), (161, 190), (196, 210), 673, 673),
    "view": ((256, 256), (0, 40), (165, 108), (165, 148), 7414, 7462),
}


@pytest.mark.parametrize("name", RED_DEMO)
def test_published_geometry_of_the_demo_samples(name) -> None:
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"the ReD demo sample {name} is not here")
    drawn = cv2.imread(str(folder / "operation.png"), cv2.IMREAD_GRAYSCALE) > 1
    said = json.loads((folder / "instruction.json").read_text(encoding="utf-8"))["region_operations"]["0"]
    # Annotations are pixel indices.
    target, anchor = ([v + 0.5 for v in p] if p else None for p in (said["centroids"][1], said["anchors"]))
    task = {"transformation": "relocation"}.get(said["task"], said["task"])
    height, width = drawn.shape
    grid, motion, start, end, before, after = RED_DEMO[name]

    assert cut_shape((width - width % 16, height - height % 16)) == grid[::-1]
    drag = Drag((width, height), (RegionOperation(drawn, task, target, anchor),))
    field = DragField.from_drag(drag, rounded_at=grid, deformation="rigid")
    made = field.regions[0].motion
    assert (made.angle if anchor else made.shift) == (pytest.approx(motion, abs=1e-4) if anchor else motion)
    assert field.weights() == (1.0,)

    soft = resample(drawn, grid)
    assert int((soft > 0.5).sum()) == before
    assert rounded_centroid(soft.numpy()) == (start[0] + 0.5, start[1] + 0.5)
    moved = field.moved(1.0, grid)
    assert rounded_centroid(moved.numpy()) == (end[0] + 0.5, end[1] + 0.5)
    # The published count decides cells on exactly one half by rounding error; ours leaves all of them out.
    everywhere = transform(made.backward(1.0, grid), cell_centres((0, 0, *grid)))
    share = sample(soft[None, None], everywhere, padding="zeros")
    ties = int(((share - 0.5).abs() < 1e-5).sum())
    assert int(moved.sum()) <= after <= int(moved.sum()) + ties
    assert int(moved.sum()) == after or name == "view"


def test_a_layout_asked_for_again_is_the_same_and_few_are_kept() -> None:
    field, fresh = DragField.from_drag(DRAGS["relocation"]), DragField.from_drag(DRAGS["relocation"])
    first = field.layout(0.5)
    assert field.layout(0.5) is first
    for step in range(10):
        field.layout(step / 10)
    assert len(field._laid) == REMEMBERED
    for again, anew in zip(field.layout(0.5), fresh.layout(0.5), strict=True):
        assert torch.equal(again, anew)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("view", (-0.99609, -1.30859), (0.99609, 0.68359)),
        ("train", (-1.26953, -1.15234), (0.72266, 0.83984)),
        ("cat", (-0.23734, -1.33320), (0.45911, 1.26391)),
    ],
)
def test_published_sampling_grids(name, first, last) -> None:
    grid, motion, _, _, _, _ = RED_DEMO[name]
    made = Motion(grid, angle=motion, anchor=(149.5, 174.5)) if name == "cat" else Motion(grid, shift=motion)
    normalised = transform(made.backward(1.0, grid), cell_centres((0, 0, *grid))) / torch.tensor(grid) * 2 - 1
    tolerance = 2e-5 if name != "cat" else 1e-4
    assert normalised[0, 0].tolist() == pytest.approx(first, abs=tolerance)
    assert normalised[-1, -1].tolist() == pytest.approx(last, abs=tolerance)
