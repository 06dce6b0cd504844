"""The light is where the ground is brightest along the shadow; without a fall-off nothing is claimed."""

from __future__ import annotations

import numpy as np
import pytest

from dragfield.core.light import fit_light

SIDE = 96
AT = (60.0, 60.0)
NOTHING = np.zeros((SIDE, SIDE), bool)


def lit(lamp=(20.0, 20.0), seed=0):
    x, y = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    light = 0.4 + 0.5 * np.exp(-((x - lamp[0]) ** 2 + (y - lamp[1]) ** 2) / (2 * 45.0**2))
    grain = 1 + 0.02 * np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    return (np.array([0.7, 0.8, 0.6]) * (light * grain)[..., None]).astype(np.float32)


def test_a_thing_carried_past_a_lamp_turns_its_shadow():
    light = fit_light(lit(), NOTHING, AT, (5.0, 5.0))
    assert light.turned((5.0, 5.0), AT) == pytest.approx((5.0, 5.0))
    # Now to the right of the lamp: the shadow falls to the right.
    x, y = light.turned((5.0, 5.0), (70.0, 20.0))
    assert np.hypot(x, y) == pytest.approx(np.hypot(5, 5)) and x > 2 * abs(y)


def test_it_is_brighter_near_the_lamp():
    light = fit_light(lit(), NOTHING, AT, (5.0, 5.0))
    picture = lit().mean(-1)
    assert light.gain(AT) == pytest.approx(1)
    assert light.gain((35.0, 35.0)) == pytest.approx(picture[31:39, 31:39].mean() / picture[56:64, 56:64].mean(), rel=0.08)


def test_even_light_changes_nothing():
    even = 0.5 + 0.025 * np.random.default_rng(0).standard_normal((SIDE, SIDE, 1)).repeat(3, -1)
    light = fit_light(even.astype(np.float32), NOTHING, AT, (5.0, 0.0))
    assert light.trust == 0
    assert light.turned((5.0, 0.0), (20.0, 20.0)) == pytest.approx((5.0, 0.0)) and light.gain((20.0, 20.0)) == pytest.approx(1)


def test_another_thing_in_the_picture_does_not_count_as_light():
    picture = lit()
    picture[60:84, 4:30] = (0.9, 0.1, 0.1)
    with_it, without = (fit_light(p, NOTHING, AT, (5.0, 5.0)).turned((5.0, 5.0), (70.0, 20.0)) for p in (picture, lit()))
    assert with_it == pytest.approx(without, abs=0.7)


def test_too_little_ground_gives_no_light():
    assert fit_light(lit(), ~NOTHING, AT, (5.0, 5.0)) is None
