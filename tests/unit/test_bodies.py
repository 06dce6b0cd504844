"""Discs around handles move as bodies: shifted, turned, apart from each other, and never bent."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dragfield.core.field.bodies import carry_bodies, rigid_back, turns
from dragfield.core.field.latent_warp import LatentWarpSettings, latent_warp
from dragfield.core.instruction.operations import PointOperation

PICTURE = (128, 96)
CELLS = (16, 12)
places = st.tuples(st.floats(0, 128), st.floats(0, 96))


def turned(point, centre, degrees):
    a = math.radians(degrees)
    x, y = point[0] - centre[0], point[1] - centre[1]
    return centre[0] + math.cos(a) * x - math.sin(a) * y, centre[1] + math.sin(a) * x + math.cos(a) * y


def test_one_handle_shifts_its_disc() -> None:
    found = carry_bodies([PointOperation((40.0, 40.0), (72.0, 56.0))], PICTURE, CELLS, 17.0)
    offset = (found.source[found.landed] - torch.stack(torch.meshgrid(
        torch.arange(16) + 0.5, torch.arange(12) + 0.5, indexing="xy"), dim=-1)[found.landed])  # fmt: skip
    assert torch.allclose(offset, torch.tensor([-4.0, -2.0], dtype=offset.dtype))
    assert torch.equal(found.landed[2:, 4:], found.left[:-2, :-4]) and 8 <= int(found.left.sum()) <= 16


@given(st.floats(-170, 170), st.tuples(st.floats(-30, 30), st.floats(-30, 30)))
@settings(max_examples=25, deadline=None)
def test_handles_that_turn_turn_all_around_them(degrees, shift) -> None:
    handles = torch.tensor([(50.0, 40.0), (60.0, 44.0), (52.0, 51.0)], dtype=torch.float64)

    def moved(points):
        return torch.tensor([turned(p, (20.0, 30.0), degrees) for p in points.tolist()], dtype=torch.float64) + torch.tensor(shift)

    others = torch.tensor([(43.0, 61.0), (70.0, 33.0), (50.0, 40.0)], dtype=torch.float64)
    assert torch.allclose(rigid_back(moved(others), handles, moved(handles)), others, atol=1e-3)
    assert all(math.isclose(math.degrees(a), degrees, abs_tol=1e-6) for a in turns(handles, moved(handles), 40.0))


@given(st.lists(st.tuples(places, places), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_every_handle_arrives_and_nothing_is_nan(pairs) -> None:
    handles, targets = (torch.tensor(v, dtype=torch.float64) for v in zip(*pairs, strict=True))
    found = carry_bodies([PointOperation(h, t) for h, t in pairs], PICTURE, CELLS, 20.0)
    assert found.source.isfinite().all() and all(math.isfinite(a) for a in turns(handles, targets, 20.0))
    if len(pairs) == 1 or torch.pdist(targets).min() > 1:
        assert torch.allclose(rigid_back(targets, handles, targets), handles, atol=0.1)


def test_objects_far_from_each_other_do_not_turn_each_other() -> None:
    pairs = [PointOperation((20.0, 20.0), (20.0, 40.0)), PointOperation((100.0, 70.0), (100.0, 50.0))]
    found = carry_bodies(pairs, PICTURE, CELLS, 17.0)
    alone = [carry_bodies([pair], PICTURE, CELLS, 17.0) for pair in pairs]
    assert torch.equal(found.landed, alone[0].landed | alone[1].landed)
    for one in alone:
        assert torch.equal(found.source[one.landed], one.source[one.landed])
    assert turns(*(torch.tensor([getattr(p, end) for p in pairs]) for end in ("handle", "target")), 17.0) == [0.0, 0.0]


def test_what_comes_from_off_the_picture_does_not_land() -> None:
    found = carry_bodies([PointOperation((4.0, 48.0), (64.0, 48.0))], PICTURE, CELLS, 24.0)
    assert not found.landed[:, :7].any() and found.landed[6, 8]


def test_a_body_is_carried_as_it_is_and_its_ground_closes() -> None:
    z = torch.zeros(1, 2, *CELLS[::-1])
    z[:, 0, 4:7, 3:6] = torch.rand(3, 3)
    settings = LatentWarpSettings(ratio=1.0, spread="bodies", radius=20 / 96)
    out = latent_warp(z, [PointOperation((36.0, 44.0), (84.0, 44.0))], PICTURE, settings)
    assert torch.allclose(out[:, 0, 4:7, 9:12], z[:, 0, 4:7, 3:6]) and float(out[:, 0, :, :8].abs().max()) == 0


@pytest.mark.parametrize("motion", ["rounded", "interpolated"])
def test_noise_stays_as_loud_as_it_was(motion) -> None:
    generator = torch.Generator().manual_seed(0)
    z, signal = torch.randn(1, 16, 48, 64, generator=generator), torch.full((1, 16, 48, 64), 3.0)
    settings = LatentWarpSettings(ratio=1.0, spread="bodies", motion=motion)
    out = latent_warp(z + signal, [PointOperation((150.0, 200.0), (301.0, 233.0))], (512, 384), settings, signal=signal)
    assert not torch.equal(out, z + signal) and float(out.mean()) == pytest.approx(3, abs=0.02)
    assert float(out.std()) == pytest.approx(1, abs=0.02)


def test_a_body_that_stays_changes_nothing() -> None:
    z = torch.randn(1, 4, *CELLS[::-1])
    settings = LatentWarpSettings(ratio=1.0, spread="bodies")
    assert torch.allclose(latent_warp(z, [PointOperation((40.0, 40.0), (40.0, 40.0))], PICTURE, settings), z, atol=1e-6)


@pytest.mark.parametrize(("settings", "message"), [(dict(spread="all"), "faded"), (dict(radius=0.0), "holds no body")])
def test_impossible_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        LatentWarpSettings(**settings)
