"""Suite `few-steps`: its schedules are what their names say, and a flow along straight lines comes back in any of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dragfield.benchmarks import few_steps as suite
from dragfield.core.model.backbone import Conditioning
from dragfield.core.sampling.schedules import flux_schedule

pytest.importorskip("diffusers")


class Half:
    """Every second pixel, grey, four times: an autoencoder for the arithmetic of the rest."""

    factor = 2

    def encode(self, image):
        return image.mean(1, keepdim=True)[..., ::2, ::2].expand(-1, 4, -1, -1)

    def decode(self, z):
        return z.mean(1, keepdim=True).expand(-1, 3, -1, -1).repeat_interleave(2, -1).repeat_interleave(2, -2)


def bundle(bent: float):
    def velocity(z, t, cond, *, guidance=1.0, kv=None):
        return 0.2 + bent * t * z.roll(1, -1)

    backbone = SimpleNamespace(patch=1, double_blocks=0, single_blocks=0, velocity=velocity)
    return SimpleNamespace(backbone=backbone, autoencoder=Half())


def test_rows_are_schedules_by_name() -> None:
    assert [(s.steps, s.skip, s.shifted) for s in map(suite.schedule_of, ("25-6", "4-1-uniform"))] == [(25, 6, True), (4, 1, False)]
    assert flux_schedule(256, 4, shifted=suite.schedule_of("4-1-uniform").shifted)[1] == 0.75


def test_straight_lines_come_back_in_any_number_of_steps_and_bent_ones_better_in_more() -> None:
    image, prompt = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), Conditioning(torch.zeros(1, 1, 4), None)
    assert suite.back(bundle(0.0), image, prompt, suite.schedule_of("2-0")) > 80
    few, many = (suite.back(bundle(2.0), image, prompt, suite.schedule_of(row)) for row in ("4-1", "25-6"))
    assert few + 5 < many


def test_an_unknown_row_is_named() -> None:
    with pytest.raises(ValueError, match="unknown row '3-9': use 25-6"):
        suite.run(1, 0, ["3-9"])
