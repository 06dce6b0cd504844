"""What stands in front keeps its place: what moves passes behind it, and comes out from behind it whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dragfield.core.edits.dragfield import DragFieldSettings, dragfield, open_mask
from dragfield.core.edits.dragflow import DragFlowSettings, dragflow
from dragfield.core.field import DragField
from dragfield.core.field.masks import adaptive_gradient_mask
from dragfield.core.instruction import DragInstruction, DrawnRegion, InstructionError
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.optimise.published_regions import PublishedRegions
from dragfield.core.optimise.region_drag import RegionDragSettings
from dragfield.core.picture.arrival import arrivals
from dragfield.core.picture.evidence import carry, clean_plate
from dragfield.core.picture.preview import preview
from dragfield.core.picture.window import stitch, window_around
from dragfield.core.sampling.inversion import InversionSettings

SIZE = (160, 96)
POST = (0.15, 0.1, 0.1)
CAR = (0.8, 0.3, 0.2)


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


def street(car: int, post: int) -> np.ndarray:
    """A car of one colour that begins at x = `car`, behind a post that begins at `post`, on a grainy ground. float32 [H, W, 3]."""
    rng = np.random.default_rng(5)
    picture = np.clip(np.array([0.5, 0.6, 0.4]) + 0.05 * rng.standard_normal((96, 160, 3)), 0, 1)
    picture[box(car, 40, car + 48, 64)] = CAR
    picture[:, post : post + 8] = POST
    return picture.astype(np.float32)


def drag(dx: float, post: int, front: bool = True, car: int = 20) -> Drag:
    pin = RegionOperation(box(post, 0, post + 8, 96), "pin", front=front)
    return Drag(SIZE, (RegionOperation(box(car, 40, car + 48, 64), "relocation", (car + 24 + dx, 52.0)), pin))


def wholly_hidden() -> Drag:
    """Something that is narrower than the post it goes behind."""
    return Drag(SIZE, (RegionOperation(box(20, 40, 26, 50), "relocation", (104.0, 45.0)), drag(0, 100).regions[1]))


def test_what_moves_passes_behind_what_is_in_front_whose_pixels_stay_bit_for_bit() -> None:
    picture = street(20, 100)
    for shown in (preview(picture, DragField.from_drag(drag(56, 100))), carry(picture, DragField.from_drag(drag(56, 100))).image):
        assert np.array_equal(shown[:, 100:108], picture[:, 100:108])
        for x in (78, 98, 109, 122):
            assert np.allclose(shown[52, x], CAR, atol=1e-4)


def test_what_was_hidden_at_the_old_place_is_guessed_from_the_object_and_left_to_the_model() -> None:
    # The post stands before the car, which goes away from behind it.
    picture, field = street(20, 40), DragField.from_drag(drag(80, 40))
    layout = field.layout()
    gap = torch.from_numpy(box(120, 40, 128, 64))
    assert torch.equal(layout.revealed, gap) and bool(layout.vacated[gap].all()) and not bool(layout.moved[gap].any())
    assert torch.equal(layout.moved, torch.from_numpy(box(100, 40, 148, 64)) & ~gap)
    evidence = carry(picture, field)
    assert np.allclose(evidence.image[40:64, 100:148], CAR, atol=0.02)
    assert not evidence.moved[gap].any() and evidence.changed[gap].all() and not evidence.known()[gap].any()
    assert np.allclose(preview(picture, field)[40:64, 100:148], CAR, atol=0.02)
    # Ground comes from ground: nowhere beside the post is there more of it.
    left = evidence.image[box(20, 40, 68, 64) & ~box(40, 0, 48, 96)]
    assert np.abs(left - POST).max(axis=-1).min() > 0.1
    for image in (evidence.image, clean_plate(picture, field).image):
        assert np.array_equal(image[:, 40:48], picture[:, 40:48])


def test_a_plain_pin_leaves_its_place_out_instead() -> None:
    picture, field = street(20, 40), DragField.from_drag(drag(80, 40, front=False))
    assert not bool(field.layout().revealed.any())
    assert np.array_equal(preview(picture, field)[40:64, 120:128], picture[40:64, 120:128])


def test_what_is_selected_for_points_passes_behind_it_too() -> None:
    mask = box(20, 40, 68, 64)
    asked = Drag(SIZE, drag(0, 40).regions[1:], (PointOperation((30.0, 52.0), (110.0, 52.0), mask),))
    field, picture = DragField.from_drag(asked), street(20, 40)
    assert torch.equal(field.layout().revealed, torch.from_numpy(box(120, 40, 128, 64)))
    assert np.allclose(carry(picture, field).image[40:64, 100:148], CAR, atol=0.02)


def test_neither_mask_nor_fade_touches_it_whatever_the_window_is_worked_at() -> None:
    asked = drag(56, 100)
    assert not adaptive_gradient_mask(asked, margin=8)[:, 100:108].any()
    assert not open_mask(DragField.from_drag(asked), 8)[:, 100:108].any()
    picture = torch.from_numpy(street(20, 100).transpose(2, 0, 1)[None])
    mask = adaptive_gradient_mask(asked, margin=8)
    window = window_around(mask, asked, 64)
    assert window.scaled
    result, weight = stitch(picture, torch.ones(1, 3, *window.work[::-1]), np.ones(window.work[::-1], bool), window, 12.0, asked.free)
    assert torch.equal(result[..., 100:108], picture[..., 100:108]) and not weight[:, 100:108].any()
    assert not torch.equal(result, picture)


def test_hidden_places_are_not_supervised_and_one_that_is_hidden_wholly_pulls_at_nothing() -> None:
    field = DragField.from_drag(drag(80, 40))
    target, source = field.samples(0)
    assert len(target) == 40 * 24 and not ((target[:, 0] > 120) & (target[:, 0] < 128)).any()
    assert not ((source[:, 0] > 40) & (source[:, 0] < 48)).any()
    target, source = DragField.from_drag(wholly_hidden()).samples(0)
    assert target.shape == source.shape == (0, 2)


def test_the_report_looks_for_what_can_be_seen() -> None:
    before = street(20, 100)
    whole, none = street(76, 100), before
    (good,), (bad,) = (arrivals(before, after, drag(56, 100)) for after in (whole, none))
    assert good.verdict == "arrived" and good.hidden == pytest.approx(8 / 48) and good.distance == pytest.approx(56, abs=0.5)
    assert bad.verdict == "still"
    (gone,) = arrivals(before, before, wholly_hidden())
    assert gone.verdict == "unknown" and gone.covered and not gone.good


def test_the_report_looks_for_what_can_be_seen_of_points() -> None:
    before, after = street(20, 100), street(76, 100)
    pin = drag(0, 100).regions[1:]
    (seen,) = arrivals(before, after, Drag(SIZE, pin, (PointOperation((66.0, 42.0), (122.0, 42.0)),)))
    (half,) = arrivals(before, after, Drag(SIZE, pin, (PointOperation((56.0, 41.0), (112.0, 41.0)),)))
    (none,) = arrivals(before, after, Drag(SIZE, pin, (PointOperation((48.0, 52.0), (104.0, 52.0)),)))
    assert seen.off < 3 and seen.hidden == 0
    assert half.off < 3 and 0 < half.hidden < 0.9
    assert none.hidden > 0.5


@pytest.mark.parametrize("post", [slice(52, 60), slice(40, 72)])
def test_an_edit_by_any_method_leaves_what_is_in_front_as_it_is(tiny, post: slice) -> None:
    """Before part of the way, and before all of the place it goes to."""
    front = np.zeros((64, 96), bool)
    front[:, post] = True
    asked = tiny.drag(28.0, 4.0)
    asked = replace(asked, regions=(*asked.regions, RegionOperation(front, "pin", front=True)))
    steps = RegionDragSettings(transport_steps=2, intensify_steps=1)
    few = DragFlowSettings(inversion=InversionSettings(steps=4, skip=1), drag=steps, mask_margin=0.2, feather=5.0)
    edits = [
        dragfield(*tiny.models, tiny.image, asked, tiny.source, settings=DragFieldSettings(inversion=few.inversion, feather=5.0)),
        dragflow(*tiny.models, tiny.image, asked, tiny.source, settings=few),
    ]
    for edit in edits:
        assert torch.equal(edit.image[..., post], tiny.image[..., post])
        assert not torch.equal(edit.image, tiny.image) and bool(edit.image.isfinite().all())


def test_the_published_regions_know_nothing_in_front() -> None:
    with pytest.raises(ValueError, match="use the preset 'tuned'"):
        PublishedRegions(drag(56, 100), (80, 48))


def test_only_a_pin_is_in_front_which_version_1_does_not_know() -> None:
    outline = [[[[0.1, 0.1], [0.3, 0.1], [0.3, 0.3]]]]
    pin = {"kind": "region", "task": "pin", "region": outline, "front": True}
    read = DragInstruction.from_json({"version": 2, "operations": [pin]})
    assert read.operations[0].front and DragInstruction.from_json(read.to_json()) == read
    assert DragInstruction.from_drag(read.rasterise(100, 100)).operations[0].front
    with pytest.raises(InstructionError, match="version 1 does not know"):
        DragInstruction.from_json({"version": 1, "operations": [pin]})
    with pytest.raises(InstructionError, match="only a pin can be"):
        DrawnRegion("relocation", outline, (0.5, 0.5), front=True)
    with pytest.raises(InstructionError, match="write true or false"):
        DrawnRegion("pin", outline, front=1)
