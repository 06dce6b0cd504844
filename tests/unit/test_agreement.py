"""Two orders of settings compared, and settings spoiled on purpose found again: the suites run, and their numbers are what they say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from dragfield.benchmarks import agreement, detuned
from dragfield.core.check import Tuned
from dragfield.core.demo.cases import sample_cases
from dragfield.core.demo.flux import DemoFlux

pytest.importorskip("diffusers")


@pytest.mark.parametrize(
    ("one", "other", "rank"),
    [([1, 2, 3, 4], [10, 20, 30, 40], 1), ([1, 2, 3, 4], [4, 3, 2, 1], -1), ([1, 2, 3], [5, 5, 5], 0), ([1, 2, 3, 4], [1, 2, 4, 3], 0.8)],
)
def test_spearman_is_what_it_is(one: list, other: list, rank: float) -> None:
    assert agreement.rank_correlation(one, other) == pytest.approx(rank)


def test_equal_values_share_their_rank() -> None:
    assert agreement.ranks([3.0, 1.0, 3.0, 2.0]) == [2.5, 0, 2.5, 1]


def test_settings_differ_and_scenes_take_all_kinds_of_drags_in_turn() -> None:
    assert len(agreement.SETTINGS) >= 20 and len(set(agreement.SETTINGS.values())) == len(agreement.SETTINGS)
    made = [agreement.self_drag_of(case, i) for i, case in enumerate(sample_cases(agreement.KINDS, 1, 128))]
    assert len({one.name for one in made}) >= 5
    assert all(np.array_equal(one.picture[~one.drag.editable], one.truth[~one.drag.editable]) for one in made)


def test_both_suites_run_on_a_model_of_random_weights(tiny_flux, tiny_autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DemoFlux(tiny_flux, tiny_autoencoder)
    few = replace(agreement.BASE, inversion=replace(agreement.BASE.inversion, steps=3, skip=1),
                  drag=replace(agreement.BASE.drag, transport_steps=1, intensify_steps=1))  # fmt: skip
    monkeypatch.setattr(agreement, "SETTINGS", {"base": few, "guidance 1": replace(few, guidance=1.0)})
    report = agreement.run(1, 3, ("base", "guidance 1"), model=model)
    assert set(report["methods"]["base"]) == {"truth_db", "self_db"} and -1 <= report["rank_correlation"] <= 1
    monkeypatch.setattr(detuned, "HAND", few)
    monkeypatch.setattr(detuned, "DETUNED", {"rate halved": replace(few, guidance=2.0)})
    monkeypatch.setattr(detuned, "tune", lambda *args, **how: Tuned(few, 10.0, 11.0, 12.0, ()))
    tuned = detuned.run(1, 3, ("rate halved",), size=128, model=model)
    assert list(tuned["methods"]) == ["hand", "rate halved", "rate halved, found"]
    assert tuned["methods"]["hand"] == tuned["methods"]["rate halved, found"] and "12.0 dB" in tuned["found"]["rate halved"]
    assert json.loads(json.dumps([report, tuned])) == [report, tuned]
    for suite in (agreement, detuned):
        with pytest.raises(ValueError, match="there is no"):
            suite.run(1, 3, ("nothing",), model=model)
