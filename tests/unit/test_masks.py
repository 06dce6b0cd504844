"""Masks around a drag: where it may change the picture, and by how much each part counts."""

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
from dragfield.core.field.geometry import centroid
from dragfield.core.field.masks import (
    adaptive_gradient_mask,
    auto_soft_mask,
    default_point_radius,
    disc,
    feather,
    region_weights,
    resample,
    to_latent,
    whole_tokens,
)
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation

DATA = Path(os.environ.get("DRAGFIELD_DATA") or Path(__file__).parents[3] / "shared" / "data") / "red_demo"
SIZE = (96, 64)


def polygon(*corners: tuple[float, float]) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], np.uint8)
    cv2.fillPoly(mask, [np.array(corners, np.int32)], 1)
    return mask > 0


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


SLANTED = polygon((12, 14), (34, 10), (30, 31), (15, 35))
TURN = RegionOperation(SLANTED, "rotation", (50.5, 14.5), (38.5, 40.5))
SHIFT = RegionOperation(box(60, 40, 70, 50), "relocation", (80.5, 25.5))


@pytest.mark.parametrize("task", ["relocation", "deformation"])
def test_the_rectangle_of_a_straight_shift_is_the_box_of_source_and_target(task) -> None:
    # The truncated centroid of columns 20 to 29 is index 24, so that target index 54 shifts by 30.
    drag = Drag(SIZE, (RegionOperation(box(20, 20, 30, 34), task, (54.5, 26.5)),))
    assert np.array_equal(adaptive_gradient_mask(drag), box(20, 20, 60, 34))


@pytest.mark.parametrize("drag", [Drag(SIZE, (TURN,)), Drag(SIZE, (SHIFT,)), Drag(SIZE, (SHIFT, TURN))])
def test_the_mask_holds_what_moves_and_what_is_vacated(drag) -> None:
    field = DragField.from_drag(drag)
    changed = (field.moved() | field.vacated()).numpy()
    # Published truncations may shave off a row or column of pixels; a margin of 2 covers them.
    assert (changed & ~adaptive_gradient_mask(drag)).sum() <= 0.06 * changed.sum()
    assert not (changed & ~adaptive_gradient_mask(drag, margin=2)).any()
    assert not (changed & ~adaptive_gradient_mask(drag, include=changed)).any()


@pytest.mark.parametrize("region", [TURN, SHIFT])
@pytest.mark.parametrize("scale", [(1.6, 1.6), (-1.2, 0.5)])
def test_the_mask_holds_what_scales_and_of_a_copy_only_where_it_lands(region, scale) -> None:
    scaled = replace(region, scale=scale, angle=0.0 if region.task == "rotation" else -40.0)
    field = DragField.from_drag(Drag(SIZE, (scaled,)))
    changed = (field.moved() | field.vacated()).numpy()
    assert not (changed & ~adaptive_gradient_mask(Drag(SIZE, (scaled,)), margin=2)).any()
    copied = adaptive_gradient_mask(Drag(SIZE, (replace(scaled, copy=True),)), margin=2)
    assert not (field.moved().numpy() & ~copied).any()
    assert copied.sum() < adaptive_gradient_mask(Drag(SIZE, (scaled,)), margin=2).sum()
    assert (region.mask & ~copied).any()


@pytest.mark.parametrize("shape", [(4, 6), (3, 5)])
def test_a_token_is_whole_when_all_cells_that_it_has_are(shape) -> None:
    h, w = shape
    cells = torch.ones(h, w, dtype=torch.bool)
    assert whole_tokens(cells, 2).tolist() == [True] * 6
    cells[1, 2] = False  # the first row of tokens, its second
    cells[2, w - 1] = False  # the second row, its last
    assert whole_tokens(cells, 2).tolist() == [True, False, True, True, True, False]
    assert torch.equal(whole_tokens(cells, 1), cells.flatten())


def test_operations_are_joined() -> None:
    both = adaptive_gradient_mask(Drag(SIZE, (TURN, SHIFT)))
    turn, shift = (adaptive_gradient_mask(Drag(SIZE, (region,))) for region in (TURN, SHIFT))
    assert np.array_equal(both, turn | shift)


def test_frozen_sums_of_synthetic_masks() -> None:
    sums = {}
    for name, region in {"turn": TURN, "shift": SHIFT}.items():
        mask = adaptive_gradient_mask(Drag(SIZE, (region,)))
        sums[name] = int(mask.sum()), int(to_latent(mask, (8, 12)).sum())
    assert sums == {"turn": (1190, 17), "shift": (522, 7)}


def test_the_margin_grows_the_mask_evenly() -> None:
    mask = adaptive_gradient_mask(Drag(SIZE, (SHIFT,)))
    grown = adaptive_gradient_mask(Drag(SIZE, (SHIFT,)), margin=5)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert np.array_equal(grown, distance <= 5)


def test_points_get_the_rectangle_around_two_discs() -> None:
    pair = PointOperation((30.5, 30.5), (60.5, 30.5))
    mask = adaptive_gradient_mask(Drag(SIZE, points=(pair,)), point_radius=6)
    assert (disc(SIZE, pair.handle, 5) & ~mask).sum() == (disc(SIZE, pair.target, 5) & ~mask).sum() == 0
    assert not (mask & ~box(23, 23, 69, 39)).any()
    assert adaptive_gradient_mask(Drag(SIZE, points=(pair,))).sum() < mask.sum()
    assert default_point_radius(SIZE) == 4.0 and default_point_radius((1024, 512)) == 32.0


def test_pins_are_taken_out_and_the_editable_area_restricts() -> None:
    pin, editable = box(20, 20, 26, 26), box(0, 0, 30, 64)
    mask = adaptive_gradient_mask(Drag(SIZE, (TURN, RegionOperation(pin, "pin")), editable=editable), margin=3)
    free = adaptive_gradient_mask(Drag(SIZE, (TURN,)), margin=3)
    assert np.array_equal(mask, free & ~pin & editable)


def test_a_mask_that_allows_nothing_is_refused() -> None:
    for drag in (Drag(SIZE), Drag(SIZE, (TURN,), editable=box(90, 60, 94, 63))):
        with pytest.raises(ValueError, match="nothing of the picture may change"):
            adaptive_gradient_mask(drag)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_impossible_distances_are_refused(value) -> None:
    with pytest.raises(ValueError, match="margin is"):
        adaptive_gradient_mask(Drag(SIZE, (TURN,)), margin=value)
    with pytest.raises(ValueError, match="radius is"):
        feather(SLANTED, value)


def test_the_latent_mask_looks_at_the_middle_of_each_cell() -> None:
    mask = np.zeros((32, 32), bool)
    mask[3:5, 11:13] = True
    assert to_latent(mask, (4, 4)).nonzero().tolist() == [[0, 1]]
    assert to_latent(torch.from_numpy(mask), (4, 4)).dtype == torch.bool
    assert not to_latent(np.zeros((32, 32), bool), (4, 4)).any()


def test_a_mask_that_falls_between_latent_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than one cell of the 4x4 latent"):
        to_latent(np.eye(32, dtype=bool) & (np.arange(32) < 2), (4, 4))


def test_resampling_to_the_same_size_changes_nothing() -> None:
    assert torch.equal(resample(SLANTED, SIZE), torch.from_numpy(SLANTED).float())
    with pytest.raises(ValueError, match="take one channel"):
        resample(np.zeros((3, 4, 4)), (4, 4))


def test_a_feathered_mask_is_one_inside_and_exactly_zero_beyond_its_radius() -> None:
    weight = feather(SLANTED, 6.0)
    distance = cv2.distanceTransform((~SLANTED).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert weight.dtype == np.float32
    assert (weight[SLANTED] == 1).all() and (weight[distance >= 6] == 0).all()
    between = (distance > 0) & (distance < 6)
    assert ((weight[between] > 0) & (weight[between] < 1)).all()
    order = np.argsort(distance[between], kind="stable")
    assert (np.diff(weight[between][order]) <= 1e-6).all()


def test_a_hard_feather_is_the_mask_and_the_editable_area_cuts_it() -> None:
    assert np.array_equal(feather(SLANTED, 0.0), SLANTED.astype(np.float32))
    within = box(0, 0, 20, 64)
    assert np.array_equal(feather(SLANTED, 6.0, within=within), np.where(within, feather(SLANTED, 6.0), 0))
    assert not feather(np.zeros((8, 8), bool), 3.0).any()


@pytest.mark.parametrize(
    ("areas", "raw"), [([1.0, 0.025], [1.4545454, 5.0]), ([0.001, 0.5], [5.0, 1.8333333]), ([0.4], [2.0])]
)
def test_region_weights_are_clamped_and_normalised(areas, raw) -> None:
    assert region_weights(areas) == pytest.approx([r / sum(raw) for r in raw])


def test_the_auto_soft_mask_follows_the_drag_line() -> None:
    mask = auto_soft_mask([PointOperation((20, 10), (60, 50))], SIZE, sigma=3.0)
    assert mask.shape == (32, 48) and mask.dtype == np.float32
    assert mask.max() == pytest.approx(1.0, abs=1e-4)
    # On the line, across it, and what the transposed mask of the published code would mark instead.
    assert mask[15, 20] > 0.9 and mask[5, 10] > 0.4 and mask[24, 8] == 0
    assert mask[25, 30] > mask[20, 33] > mask[15, 37]


def test_several_lines_of_a_soft_mask_do_not_add_up() -> None:
    line = PointOperation((20, 10), (60, 50))
    assert np.array_equal(auto_soft_mask([line], SIZE), auto_soft_mask([line, line], SIZE))
    with pytest.raises(ValueError, match="at least one pair"):
        auto_soft_mask([], SIZE)
    with pytest.raises(ValueError, match="sigma is 0"):
        auto_soft_mask([line], SIZE, sigma=0)


def test_a_disc_holds_at_least_its_own_pixel() -> None:
    assert int(disc((10, 8), (3.9, 4.1), 0.1).sum()) == 1
    assert int(disc((10, 8), (-30.0, 4.0), 3.0).sum()) == 0
    assert centroid(disc((21, 21), (10.5, 10.5), 7.0)) == (10.5, 10.5)


# From the published code: fraction of the picture, fraction of the latent, latent cells.
RED_DEMO = {
    "cartoon": (0.0926, 0.09156, 267),
    "cat": (0.06678, 0.06634, 324),
    "human": (0.11273, 0.11262, 391),
    "train": (0.02877, 0.02856, 117),
    "view": (0.21225, 0.20996, 860),
}


@pytest.mark.parametrize("name", RED_DEMO)
def test_published_gradient_masks_of_the_demo_samples(name) -> None:
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"the ReD demo sample {name} is not here")
    drawn = cv2.imread(str(folder / "operation.png"), cv2.IMREAD_GRAYSCALE) > 1
    said = json.loads((folder / "instruction.json").read_text(encoding="utf-8"))["region_operations"]["0"]
    target, anchor = ([v + 0.5 for v in p] if p else None for p in (said["centroids"][1], said["anchors"]))
    task = {"transformation": "relocation"}.get(said["task"], said["task"])
    height, width = drawn.shape
    mask = adaptive_gradient_mask(Drag((width, height), (RegionOperation(drawn, task, target, anchor),)))
    latent = to_latent(mask, (height // 16 * 2, width // 16 * 2))
    raw, fraction, cells = RED_DEMO[name]
    assert mask.mean() == pytest.approx(raw, abs=6e-6)
    assert float(latent.float().mean()) == pytest.approx(fraction, abs=6e-6)
    assert int(latent.sum()) == cells
