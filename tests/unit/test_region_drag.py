import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from dragfield.core.backbones.flux import DiffusersFlux
from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.model.attention import KVBank
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.blocks import choose_blocks
from dragfield.core.model.taps import Tap
from dragfield.core.optimise.region_drag import PUBLISHED, RegionDragSettings, present_cells, region_drag
from dragfield.core.optimise.supervision import cell_features
from dragfield.core.sampling.sampler import FlowSampler

CONDITIONING = Conditioning(torch.zeros(1, 1, 1), torch.zeros(1, 1))
FEW = RegionDragSettings(transport_steps=4, intensify_steps=2, trail="free")
RESET = replace(FEW, trail="reset")
RIGHT = ((0.25, 0.25, 0.5, 0.75), (0.25, 0.0))


class Moves:
    """A field of one rectangle per operation, shifted by progress·(dx, dy); all in fractions of the picture."""

    def __init__(self, *operations):
        self.operations = operations

    def weights(self):
        return [1 / len(self.operations)] * len(self.operations)

    def samples(self, op, progress, size):
        (x0, y0, x1, y1), (dx, dy) = self.operations[op]
        y, x = torch.meshgrid(torch.arange(size[1]) + 0.5, torch.arange(size[0]) + 0.5, indexing="ij")
        target = torch.stack([x, y], dim=-1)
        source = target - progress * torch.tensor([dx * size[0], dy * size[1]])
        low, high = torch.tensor([x0 * size[0], y0 * size[1]]), torch.tensor([x1 * size[0], y1 * size[1]])
        inside = ((source > low) & (source < high)).all(dim=-1)
        return target[inside], source[inside]


class LinearBackbone:
    """Features are a fixed linear map of each token's cells, so what a drag should do is plain to see."""

    latent_channels, patch, double_blocks, single_blocks, guidance_distilled = 4, 2, 2, 0, True
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, width=32, scale=1.0):
        self.width, self.scale = width, scale
        self.mix = torch.randn(width, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 4
        self.calls = []

    def velocity(self, z, t, cond, *, guidance=1.0, kv=None):
        self.calls.append(("velocity", t, guidance, kv, torch.is_grad_enabled()))
        return torch.ones_like(z)

    def features(self, z, t, cond, *, taps, guidance=1.0, kv=None):
        self.calls.append(("features", t, guidance, kv, torch.is_grad_enabled()))
        cells = torch.nn.functional.pixel_unshuffle(z * self.scale, 2)
        return [torch.einsum("dc,bchw->bdhw", self.mix.to(z.dtype), cells).tanh() for _ in taps]


def latent(*shape, seed=1, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def drag(z, settings=FEW, field=None, mask=None, backbone=None, kv=None, **kwargs):
    field = Moves(RIGHT) if field is None else field
    sampler = FlowSampler(backbone or LinearBackbone(), CONDITIONING, settings.guidance, kv)
    return region_drag(sampler, z, 0.85, field, mask, settings, **kwargs)


def first_step(z, settings=FEW, **kwargs):
    """What the first iteration that has something to do changes: aims at progress 1 at once."""
    settings = replace(settings, transport_steps=1, intensify_steps=0)
    return next(drag(z, settings, **kwargs)).z - z


@pytest.mark.parametrize(
    ("mode", "reference_grid", "left"), [("normalised", "tokens", 0.25), ("polyak", "tokens", 0.25), ("normalised", "cells", 0.4)]
)
def test_features_arrive(mode, reference_grid, left):
    # Tokens at the rim are compared whole with "cells", but only their cells next to the region may change: more is left of the loss.
    z = latent(1, 4, 16, 16)
    rate = {"normalised": 0.05, "polyak": 0.5}[mode]
    settings = RegionDragSettings(30, 30, rate_mode=mode, rate=rate, intensify_rate=rate / 2, reference_grid=reference_grid, settle="none")
    states = list(drag(z, settings))
    assert states[0].residual.item() == pytest.approx(1.0)
    assert states[-1].residual.item() < left


def test_published_preset_descends_the_loss():
    z = latent(1, 4, 16, 16)
    settings = replace(PUBLISHED, transport_steps=20, intensify_steps=20, background="same_t")
    *_, last = drag(z, settings)
    assert last.residual.item() < 0.5


@pytest.mark.parametrize("settings", [FEW, RESET, replace(PUBLISHED, background="same_t"), replace(FEW, rate_mode="polyak", rate=0.7)])
def test_zero_drag_changes_nothing(settings):
    z = latent(1, 4, 16, 16)
    *_, last = region_drag(
        FlowSampler(LinearBackbone(), CONDITIONING), z, 0.85, Moves(((0.25, 0.25, 0.5, 0.75), (0.0, 0.0))), None, settings
    )
    assert torch.equal(last.z, z)


def test_phases_and_progress_are_the_published_ones():
    states = list(drag(latent(1, 4, 16, 16), replace(PUBLISHED, background="same_t")))
    assert [s.step for s in states] == list(range(1, 71))
    assert [s.phase for s in states] == ["transport"] * 50 + ["intensify"] * 20
    assert [s.progress for s in states[:50]] == pytest.approx([k / 50 for k in range(1, 51)])
    assert {s.progress for s in states[50:]} == {1.0}


def test_the_first_forward_is_the_reference_pass_too():
    backbone = LinearBackbone()
    states = list(drag(latent(1, 4, 16, 16), replace(FEW, reference_grid="tokens"), backbone=backbone))
    assert len(backbone.calls) == states[-1].nfe_forward == states[-1].nfe_backward == 6


def test_a_reference_at_every_cell_costs_three_more_forwards_without_gradient():
    backbone = LinearBackbone()
    states = list(drag(latent(1, 4, 16, 16), backbone=backbone))
    assert len(backbone.calls) == states[-1].nfe_forward == 6 + 3
    assert [graph for *_, graph in backbone.calls] == [True, False, False, False] + [True] * 5
    assert states[-1].nfe_backward == 6


def test_cell_features_are_those_of_the_shifted_latent():
    backbone, z = LinearBackbone(), latent(1, 4, 16, 16)

    def features(at):
        return backbone.features(at, 0.85, CONDITIONING, taps=[Tap("double", 0)])

    (finer,) = cell_features(features, z, features(z), 2)
    assert torch.equal(finer[..., ::2, ::2], features(z)[0])
    moved = features(torch.roll(z, (-1, -1), dims=(2, 3)))[0]
    assert torch.equal(finer[..., 1:-1:2, 1:-1:2], moved[..., :-1, :-1])


def test_the_rate_settles_to_nothing_while_intensifying():
    z = latent(1, 4, 16, 16)
    settings = replace(FEW, transport_steps=1, intensify_steps=4, intensify_rate=0.1)
    for settle, shares in (("linear", [1, 0.75, 0.5, 0.25]), ("none", [1, 1, 1, 1])):
        states = list(drag(z, replace(settings, settle=settle)))
        steps = [rms((b.z - a.z)[..., present_cells(Moves(RIGHT), 1.0, z)]) for a, b in itertools.pairwise(states)]
        whole = 0.1 * rms(z[..., present_cells(Moves(RIGHT), 1.0, z)])
        assert steps == pytest.approx([whole * share for share in shares], rel=0.2)


def test_a_warm_start_is_compared_with_its_reference():
    backbone, z = LinearBackbone(), latent(1, 4, 16, 16)
    moved = z.clone()
    moved[..., 4:12, 8:12] = z[..., 4:12, 4:8]
    states = list(drag(moved, reference=z, backbone=backbone))
    assert len(backbone.calls) == states[-1].nfe_forward == 6 + 1 + 3
    assert states[-1].nfe_backward == 6
    arrived = next(drag(moved, RegionDragSettings(1, 0), reference=z, mask=torch.ones(16, 16)))
    # A token is read bilinearly, so the cells beside the region still see what was there before.
    assert arrived.residual.item() < 0.5


def test_every_call_gets_the_time_the_guidance_and_the_keys_and_values():
    backbone = LinearBackbone()
    session = object()
    list(drag(latent(1, 4, 16, 16), replace(FEW, guidance=2.5), backbone=backbone, kv=session))
    assert {call[:4] for call in backbone.calls} == {("features", 0.85, 2.5, session)}


def test_background_is_the_reference_after_every_step():
    z, start = latent(1, 4, 16, 16), latent(1, 4, 16, 16, seed=5)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[2:14, 4:14] = True
    for state in drag(start, mask=mask, reference=z):
        assert torch.equal(state.z[..., ~mask], z[..., ~mask])
        assert not torch.equal(state.z[..., mask], z[..., mask])


def test_half_step_background_is_advanced_by_half_a_step():
    z = latent(1, 4, 16, 16)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:12, 4:12] = True
    backbone = LinearBackbone()
    settings = replace(FEW, background="half_step")
    states = list(drag(z, settings, mask=mask, t_next=0.81, backbone=backbone))
    torch.testing.assert_close(states[0].z[..., ~mask], z[..., ~mask] - 0.02)
    assert backbone.calls[0] == ("velocity", 0.85, 3.5, None, False)
    assert states[-1].nfe_forward == 7 + 3
    with pytest.raises(ValueError, match="needs t_next"):
        next(drag(z, settings))


def test_cells_that_the_region_has_left_return_to_what_lies_behind():
    z, behind = latent(1, 4, 16, 16), latent(1, 4, 16, 16, seed=7)
    field = Moves(((0.25, 0.25, 0.5, 0.75), (0.5, 0.0)))  # columns 4-7 go to columns 12-15
    for expected, given in ((z, {}), (behind, {"behind": behind})):
        *_, last = drag(z, RESET, field=field, **given)
        assert torch.equal(last.z[..., :11], expected[..., :11])
        assert not torch.isclose(last.z[..., 5:11, 13:15], z[..., 5:11, 13:15]).any()
    *_, kept = drag(z, FEW, field=field)
    assert not torch.equal(kept.z[..., :11], z[..., :11])


def test_a_region_may_change_its_present_place_and_one_cell_around_it():
    z = latent(1, 4, 16, 16)
    first = next(drag(z, replace(RESET, transport_steps=1))).z != z
    # RIGHT carries rows 4-11, columns 4-7 to columns 8-11.
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[3:13, 7:13] = True
    assert not first[..., ~inside].any()
    assert first[..., 4:12, 8:12].all()


def test_what_lies_behind_never_shows_outside_the_mask():
    z, behind = latent(1, 4, 16, 16), latent(1, 4, 16, 16, seed=7)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:12, 4:12] = True
    for state in drag(z, RESET, mask=mask, behind=behind):
        assert torch.equal(state.z[..., ~mask], z[..., ~mask])


@pytest.mark.parametrize("mode", ["normalised", "raw", "polyak"])
def test_steps_point_down_the_gradient_inside_the_mask_only(mode):
    z = latent(1, 4, 16, 16)
    step = first_step(z, replace(FEW, rate_mode=mode))
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:12, 6:12] = True
    masked = first_step(z, replace(FEW, rate_mode=mode), mask=mask)
    ratio = masked[..., mask] / step[..., mask]
    assert ratio.nan_to_num(1.0).std() < 1e-3 * ratio.nan_to_num(1.0).mean()
    assert masked[..., ~mask].abs().max() == 0


def test_raw_step_is_the_rate_times_the_gradient():
    z = latent(1, 4, 16, 16, dtype=torch.float64)
    backbone = LinearBackbone()
    field = Moves(RIGHT)
    target, source = field.samples(0, 1.0, (16, 16))

    def loss(latent_):
        # The published mean over the map, written for one tap twice, at latent resolution.
        up = torch.nn.functional.interpolate
        own, ref = (up(backbone.features(x, 0, None, taps=[0])[0], size=(16, 16), mode="bilinear") for x in (latent_, z))
        mine = own[..., target[:, 1].long(), target[:, 0].long()]
        carried = ref[..., source[:, 1].long(), source[:, 0].long()]
        return (mine - carried).abs().sum() / (32 * 16 * 16)

    (g,) = torch.autograd.grad(loss(leaf := z.clone().requires_grad_()), leaf)
    step = first_step(z, replace(FEW, rate_mode="raw", rate=7.0, reference_grid="tokens"))
    torch.testing.assert_close(step, -7.0 * g)


def test_polyak_step_aims_at_the_loss():
    z = latent(1, 4, 16, 16, dtype=torch.float64)
    g = -first_step(z, replace(FEW, rate_mode="raw", rate=1.0))
    state = next(drag(z, replace(FEW, transport_steps=1, rate_mode="polyak", rate=0.7)))
    expected = 0.7 * state.loss.item() / g.square().sum() * g
    torch.testing.assert_close(z - state.z, expected)


def test_normalised_step_has_the_length_asked_for():
    z = latent(1, 4, 16, 16)
    mask = present_cells(Moves(RIGHT), 1.0, z)
    step = first_step(z, replace(FEW, rate=0.03), mask=mask)
    assert rms(step[..., mask]) == pytest.approx(0.03 * rms(z[..., mask]))


def rms(x):
    return x.square().mean().sqrt().item()


def test_step_limit_is_a_fraction_of_the_latent():
    z = 5 * latent(1, 4, 16, 16)
    settings = replace(FEW, rate_mode="raw", rate=1e6, step_limit=0.1)
    where = present_cells(Moves(RIGHT), 1.0, z)
    assert rms(first_step(z, settings)[..., where]) == pytest.approx(0.1 * rms(z[..., where]))
    small = replace(settings, rate=1e-3)
    torch.testing.assert_close(first_step(z, small), first_step(z, replace(small, step_limit=None)))


def tile(z, n):
    return z.repeat(1, 1, n, n)


def test_normalised_rate_does_not_depend_on_picture_and_region_size():
    # The same picture n x n times, each with the same drag: one n-fold region, an n-fold gradient, the same step.
    z = latent(1, 4, 16, 16)
    (x0, y0, x1, y1), (dx, dy) = RIGHT
    shifts = list(itertools.product(range(2), range(2)))
    tiled = [((x0 / 2 + i / 2, y0 / 2 + j / 2, x1 / 2 + i / 2, y1 / 2 + j / 2), (dx / 2, dy / 2)) for i, j in shifts]
    one, four = first_step(z), first_step(tile(z, 2), field=Moves(*tiled))
    torch.testing.assert_close(four, tile(one, 2), atol=1e-5, rtol=1e-3)
    raw = replace(FEW, rate_mode="raw")
    assert not torch.allclose(first_step(tile(z, 2), raw, field=Moves(*tiled)), tile(first_step(z, raw), 2), rtol=0.5)


def test_normalised_rate_does_not_depend_on_region_size():
    z = latent(1, 4, 16, 16).repeat(1, 1, 1, 2)[..., :32]
    small = ((0.125, 0.25, 0.25, 0.75), (0.125, 0.0))
    far = ((0.625, 0.25, 0.75, 0.75), (0.125, 0.0))
    alone, both = first_step(z, field=Moves(small)), first_step(z, field=Moves(small, far))
    torch.testing.assert_close(both[..., :16], alone[..., :16], atol=1e-5, rtol=1e-3)


def test_normalised_rate_scales_with_the_latent():
    z = latent(1, 4, 16, 16)
    *_, plain = region_drag(FlowSampler(LinearBackbone(), CONDITIONING), z, 0.85, Moves(RIGHT), None, FEW)
    *_, scaled = region_drag(FlowSampler(LinearBackbone(scale=1 / 8), CONDITIONING), 8 * z, 0.85, Moves(RIGHT), None, FEW)
    torch.testing.assert_close(scaled.z, 8 * plain.z, atol=1e-3, rtol=1e-3)


def test_normalised_rate_does_not_depend_on_the_number_of_channels():
    class Twice(LinearBackbone):
        def features(self, *args, **kwargs):
            return [torch.cat([f, f], dim=1) for f in super().features(*args, **kwargs)]

    z = latent(1, 4, 16, 16)
    torch.testing.assert_close(first_step(z, backbone=Twice()), first_step(z), atol=1e-5, rtol=1e-3)
    more = replace(FEW, taps=(Tap("double", 0), Tap("double", 1), Tap("double", 0), Tap("double", 1)))
    torch.testing.assert_close(first_step(z, more), first_step(z), atol=1e-5, rtol=1e-3)


def test_normalised_rate_survives_tiny_gradients():
    z = latent(1, 4, 16, 16)
    faint = next(drag(z, RegionDragSettings(1, 0), backbone=LinearBackbone(scale=1e-30)))
    assert torch.isfinite(faint.z).all()
    assert not torch.equal(faint.z, z)


def test_samples_of_a_batch_do_not_influence_each_other():
    z = torch.cat([latent(1, 4, 16, 16), 3 * latent(1, 4, 16, 16, seed=2)])
    *_, both = drag(z)
    for i in range(2):
        *_, alone = drag(z[i : i + 1])
        torch.testing.assert_close(both.z[i : i + 1], alone.z, atol=1e-5, rtol=1e-4)


def test_whole_gradient_equals_finite_differences():
    backbone = LinearBackbone()
    z, seen = latent(1, 4, 8, 8, dtype=torch.float64), latent(1, 4, 8, 8, seed=3, dtype=torch.float64)
    raw = RegionDragSettings(1, 0, rate_mode="raw", rate=1.0, layout="shuffled", reference_grid="tokens", trail="free")
    state = next(drag(seen, raw, reference=z, backbone=backbone))
    g = seen - state.z
    for cell in [(0, 0, 2, 3), (0, 3, 4, 5), (0, 1, 3, 4)]:
        losses = []
        for sign in (1, -1):
            at = seen.clone()
            at[cell] += sign * 1e-6
            losses.append(next(drag(at, raw, reference=z, backbone=backbone)).loss.item())
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(g[cell].item(), rel=1e-4, abs=1e-9)


def test_results_repeat_bit_for_bit():
    z = latent(1, 4, 16, 16)
    runs = [list(drag(z)) for _ in range(2)]
    assert all(torch.equal(a.z, b.z) and torch.equal(a.loss, b.loss) for a, b in zip(*runs, strict=True))


def test_stopping_ends_within_one_iteration():
    asked = iter([False, False, True, False])
    tokens = replace(FEW, reference_grid="tokens")
    states = list(drag(latent(1, 4, 16, 16), tokens, should_stop=lambda: next(asked)))
    assert len(states) == 2
    assert not list(drag(latent(1, 4, 16, 16), tokens, should_stop=lambda: True))


@pytest.mark.parametrize("reference", [None, latent(1, 4, 16, 16, seed=2)])
def test_stopping_does_not_wait_for_the_reference_at_every_cell(reference):
    backbone = LinearBackbone()
    assert not list(drag(latent(1, 4, 16, 16), backbone=backbone, reference=reference, should_stop=lambda: len(backbone.calls) >= 2))
    assert len(backbone.calls) == 2


def test_a_drag_that_has_arrived_stops_early_but_never_while_transporting():
    z = latent(1, 4, 16, 16)
    settings = RegionDragSettings(20, 40, rate_mode="polyak", rate=0.5, intensify_rate=0.25)
    whole = list(drag(z, settings))
    early = list(drag(z, replace(settings, arrive_below=0.3)))
    assert 20 < len(early) < len(whole)
    assert early[-1].residual.item() < 0.3
    assert all(s.residual.item() >= 0.3 for s in early[20:-1])
    assert len(list(drag(z, replace(settings, arrive_below=1e9)))) == 21


def test_a_drag_that_stagnates_stops():
    z = latent(1, 4, 16, 16)
    stuck = RegionDragSettings(2, 40, rate_mode="raw", rate=1e-30, intensify_rate=1e-30, patience=3)
    assert len(list(drag(z, stuck))) == 2 + 1 + 3


def test_extra_terms_join_the_loss():
    z, settings = latent(1, 4, 16, 16), replace(FEW, transport_steps=1, intensify_steps=1)
    # At the last progress, where nothing has moved yet, the region loss is that of an undone drag: the unit of the terms.
    plain = next(drag(z, settings))
    undone = plain.loss
    assert undone > 0 and plain.residual.item() == pytest.approx(1.0)
    heavy = next(drag(z, settings, terms=[lambda features, at: 1e4 * (at - 1).square().mean()]))
    assert heavy.loss.item() == pytest.approx((undone * (1 + 1e4 * (z - 1).square().mean())).item())
    assert (heavy.z - 1).abs().sum() < (z - 1).abs().sum()
    counted = next(drag(z, settings, terms=[lambda features, at: float(len(features)) * at.new_ones(())]))
    assert counted.loss.item() == pytest.approx(5 * undone.item())


def test_a_term_gets_the_taps_it_names_from_the_same_pass():
    class Reading(LinearBackbone):
        def features(self, z, t, cond, *, taps, **kwargs):
            self.calls.append(tuple(taps))
            found = super().features(z, t, cond, taps=taps, **kwargs)
            return [f * (1 + tap.index) for f, tap in zip(found, taps, strict=True)]

    own, other = Tap("double", 0), Tap("double", 3)
    seen, asked = [], []

    class Term:
        taps = (other, own)

        def __call__(self, features, at):
            seen.append(features)
            return at.new_zeros(())

    for terms in ((), (Term(),)):
        backbone = Reading()
        states = list(drag(latent(1, 4, 16, 16), replace(FEW, taps=(own,)), backbone=backbone, terms=terms))
        asked.append([call for call in backbone.calls if isinstance(call[0], Tap)])
        if not terms:
            plain = states
    assert torch.equal(states[-1].z, plain[-1].z) and len(asked[1]) == len(asked[0])
    # Four iterations and two, and three passes of the shifted reference, which the term has no part in.
    assert asked[1].count((own, other)) == 6 and asked[1].count((own,)) == 3
    assert torch.allclose(seen[0][0], 4 * seen[0][1])


def test_the_given_latents_are_left_alone():
    z, reference = latent(1, 4, 16, 16), latent(1, 4, 16, 16, seed=2)
    before = z.clone(), reference.clone()
    list(drag(z, reference=reference))
    assert torch.equal(z, before[0]) and torch.equal(reference, before[1])


def test_grad_mode_is_the_callers_between_iterations():
    with torch.no_grad():
        for _ in drag(latent(1, 4, 16, 16)):
            assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"transport_steps": 0, "intensify_steps": 0}, "0 transport and 0 intensify"),
        ({"transport_steps": -1}, "-1 transport"),
        ({"rate": 0.0}, "rates must be positive, got 0.0"),
        ({"rate_mode": "adam"}, "rate_mode = 'adam'"),
        ({"layout": "rows"}, "layout = 'rows'"),
        ({"grid": "pixels"}, "grid = 'pixels'"),
        ({"reference_grid": "pixels"}, "reference_grid = 'pixels'"),
        ({"settle": "slowly"}, "settle = 'slowly'"),
        ({"layout": "shuffled"}, "use reference_grid = 'tokens' with it"),
        ({"background": "black"}, "background = 'black'"),
        ({"trail": "smoke"}, "trail = 'smoke'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        replace(FEW, **changes)


def small_flux(dtype=torch.float32):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=3, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, pooled_projection_dim=6, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.15)
    return DiffusersFlux(model.to(dtype)), Conditioning(torch.randn(1, 5, 12).to(dtype), torch.randn(1, 6).to(dtype))


def region_field(target, anchor=None):
    mask = np.zeros((128, 128), dtype=bool)
    mask[32:96, 32:64] = True
    task = "rotation" if anchor else "relocation"
    return DragField.from_drag(Drag((128, 128), (RegionOperation(mask, task, target, anchor),)))


def test_a_real_transformer_drags_along_a_real_field():
    backbone, cond = small_flux()
    z = latent(1, 4, 16, 16)
    bank = KVBank(choose_blocks("non_ridge", 3, 1))
    with torch.no_grad():
        backbone.velocity(z, 0.8, cond, kv=bank.capture())
    for field in (region_field((80.0, 64.0)), region_field((64.0, 80.0), anchor=(48.0, 100.0))):
        settings = RegionDragSettings(8, 8, rate=0.5, intensify_rate=0.5)
        *_, last = region_drag(FlowSampler(backbone, cond, settings.guidance, bank.hold()), z, 0.85, field, None, settings)
        assert last.residual.item() < 0.7


@pytest.mark.parametrize("settings", [FEW, replace(PUBLISHED, background="same_t")])
def test_a_region_dragged_onto_itself_changes_nothing(settings):
    backbone, cond = small_flux()
    z = latent(1, 4, 16, 16)
    *_, last = region_drag(FlowSampler(backbone, cond), z, 0.85, region_field((48.0, 64.0)), None, settings)
    assert torch.equal(last.z, z)


def test_a_half_precision_transformer_drags_a_single_precision_latent():
    backbone, cond = small_flux(torch.bfloat16)
    z = latent(1, 4, 16, 16)
    settings = RegionDragSettings(6, 2, rate=0.5)
    *_, last = region_drag(FlowSampler(backbone, cond, settings.guidance), z, 0.85, region_field((80.0, 64.0)), None, settings)
    assert last.z.dtype == last.loss.dtype == torch.float32
    assert last.residual.item() < 0.9


def test_gradient_through_a_real_transformer_equals_finite_differences():
    backbone, cond = small_flux(torch.float64)
    z, seen = latent(1, 4, 8, 8, dtype=torch.float64), latent(1, 4, 8, 8, seed=3, dtype=torch.float64)
    field, raw = region_field((80.0, 64.0)), RegionDragSettings(1, 0, rate_mode="raw", rate=1.0, trail="free")

    def step(at):
        return next(region_drag(FlowSampler(backbone, cond), at, 0.85, field, None, raw, reference=z))

    g = seen - step(seen).z
    for cell in [(0, 0, 2, 3), (0, 3, 4, 5), (0, 1, 0, 7)]:
        nudge = torch.zeros_like(seen)
        nudge[cell] = 1e-6
        slope = (step(seen + nudge).loss - step(seen - nudge).loss).item() / 2e-6
        assert slope == pytest.approx(g[cell].item(), rel=1e-4, abs=1e-9)
