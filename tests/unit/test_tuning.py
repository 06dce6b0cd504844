"""Settings found by trying them: the better half goes on, what is best is what scores best, and a profile keeps it for one model alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dragfield.core.check import tuning
from dragfield.core.check.profile import Profile, fingerprint
from dragfield.core.check.sight import Sight
from dragfield.core.check.tuning import candidates_of, halve, surpasses, tune
from dragfield.core.edits.dragflow import DragFlowSettings
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.taps import Tap
from dragfield.core.model.unet_taps import UNetTap
from dragfield.core.progress import Interrupted, RunContext

SETTINGS = DragFlowSettings()


def test_the_better_half_goes_on_and_the_worse_is_not_asked_again() -> None:
    asked: list[tuple[int, int]] = []

    def judge(candidate: int, number: int) -> float:
        asked.append((candidate, number))
        return float(candidate)

    found = halve("size", {str(n): n for n in range(8)}, judge, drags=7)
    assert [one.name for one in found][:4] == ["7", "6", "5", "4"] and found[0].settings == 7
    assert {n: sum(c == n for c, _ in asked) for n in range(8)} == {0: 1, 1: 1, 2: 1, 3: 1, 4: 3, 5: 3, 6: 7, 7: 7}
    assert len(asked) == len(set(asked))


def test_few_candidates_are_compared_on_two_drags_at_least_and_of_equals_the_first_stays() -> None:
    found = halve("side", {"a": 0.0, "b": 0.0}, lambda candidate, number: candidate, drags=4)
    assert found[0].name == "a" and len(found[0].scores) == 2
    luck = halve("side", {"lucky": 0, "good": 1}, lambda candidate, number: (3.0, 0.0)[number] if candidate == 0 else 2.0, drags=2)
    assert luck[0].name == "good"


def test_what_a_few_drags_prefer_by_chance_is_not_taken() -> None:
    assert surpasses([0.2, 0.3, 0.25, 0.1]) and surpasses([0.2])
    assert not surpasses([1.0, -0.9, 0.3, -0.2]) and not surpasses([0.05, 0.06, 0.05]) and not surpasses([-0.1, -0.2])


@pytest.fixture
def photograph() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.nn.functional.interpolate(torch.from_numpy(rng.random((1, 3, 12, 12), np.float32)), (96, 96), mode="bicubic").clamp(0, 1)


class FakeEdit:
    """An edit that is the nearer to the truth the nearer its settings are to what is best here."""

    BEST = replace(SETTINGS.drag, rate=4 * SETTINGS.drag.rate, intensify_rate=4 * SETTINGS.drag.intensify_rate, taps=(Tap("double", 1),))

    def __init__(self, monkeypatch: pytest.MonkeyPatch, follows: bool = True) -> None:
        self.follows, self.calls = follows, 0
        monkeypatch.setattr(tuning, "walked", lambda *args: type("Inversion", (), {"settings": args[4]})())
        monkeypatch.setattr(tuning, "dragflow", self.edited)
        made = tuning.self_drags

        def kept(*args, **how):
            self.drags = made(*args, **how)
            return self.drags

        monkeypatch.setattr(tuning, "self_drags", kept)

    def edited(self, backbone, autoencoder, image, drag, cond, *, settings, inversion, run):
        self.calls += 1
        assert drag.editable is None and not settings.paste_back and inversion.settings == settings.inversion
        one = next(d for d in self.drags if np.abs(d.picture / 255 - image[0].movedim(0, -1).numpy()).max() < 1e-6)
        off = abs(np.log2(settings.drag.rate / self.BEST.rate)) + abs(settings.inversion.skip - 10) / 4
        off += settings.drag.taps != self.BEST.taps
        share = 1 / (1 + off) if self.follows else 0.0
        result = (1 - share) * one.picture / 255 + share * one.truth / 255
        return type("Edit", (), {"image": torch.from_numpy(result.astype(np.float32)).movedim(-1, 0)[None], "z": image})()


class Anywhere:
    device = torch.device("cpu")


SEEN = Sight((Tap("double", 0), Tap("double", 1)), (0.8,), np.array([[0.1], [0.9]]), np.zeros((2, 1)), np.array([[0.1], [0.9]]), 0.01)
PROMPT = Conditioning(torch.zeros(1, 1, 4))


def test_it_finds_what_is_best_from_detuned_settings(monkeypatch: pytest.MonkeyPatch, photograph: torch.Tensor) -> None:
    fake = FakeEdit(monkeypatch)
    found = tune(Anywhere(), None, photograph, PROMPT, SETTINGS, sight=SEEN)
    assert found.settings.drag.rate == pytest.approx(FakeEdit.BEST.rate) and found.settings.drag.taps == FakeEdit.BEST.taps
    assert found.settings.inversion.skip == 10
    assert found.still < found.before < found.after
    said = " ".join(found.lines())
    assert "rate x 4" in said and "taps DOUBLE-1-2" in said and "skip 10" in said and f"{found.after:.1f} dB" in said
    assert fake.calls < 45 and sum(len(trial.scores) for trial in found.trials) >= fake.calls - 8
    assert json.loads(json.dumps(found.numbers()))["trials"][0]["what"] == "rate"


def test_a_model_that_follows_no_drag_is_told_and_keeps_its_settings(monkeypatch: pytest.MonkeyPatch, photograph: torch.Tensor) -> None:
    FakeEdit(monkeypatch, follows=False)
    found = tune(Anywhere(), None, photograph, PROMPT, SETTINGS)
    assert found.settings == SETTINGS and found.after == pytest.approx(found.still)
    assert "dragflow can't drag with this model: use dragfield" in found.lines()[0]


def test_it_can_be_stopped(monkeypatch: pytest.MonkeyPatch, photograph: torch.Tensor) -> None:
    fake = FakeEdit(monkeypatch)
    with pytest.raises(Interrupted):
        tune(Anywhere(), None, photograph, PROMPT, SETTINGS, run=RunContext(should_stop=lambda: fake.calls >= 3))
    assert fake.calls == 3


def test_a_real_walk_through_a_model_of_random_weights_ends_and_says_so(tiny_flux, tiny_autoencoder) -> None:
    pytest.importorskip("diffusers")
    drag = replace(SETTINGS.drag, transport_steps=2, intensify_steps=2)
    few = replace(SETTINGS, inversion=replace(SETTINGS.inversion, steps=3, skip=1), drag=drag)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    from dragfield.core.demo import text

    found = tune(tiny_flux, tiny_autoencoder, image, text.embed(["a red circle"]), few, drags=2)
    assert {trial.what for trial in found.trials} == {"rate", "skip", "iterations"}
    assert "can't drag with this model" in found.lines()[0]


def test_the_candidates_are_named_once_each_and_change_one_thing() -> None:
    for what, candidates in candidates_of(SETTINGS, SEEN):
        changed = {name: change(SETTINGS) for name, change in candidates.items()}
        assert len(set(changed.values())) == len(changed), what
        for one in changed.values():
            kept = replace(one, drag=SETTINGS.drag) if what != "skip" else replace(one, inversion=SETTINGS.inversion)
            assert kept == SETTINGS


def profile(**changed) -> Profile:
    drag = replace(SETTINGS.drag, rate=0.2, intensify_rate=0.1, taps=(Tap("double", -1), Tap("single", 3, "attn_in")))
    return replace(Profile.of("FLUX", "abc", replace(SETTINGS, drag=drag), 1.234), **changed)


@pytest.mark.parametrize("taps", [None, (Tap("single", 3, "attn_in"),), (UNetTap("up", 2), UNetTap("mid"))])
def test_a_profile_comes_back_from_its_file(tmp_path: Path, taps) -> None:
    one = profile(taps=taps)
    one.write(tmp_path / "deep" / "one.json")
    again = Profile.read(tmp_path / "deep" / "one.json")
    assert again == one and again.skip == 6 and again.gain_db == 1.23
    applied = again.applied(SETTINGS)
    assert applied.drag.rate == 0.2 and applied.drag.intensify_rate == 0.1 and applied.drag.taps == taps
    assert replace(applied, drag=SETTINGS.drag) == SETTINGS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version is 2"),
        ({"rate": "fast"}, "rate is 'fast'"),
        ({"rate": 0}, "rate is 0; it is a number from"),
        ({"skip": 2.5}, "skip is 2.5; it is a whole number"),
        ({"taps": ["NOWHERE-1"]}, "unknown"),
        ({"taps": []}, "taps is"),
        ({"colour": 1}, "colour is unknown"),
        ({"transport_steps": 0, "intensify_steps": 0}, "no iterations"),
    ],
)
def test_what_is_no_profile_is_refused_in_a_sentence(tmp_path: Path, change: dict, words: str) -> None:
    path = tmp_path / "one.json"
    profile().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="one.json is no profile of a model: .*" + words):
        Profile.read(path)


def test_a_fingerprint_is_of_the_class_the_shapes_and_the_numbers_and_of_nothing_else() -> None:
    g = torch.Generator().manual_seed(0)
    weights = [(f"w{i}", torch.randn(7, 5, generator=g)) for i in range(20)]
    first = fingerprint("Net", weights)
    assert first == fingerprint("Net", [(name, w.clone()) for name, w in weights]) and len(first) == 24
    others = [
        fingerprint("Other", weights),
        fingerprint("Net", [(name + "x", w) for name, w in weights]),
        fingerprint("Net", [(name, w.reshape(5, 7)) for name, w in weights]),
        fingerprint("Net", [(name, w + (name == "w0")) for name, w in weights]),
        fingerprint("Net", weights[:-1]),
    ]
    assert len({first, *others}) == 6
    with torch.inference_mode():
        assert fingerprint("Net", [(name, w.clone()) for name, w in weights]) == first
