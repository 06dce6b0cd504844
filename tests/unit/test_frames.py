"""A drag as an animation: it ends with the edit itself, starts from one inversion, and leaves what is not dragged alone in every frame."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from dragfield.core.edits.directdrag import FlowPointSettings, directdrag
from dragfield.core.edits.dragfield import DragFieldSettings, dragfield
from dragfield.core.edits.dragflow import PUBLISHED, DragFlowSettings, dragflow, part_of
from dragfield.core.edits.frames import MOST, frames
from dragfield.core.field import DragField, FieldSettings
from dragfield.core.field.geometry import centroid
from dragfield.core.field.partway import partway
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.optimise.point_drag_settings import PointDragSettings
from dragfield.core.optimise.published_regions import PublishedRegions
from dragfield.core.optimise.region_drag import RegionDragSettings
from dragfield.core.picture.drawn_field import DrawnField
from dragfield.core.progress import Interrupted, RunContext
from dragfield.core.sampling.inversion import InversionSettings

pytest.importorskip("diffusers")

STEPS = InversionSettings(steps=6, skip=2)
DRAG = RegionDragSettings(transport_steps=4, intensify_steps=2)
SHORT = replace(PUBLISHED, inversion=replace(PUBLISHED.inversion, steps=6, skip=2), drag=replace(PUBLISHED.drag, transport_steps=3))
METHODS = {
    "dragfield": partial(dragfield, settings=DragFieldSettings(inversion=STEPS, start_at=1.0)),
    "dragflow": partial(dragflow, settings=DragFlowSettings(inversion=STEPS, drag=DRAG)),
    "published": partial(dragflow, settings=replace(SHORT, paste_back=True)),
    "directdrag": partial(
        directdrag,
        settings=FlowPointSettings(inversion=STEPS, drag=PointDragSettings(rounds=1, mask_on="latent"), drag_steps=1, readout=None),
    ),
}
every_method = pytest.mark.parametrize("name", METHODS)


def what(name, tiny):
    if name == "directdrag":
        return (*tiny.models, tiny.image, Drag((96, 64), points=(PointOperation((28.0, 28.0), (60.0, 36.0)),)), tiny.source)
    return (*tiny.models, tiny.image, tiny.drag(), tiny.source, tiny.target)


@every_method
def test_an_animation_ends_with_the_edit_itself(name, tiny):
    alone = METHODS[name](*what(name, tiny))
    (one,) = frames(METHODS[name], 1, *what(name, tiny))
    last, first = frames(METHODS[name], 2, *what(name, tiny))
    assert torch.equal(one.image, alone.image) and torch.equal(last.image, alone.image) and torch.equal(last.z, alone.z)
    assert not torch.equal(first.image, alone.image) and not torch.equal(first.image, tiny.image)


@every_method
def test_between_frames_nothing_changes_outside_of_their_masks(name, tiny):
    made = list(frames(METHODS[name], 3, *what(name, tiny)))
    for before, after in zip(made, made[1:], strict=False):
        outside = torch.from_numpy(~(before.mask | after.mask))
        assert outside.any() and torch.equal(before.image[..., outside], after.image[..., outside])


@every_method
def test_the_picture_is_inverted_once(name, tiny):
    told = []
    made = list(frames(METHODS[name], 3, *what(name, tiny), run=RunContext(told.append)))
    assert all(edit.inversion is made[0].inversion for edit in made)
    invert = [at for at in told if at.stage == "invert"]
    assert invert and [at.done for at in invert] == list(range(1, len(invert) + 1)) and invert[-1].done == invert[-1].total


@every_method
def test_progress_goes_on_over_all_frames_and_ends_at_its_end(name, tiny):
    told = []
    list(frames(METHODS[name], 3, *what(name, tiny), run=RunContext(told.append)))
    shares = [at.done / at.total for at in told if at.stage == "denoise"]
    assert shares == sorted(shares) and shares[-1] == 1 and shares[0] < 1 / 3


@every_method
def test_it_stops_within_a_step_in_a_later_frame_too(name, tiny):
    told = []
    run = RunContext(told.append, lambda: bool(told) and told[-1].stage == "denoise" and told[-1].done * 3 > told[-1].total)
    with pytest.raises(Interrupted):
        list(frames(METHODS[name], 3, *what(name, tiny), run=run))
    assert 1 / 3 < told[-1].done / told[-1].total <= 2 / 3


def test_a_number_of_frames_that_is_none_is_refused_before_anything_runs(tiny):
    for count in (0, MOST + 1):
        with pytest.raises(ValueError, match=f"{count} frames"):
            next(frames(METHODS["dragfield"], count, *what("dragfield", tiny)))
    assert tiny.backbone.passes == 0


def test_dragflow_frames_go_on_from_each_other_and_cost_no_second_drag(tiny):
    spent = []
    for edit in frames(METHODS["dragflow"], 4, *what("dragflow", tiny)):
        spent.append(edit.nfe_backward)
    assert spent[0] == 6 and spent[1:] == [2, 2, 2]


def test_a_part_of_a_drag_has_both_phases_unless_the_whole_lacks_one():
    drag = RegionDragSettings(transport_steps=30, intensify_steps=0)
    assert (part_of(drag, 0.01).transport_steps, part_of(drag, 0.01).intensify_steps) == (1, 0)
    assert part_of(RegionDragSettings(), 1.0) == RegionDragSettings()


def region(task: str, anchor=None) -> RegionOperation:
    mask = np.zeros((64, 96), bool)
    mask[16:40, 16:34] = True
    return RegionOperation(mask, task, (60.0, 44.0), anchor)


@pytest.mark.parametrize("operation", [region("relocation"), region("rotation", (40.0, 50.0)), region("deformation"), "points"], ids=str)
@pytest.mark.parametrize("progress", [0.25, 0.5, 1.0])
def test_a_field_between_is_the_field_at_that_progress(operation, progress):
    points = (PointOperation((30.0, 30.0), (50.0, 38.0)),) if operation == "points" else ()
    field = DragField.from_drag(Drag((96, 64), () if points else (operation,), points))
    part = field.between(0, progress)
    for mine, whole in zip(part.layout(), field.layout(progress), strict=True):
        assert torch.equal(mine, whole)
    for mine, whole in zip((*part.forward(), *part.samples(0)), (*field.forward(progress), *field.samples(0, progress)), strict=True):
        assert torch.equal(mine, whole)
    back = field.between(1, progress)
    assert torch.equal(back.backward(0.0), field.backward(1.0)) and torch.equal(back.backward(1.0), field.backward(progress))
    assert torch.equal(field.between(0, 0.5).between(0.5, 1).backward(1.0), field.backward(0.5))


@pytest.mark.parametrize("task, anchor", [("relocation", None), ("rotation", (40.0, 50.0))])
def test_a_drag_partway_asks_for_the_field_at_that_progress(task, anchor):
    drag = Drag((96, 64), (region(task, anchor),), (PointOperation((80.0, 10.0), (84.0, 20.0)),))
    settings = FieldSettings(point_radius=6.0, point_fading=False, point_mode="idw")
    part = DragField.from_drag(partway(drag, 0.4), settings)
    torch.testing.assert_close(part.backward(), DragField.from_drag(drag, settings).backward(0.4), atol=1e-4, rtol=0)
    assert partway(drag, 1.0) is drag
    pinned = Drag((96, 64), (replace(region("pin"), target=None),))
    assert partway(pinned, 0.5).regions == pinned.regions


@pytest.mark.parametrize("changed", [{"scale": (0.5, 1.5)}, {"scale": (-2.0, 1.0)}, {"angle": 40.0}, {"scale": (1.5, 1.5), "copy": True}])
def test_a_region_that_scales_turns_or_is_copied_does_so_partway(changed):
    mask = np.zeros((64, 96), bool)
    mask[20:36, 20:44] = True
    drag = Drag((96, 64), (RegionOperation(mask, "relocation", (56, 40), **changed),))
    whole, part = DragField.from_drag(drag), DragField.from_drag(partway(drag, 0.4))
    assert part.layout().operation.equal(whole.layout(0.4).operation) and part.layout().vacated.equal(whole.layout(0.4).vacated)
    torch.testing.assert_close(part.backward(1.0), whole.backward(0.4), atol=1e-4, rtol=0)
    assert whole.between(0, 0.4).enlarged(1.0).equal(whole.enlarged(0.4))


def test_published_regions_know_a_part_of_the_way_too():
    regions = PublishedRegions(Drag((96, 64), (region("rotation", (40.0, 50.0)),)), (48, 32))
    assert torch.equal(regions.between(0, 0.5).grid(0, 1.0), regions.grid(0, 0.5))
    assert torch.equal(regions.between(1, 0.5).grid(0, 0.0), regions.grid(0, 1.0))


def test_a_drawn_field_until_a_progress_moves_drag_and_field_alike():
    drawn = DrawnField(Drag((96, 64), (region("relocation"),)))
    half = drawn.until(0.5)
    assert torch.equal(half.field.backward(), drawn.field.backward(0.5))
    x, y = centroid(drawn.drag.regions[0].mask)
    assert half.drag.regions[0].target == pytest.approx(((x + 60) / 2, (y + 44) / 2))
    assert drawn.until(1.0) is drawn
