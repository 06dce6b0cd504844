"""Rigid motions done in part: they start as the identity, keep their anchor, and put the centroid on the target."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dragfield.core.field.geometry import (
    Motion,
    cell_centres,
    centroid,
    cut_shape,
    rotation_angle,
    round_to_cell,
    rounded_centroid,
    transform,
)
from dragfield.core.field.moves import motion_of
from dragfield.core.instruction.operations import RegionOperation


def at(matrix: np.ndarray, *point: float) -> list[float]:
    return transform(matrix, torch.tensor([point], dtype=torch.float64))[0].tolist()


def l_shape() -> np.ndarray:
    mask = np.zeros((48, 64), bool)
    mask[10:30, 12:18] = True
    mask[24:30, 12:33] = True
    return mask


MOTIONS = [
    Motion((64, 48), shift=(7.25, -3.5)),
    Motion((64, 48), angle=-75.0, anchor=(20.0, 11.0)),
    Motion((64, 48), shift=(4.0, 2.0), angle=130.0, anchor=(31.5, 40.0)),
]


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("size", [(64, 48), (32, 32), (129, 47)])
def test_at_progress_zero_a_motion_is_exactly_the_identity(motion, size) -> None:
    identity = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert np.array_equal(motion.forward(0.0, size), identity)
    assert np.array_equal(motion.backward(0.0, size), identity)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("progress", [0.02, 0.5, 1.0])
def test_backward_undoes_forward(motion, progress) -> None:
    points = torch.rand(20, 2, dtype=torch.float64) * 60
    there = transform(motion.forward(progress, (40, 90)), points)
    assert torch.allclose(transform(motion.backward(progress, (40, 90)), there), points, atol=1e-9)


def test_the_anchor_is_a_fixed_point() -> None:
    motion = MOTIONS[1]
    for progress in (0.1, 0.7, 1.0):
        assert at(motion.forward(progress, (64, 48)), 20.0, 11.0) == pytest.approx([20.0, 11.0], abs=1e-12)


def test_a_positive_angle_turns_clockwise_on_the_screen() -> None:
    motion = Motion((10, 10), angle=90.0, anchor=(5.0, 5.0))
    assert at(motion.forward(1.0, (10, 10)), 8.0, 5.0) == pytest.approx([5.0, 8.0])


def test_n_turns_of_360_over_n_are_the_identity() -> None:
    motion = Motion((64, 48), angle=360.0 / 7, anchor=(13.0, 29.0))
    point = torch.tensor([[40.0, 3.0]], dtype=torch.float64)
    turned = point
    for _ in range(7):
        turned = transform(motion.forward(1.0, (64, 48)), turned)
    assert torch.allclose(turned, point, atol=1e-9)


def test_half_a_turn_twice_is_the_whole_turn() -> None:
    motion = Motion((64, 48), angle=-110.0, anchor=(13.0, 29.0))
    half = motion.forward(0.5, (64, 48))
    assert at(half, *at(half, 40.0, 3.0)) == pytest.approx(at(motion.forward(1.0, (64, 48)), 40.0, 3.0))


def test_another_grid_sees_the_same_motion_in_its_own_cells() -> None:
    motion = MOTIONS[2]
    scale = np.array([32 / 64, 96 / 48])
    there = np.array(at(motion.forward(0.6, (64, 48)), 11.0, 17.0)) * scale
    assert at(motion.forward(0.6, (32, 96)), *(np.array([11.0, 17.0]) * scale)) == pytest.approx(there.tolist())


@pytest.mark.parametrize("task", ["relocation", "deformation", "rotation"])
def test_the_centroid_lands_on_the_target(task) -> None:
    mask = l_shape()
    anchor = (40.0, 8.0)
    start = centroid(mask)
    # For a rotation the target has to be as far from the anchor as the centroid; elsewhere any place will do.
    angle = math.atan2(start[1] - anchor[1], start[0] - anchor[0]) + math.radians(35)
    reach = math.dist(start, anchor)
    target = (anchor[0] + reach * math.cos(angle), anchor[1] + reach * math.sin(angle))
    motion = motion_of(RegionOperation(mask, task, target, anchor if task == "rotation" else None))
    assert at(motion.forward(1.0, (64, 48)), *start) == pytest.approx(target)


def test_only_the_direction_of_a_rotations_target_counts() -> None:
    mask = l_shape()
    near, far = (RegionOperation(mask, "rotation", t, (40.0, 8.0)) for t in ((40.0, 18.0), (40.0, 47.0)))
    assert motion_of(near).angle == pytest.approx(motion_of(far).angle)


def test_a_centroid_is_the_mean_of_pixel_centres() -> None:
    mask = np.zeros((5, 8), bool)
    mask[1, 2] = mask[1, 3] = mask[4, 7] = True
    assert centroid(mask) == pytest.approx(((2 + 3 + 7) / 3 + 0.5, (1 + 1 + 4) / 3 + 0.5))


def test_the_published_centroid_is_rounded_half_to_even_in_indices() -> None:
    mask = np.zeros((6, 6), bool)
    mask[2:4, 2:4] = True
    assert centroid(mask) == (3.0, 3.0)
    assert rounded_centroid(mask) == (2.5, 2.5)


def test_published_points_round_their_scaled_index() -> None:
    # Index 175 of 435 columns is 86.9 of 216: cell 87, whose centre is 87.5.
    assert round_to_cell((175.5, 292.5), (435, 432), (216, 216)) == (87.5, 146.5)


def test_published_rounding_moves_by_whole_cells_of_the_cut_map() -> None:
    mask = l_shape()
    motion = motion_of(RegionOperation(mask, "relocation", (44.3, 21.9)), rounded_at=(32, 24))
    assert motion.frame == (32, 24)
    assert all(v == int(v) for v in motion.shift)
    exact = motion_of(RegionOperation(mask, "relocation", (44.3, 21.9)))
    assert np.abs(np.array(motion.shift) * 2 - exact.shift).max() <= 2.0


@pytest.mark.parametrize(
    ("start", "target", "degrees"),
    [((1, 0), (0, 1), 90.0), ((0, 1), (1, 0), -90.0), ((1, 0), (-1, 0), -180.0), ((-1, -0.1), (-1, 0.1), -11.421186)],
)
def test_angles_take_the_short_way_round(start, target, degrees) -> None:
    assert rotation_angle(start, target, (0.0, 0.0)) == pytest.approx(degrees)


@pytest.mark.parametrize(("start", "target"), [((3, 3), (5, 5)), ((5, 5), (3, 3))])
def test_a_point_on_the_anchor_is_refused(start, target) -> None:
    with pytest.raises(ValueError, match="anchor .* lies on the"):
        rotation_angle(start, target, (3, 3))


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (RegionOperation(l_shape(), "relocation"), "target of a relocation is missing"),
        (RegionOperation(l_shape(), "rotation", (3, 3)), "anchor of a rotation is missing"),
        (RegionOperation(l_shape(), "relocation", (math.nan, 3)), "nan"),
        (RegionOperation(l_shape(), "pin"), "does not move a region"),
        (RegionOperation(np.zeros((4, 4), bool), "relocation", (1, 1)), "no centroid"),
    ],
)
def test_operations_without_a_motion_are_refused(operation, words) -> None:
    with pytest.raises(ValueError, match=words):
        motion_of(operation)


@pytest.mark.parametrize(
    ("size", "shape"),
    [((512, 512), (256, 256)), ((768, 768), (256, 256)), ((1024, 1024), (256, 256)), ((432, 432), (216, 216)),
     ((528, 592), (296, 264)), ((496, 448), (224, 248)), ((600, 600), (300, 300)), ((1000, 1000), (333, 333))],
)  # fmt: skip
def test_the_cut_map_has_the_published_shape(size, shape) -> None:
    assert cut_shape(size) == shape


def test_cell_centres_are_half_way() -> None:
    centres = cell_centres((2, 5, 4, 8))
    assert centres.shape == (3, 2, 2)
    assert centres[0, 0].tolist() == [2.5, 5.5]
    assert centres[-1, -1].tolist() == [3.5, 7.5]
