"""One drag, three ways: the granular graph, Drag Edit, and core; the same picture bit for bit at the defaults of all nodes.

Every graph is queued as it would be on the canvas: each node with the defaults of its own schema, nothing set but links.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from drag_case import SIDE, DragCase, run

from dragfield.core.demo.directdrag_settings import DIRECTDRAG, DIRECTDRAG_FLOW
from dragfield.core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW
from dragfield.core.edits.directdrag import directdrag
from dragfield.core.edits.dragfield import dragfield
from dragfield.core.edits.dragflow import dragflow
from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from dragfield.nodes.demo import LoadDemoModel, LoadDemoUNet
from dragfield.nodes.drag_edit import DragEdit
from dragfield.nodes.drag_to_field import DragToField
from dragfield.nodes.point_drag import PointDragOptimizer
from dragfield.nodes.region_optimizer import RegionDragOptimizer
from dragfield.nodes.warm_start import WarmStart

SQUARE = ((((0.2, 0.25), (0.5, 0.25), (0.5, 0.6), (0.2, 0.6)),),)
REGIONS = {
    "relocation": DrawnRegion("relocation", SQUARE, (0.62, 0.5)),
    "deformation": DrawnRegion("deformation", SQUARE, (0.5, 0.55)),
}
POINTS = DrawnPoints((((0.3, 0.4), (0.55, 0.5)),))


def drag_of(*operations: Any) -> str:
    return DragInstruction(operations, size=(SIDE, SIDE), background_prompt="a red star").to_json()


@pytest.fixture(autouse=True)
def inference(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("drag_edit", "gradient_mask"):
        monkeypatch.setattr(f"dragfield.nodes.{name}.ui.PreviewImage", lambda *_, **__: None)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def flux() -> tuple:
    return run(LoadDemoModel)[:3]


@pytest.fixture(scope="module")
def unet() -> tuple:
    return run(LoadDemoUNet)[:3]


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    picture = np.stack([x, y, 0.5 + 0.2 * np.sin(20 * x * y)], axis=-1).astype(np.float32)
    picture[32:77, 26:64] = (0.8, 0.2, 0.1)
    return torch.from_numpy(picture)[None]


def same(*pictures: torch.Tensor) -> None:
    first = pictures[0]
    for other in pictures[1:]:
        assert torch.equal(first, other), f"differs by up to {float((first - other).abs().max()) * 255:.3f} of 255"


WORDS = "a red star"
LOADED = pytest.mark.parametrize("loaded", ["flux", "unet"])


@LOADED
@pytest.mark.parametrize("task", REGIONS)
def test_dragflow_is_one(loaded: str, task: str, image: torch.Tensor, request: pytest.FixtureRequest) -> None:
    case = DragCase(request.getfixturevalue(loaded), image, drag_of(REGIONS[task]))
    trajectory = case.inverted(WORDS)[0]
    what = {"model": case.model, "vae": case.vae, "image": image}
    for drag in (case.drag, run(DragToField, drag=case.drag, image=image)[0]):
        dragged, _, _, mask, _ = run(RegionDragOptimizer, **what, trajectory=trajectory, drag=drag, transport=2, intensify=1)
        graph = case.graph(dragged, mask)
        settings = replace(DRAGFLOW, drag=replace(DRAGFLOW.drag, transport_steps=2, intensify_steps=1))
        assert not torch.equal(graph, image)
        same(graph, case.core(dragflow, trajectory, settings, WORDS))
    edit = run(DragEdit, **what, drag=case.drag, clip=case.clip, method="dragflow", trajectory=trajectory, iterations=3)[0]
    share = round(3 * DRAGFLOW.drag.transport_steps / (DRAGFLOW.drag.transport_steps + DRAGFLOW.drag.intensify_steps))
    settings = replace(DRAGFLOW, drag=replace(DRAGFLOW.drag, transport_steps=share, intensify_steps=3 - share))
    same(edit, case.core(dragflow, trajectory, settings, WORDS))
    dragged, _, _, mask, _ = run(RegionDragOptimizer, **what, trajectory=trajectory, drag=drag, transport=share, intensify=3 - share)
    same(edit, case.graph(dragged, mask))


@LOADED
@pytest.mark.parametrize("operation", [*REGIONS, "points"])
def test_dragfield_is_one(loaded: str, operation: str, image: torch.Tensor, request: pytest.FixtureRequest) -> None:
    case = DragCase(request.getfixturevalue(loaded), image, drag_of(REGIONS.get(operation, POINTS)))
    trajectory = case.inverted(WORDS, remember="none")[0]
    wanted = case.core(dragfield, trajectory, DRAGFIELD, WORDS)
    assert not torch.equal(wanted, image)
    same(wanted, case.edit("dragfield", trajectory))
    for drag in (case.drag, run(DragToField, drag=case.drag, image=image)[0]):
        what = {"model": case.model, "vae": case.vae, "image": image, "trajectory": trajectory}
        started, _, _, mask = run(WarmStart, **what, drag=drag)
        same(wanted, case.graph(started, mask, detailed=True))
    field = run(DragToField, drag=case.drag, image=image)[0]
    same(wanted, DragCase((case.model, case.clip, case.vae), image, field).edit("dragfield", trajectory))


@LOADED
def test_directdrag_is_one(loaded: str, image: torch.Tensor, request: pytest.FixtureRequest) -> None:
    case = DragCase(request.getfixturevalue(loaded), image, drag_of(POINTS))
    words = WORDS if case.flow else ""
    trajectory = case.inverted(words)[0]
    own = DIRECTDRAG_FLOW if case.flow else DIRECTDRAG
    steps = min(own.drag_steps, len(trajectory.times) - 2)
    wanted = case.core(directdrag, trajectory, replace(own, drag_steps=steps), words)
    assert not torch.equal(wanted, image)
    same(wanted, case.edit("directdrag", trajectory))
    for drag in (case.drag, run(DragToField, drag=case.drag, image=image)[0]):
        what = {"model": case.model, "trajectory": trajectory, "drag": drag}
        dragged, _, _, mask, _ = run(PointDragOptimizer, **what, drag_steps=steps)
        same(wanted, case.graph(dragged, mask))


@LOADED
@pytest.mark.parametrize("method", ["dragfield", "dragflow", "directdrag"])
def test_an_animation_is_a_batch_that_ends_with_the_edit(
    loaded: str, method: str, image: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    case = DragCase(request.getfixturevalue(loaded), image, drag_of(POINTS if method == "directdrag" else REGIONS["relocation"]))
    trajectory = case.inverted("" if method == "directdrag" and not case.flow else WORDS)[0]
    alone, batch = (case.edit(method, trajectory, iterations=3, frames=count) for count in (1, 2))
    assert batch.shape == (2, *alone.shape[1:])
    same(batch[1:], alone)
    assert not torch.equal(batch[:1], alone) and not torch.equal(batch[:1], image)


@pytest.mark.parametrize("method", ["dragfield", "dragflow"])
def test_what_stays_in_front_has_its_pixels_after_an_edit_that_fades(flux: tuple, image: torch.Tensor, method: str) -> None:
    post = ((((0.6, 0.1), (0.67, 0.1), (0.67, 0.9), (0.6, 0.9)),),)
    case = DragCase(flux, image, drag_of(REGIONS["relocation"], DrawnRegion("pin", post, front=True)))
    free = torch.from_numpy(DragInstruction.from_json(case.drag).rasterise(SIDE, SIDE).free)
    edit = case.edit(method, case.inverted(WORDS)[0], fade=9.0, **({} if method == "dragfield" else {"iterations": 2}))
    assert torch.equal(edit[:, ~free], image[:, ~free]) and not torch.equal(edit, image)


def test_points_take_along_what_is_selected_for_them(flux: tuple, image: torch.Tensor) -> None:
    selected = DrawnPoints(POINTS.pairs, selected=SQUARE)
    case, plain = (DragCase(flux, image, drag_of(points)) for points in (selected, POINTS))
    trajectory = case.inverted(WORDS)[0]
    own = case.edit("dragfield", trajectory)
    mask = torch.from_numpy(DragInstruction.from_json(case.drag).rasterise(SIDE, SIDE).points[0].selected)[None].float()
    told = DragCase(flux, image, run(DragToField, drag=plain.drag, image=image, selection=mask)[0])
    same(own, told.edit("dragfield", trajectory))
    assert not torch.equal(own, plain.edit("dragfield", trajectory))
