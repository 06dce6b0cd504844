"""Measures: the truth scores perfectly, the source as badly as it is, and everything between as much as it is off."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest

from dragfield.core.demo.cases import DemoCase, sample_cases
from dragfield.core.demo.measure import measure, rotation_error, seam_band, source_left
from dragfield.core.demo.scenes import render
from dragfield.core.picture.likeness import psnr

EVERYWHERE = np.ones((256, 256), bool)


@lru_cache
def case_of(task: str) -> DemoCase:
    """The first whole object in view of a task."""
    return next(case for case in sample_cases(40, 9) if case.task == task and not case.scene.posts)


def shifted_truth(case: DemoCase, dx: float, dy: float) -> np.ndarray:
    moved = case.moved
    objects = list(case.scene.objects)
    objects[case.index] = replace(moved, x=moved.x + dx, y=moved.y + dy)
    return render(replace(case.scene, objects=tuple(objects)), case.size)


@pytest.mark.parametrize("task", ["relocation", "rotation", "deformation"])
def test_the_truth_is_perfect(task: str) -> None:
    found = measure(case_of(task), case_of(task).truth, EVERYWHERE)
    assert found.centroid_error_px == 0
    assert found.rotation_error_deg == (0 if task == "rotation" else None)
    assert found.psnr_truth_db == found.psnr_truth_mask_db == 100
    assert found.background_max_abs == 0
    assert found.psnr_truth_seam_db == 100 and found.object_ssim == pytest.approx(1)
    assert found.source_left == (None if task == "deformation" else 0)


def test_the_seam_band_lies_along_both_outlines_and_sees_what_is_wrong_there_alone() -> None:
    case = case_of("relocation")
    band = seam_band(case, EVERYWHERE)
    middle = cv2.erode(case.landed.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    middle &= ~band  # where the two outlines are apart
    assert band.any() and middle.any()
    edge = case.landed & ~(cv2.erode(case.landed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    assert band[edge].all()
    for where, seen in ((band, True), (middle, False)):
        spoiled = case.truth.copy()
        spoiled[where] = 1 - spoiled[where]
        found = measure(case, spoiled, EVERYWHERE)
        assert (found.psnr_truth_seam_db < 20) == seen and found.psnr_truth_mask_db < 40


def test_an_object_in_pieces_is_told_from_one_that_is_whole() -> None:
    """Shuffled in blocks of 8 px it keeps its colours, its place and most of its likeness in dB, and loses its structure."""
    case = case_of("rotation")
    rows, columns = np.nonzero(case.landed)
    top, left = rows.min(), columns.min()
    rng, smashed = np.random.default_rng(0), case.truth.copy()
    corners = [(y, x) for y in range(top, rows.max() - 7, 8) for x in range(left, columns.max() - 7, 8)]
    for (y, x), (v, u) in zip(corners, rng.permutation(corners), strict=True):
        smashed[y : y + 8, x : x + 8] = case.truth[v : v + 8, u : u + 8]
    found, whole = measure(case, smashed, EVERYWHERE), measure(case, case.truth + 0.03, EVERYWHERE)
    assert whole.object_ssim > 0.9 > 0.5 > found.object_ssim


def test_the_source_is_as_far_off_as_the_drag_is_long() -> None:
    case = case_of("relocation")
    found = measure(case, case.source, EVERYWHERE)
    assert found.centroid_error_px == pytest.approx(np.hypot(*case.shift), abs=2.5)
    assert found.source_left == pytest.approx(1)
    assert found.psnr_truth_mask_db < 25


def test_the_source_of_a_rotation_is_as_far_off_as_the_turn() -> None:
    case = case_of("rotation")
    assert rotation_error(case, case.source, EVERYWHERE) == pytest.approx(abs(case.turn), abs=1)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -5), (-4, 4)])
def test_an_object_n_pixels_off_has_a_centroid_error_of_n(dx: int, dy: int) -> None:
    case = case_of("relocation")
    found = measure(case, shifted_truth(case, dx, dy), EVERYWHERE)
    assert found.centroid_error_px == pytest.approx(np.hypot(dx, dy), abs=0.5)


@pytest.mark.parametrize("extra", [-30, 7, 18])
def test_an_object_turned_too_far_is_found_out_to_a_degree(extra: float) -> None:
    case = case_of("rotation")
    assert measure(case, case.truth_with(extra), EVERYWHERE).rotation_error_deg == pytest.approx(abs(extra), abs=1)


def test_noise_of_an_autoencoders_size_is_not_taken_for_an_object() -> None:
    case = case_of("relocation")
    noise = np.random.default_rng(0).normal(0, 0.025, case.truth.shape)  # 32 dB
    found = measure(case, np.clip(case.truth + noise, 0, 1).astype(np.float32), EVERYWHERE)
    assert found.centroid_error_px < 0.5
    assert found.source_left < 0.03
    assert found.psnr_truth_db == pytest.approx(32, abs=0.5)


def test_a_ghost_is_what_is_left_of_the_source() -> None:
    case = case_of("relocation")
    for share in (0.25, 0.5):
        assert source_left(case, share * case.source + (1 - share) * case.truth) == pytest.approx(share, abs=0.01)


def test_an_object_that_vanished_left_nothing_and_arrived_nowhere() -> None:
    case = case_of("relocation")
    found = measure(case, case.plate, EVERYWHERE)
    assert found.source_left < 0.05
    assert found.centroid_error_px > 100


def test_the_centroid_is_looked_for_inside_of_the_mask_only() -> None:
    case = case_of("relocation")
    result, mask = case.truth.copy(), EVERYWHERE.copy()
    result[:8, :8], mask[:8, :8] = 1 - case.plate[:8, :8], False
    assert measure(case, result, mask).centroid_error_px == 0
    assert measure(case, result, EVERYWHERE).centroid_error_px > 0.1


def test_the_background_is_compared_with_the_source_outside_of_the_mask_only() -> None:
    case = case_of("relocation")
    result, mask = case.source.copy(), np.zeros((256, 256), bool)
    mask[100:, :] = True
    result[150, 20] = 1 - result[150, 20]
    assert measure(case, result, mask).background_max_abs == 0
    result[50, 20, 1] += 0.25
    assert measure(case, result, mask).background_max_abs == pytest.approx(0.25)


def test_psnr_is_in_decibels_of_the_unit_range() -> None:
    zeros = np.zeros((4, 4, 3))
    assert psnr(zeros, zeros + 0.1) == pytest.approx(20)
    assert psnr(zeros, zeros) == 100
