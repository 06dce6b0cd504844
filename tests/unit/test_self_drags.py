"""Drags made from a picture itself: the truth is what the drag says, and nothing else differs."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from dragfield.core.field import DragField
from dragfield.core.field.warp import warp
from dragfield.core.self_drags import SelfDrag, brought_back, over_repeated_ground, self_drags, smooth_shift, smooth_turn


def photograph(height: int = 160, width: int = 201, seed: int = 3) -> np.ndarray:
    """Soft noise of several scales: there is something to see everywhere, and no place looks like another."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.standard_normal((height, width, 3)), (0, 0), s) * s for s in (2, 5, 12)]
    return np.clip(128 + 120 * sum(layers), 0, 255).astype(np.uint8)


def object_mask(height: int = 160, width: int = 201) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (80, 70), (22, 14), 30, 0, 360, 1, -1)
    return mask > 0


def carried(one: SelfDrag) -> np.ndarray:
    """The picture as the drag's own field moves it, without a model."""
    source = torch.from_numpy(one.picture).permute(2, 0, 1)[None].double()
    return warp(source, DragField.from_drag(one.drag))[0].permute(1, 2, 0).numpy()


def all_kinds() -> list[SelfDrag]:
    return list(self_drags(photograph(), object_mask(), count=12, seed=5))


def test_every_kind_is_there_and_the_same_seed_makes_the_same() -> None:
    first, again, other = all_kinds(), all_kinds(), self_drags(photograph(), object_mask(), count=12, seed=6)
    assert {one.name for one in first} == {
        "shift", "shift_inverse", "turn", "turn_inverse", "over_mirror", "over_shift", "brought_back"
    }  # fmt: skip
    assert all(np.array_equal(a.truth, b.truth) and np.array_equal(a.picture, b.picture) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.truth, b.truth) and np.array_equal(a.picture, b.picture) for a, b in zip(first, other, strict=True))
    assert not {one.name for one in self_drags(photograph(), count=12)} & {"brought_back"}


@pytest.mark.parametrize("one", all_kinds(), ids=lambda one: one.name)
def test_what_the_drag_names_lands_where_the_truth_shows_it(one: SelfDrag) -> None:
    """The field of the drag, which knows nothing of how the truth was made, brings it there."""
    core = cv2.erode(one.landed.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    off = np.abs(carried(one) - one.truth)[core]
    # A turn home is read twice between pixels, all others once or never.
    assert off.mean() < (0.51 if not one.name.startswith("turn") else 3.0)
    assert np.abs(one.picture.astype(float) - one.truth)[core].mean() > 3 * max(off.mean(), 1)


@pytest.mark.parametrize("one", all_kinds(), ids=lambda one: one.name)
def test_nothing_outside_of_what_may_change_differs_and_the_instruction_is_the_drag(one: SelfDrag) -> None:
    assert np.array_equal(one.picture[~one.drag.editable], one.truth[~one.drag.editable])
    height, width = one.truth.shape[:2]
    again = one.instruction.rasterise(width, height)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(again.regions, one.drag.regions, strict=True))
    assert np.array_equal(again.editable, one.drag.editable)
    assert all(math.dist(a.target, b.target) < 1e-5 for a, b in zip(again.regions, one.drag.regions, strict=True))


@pytest.mark.parametrize("inverse", [False, True])
def test_a_shift_is_exact_in_its_disc_and_uncovers_nothing(inverse: bool) -> None:
    picture = photograph()
    one = smooth_shift(picture, (90, 80), 20, (13, -7), inverse=inverse)
    start = one.drag.regions[0].mask
    assert np.array_equal(one.truth[one.landed], one.picture[start])
    assert not one.vacated.any()
    assert np.array_equal(one.truth if inverse else one.picture, picture)


def test_the_field_is_invertible() -> None:
    """A ramp shows where each pixel came from: along the way nothing is met twice."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None], 160, 0)[..., None].repeat(3, 2)
    truth = smooth_shift(ramp, (100, 80), 20, (24, 0)).truth[..., 0].astype(int)
    assert (np.diff(truth, axis=1) >= 0).all()
    assert truth[80, 124] == 100 and (np.diff(truth[80]) > 1).any()


def test_a_turn_there_and_home_meet() -> None:
    picture = cv2.GaussianBlur(photograph(), (0, 0), 4)
    there = smooth_turn(picture, (100, 80), 25, 30)
    home = smooth_turn(there.truth, (100, 80), 25, -30).truth
    assert np.abs(home.astype(float) - picture)[there.drag.editable].mean() < 1
    assert np.abs(there.truth.astype(float) - picture)[there.landed].mean() > 5


def test_what_a_piece_hides_is_shown_at_its_other_place() -> None:
    for repeat in ("mirror", "shift"):
        one = over_repeated_ground(photograph(), repeat=repeat, seed=2)
        half = one.truth.shape[1] // 2
        right = one.picture[:, half:][:, ::-1] if repeat == "mirror" else one.picture[:, half:]
        assert one.vacated.any() and not one.vacated[:, half:].any()
        assert np.array_equal(one.truth[:, :half][one.vacated[:, :half]], right[one.vacated[:, :half]])


def test_an_object_brought_back_is_the_picture_again_and_uncovers_its_own_ground() -> None:
    picture, mask = photograph(), object_mask()
    one = brought_back(picture, mask, seed=1)
    assert np.array_equal(one.truth, picture) and np.array_equal(one.landed, mask)
    assert np.array_equal(one.picture[one.drag.regions[0].mask], picture[mask])
    assert np.array_equal(one.vacated, one.drag.regions[0].mask)
    assert not (one.drag.regions[0].mask & mask).any()


def test_a_better_result_has_the_higher_psnr() -> None:
    for one in all_kinds():
        half = np.rint((one.picture.astype(float) + one.truth) / 2).astype(np.uint8)
        assert one.psnr(one.picture) < one.psnr(half) < one.psnr(one.truth) == math.inf


def test_what_cannot_be_is_said() -> None:
    picture, mask = photograph(), object_mask()
    for attempt, words in (
        (lambda: self_drags(picture[:40]), "at least 64"),
        (lambda: self_drags(picture.astype(float)), "uint8"),
        (lambda: self_drags(picture, count=0), "one drag at least"),
        (lambda: smooth_shift(picture, (20, 20), 20, (5, 5)), "nearer the middle"),
        (lambda: smooth_shift(picture, (90, 80), 20, (0, 0)), "not both 0"),
        (lambda: smooth_turn(picture, (90, 80), 20, 120), "-90 to 90"),
        (lambda: over_repeated_ground(picture, repeat="tile"), "mirror or shift"),
        (lambda: brought_back(picture, np.zeros_like(mask)), "empty"),
        (lambda: brought_back(picture, np.ones_like(mask)), "smaller one"),
        (lambda: brought_back(picture, mask[:-1]), "picture's size"),
        (lambda: all_kinds()[0].psnr(picture[1:]), "own size"),
    ):
        with pytest.raises(ValueError, match=words):
            attempt()


def test_a_picture_of_the_smallest_size_has_drags() -> None:
    for seed in range(6):
        assert len(self_drags(photograph(64, 64, seed), count=5, seed=seed)) == 5
