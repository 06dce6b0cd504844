"""Fields from elsewhere: a move that is told place by place, in the place of a region's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dragfield.core.edits.dragfield import DragFieldSettings, dragfield
from dragfield.core.edits.dragflow import DragFlowSettings, dragflow
from dragfield.core.field import DragField
from dragfield.core.field.flow_move import FlowMove
from dragfield.core.field.moves import RegionMove, motion_of
from dragfield.core.field.warp import warp
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.optimise.region_drag import RegionDragSettings
from dragfield.core.picture.drawn_field import DrawnField
from dragfield.core.picture.window import Window
from dragfield.core.sampling.inversion import InversionSettings

SIZE = (96, 64)
WIDTH, HEIGHT = SIZE
Y, X = np.mgrid[:HEIGHT, :WIDTH] + 0.5
BOX = (X > 20) & (X < 44) & (Y > 20) & (Y < 44)


def flowing(dx: np.ndarray | float, dy: np.ndarray | float = 0.0, mask: np.ndarray = BOX) -> DragField:
    displacement = np.stack(np.broadcast_arrays(dx, dy, X)[:2], axis=-1).astype(np.float32)
    return DragField(SIZE, (FlowMove(mask, displacement),))


@pytest.mark.parametrize("size", [SIZE, (48, 32), (12, 8)])
@pytest.mark.parametrize("progress", [0.25, 1.0])
def test_a_constant_displacement_is_the_region_that_is_shifted(size: tuple[int, int], progress: float) -> None:
    operation = RegionOperation(BOX, "relocation", (32.0 + 16, 32.0 + 8))
    region = DragField(SIZE, (RegionMove(BOX, motion_of(operation)),))
    flow = flowing(16.0, 8.0)
    ours, theirs = (field.layout(progress, size) for field in (flow, region))
    assert torch.equal(ours.operation, theirs.operation) and torch.equal(ours.vacated, theirs.vacated)
    assert torch.allclose(ours.backward, theirs.backward, atol=1e-4)
    both = zip(flow.forward(progress), region.forward(progress), strict=True)
    assert all(torch.allclose(a.float(), b.float(), atol=1e-4) for a, b in both)
    assert flow.weights() == region.weights()


def test_a_bend_lands_where_it_is_told_and_is_undone_by_the_way_back() -> None:
    bent = flowing(0.0, 0.02 * (X - 20) ** 2, mask=(X > 20) & (X < 44) & (Y > 12) & (Y < 20))
    ramp = torch.from_numpy(np.stack([X, Y])).float()[None]
    layout = bent.layout()
    came = warp(ramp, layout.backward)[0]
    assert layout.moved.any() and layout.vacated.any()
    x, y = came[0][layout.moved], came[1][layout.moved]
    there = torch.from_numpy(np.stack([X, Y], axis=-1)).float()[layout.moved]
    assert torch.allclose(x, there[:, 0], atol=0.02) and torch.allclose(y + 0.02 * (x - 20) ** 2, there[:, 1], atol=0.05)


def test_where_a_field_folds_nothing_is_made_up() -> None:
    assert not flowing(-2.0 * (X - 32)).layout().moved.any(), "a mirror is no flow"
    layout = flowing(-0.5 * (X - 32)).layout()
    source = layout.backward[layout.moved][:, 0]
    assert (source - 0.5 * (source - 32) - torch.from_numpy(X).float()[layout.moved]).abs().max() < 0.01


FEW = InversionSettings(steps=6, skip=2)


@pytest.mark.parametrize("name", ["dragfield", "dragflow"])
def test_every_method_takes_it_as_it_is(name: str, tiny) -> None:
    size = (tiny.image.shape[-1], tiny.image.shape[-2])
    drag = tiny.drag()
    mask = drag.regions[0].mask
    x = np.mgrid[: size[1], : size[0]][1]
    bend = np.stack([np.full(mask.shape, 8.0), 4.0 * np.sin(x / 9)], axis=-1).astype(np.float32)
    field = DragField(size, (FlowMove(mask, bend),))
    if name == "dragfield":
        run, settings = dragfield, DragFieldSettings(inversion=FEW)
    else:
        short = RegionDragSettings(transport_steps=2, intensify_steps=1)
        run, settings = dragflow, DragFlowSettings(inversion=FEW, drag=short, shadows="detected")
    bent, straight = (run(*tiny.models, tiny.image, drag, tiny.source, settings=settings, field=f) for f in (field, None))
    assert bent.image.isfinite().all() and not torch.equal(bent.image, straight.image)
    outside = torch.from_numpy(~bent.mask)
    assert torch.equal(bent.image[..., outside], tiny.image[..., outside])


def test_what_is_no_displacement_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="give \\(x, y\\) px for each of the mask's pixels"):
        FlowMove(BOX, np.zeros((4, 4, 2), np.float32))
    with pytest.raises(ValueError, match="numbers that are none"):
        flowing(float("nan"))


def test_a_drawn_field_is_cut_as_its_picture_is_and_one_from_elsewhere_is_not() -> None:
    drag = Drag(SIZE, (RegionOperation(BOX, "relocation", (48.0, 40.0)),))
    drawn, window = DrawnField(drag), Window(16, 16, 64, 48, (64, 48))
    assert drawn.cropped(Window(0, 0, *SIZE, SIZE)) is drawn
    cut = drawn.cropped(window)
    assert cut.drag.size == (64, 48)
    assert torch.equal(cut.field.moved(), drawn.field.moved()[16:64, 16:80])
    foreign = replace(drawn, made=flowing(16.0, 8.0))
    assert foreign.field is foreign.made
    with pytest.raises(ValueError, match="raise work_size"):
        foreign.cropped(window)
    with pytest.raises(ValueError, match="make both for one picture"):
        DrawnField(drag, picture=np.zeros((8, 8, 3), np.float32))
