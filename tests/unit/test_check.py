"""What a check says of a model is what is true of it, shown on models made to be seen through."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from dragfield.core.check import (
    autoencoder_psnr,
    broken_times,
    check,
    cost,
    round_trips,
    sight_chart,
    slope_ratio,
    where_it_holds,
    where_it_sees,
)  # fmt: skip
from dragfield.core.check import sight as sight_module
from dragfield.core.check.sight import all_taps
from dragfield.core.check.walk import walked
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.taps import Tap
from dragfield.core.progress import Interrupted, RunContext

PROMPT = Conditioning(torch.zeros(1, 1, 4), torch.zeros(1, 4))


class Cells:
    """An autoencoder that keeps the mean of each 8 x 8 px."""

    factor = 8

    def encode(self, image: Tensor) -> Tensor:
        return avg_pool2d(image, 8)

    def decode(self, z: Tensor) -> Tensor:
        return interpolate(z, scale_factor=8)


class Model:
    """A flow of two blocks: `velocity` as given; block 0 shows the latent, block 1 says the same everywhere."""

    latent_channels, patch, width, double_blocks, single_blocks = 3, 1, 3, 2, 0
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, velocity=None, *, distilled: bool = False) -> None:
        self._velocity, self.guidance_distilled = velocity or (lambda z, t, guidance: torch.zeros_like(z)), distilled

    def velocity(self, z: Tensor, t: float, cond: Conditioning, *, guidance: float = 1.0, kv=None) -> Tensor:
        return self._velocity(z, t, guidance)

    def features(self, z: Tensor, t: float, cond: Conditioning, *, taps, guidance: float = 1.0, kv=None) -> list[Tensor]:
        return [z - 0.5 if tap.index == 0 else torch.ones_like(z) for tap in taps]


def picture(width: int = 128, height: int = 96) -> Tensor:
    cells = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    return interpolate(cells, scale_factor=8)


@pytest.mark.parametrize("shift", [(3, 2), (-3, 2), (0, -4), (5, 0)])
def test_a_block_that_shows_the_picture_finds_every_place_and_a_blind_one_finds_chance(shift: tuple[int, int]) -> None:
    sight = where_it_sees(Model(), Cells(), picture(), PROMPT, shift=shift)
    assert sight.taps == tuple(all_taps(Model())) and sight.found.shape == (4, 4)
    assert (sight.found[:2] == 1).all() and (sight.off[:2] == 0).all()
    assert (sight.found[2:] < 3 * sight.chance).all() and (sight.off[2:] > 2).all()
    assert sight.best() == (Tap("double", 0, "attn_in"), sight.levels[0])
    assert np.array_equal(sight.of([Tap("double", 0), Tap("double", 1)]), sight.both[[1, 3]].mean(axis=0))
    assert np.array_equal(sight.both, (sight.found + sight.turned) / 2)
    assert list(sight.levels) == sorted(sight.levels, reverse=True)
    with pytest.raises(ValueError, match="was not looked at"):
        sight.of([Tap("double", 7)])


@pytest.mark.parametrize("turn", [20.0, -35.0])
def test_a_turned_place_is_found_where_the_turn_took_it_and_not_where_the_other_sense_would(turn: float) -> None:
    image = smooth_picture()
    sight = where_it_sees(Model(), Cells(), image, PROMPT, taps=[Tap("double", 0), Tap("double", 1)], shift=(2, 0), turn=turn)
    right, blind = sight.turned.max(axis=1)
    assert right > 0.7 and blind < 2 * sight.chance
    window = image[..., : -2 * 8]
    assert right == pytest.approx(_agreement(window, turn, turn), abs=0.05)
    assert _agreement(window, turn, -turn) < right / 2


def _agreement(window: Tensor, turned_by: float, looked_for: float) -> float:
    """Share of the places of a map turned by one angle that are found where another angle says they are."""
    one, other = Cells().encode(window), Cells().encode(sight_module._turned(window, turned_by))
    tokens = (one.shape[-1], one.shape[-2])
    return sight_module._matches(one - 0.5, other - 0.5, *sight_module._turn_of(one, looked_for, tokens), tokens)[0]


def smooth_picture() -> Tensor:
    """Colours that say where a place is, and so are the same wherever it is turned to."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 128), torch.linspace(0, 1, 144), indexing="ij")
    return torch.stack([x, y, 0.5 + 0.4 * torch.sin(7 * x + 5 * y)])[None]


def test_what_a_block_shows_elsewhere_is_off_by_as_much() -> None:
    class Skewed(Model):
        def features(self, z: Tensor, *args, taps, **kwargs) -> list[Tensor]:
            # The second window is told by its first place, which the first window does not have there.
            return [z.roll(2, -1) if torch.equal(z, second) else z for _ in taps]

    image = picture()
    second = Cells().encode(image[..., : -2 * 8, : -3 * 8])
    sight = where_it_sees(Skewed(), Cells(), image, PROMPT, taps=[Tap("double", 0)])
    assert sight.found.max() < 0.4 and 1.5 < sight.off.min()


def test_a_picture_too_small_for_the_shift_is_refused_with_the_size_that_would_do() -> None:
    def fail(*_) -> None:
        raise AssertionError("computed")

    for part in (where_it_sees, check):
        with pytest.raises(ValueError, match=r"holds no two windows .* use at least 56 x 48 px"):
            part(Model(fail), Cells(), picture(48, 48), PROMPT)


def test_a_flow_that_is_its_own_way_back_closes_and_guidance_that_pulls_away_is_told() -> None:
    def velocity(z: Tensor, t: float, guidance: float) -> Tensor:
        return 0.2 * torch.sin(3 * z) + 0.1 * (guidance - 1)

    image = picture()
    assert autoencoder_psnr(Cells(), image) > 90
    trips = round_trips(Model(velocity, distilled=True), Cells(), image, PROMPT, remembers=False)
    assert [(one.steps, one.skip, one.guidance) for one in trips] == [
        (8, 2, 1.0), (8, 2, 3.5), (15, 4, 1.0), (15, 4, 3.5), (25, 6, 1.0), (25, 6, 3.5)
    ]  # fmt: skip
    assert all(one.psnr > 40 for one in trips if one.guidance == 1.0) and all(one.psnr < 25 for one in trips if one.guidance > 1.0)
    assert trips[4].psnr > trips[0].psnr
    assert len(round_trips(Model(velocity), Cells(), image, PROMPT, steps=(8,), remembers=False)) == 1


def inverted_state(model: Model) -> tuple:
    from dragfield.core.sampling.inversion import InversionSettings
    from dragfield.core.sampling.sampler import sampler_of

    return sampler_of(model, PROMPT), walked(model, Cells(), picture(), PROMPT, InversionSettings(kv_blocks="none"))


def test_times_at_which_the_answer_is_not_finite_are_named() -> None:
    sampler, inversion = inverted_state(Model())
    assert broken_times(sampler, inversion) == ()

    def overflow(z: Tensor, t: float, guidance: float) -> Tensor:
        return torch.full_like(z, torch.inf) if 0.4 < t < 0.6 else torch.zeros_like(z)

    broken = broken_times(inverted_state(Model(overflow))[0], inversion)
    assert broken == tuple(t for t in inversion.times if 0.4 < t < 0.6) and broken
    said = "\n".join(check(Model(overflow), Cells(), picture(), PROMPT, remembers=False).lines())
    assert f"not finite at {len(broken)} of 19 times" in said and "bfloat16 or float32" in said


def test_a_gradient_that_is_not_the_slope_is_told_and_a_right_one_in_half_precision_passes() -> None:
    class Bent(Model):
        """Its features are what they are, its gradient is stretched."""

        factor, kind = 1.0, torch.float32

        def features(self, z: Tensor, *args, taps, **kwargs) -> list[Tensor]:
            z = torch.sin(3 * z).to(self.kind)
            return [self.factor * z + (1 - self.factor) * z.detach() for _ in taps]

    ratios = {}
    for factor, kind in ((1.0, torch.float32), (1.0, torch.bfloat16), (3.0, torch.float32), (-1.0, torch.float32)):
        model = Bent()
        model.factor, model.kind = factor, kind
        ratios[factor, kind] = slope_ratio(*inverted_state(model), [Tap("double", 0)])
    assert ratios[1.0, torch.float32] == pytest.approx(1, abs=0.01)
    assert ratios[1.0, torch.bfloat16] == pytest.approx(1, abs=0.2)
    assert ratios[3.0, torch.float32] == pytest.approx(1 / 3, abs=0.01)
    assert ratios[-1.0, torch.float32] == pytest.approx(-1, abs=0.01)
    bent = Bent()
    bent.factor = 3.0
    assert "rises 0.33 times as steeply" in "\n".join(check(bent, Cells(), picture(), PROMPT, remembers=False).lines())


def test_a_model_that_is_blind_everywhere_has_no_slope() -> None:
    class Blind(Model):
        def features(self, z: Tensor, *args, taps, **kwargs) -> list[Tensor]:
            return [0 * z + 1 for _ in taps]

    assert slope_ratio(*inverted_state(Blind()), [Tap("double", 0)]) == 0


def test_time_is_foretold_by_the_number_of_operations() -> None:
    calls: list[int] = []

    def counted(z: Tensor, t: float, guidance: float) -> Tensor:
        calls.append(z.shape[-2] * z.shape[-1])
        return torch.zeros_like(z)

    sampler, inversion = inverted_state(Model())
    sampler = type(sampler)(Model(counted), PROMPT)
    found = cost(sampler, inversion.path[0], inversion.times[0], [Tap("double", 0)])
    assert calls == [12 * 16] * 3 and found.tokens == 12 * 16 and found.text == 1 and found.width == 3 and found.peak is None
    assert found.call > 0 and found.iteration > 0
    n, more = 12 * 16 + 1, 1000 + 1
    assert found.on(1000).call == pytest.approx(found.call * more * (18 + more) / (n * (18 + n)))
    assert cost(sampler, inversion.path[0], inversion.times[0], ()).iteration is None
    levels = (0.9, 0.5, 0.4, 0.0)
    assert found.dragfield(levels, 0.45) == pytest.approx(6 * found.call)
    assert found.dragflow(levels, 70, 2) == pytest.approx(11 * found.call + 70 * found.iteration)


def test_blocks_that_hold_the_picture_are_told_from_those_that_do_not() -> None:
    class Remembered(Model):
        """Guidance pulls away; whoever is given the keys of block 1 holds against it, by half with those of block 0."""

        double_blocks, guidance_distilled = 4, True

        def velocity(self, z: Tensor, t: float, cond: Conditioning, *, guidance: float = 1.0, kv=None) -> Tensor:
            held = 0.0
            if kv is not None:
                call = kv.begin(t)
                own = torch.full((1, z.shape[-2] * z.shape[-1], 3), guidance)
                for index, share in ((0, 0.5), (1, 1.0), (2, 0.0), (3, 0.0)):
                    keys, _ = call.keys_values(("double", index), own, lambda hidden: (hidden, hidden), 0)
                    if float(keys.mean()) == 1.0:
                        held = max(held, share)
            return torch.full_like(z, 0.05 * (guidance - 1) * (1 - held))

    found = where_it_holds(Remembered(distilled=True), Cells(), picture(), PROMPT, guidance=3.5, groups=4)
    db = {one.name: one.psnr for one in found}
    assert list(db) == ["none", "double 0", "double 1", "double 2", "double 3", "default", "all"]
    assert db["all"] == db["double 1"] > db["double 0"] > db["none"] == db["double 2"] == db["double 3"]
    assert next(one.nbytes for one in found if one.name == "all") == 4 * next(one.nbytes for one in found if one.name == "double 1")
    assert where_it_holds(Model(), Cells(), picture(), PROMPT) == ()
    said = "\n".join(check(Remembered(distilled=True), Cells(), picture(), PROMPT, thorough=True).lines())
    assert "with double 1 alone" in said and "Checked at 288 tokens: an iteration was foretold at" in said


def test_a_check_can_be_stopped() -> None:
    for part in (round_trips, where_it_sees):
        with pytest.raises(Interrupted):
            part(Model(), Cells(), picture(), PROMPT, run=RunContext(should_stop=lambda: True))


def test_a_check_says_what_it_found_and_no_more() -> None:
    found = check(Model(), Cells(), picture(), PROMPT, remembers=False)
    assert found.taps == (Tap("double", 0, "attn_in"), Tap("double", 0), Tap("double", 1, "attn_in"), Tap("double", 1))
    said = "\n".join(found.lines())
    assert "closes." in said and "No way back" not in said and "the best block (DOUBLE-0-0)" in said
    assert json.loads(json.dumps(found.numbers()))["sight"]["own_taps"] == ["DOUBLE-0-0", "DOUBLE-0-2", "DOUBLE-1-0", "DOUBLE-1-2"]
    rows, columns = found.sight.found.shape
    drawn = sight_chart(found.sight, found.taps)
    assert drawn.shape[2] == 3 and drawn.shape[0] % (rows + 1) == 0 and 0 <= drawn.min() and drawn.max() <= 1
    astray = check(Model(lambda z, t, guidance: 5 * torch.sin(9 * z + 40 * t)), Cells(), picture(), PROMPT, sees=False, remembers=False)
    said = "\n".join(astray.lines())
    assert "loses more than the VAE does" in said and "No way back closes" in said and "blocks are not known here" in said
    assert astray.numbers()["sight"] is None
