"""What a check says of a model is what is true of it, shown on models made to be seen through."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from dragfield.core.check import autoencoder_psnr, check, round_trips, sight_chart, where_it_sees
from dragfield.core.check.sight import all_taps
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
    assert np.array_equal(sight.of([Tap("double", 0), Tap("double", 1)]), sight.found[[1, 3]].mean(axis=0))
    assert list(sight.levels) == sorted(sight.levels, reverse=True)
    with pytest.raises(ValueError, match="was not looked at"):
        sight.of([Tap("double", 7)])


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


def test_a_check_can_be_stopped() -> None:
    for part in (round_trips, where_it_sees):
        with pytest.raises(Interrupted):
            part(Model(), Cells(), picture(), PROMPT, run=RunContext(should_stop=lambda: True))


def test_a_check_says_what_it_found_and_no_more() -> None:
    found = check(Model(), Cells(), picture(), PROMPT, remembers=False)
    assert found.taps == (Tap("double", 0, "attn_in"), Tap("double", 0), Tap("double", 1, "attn_in"), Tap("double", 1))
    said = "\n".join(found.lines())
    assert "closes." in said and "No way back" not in said and "the best block (DOUBLE-0-0) 100% at" in said
    assert json.loads(json.dumps(found.numbers()))["sight"]["own_taps"] == ["DOUBLE-0-0", "DOUBLE-0-2", "DOUBLE-1-0", "DOUBLE-1-2"]
    rows, columns = found.sight.found.shape
    drawn = sight_chart(found.sight, found.taps)
    assert drawn.shape[2] == 3 and drawn.shape[0] % (rows + 1) == 0 and 0 <= drawn.min() and drawn.max() <= 1
    astray = check(Model(lambda z, t, guidance: 5 * torch.sin(9 * z + 40 * t)), Cells(), picture(), PROMPT, sees=False, remembers=False)
    said = "\n".join(astray.lines())
    assert "loses more than the VAE does" in said and "No way back closes" in said and "blocks are not known here" in said
    assert astray.numbers()["sight"] is None
