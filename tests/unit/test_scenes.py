"""Scenes: one seed is one world, drawn at any size, in which moving an object changes more than its own pixels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dragfield.core.demo.scenes import COLOURS, GROUNDS, PATTERNS, SHAPES, Post, Scene, SceneObject, object_mask, render, sample_scene

BAR = SceneObject("bar", "red", "blue", "plain", x=90.0, y=120.0, radius=30.0, angle=0.0, height=10.0)
STAR = SceneObject("star", "yellow", "black", "dotted", x=190.0, y=70.0, radius=25.0, angle=20.0, height=9.0)
WORLD = Scene("grass", 11, light=(20.0, 10.0), light_radius=250.0, objects=(BAR, STAR))


def drawn(seed: int, objects: int | None = None) -> Scene:
    return sample_scene(np.random.default_rng(seed), objects)


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)).astype(bool)


def test_the_same_seed_is_the_same_picture_and_another_seed_another() -> None:
    assert drawn(5) == drawn(5) != drawn(6)
    assert np.array_equal(render(drawn(5), 64), render(drawn(5), 64))


def test_a_picture_is_float32_in_the_unit_range_at_the_size_asked_for() -> None:
    picture = render(WORLD, 96)
    assert picture.shape == (96, 96, 3) and picture.dtype == np.float32
    assert 0 <= picture.min() < 0.2 and 0.6 < picture.max() <= 1


def test_drawing_does_not_change_what_is_drawn_next() -> None:
    first = render(WORLD, 64).copy()
    render(WORLD, 64)[:] = 0
    assert np.array_equal(render(WORLD, 64), first)


@pytest.mark.parametrize("ground", GROUNDS)
def test_the_same_world_at_twice_the_size_shrinks_to_the_same_picture(ground: str) -> None:
    world = replace(WORLD, ground=ground, posts=(Post(140, 12, "white"),))
    small, large = render(world, 256), render(world, 512)
    error = np.abs(cv2.resize(large, (256, 256), interpolation=cv2.INTER_AREA) - small).max(-1)
    assert error.mean() < 0.004
    assert np.percentile(error, 99) < 0.06


def test_moving_an_object_moves_its_shadow_outside_of_its_own_pixels() -> None:
    after = WORLD.with_object(0, x=130.0, y=160.0)
    changed = np.abs(render(WORLD) - render(after)).max(-1) > 0.03
    own = grown(object_mask(WORLD, 0), 2) | grown(object_mask(after, 0), 2)
    assert (changed & ~own).sum() > 200
    far = ~grown(own, 40)
    assert far.any() and not changed[far].any()


def test_a_shadow_falls_away_from_the_light() -> None:
    for light in ((-40, 120), (290, 120)):
        scene = replace(WORLD, light=light)
        darker = render(scene.without_object(0)).sum(-1) - render(scene).sum(-1)
        darker[grown(object_mask(scene, 0), 2)] = 0
        ys, xs = np.nonzero(darker > 0.1)
        assert np.sign(xs.mean() - BAR.x) == np.sign(BAR.x - light[0])


def test_an_object_is_brighter_near_the_light() -> None:
    def brightness(x: float, y: float) -> float:
        scene = WORLD.with_object(0, x=x, y=y)
        return float(render(scene)[object_mask(scene, 0)].mean())

    assert brightness(60.0, 60.0) > 1.15 * brightness(200.0, 200.0)


def test_the_side_that_faces_the_light_is_brighter() -> None:
    scene = replace(WORLD, light=(-2000, BAR.y), light_radius=1e6)
    row = render(scene)[int(BAR.y)].sum(-1)
    assert row[int(BAR.x) - 12] > 1.05 * row[int(BAR.x) + 12]


def test_a_plate_has_no_trace_of_the_object() -> None:
    elsewhere = WORLD.with_object(0, x=160.0, y=200.0, colour="pink", height=14.0)
    assert np.array_equal(render(WORLD.without_object(0)), render(elsewhere.without_object(0)))
    assert WORLD.without_object(0).objects == (STAR,)


def test_a_post_stands_in_front_of_everything() -> None:
    scene = replace(WORLD, posts=(Post(BAR.x, 12, "orange"),))
    pole = slice(int(BAR.x) - 4, int(BAR.x) + 4)
    np.testing.assert_allclose(render(scene)[:, pole], render(scene.without_object(0))[:, pole], atol=1e-6)
    assert not object_mask(scene, 0)[:, pole].any()
    assert object_mask(WORLD, 0)[:, pole].any()


def test_positive_angles_turn_clockwise_on_the_screen() -> None:
    arm = replace(BAR, stretch=25.0)  # longer on the side of its own x axis
    for angle, ahead in ((0, (1, 0)), (90, (0, 1)), (180, (-1, 0)), (270, (0, -1))):
        ys, xs = np.nonzero(object_mask(Scene("snow", 1, (0.0, 0.0), 200.0, (replace(arm, angle=angle),)), 0))
        distance = np.hypot(xs + 0.5 - arm.x, ys + 0.5 - arm.y)
        tip = distance.argmax()
        along = ((xs[tip] + 0.5 - arm.x) * ahead[0] + (ys[tip] + 0.5 - arm.y) * ahead[1]) / distance[tip]
        assert along > 0.95


def test_stretching_moves_one_end_and_leaves_the_other() -> None:
    before, after = object_mask(WORLD, 0), object_mask(WORLD.with_object(0, stretch=25.0), 0)
    columns, stretched = (np.flatnonzero(mask.any(0)) for mask in (before, after))
    assert columns[0] == stretched[0]
    assert stretched[-1] - columns[-1] == pytest.approx(25, abs=1)
    assert np.array_equal(before[:, : int(BAR.x - 0.36 * BAR.radius)], after[:, : int(BAR.x - 0.36 * BAR.radius)])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_shape_and_pattern_can_be_seen(shape: str, pattern: str) -> None:
    scene = Scene("snow", 1, (0, 0), 300, (replace(BAR, shape=shape, pattern=pattern),))
    mask = object_mask(scene, 0)
    assert 0.2 * np.pi * 30**2 < mask.sum() < 1.2 * np.pi * 30**2
    inside = render(scene)[mask]
    assert np.abs(inside - render(scene.without_object(0))[mask]).max(-1).mean() > 0.2
    assert pattern == "plain" or inside[:, 2].std() > 0.1


def test_objects_stand_inside_the_picture_and_apart_from_each_other() -> None:
    for seed in range(12):
        scene = drawn(seed)
        masks = [object_mask(replace(scene, posts=()), i) for i in range(len(scene.objects))]
        assert sum(masks, np.zeros((256, 256), int)).max() <= 1
        assert all(mask.sum() > 200 for mask in masks)
        assert all(0 < obj.x < 256 and 0 < obj.y < 256 for obj in scene.objects)


@pytest.mark.parametrize("wanted", [0, 1, 2, 3])
def test_as_many_objects_as_asked_for(wanted: int) -> None:
    counts = [len(drawn(seed, wanted).objects) for seed in range(8)]
    assert max(counts) == wanted and min(counts) >= min(wanted, 2)


def test_a_caption_names_every_object_its_ground_and_its_post() -> None:
    assert WORLD.caption == "a red bar, a yellow dotted star on grass"
    assert replace(WORLD, objects=(), posts=(Post(40, 9, "white"),)).caption == "empty grass behind a post"
    assert replace(WORLD, objects=(replace(BAR, colour="orange"),)).caption == "an orange bar on grass"
    vocabulary = {*COLOURS, *SHAPES, *PATTERNS, *GROUNDS, "a", "an", "on", "behind", "post", "empty"}
    for seed in range(20):
        scene = drawn(seed)
        assert set(scene.caption.replace(",", "").split()) <= vocabulary
        assert all(obj.words in scene.caption for obj in scene.objects) and scene.ground in scene.caption
