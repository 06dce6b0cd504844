"""A point drag moves what is under a handle to its target, keeps what the mask protects, stops when it should, and stays finite."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dragfield.core.instruction.operations import PointOperation
from dragfield.core.model.unet_taps import UNetTap
from dragfield.core.optimise.handles import make_handles
from dragfield.core.optimise.motion import motion_loss, reference_patches
from dragfield.core.optimise.point_drag import point_drag
from dragfield.core.optimise.point_drag_settings import PUBLISHED, PointDragSettings
from dragfield.core.sampling.sampler import sampler_of

sys.path.insert(0, str(Path(__file__).parent))
from point_world import COND, PICTURE, RIGHT, ConvBackbone, FlowConv, latent  # noqa: E402

FEW = PointDragSettings(rounds=3, steps_per_round=2)


def drag(z, points=RIGHT, mask=None, settings=FEW, backbone=None, t=741, kv=None, **kwargs):
    handles = make_handles(points, PICTURE) if isinstance(points, tuple) else points
    sampler = sampler_of(backbone or ConvBackbone(), COND, guidance=settings.guidance, kv=kv)
    return list(point_drag(sampler, z, t, handles, mask, settings, **kwargs))


@pytest.mark.parametrize("settings", [PointDragSettings(12, 5, rate=0.1), replace(PUBLISHED, rounds=12, steps_per_round=5, rate=0.1)])
def test_the_handle_walks_to_its_target(settings) -> None:
    states = drag(latent(), settings=settings)
    assert states[-1].ended == "arrived" and states[-1].distances[0] <= 4.0
    assert states[0].distances[0] > 25.0


def test_the_drag_goes_the_same_way_on_a_transformer() -> None:
    states = drag(latent(), settings=PointDragSettings(12, 5, rate=0.1), backbone=FlowConv(), t=0.8)
    assert states[-1].distances[0] < 8.0


def test_arrived_handles_are_left_alone() -> None:
    backbone = ConvBackbone()
    (state,) = drag(latent(), (PointOperation((44.0, 50.0), (47.0, 50.0)),), backbone=backbone)
    assert state.ended == "arrived" and state.step == 0 and torch.equal(state.z, latent()) and len(backbone.calls) == 1
    assert state.nfe_backward == 0


def test_a_handle_that_never_arrives_is_formed_at_its_target_until_the_end() -> None:
    warm = latent().roll(4, dims=3) + 0.1 * latent(7)  # nearly what should be there
    states = drag(warm, reference=latent(), settings=replace(FEW, arrive_within=None, patience=None, search=20))
    assert states[-1].step == 6 and states[-1].ended == "" and states[-1].motion < states[0].motion


def test_only_handles_under_way_pull() -> None:
    far, near = RIGHT[0], PointOperation((90.0, 20.0), (92.0, 20.0))
    one = drag(latent(), (far,), settings=replace(FEW, rounds=1))[-1]
    both = drag(latent(), (far, near), settings=replace(FEW, rounds=1))[-1]
    assert torch.equal(one.z, both.z)


def test_the_first_pass_serves_as_the_reference_and_no_noise_is_asked_for_in_vain() -> None:
    backbone = ConvBackbone()
    states = drag(latent(), backbone=backbone)
    assert [s.step for s in states] == [1, 2, 3, 4, 5, 6] and [s.round for s in states] == [1, 1, 2, 2, 3, 3]
    assert len(backbone.calls) == states[-1].nfe_forward == states[-1].nfe_backward == 6
    assert {name for name, *_ in backbone.calls} == {"features"}


def test_a_mask_on_the_next_latent_needs_the_noise_and_one_on_the_latent_does_not() -> None:
    mask = torch.full((12, 16), 0.5)
    for on, name in (("next", "both"), ("latent", "features")):
        backbone = ConvBackbone()
        drag(latent(), mask=mask, settings=replace(FEW, mask_on=on), backbone=backbone, t_next=721)
        assert {called for called, *_ in backbone.calls} == {name}
    with pytest.raises(ValueError, match="needs t_next"):
        drag(latent(), mask=mask)


class Elsewhere:
    """A term that needs a tap of its own and tells when it was asked."""

    taps = (UNetTap("mid", 0),)

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, features, z):
        self.asked += 1
        return 1000.0 * features[0].square().mean()


@pytest.mark.parametrize(("terms_on", "asked"), [("step", 6), ("round", 2)])
def test_terms_act_on_every_step_or_on_the_first_of_each_round(terms_on, asked) -> None:
    term, backbone = Elsewhere(), ConvBackbone()
    settings = PointDragSettings(2, 3, terms_on=terms_on, arrive_within=None)
    states = drag(latent(), terms=[term], settings=settings, backbone=backbone)
    assert len(states) == 6 and term.asked == asked
    on = [float(s.loss - s.motion) > 0 for s in states]
    assert on == ([True] * 6 if terms_on == "step" else [True, False, False] * 2)
    # Where no term acts the network is read at the drag's own taps alone.
    assert [Elsewhere.taps[0] in taps for _, _, taps in backbone.calls] == on


def test_once_a_round_a_term_weighs_as_much_as_in_all_steps_of_it() -> None:
    losses = {}
    for terms_on in ("step", "round"):
        first = drag(latent(), terms=[Elsewhere()], settings=PointDragSettings(1, 3, terms_on=terms_on))[0]
        losses[terms_on] = float(first.loss - first.motion)
    assert losses["round"] == pytest.approx(3 * losses["step"])


@pytest.mark.parametrize("on", ["next", "latent"])
def test_what_the_mask_protects_changes_less(on) -> None:
    mask = torch.zeros(12, 16)
    mask[4:9, 4:12] = 1.0
    z, settings = latent(), PointDragSettings(4, 3, mask_on=on, mask_weight=5.0, rate=0.05)
    free = drag(z, settings=settings)[-1].z - z
    held = drag(z, mask=mask, settings=settings, t_next=721)[-1].z - z
    outside = mask == 0
    assert held[..., outside].abs().mean() < 0.5 * free[..., outside].abs().mean()
    assert held[..., ~outside].abs().mean() > 0.5 * free[..., ~outside].abs().mean()


def test_an_open_mask_is_no_mask() -> None:
    a = drag(latent())[-1].z
    b = drag(latent(), mask=torch.ones(12, 16), t_next=721)[-1].z
    assert torch.equal(a, b)


def test_a_warm_start_is_compared_with_its_reference() -> None:
    backbone = ConvBackbone()
    warm = latent().roll(4, dims=3)  # exactly where the handle should go
    states = drag(warm, reference=latent(), backbone=backbone, settings=replace(FEW, search=20))
    assert states[0].ended == "arrived" and states[0].distances[0] < 1e-6
    assert states[0].nfe_forward == 2


def test_adam_moves_every_call_by_its_rate_at_first() -> None:
    state = drag(latent(), settings=replace(FEW, rounds=1, steps_per_round=1, rate=0.03))[0]
    moved = (state.z - latent()).abs()
    touched = moved[moved > 1e-6]
    assert len(touched) > 20 and torch.allclose(touched, torch.full_like(touched, 0.03), atol=1e-3)


def test_a_normalised_step_is_as_long_as_if_the_windows_cells_moved_by_the_rate() -> None:
    settings = replace(FEW, rounds=1, steps_per_round=1, rate_mode="normalised", rate=0.1)
    z = latent()
    moved = (drag(z, settings=settings)[0].z - z).double()
    # A window of 9 x 9 cells of half the picture's size covers 9 * 9 / 16 cells of the latent, of 4 numbers each.
    wanted = 0.1 * (z.double().square().mean() * 4 * 81 / 16).sqrt()
    torch.testing.assert_close(moved.norm(), wanted, rtol=1e-4, atol=0)
    scaled = (drag(3 * z, settings=settings)[0].z - 3 * z).norm()
    assert float(scaled) == pytest.approx(3 * float(wanted), rel=1e-4)


def test_a_normalised_step_leaves_alone_what_the_windows_do_not_see() -> None:
    moved = {}
    for mode in ("adam", "normalised"):
        settings = replace(FEW, rounds=1, steps_per_round=1, rate_mode=mode, mask_on="next", mask_weight=0.1)
        moved[mode] = (drag(latent(), mask=torch.full((12, 16), 0.999), t_next=721, settings=settings)[0].z - latent()).abs()[..., 0:2, 0:2]
    assert moved["adam"].max() >= 100 * moved["normalised"].max()


@pytest.mark.parametrize("mode", ["adam", "normalised"])
def test_a_mask_on_the_step_closes_exactly_and_asks_for_no_noise(mode) -> None:
    backbone, mask = ConvBackbone(), torch.ones(12, 16)
    mask[:, :7] = 0.0
    settings = replace(FEW, mask_on="step", rate_mode=mode)
    last = drag(latent(), mask=mask, backbone=backbone, settings=settings)[-1]
    assert torch.equal(last.z[..., :7], latent()[..., :7]) and not torch.equal(last.z, latent())
    assert {name for name, *_ in backbone.calls} == {"features"}


def test_a_drag_goes_on_from_where_another_call_left_the_handles() -> None:
    first = drag(latent(), settings=PointDragSettings(4, 5, rate=0.1))[-1]
    again = drag(first.z, first.handles, settings=replace(FEW, rounds=1), reference=latent())[0]
    assert again.distances[0] < 32.0 and again.handles.start == first.handles.start


def test_terms_are_added_and_get_the_taps_they_name() -> None:
    seen = []

    class Towards:
        taps = (UNetTap("up", 1), UNetTap("up_resnet", 0))

        def __call__(self, features, z):
            seen.append([f.shape for f in features])
            return 1e5 * (z - 3.0).square().mean()

    backbone = ConvBackbone()
    pulled = drag(latent(), terms=[Towards()], backbone=backbone, settings=replace(FEW, taps=(UNetTap("up", 0),)))[-1]
    assert seen[0] == [(1, 24, 12, 16)] * 2
    assert backbone.calls[0][2] == (UNetTap("up", 0), UNetTap("up", 1), UNetTap("up_resnet", 0))
    assert ((pulled.z - latent()) > 0.05).float().mean() > 0.9
    plain = drag(latent(), terms=[lambda features, z: 0 * features[0].sum()])[-1]
    assert torch.allclose(plain.z, drag(latent())[-1].z)


def test_a_handle_that_cannot_move_gives_up() -> None:
    points = (PointOperation((44.0, 50.0), (76.0, 50.0)),)
    settings = PointDragSettings(10, 1, rate=1e-9, patience=2)
    states = drag(latent(), points, settings=settings)
    assert states[-1].ended == "stuck" and len(states) <= 4
    assert len(drag(latent(), points, settings=replace(settings, patience=None))) == 10


def test_stopping_stops_before_the_next_step() -> None:
    answers = iter([False, False, True])
    assert len(drag(latent(), should_stop=lambda: next(answers))) == 2
    assert drag(latent(), should_stop=lambda: True) == []


def test_the_gradient_is_that_of_finite_differences() -> None:
    z, mask = latent().double(), torch.full((12, 16), 0.3)

    backbone, handles = ConvBackbone(), make_handles(RIGHT, PICTURE)
    patches = reference_patches(backbone.features(z, 1, COND, taps=(UNetTap("up", 0),)), handles, 4)

    def loss(x):
        maps = backbone.features(x, 1, COND, taps=(UNetTap("up", 0),))
        return motion_loss(maps, patches, handles, 4, 4.0, PointDragSettings().arrived) + ((1 - mask) * (x - z + 0.5).abs()).sum()

    (g,) = torch.autograd.grad(loss(leaf := z.clone().requires_grad_()), leaf)
    direction = torch.randn_like(z)
    slope = (loss(z + 1e-6 * direction) - loss(z - 1e-6 * direction)) / 2e-6
    assert float(slope) == pytest.approx(float((g * direction).sum()), rel=1e-4)


@pytest.mark.parametrize("settings", [FEW, replace(PUBLISHED, rounds=2, steps_per_round=1)])
def test_hostile_places_stay_finite(settings) -> None:
    w, h = PICTURE
    corners = (PointOperation((0.0, 0.0), (w, h)), PointOperation((w, h), (0.0, 0.0)), PointOperation((w, 0.0), (w - 30, 0.0)))
    cells = (PointOperation((60.0, 40.0), (60.0, 40.0)), PointOperation((36.0, 28.0), (76.0, 28.0)), RIGHT[0], RIGHT[0])
    for points in (corners, cells):
        last = drag(latent(), points, torch.full((12, 16), 0.5), settings, t_next=721)[-1]
        assert last.z.isfinite().all() and all(np.isfinite(last.distances))


def test_two_hundred_pairs_work() -> None:
    targets = np.random.default_rng(0).uniform(0, PICTURE, (200, 2))
    points = tuple(PointOperation((6.0 * (i % 20) + 2, 9.0 * (i // 20) + 2), tuple(q)) for i, q in enumerate(targets))
    last = drag(latent(), points, settings=PointDragSettings(1, 1, search=4))[-1]
    assert last.z.isfinite().all() and len(last.distances) == 200


def test_nothing_is_left_requiring_gradients() -> None:
    with torch.no_grad():
        last = drag(latent())[-1]
    assert not last.z.requires_grad and not last.loss.requires_grad


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(rounds=0), "make no drag"), (dict(radius=-1), "make no drag"), (dict(rate=0.0), "must be positive"),
        (dict(patience=0), "gives up"),
        (dict(terms_on="x"), "terms_on = 'x' is unknown"),
        (dict(mask_on="x"), "mask_on = 'x' is unknown"), (dict(track_on="x"), "track_on"), (dict(reading="x"), "reading"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(change, words) -> None:
    with pytest.raises(ValueError, match=words):
        replace(FEW, **change)


def test_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="one latent"):
        drag(latent().expand(2, -1, -1, -1))


@pytest.mark.parametrize("degrees", [0.0, 35.0, 180.0, -90.0])
def test_turned_windows_are_what_a_turned_picture_shows(degrees) -> None:
    size, centre, a = 64, np.array([30.0, 33.0]), np.deg2rad(degrees)
    spin = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    places = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), axis=-1)

    def drawn(at):
        return torch.from_numpy(np.stack([np.sin(at[..., 0] / 7) + at[..., 1] / 20, np.cos(at[..., 1] / 6) * at[..., 0] / 30])[None])

    source, turned = drawn(places), drawn((places - centre) @ spin + centre)
    pairs = [PointOperation(tuple(2 * p), tuple(2 * (centre + spin @ (p - centre)))) for p in (centre + 3, centre + (4, -6))]
    handles = make_handles(pairs, (2 * size, 2 * size))
    found = reference_patches([source], handles, 4, turned=True)
    wanted = reference_patches([turned], replace(handles, start=handles.targets, now=handles.targets), 4)
    for (mine,), (theirs,) in zip(found, wanted, strict=True):
        assert torch.allclose(mine, theirs, atol=0.02)
    if degrees:
        assert not torch.allclose(found[0][0], reference_patches([source], handles, 4)[0][0], atol=0.02)
