"""Whole edits: what must not change does not, what is counted is what was spent, and a second run gives the same."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from dragfield.core.edits.denoise import denoise
from dragfield.core.edits.dragfield import DragFieldSettings, dragfield
from dragfield.core.edits.dragflow import PUBLISHED, DragFlowSettings, dragflow, latent_copy_paste
from dragfield.core.edits.state import begin
from dragfield.core.field import DragField
from dragfield.core.field.masks import to_latent
from dragfield.core.instruction.operations import PointOperation, RegionOperation
from dragfield.core.model.attention import KVBank
from dragfield.core.optimise.region_drag import RegionDragSettings
from dragfield.core.picture.compose import paste_back
from dragfield.core.progress import Interrupted, RunContext
from dragfield.core.sampling.inversion import Inversion, InversionSettings, invert
from dragfield.core.sampling.sampler import FlowSampler

pytest.importorskip("diffusers")

FEW_STEPS = InversionSettings(steps=6, skip=2)  # 4 steps, 5 network passes either way
FEW = DragFlowSettings(inversion=FEW_STEPS, drag=RegionDragSettings(transport_steps=3, intensify_steps=2))
FIELD = DragFieldSettings(inversion=FEW_STEPS, start_at=1.0)
REFINED = replace(FIELD, refine=RegionDragSettings(transport_steps=1, intensify_steps=2))
SHORT = replace(PUBLISHED, inversion=replace(PUBLISHED.inversion, steps=6, skip=2), drag=replace(PUBLISHED.drag, transport_steps=3))

EDITS = {
    "dragflow": partial(dragflow, settings=FEW),
    "published": partial(dragflow, settings=replace(SHORT, paste_back=True)),
    "copy_paste": partial(latent_copy_paste, settings=FEW),
    "dragfield": partial(dragfield, settings=FIELD),
    "refined": partial(dragfield, settings=REFINED),
}
every_edit = pytest.mark.parametrize("name", EDITS)
every_talking_edit = pytest.mark.parametrize("name", [name for name in EDITS if name != "copy_paste"])


def run(name, tiny, drag=None, **kwargs):
    return EDITS[name](*tiny.models, tiny.image, drag or tiny.drag(), tiny.source, tiny.target, **kwargs)


def inside(edit):
    return torch.from_numpy(edit.mask)


def cells_of(edit):
    return to_latent(edit.mask, edit.z.shape[-2:])


@every_edit
def test_the_background_is_the_pictures_own_bit_for_bit(name, tiny):
    edit = run(name, tiny)
    assert 0.1 < edit.mask.mean() < 0.9
    assert torch.equal(edit.image[..., ~inside(edit)], tiny.image[..., ~inside(edit)])
    assert (edit.image != tiny.image).any(1)[0][inside(edit)].float().mean() > 0.95
    assert edit.image.min() >= 0 and edit.image.max() <= 1


@every_edit
def test_a_second_run_gives_the_same_bits(name, tiny):
    first, second = run(name, tiny), run(name, tiny)
    assert torch.equal(first.image, second.image) and torch.equal(first.z, second.z)


@every_edit
def test_an_edit_leaves_no_trace_in_models_and_arguments(name, tiny):
    drag, image = tiny.drag(), tiny.image.clone()
    weights = [copy.deepcopy(m.state_dict()) for m in (tiny.backbone.inner.model, tiny.autoencoder)]
    mask = drag.regions[0].mask.copy()
    edit = EDITS[name](*tiny.models, tiny.image, drag, tiny.source, tiny.target)
    for before, model in zip(weights, (tiny.backbone.inner.model, tiny.autoencoder), strict=True):
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert torch.equal(tiny.image, image) and np.array_equal(drag.regions[0].mask, mask)
    assert not any(x.requires_grad for x in (edit.image, edit.z, edit.reconstruction))


@every_edit
def test_passes_are_counted_as_they_are_made(name, tiny):
    edit = run(name, tiny)
    assert edit.nfe_forward == tiny.backbone.passes
    assert edit.nfe_backward == {"dragflow": 5, "published": 23, "refined": 3}.get(name, 0)
    assert edit.seconds > 0


def test_an_edit_costs_what_the_method_means(tiny):
    # Inversion 5, a drag iteration 1 (the first serves as the reference too), the reference between tokens 3, denoising 5.
    assert run("dragflow", tiny).nfe_forward == 5 + (3 + 5) + 5
    assert run("copy_paste", tiny).nfe_forward == 5 + 5
    assert run("dragfield", tiny).nfe_forward == 5 + 5
    # The lockstep reconstruction costs as much as the edit's own denoising, the half step of the background one more.
    assert run("published", tiny).nfe_forward == 5 + (1 + 23) + 5 + 5


@every_edit
def test_a_second_edit_of_a_picture_pays_only_its_own_branch(name, tiny):
    alone = run(name, tiny)
    spent = tiny.backbone.passes
    again = run(name, tiny, inversion=alone.inversion)
    assert torch.equal(again.image, alone.image)
    assert again.inversion is alone.inversion
    assert again.nfe_forward == alone.nfe_forward - alone.inversion.nfe == tiny.backbone.passes - spent


def test_one_inversion_serves_both_methods(tiny):
    shared = run("dragflow", tiny).inversion
    assert torch.equal(run("dragfield", tiny, inversion=shared).image, run("dragfield", tiny).image)


@every_edit
def test_an_inversion_made_otherwise_is_refused(name, tiny):
    made = invert(tiny.backbone, tiny.autoencoder.encode(tiny.image), tiny.source, InversionSettings(steps=5, skip=2))
    tiny.backbone.passes = 0
    with pytest.raises(ValueError, match=r"steps=5.*steps=6.*invert again$"):
        run(name, tiny, inversion=made)
    assert tiny.backbone.passes == 0


@every_edit
def test_an_inversion_of_a_picture_of_another_size_is_refused(name, tiny):
    settings = SHORT.inversion if name == "published" else FEW_STEPS
    made = invert(tiny.backbone, tiny.autoencoder.encode(tiny.image[..., :64]), tiny.source, settings)
    with pytest.raises(ValueError, match=r"64 x 64 px.*96 x 64 px: invert this picture$"):
        run(name, tiny, inversion=made)


@every_edit
@pytest.mark.parametrize("shape", [(2, 3, 64, 96), (1, 3, 64, 92), (1, 3, 60, 96), (3, 64, 96)])
def test_a_picture_of_a_shape_that_cannot_be_edited_is_refused(name, shape, tiny):
    with pytest.raises(ValueError, match=r"\[1, 3, H, W\] with H and W multiples of 8"):
        EDITS[name](*tiny.models, torch.rand(shape), tiny.drag(), tiny.source)
    assert tiny.backbone.passes == 0


@every_talking_edit
def test_every_step_is_reported(name, tiny):
    reports = []
    run(name, tiny, run=RunContext(reports.append))
    drags = {"dragflow": 5, "published": 23, "refined": 3, "dragfield": 0}[name]
    stages = [("invert", i, 4) for i in (1, 2, 3, 4)] + [("drag", i, drags) for i in range(1, drags + 1)]
    assert [(p.stage, p.done, p.total) for p in reports] == stages + [("denoise", i, 4) for i in (1, 2, 3, 4)]
    assert all(p.z.shape == (1, 4, 8, 12) for p in reports)
    assert all((p.drag is not None) == (p.stage == "drag") for p in reports)


@every_talking_edit
def test_the_background_of_the_latent_never_leaves_its_path(name, tiny):
    reports = []
    edit = run(name, tiny, run=RunContext(reports.append))
    outside = ~cells_of(edit)
    assert outside.any()
    for p in reports:
        if p.stage == "denoise" and name != "published":
            assert torch.equal(p.z[..., outside], edit.inversion.path[p.done][..., outside])
        if p.stage == "drag" and name != "published":
            assert torch.equal(p.z[..., outside], edit.inversion.z[..., outside])
    assert torch.equal(reports[-1].z, edit.z)


@every_talking_edit
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.75, 0.8])
def test_a_stopped_edit_ends_within_one_step(name, share, tiny):
    after = int(share * {"dragflow": 18, "published": 39, "dragfield": 10, "refined": 17}[name])
    with pytest.raises(Interrupted):
        run(name, tiny, run=RunContext(should_stop=lambda: tiny.backbone.passes >= after))
    # One step is one pass, and two where a trajectory begins.
    assert tiny.backbone.passes <= after + 2


@every_edit
def test_a_drag_to_where_it_is_gives_the_picture_back(name, tiny):
    edit = run(name, tiny, tiny.drag(0, 0))
    assert torch.equal(edit.image, tiny.image) and not edit.mask.any()
    assert torch.equal(edit.z, edit.inversion.z0) and edit.nfe_backward == 0


def test_the_drag_moves_the_latent_inside_of_the_mask(tiny):
    edit = run("dragflow", tiny)
    assert edit.drag.step == 5 and edit.drag.progress == 1.0
    moved = (edit.drag.z != edit.inversion.z).any(1)[0]
    assert moved[cells_of(edit)].float().mean() > 0.7 and not moved[~cells_of(edit)].any()


def test_without_a_mask_the_background_is_free_until_it_is_pasted(tiny):
    free = replace(FEW, hard_mask=False, paste_back=False)
    edit = dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, settings=free)
    assert not torch.equal(edit.z[..., ~cells_of(edit)], edit.inversion.z0[..., ~cells_of(edit)])
    pasted = dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, settings=replace(free, paste_back=True))
    assert torch.equal(pasted.z, edit.z)
    assert torch.equal(pasted.image, paste_back(edit.image, tiny.image, edit.mask))


def test_the_reconstruction_is_the_autoencoders_own_picture(tiny):
    own = tiny.autoencoder.decode(tiny.autoencoder.encode(tiny.image))
    for name in ("dragflow", "copy_paste", "dragfield"):
        assert torch.equal(run(name, tiny).reconstruction, own)
    sampled = run("published", tiny).reconstruction
    assert not torch.equal(sampled, own)


def test_the_lockstep_reconstruction_has_the_prompt_it_is_given(tiny):
    def reconstruction(recon_prompt):
        settings = replace(FEW, recon_path="sample", recon_prompt=recon_prompt, kv=False)
        return dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, tiny.target, settings).z

    assert not torch.equal(reconstruction("source"), reconstruction("target"))


@pytest.mark.parametrize(
    "change",
    [{"guidance": 1.0}, {"kv": False}, {"kv_pairing": "lifo"}, {"kv_eta": 0.5}, {"kv_rounds": "after_drag"}, {"kv_except_last": 3},
     {"kv_where": "all"}, {"mask_margin": 0.1}, {"recon_path": "sample"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_switch_switches_something(change, tiny):
    def outcome(settings):
        return dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, tiny.target, settings, inversion=shared).z

    shared = run("dragflow", tiny).inversion
    assert not torch.equal(outcome(replace(FEW, **change)), outcome(FEW))


def test_remembered_keys_and_values_reach_the_drag_and_the_denoising(tiny):
    everywhere = replace(FEW, inversion=replace(FEW.inversion, kv_blocks="all"))
    without = dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, settings=replace(everywhere, kv=False))
    late = dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, settings=replace(everywhere, kv_rounds="after_drag"))
    assert torch.equal(late.drag.z, without.drag.z)
    assert not torch.equal(late.z, without.z)
    early = dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, settings=everywhere)
    assert not torch.equal(early.drag.z, without.drag.z)


def test_what_is_remembered_of_what_moves_stays_out_of_the_denoising(tiny, monkeypatch):
    chosen = []
    replay = KVBank.replay
    monkeypatch.setattr(KVBank, "replay", lambda self, *a, where=None, **k: chosen.append(where) or replay(self, *a, where=where, **k))
    drag = tiny.drag()
    edit = run("dragflow", tiny)
    cells = DragField.from_drag(drag, deformation="stretch").kept(size=(edit.z.shape[-1], edit.z.shape[-2]))
    tokens = chosen[0].reshape(cells.shape[0] // 2, cells.shape[1] // 2)
    disturbed = ~cells.reshape(cells.shape[0] // 2, 2, cells.shape[1] // 2, 2).permute(0, 2, 1, 3).flatten(2).all(-1)
    assert disturbed.any() and tokens.any() and not (tokens & disturbed).any()


def test_no_prompt_for_the_edit_is_the_pictures_own_prompt(tiny):
    one = dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, settings=FEW)
    same = dragflow(*tiny.models, tiny.image, tiny.drag(), tiny.source, tiny.source, settings=FEW)
    other = run("dragflow", tiny)
    assert torch.equal(one.image, same.image) and not torch.equal(one.image, other.image)


@every_edit
@pytest.mark.parametrize("task", ["rotation", "deformation"])
def test_every_task_can_be_asked_for(name, task, tiny):
    edit = run(name, tiny, tiny.drag(24, 16, task))
    assert edit.image.isfinite().all() and not torch.equal(edit.image, tiny.image)


@pytest.mark.parametrize("name", ["dragflow", "dragfield"])
def test_a_drag_of_points_is_an_edit_too(name, tiny):
    drag = replace(tiny.drag(), regions=(), points=(PointOperation((28.0, 28.0), (60.0, 36.0)),))
    edit = run(name, tiny, drag)
    assert torch.equal(edit.image[..., ~inside(edit)], tiny.image[..., ~inside(edit)])
    assert not torch.equal(edit.image, tiny.image)


@every_edit
def test_a_pin_and_what_is_not_editable_stay_as_they_are(name, tiny):
    pin, editable = np.zeros((64, 96), bool), np.ones((64, 96), bool)
    pin[40:56, 32:56] = True
    editable[:, 80:] = False
    drag = tiny.drag(editable=editable)
    drag = replace(drag, regions=(*drag.regions, RegionOperation(pin, "pin")))
    edit = run(name, tiny, drag)
    still = torch.from_numpy(pin | ~editable)
    assert torch.equal(edit.image[..., still], tiny.image[..., still])
    assert not torch.equal(edit.image, tiny.image)


def test_pasting_back_keeps_what_lies_beyond_the_feather():
    original = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    mask = np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    edited = torch.full_like(original, float("nan"))
    edited[..., 4:16, 4:16] = 0.5
    hard, soft = (paste_back(edited, original, mask, radius) for radius in (0, 4))
    assert torch.equal(hard != original, torch.from_numpy(mask).expand_as(original))
    assert (hard[..., 8:12, 8:12] == 0.5).all() and (soft[..., 8:12, 8:12] == 0.5).all()
    assert torch.equal(soft[..., :4, :], original[..., :4, :]) and soft.isfinite().all()
    share = ((soft - original) / (0.5 - original))[0, 0, 9, 8:16]
    assert share[4:7].tolist() == pytest.approx([0.84375, 0.5, 0.15625], abs=1e-4)  # a smooth step


def test_masked_denoising_puts_the_path_back_after_every_step():
    mask = torch.tensor([[True, False]])
    path = tuple(torch.full((1, 1, 1, 2), float(k)) for k in range(4))
    asked = []

    class Straight:
        patch = 1

        def velocity(self, z, t, cond, *, guidance, kv):
            asked.append(z)
            return torch.ones_like(z)

    inversion = Inversion(path[-1], (0.9, 0.6, 0.3, 0.0), path, KVBank(()), FEW_STEPS, 0)
    sampler = FlowSampler(Straight(), None)
    states = list(denoise(sampler, begin(inversion, mask=mask)))
    assert [state.z[0, 0, 0, 1].item() for state in states] == [1, 2, 3]
    assert [state.z[0, 0, 0, 0].item() for state in states] == pytest.approx([-0.3, -0.6, -0.9])
    assert states[-1].nfe_forward == len(asked) == 4
    *_, free = denoise(sampler, begin(inversion))
    assert free.z.flatten().tolist() == pytest.approx([-0.9, -0.9])
    *_, halfway = denoise(sampler, begin(inversion), until=2)
    *_, resumed = denoise(sampler, halfway)
    assert torch.equal(resumed.z, free.z) and resumed.nfe_forward == free.nfe_forward, "a state goes on as if it had not been handed on"
