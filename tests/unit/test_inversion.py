"""An inversion: one walk to the noise, which leads back exactly, is told, can be stopped, and serves many edits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dragfield.core.progress import Interrupted, RunContext
from dragfield.core.sampling.inversion import InversionSettings, invert, reconstruct

pytest.importorskip("diffusers")

FEW = InversionSettings(steps=6, skip=2)


def inverted(tiny, settings=FEW, **kwargs):
    return invert(tiny.backbone, tiny.autoencoder.encode(tiny.image), tiny.source, settings, **kwargs)


class Straight:
    """A backbone whose flow is straight: the velocity is noise - z0 wherever it is asked."""

    patch, double_blocks, single_blocks = 2, 1, 1

    def __init__(self, z0, noise):
        self.v, self.asked = noise - z0, []

    def velocity(self, z, t, cond, *, guidance=1.0, kv=None):
        self.asked.append((t, guidance))
        return self.v


def test_the_path_runs_from_the_noise_to_the_picture(tiny):
    made = inverted(tiny)
    assert len(made.times) == len(made.path) == 5
    assert list(made.times) == sorted(made.times, reverse=True) and made.times[-1] == 0 < made.t == made.times[0] < 1
    assert torch.equal(made.path[-1], made.z0) and made.z is made.path[0]
    assert torch.equal(made.z0, tiny.autoencoder.encode(tiny.image))


def test_the_published_settings_are_twenty_passes_of_nineteen_steps(tiny):
    made = inverted(tiny, InversionSettings())
    assert made.nfe == tiny.backbone.passes == 20 and len(made.times) == 20
    assert len(made.bank.entries) == 20


def test_noise_and_picture_mix_to_every_point_of_the_path(tiny):
    made = inverted(tiny)
    for index, t in enumerate(made.times[:-1]):
        torch.testing.assert_close((1 - t) * made.z0 + t * made.noise(index), made.path[index])


def test_times_of_ones_own_are_visited_less_the_skipped_ones():
    g = torch.Generator().manual_seed(0)
    z0, noise = (torch.randn(1, 4, 4, 6, generator=g, dtype=torch.float64) for _ in range(2))
    made = invert(Straight(z0, noise), z0, None, replace(FEW, skip=1), times=(1.0, 0.75, 0.5, 0.125, 0.0))
    assert made.times == (0.75, 0.5, 0.125, 0.0) and made.nfe == 4
    torch.testing.assert_close(made.noise(), noise)
    with pytest.raises(ValueError, match="must end at the picture"):
        invert(Straight(z0, noise), z0, None, FEW, times=(1.0, 0.5, 0.25, 0.1))


def test_a_straight_flow_is_inverted_to_its_own_noise():
    g = torch.Generator().manual_seed(0)
    z0, noise = (torch.randn(1, 4, 4, 6, generator=g, dtype=torch.float64) for _ in range(2))
    made = invert(Straight(z0, noise), z0, None, replace(FEW, guidance=2.5))
    torch.testing.assert_close(made.noise(), noise)
    torch.testing.assert_close(made.path[2], torch.lerp(z0, noise, made.times[2]))


def test_the_way_back_leads_to_the_picture(tiny):
    def lost(steps):
        made = inverted(tiny, InversionSettings(steps=steps, skip=steps // 3))
        back = reconstruct(tiny.backbone, made, tiny.source)
        assert len(back) == len(made.times) and torch.equal(back[0], made.z)
        return (back[-1] - made.z0).abs().mean().item()

    coarse, fine = lost(6), lost(24)
    assert fine < 0.02
    assert fine < coarse / 4


def test_the_way_back_with_remembered_keys_and_values_depends_on_them(tiny):
    made = inverted(tiny)
    plain, replayed = (reconstruct(tiny.backbone, made, tiny.source, kv=kv)[-1] for kv in (None, made.bank.replay()))
    assert not torch.equal(plain, replayed)
    own = inverted(tiny, replace(FEW, kv_blocks="none"))
    assert not own.bank.blocks and torch.equal(own.z, made.z)


def test_the_index_of_a_time_is_the_nearest(tiny):
    made = inverted(tiny)
    assert [made.index_at(t) for t in made.times] == list(range(5))
    assert (made.index_at(1.0), made.index_at(0.0)) == (0, 4)
    between = 0.4 * made.times[1] + 0.6 * made.times[2]
    assert made.index_at(between) == 2


def test_guidance_and_time_reach_the_network():
    z0 = torch.zeros(1, 4, 4, 6)
    backbone = Straight(z0, z0)
    made = invert(backbone, z0, None, replace(FEW, guidance=2.5))
    assert {guidance for _, guidance in backbone.asked} == {2.5}
    steps = list(zip(made.times[::-1], made.times[::-1][1:], strict=False))
    assert [t for t, _ in backbone.asked] == pytest.approx([0.0, *((a + b) / 2 for a, b in steps)])


def test_larger_pictures_spend_more_of_the_path_in_noise_unless_told_not_to():
    def level(cells, **settings):
        z0 = torch.zeros(1, 4, cells, cells)
        return invert(Straight(z0, z0), z0, None, replace(FEW, **settings)).t

    assert level(32) < level(64)
    assert level(32, shifted=False) == level(64, shifted=False) == pytest.approx(1 - 2 / 6)


def test_every_step_is_reported(tiny):
    reports = []
    made = inverted(tiny, run=RunContext(reports.append))
    assert [(p.stage, p.done, p.total) for p in reports] == [("invert", i, 4) for i in (1, 2, 3, 4)]
    assert all(torch.equal(p.z, made.path[4 - p.done]) for p in reports)


@pytest.mark.parametrize("after", [0, 2, 3, 4])
def test_a_stopped_inversion_ends_within_one_step(after, tiny):
    with pytest.raises(Interrupted):
        inverted(tiny, run=RunContext(should_stop=lambda: tiny.backbone.passes >= after))
    assert tiny.backbone.passes <= after + 2


def test_nothing_of_an_inversion_holds_a_graph(tiny):
    z0 = tiny.autoencoder.encode(tiny.image).requires_grad_()
    made = invert(tiny.backbone, z0, tiny.source, FEW)
    kept = [x for entry in made.bank.entries for pair in entry.blocks.values() for x in pair]
    assert kept and not any(x.requires_grad for x in (*made.path[:-1], *kept))


def test_a_second_inversion_gives_the_same_bits(tiny):
    first, second = inverted(tiny), inverted(tiny)
    assert all(torch.equal(a, b) for a, b in zip(first.path, second.path, strict=True))
