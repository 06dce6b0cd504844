"""How far denoising leads away from the picture where it is held to it, which tells whether a model's round trip closes."""

from __future__ import annotations

import pytest
import torch

from dragfield.core.edits.denoise import denoise
from dragfield.core.edits.edit import STRAYS, straying_in_words
from dragfield.core.edits.state import DenoiseSettings, begin, last
from dragfield.core.model.backbone import Conditioning
from dragfield.core.sampling.inversion import InversionSettings, invert
from dragfield.core.sampling.sampler import sampler_of

GUIDANCE = 3.0
PROMPT = Conditioning(torch.zeros(1, 1, 4), torch.zeros(1, 4))


class Constant:
    """A flow along straight lines, whose guidance pushes every cell another way than the inversion, without any, went."""

    patch, width, double_blocks, single_blocks, guidance_distilled = 1, 8, 1, 0, True

    def __init__(self, push: float) -> None:
        self.device, self.push = torch.device("cpu"), push

    def velocity(self, z, t, cond, *, guidance=1.0, kv=None):
        return torch.full_like(z, 0.5 + self.push * (guidance - 1))


def strayed(push: float, open_cells: int = 3, **how):
    z0 = torch.full((1, 4, 6, 6), 2.0)
    backbone = Constant(push)
    inversion = invert(backbone, z0, PROMPT, InversionSettings(8, 2, kv_blocks="none"))
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[:, :open_cells] = True
    settings = DenoiseSettings(guidance=GUIDANCE, attention=None, **how)
    state = last(denoise(sampler_of(backbone, PROMPT, guidance=GUIDANCE), begin(inversion, mask=mask), settings=settings))
    return state, inversion


def test_a_flow_that_comes_back_strays_nowhere() -> None:
    state, _ = strayed(0.0)
    assert float(state.strayed) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("push", [0.1, -0.4])
@pytest.mark.parametrize("open_cells", [1, 5])
def test_each_step_s_way_off_is_added_up_as_a_part_of_the_picture(push: float, open_cells: int) -> None:
    state, inversion = strayed(push, open_cells)
    assert float(state.strayed) == pytest.approx(abs(push) * (GUIDANCE - 1) * inversion.t / 2.0, rel=1e-4)


def test_what_is_not_held_does_not_stray() -> None:
    assert strayed(0.4, hold=False)[0].strayed is None
    # Nothing is outside.
    assert float(strayed(0.4, 6)[0].strayed) == 0.0


def test_a_sentence_from_a_quarter_on() -> None:
    assert straying_in_words(STRAYS - 1e-6) == "" and "25%" in straying_in_words(STRAYS)
