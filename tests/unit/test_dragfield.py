"""Our own method: the warp decides where things are while they are held, the model decides the rest, and only near the drag."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dragfield.core.edits.dragfield import DragFieldSettings, dragfield, inner, open_mask
from dragfield.core.edits.warm_start import make_warm_start
from dragfield.core.field import DragField, FieldSettings
from dragfield.core.field.masks import to_latent
from dragfield.core.instruction.operations import RegionOperation
from dragfield.core.optimise.region_drag import RegionDragSettings
from dragfield.core.progress import RunContext
from dragfield.core.sampling.inversion import InversionSettings

pytest.importorskip("diffusers")

FEW = DragFieldSettings(inversion=InversionSettings(steps=6, skip=2), start_at=1.0, hold_until=0.4)


def run(tiny, drag=None, report=None, **changes):
    return dragfield(*tiny.models, tiny.image, drag or tiny.drag(), tiny.source, settings=replace(FEW, **changes), run=RunContext(report))


def evidence_of(tiny, edit):
    """The warm start that `edit` had, and the cells it was allowed to change."""
    field = DragField.from_drag(tiny.drag(), FEW.field)
    warm = make_warm_start(tiny.autoencoder, tiny.image, field, edit.inversion.noise())
    return warm, to_latent(edit.mask, edit.z.shape[-2:])


def test_what_is_held_to_the_end_is_the_warped_picture(tiny):
    edit = run(tiny, hold_until=0.0)
    warm, cells = evidence_of(tiny, edit)
    held = warm.moved & cells
    assert held.any() and torch.equal(edit.z[..., held], warm.evidence[..., held])
    free = cells & ~held
    assert (edit.z[..., free] != warm.evidence[..., free]).float().mean() > 0.99


def test_what_moved_is_held_until_its_time_and_then_let_go(tiny):
    reports = []
    edit = run(tiny, report=reports.append, hold_until=0.5)
    warm, cells = evidence_of(tiny, edit)
    held = warm.moved & cells
    times = edit.inversion.times[1:]
    assert any(t >= 0.5 for t in times) and any(t < 0.5 for t in times)
    for t, p in zip(times, (p for p in reports if p.stage == "denoise"), strict=True):
        assert torch.equal(p.z[..., held], warm.at(t)[..., held]) == (t >= 0.5)


def test_never_holding_still_starts_from_the_warp(tiny):
    never, always = run(tiny, hold_until=2.0), run(tiny, hold_until=0.0)
    assert not torch.equal(never.z, always.z)
    elsewhere = run(tiny, tiny.drag(40, 16), hold_until=2.0)
    assert not torch.equal(never.z, elsewhere.z)


def test_a_later_start_leaves_less_to_the_model(tiny):
    early, late = run(tiny), run(tiny, start_at=0.5)
    assert late.nfe_forward < early.nfe_forward
    warm, cells = evidence_of(tiny, late)
    strayed = [(edit.z - warm.evidence)[..., cells].square().mean() for edit in (early, late)]
    assert strayed[1] < strayed[0]
    assert torch.equal(late.z[..., ~cells], late.inversion.z0[..., ~cells])


def test_the_seed_changes_the_filling_and_nothing_else(tiny):
    first, again, other = run(tiny, seed=1), run(tiny, seed=1), run(tiny, seed=2)
    assert torch.equal(first.image, again.image) and not torch.equal(first.image, other.image)
    outside = torch.from_numpy(~first.mask)
    assert torch.equal(first.image[..., outside], other.image[..., outside])


def test_what_the_autoencoder_loses_follows_the_drag(tiny):
    plain, detailed = run(tiny, hold_until=0.0, detail=False), run(tiny, hold_until=0.0)
    assert torch.equal(plain.z, detailed.z)
    warm, _ = evidence_of(tiny, detailed)
    wanted = torch.from_numpy(warm.picture.image).permute(2, 0, 1)
    landed = torch.from_numpy(warm.picture.moved > 0.99)
    errors = [(edit.image[0] - wanted)[..., landed].square().mean() for edit in (plain, detailed)]
    assert landed.any() and errors[1] < errors[0]


def test_an_edit_says_how_much_of_it_is_the_pictures_own(tiny):
    held, let_go, without = run(tiny, hold_until=0.0), run(tiny, hold_until=2.0), run(tiny, hold_until=0.0, detail=False)
    warm, _ = evidence_of(tiny, held)
    own = warm.picture.known()[held.mask].mean()
    assert held.own_pixels == pytest.approx(own) and without.own_pixels == 0
    # What was let go is the model's, what stayed is not.
    stayed = np.where(warm.picture.moved > 0, 0, warm.picture.known())[held.mask].mean()
    assert let_go.own_pixels == pytest.approx(stayed) and stayed < own


def test_the_edge_of_what_moved_is_free_and_its_inside_is_held(tiny):
    drag = tiny.drag()
    edit = run(tiny, drag, hold_until=0.0, free_edge=10.0)
    warm, cells = evidence_of(tiny, edit)
    firm = inner(warm.moved, 10.0 / 8) & cells
    band = warm.moved & cells & ~firm
    assert firm.any() and band.any()
    assert torch.equal(edit.z[..., firm], warm.evidence[..., firm])
    assert (edit.z[..., band] != warm.evidence[..., band]).float().mean() > 0.99
    assert torch.equal(run(tiny, drag, hold_until=0.0).z, run(tiny, drag, hold_until=0.0, free_edge=0.0).z)


def test_an_object_thinner_than_its_free_edge_is_not_held_at_all(tiny):
    edit = run(tiny, hold_until=0.0, free_edge=200.0)
    assert torch.equal(edit.z, run(tiny, hold_until=2.0).z)


@pytest.mark.parametrize("change", [{"renew": "mask"}, {"guidance": 3.0}, {"start_at": 0.5}, {"hold_until": 0.9}], ids=str)
def test_every_switch_switches_something(change, tiny):
    assert not torch.equal(run(tiny, **change).z, run(tiny).z)


def test_a_shadow_is_carried_along_where_there_is_one(tiny):
    lit = torch.full_like(tiny.image, 0.7)
    lit[..., 20:44, 20:44] = 0.35  # falls from the thing to the lower right
    lit[..., 16:40, 16:40] = torch.tensor([0.8, 0.2, 0.1])[:, None, None]
    bundle = (*tiny.models, lit, tiny.drag(), tiny.source)
    with_shadow, without = (dragfield(*bundle, settings=replace(FEW, shadows=shadows, margin=0.15)) for shadows in ("detected", "none"))
    assert not torch.equal(with_shadow.z, without.z)
    outside = torch.from_numpy(~with_shadow.mask)
    assert torch.equal(with_shadow.image[..., outside], lit[..., outside])


def test_refinement_is_region_supervision_of_the_start(tiny):
    reports = []
    steps = RegionDragSettings(transport_steps=1, intensify_steps=3)
    refined = run(tiny, report=reports.append, refine=steps)
    assert refined.nfe_backward == refined.drag.step == 4
    assert [(p.done, p.total) for p in reports if p.stage == "drag"] == [(i, 4) for i in range(1, 5)]
    # Compared with the undragged latent, whose features at every cell of a 2 x 2 token cost four passes of their own.
    assert refined.nfe_forward == run(tiny).nfe_forward + 4 + 4
    losses = [p.drag.residual.item() for p in reports if p.stage == "drag"]
    assert losses[-1] < losses[0]
    assert not torch.equal(refined.z, run(tiny).z)


def test_a_stretched_end_stays_connected_a_rigid_one_leaves_a_gap(tiny):
    drag = tiny.drag(24, 0, "deformation")
    stretched, rigid = run(tiny, drag), run(tiny, drag, field=FieldSettings(deformation="rigid"))
    assert not torch.equal(stretched.image, rigid.image)
    vacated = [DragField.from_drag(drag, deformation=kind).vacated().sum() for kind in ("stretch", "rigid")]
    assert vacated[0] < vacated[1]


def test_a_drag_to_where_it_is_changes_nothing(tiny):
    edit = run(tiny, tiny.drag(0, 0))
    assert torch.equal(edit.image, tiny.image)


def test_the_picture_is_open_around_what_moves_and_what_is_left(tiny):
    field = DragField.from_drag(tiny.drag())
    layout = field.layout()
    touched = (layout.moved | layout.vacated).numpy()
    assert np.array_equal(open_mask(field, 0.0), touched)
    wider = open_mask(field, 5.0)
    assert wider[touched].all() and wider.sum() > touched.sum()
    rows, columns = np.nonzero(wider & ~touched)
    nearest = np.hypot(rows[:, None] - np.nonzero(touched)[0], columns[:, None] - np.nonzero(touched)[1]).min(1)
    assert nearest.max() <= 5.0


def test_the_margin_is_a_share_of_the_shorter_side(tiny):
    field = DragField.from_drag(tiny.drag(), deformation="stretch")
    assert np.array_equal(run(tiny, margin=0.125).mask, open_mask(field, 8.0))


def test_pins_and_what_is_not_editable_are_never_open(tiny):
    pin, editable = np.zeros((64, 96), bool), np.ones((64, 96), bool)
    pin[30:60, 40:50] = True
    editable[:, :20] = False
    drag = tiny.drag(editable=editable)
    drag = replace(drag, regions=(*drag.regions, RegionOperation(pin, "pin")))
    mask = open_mask(DragField.from_drag(drag), 8.0)
    assert mask.any() and not mask[pin].any() and not mask[~editable].any()


def test_a_drag_that_may_change_nothing_is_refused(tiny):
    drag = tiny.drag(editable=np.zeros((64, 96), bool))
    with pytest.raises(ValueError, match="nothing of the picture may change"):
        run(tiny, drag)
    assert tiny.backbone.passes == 0
