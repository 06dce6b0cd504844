import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragfield.core.sampling.schedules import custom_schedule, flux_mu, flux_schedule, inversion_times, sampling_times, shift_time

# dragflow.md section 1.1, float32 values of the published code for 512 x 512 px (1024 tokens), 25 steps.
PUBLISHED_512 = (
    *(1.0, 0.97829, 0.955738, 0.932291, 0.907897, 0.882497, 0.856027, 0.828419, 0.799596, 0.769478, 0.737974, 0.704987),
    *(0.670411, 0.634126, 0.596003, 0.555899, 0.513656, 0.469096, 0.422026, 0.372226, 0.319451, 0.263428, 0.203846),
    *(0.140355, 0.072557, 0.0),
)


def test_schedule_at_512_is_the_published_one():
    assert flux_schedule(1024, 25) == pytest.approx(PUBLISHED_512, abs=1e-6)


def test_schedule_at_1024_passes_the_published_times():
    ts = flux_schedule(4096, 25)
    expected = {6: 0.909099, 7: 0.890364, 8: 0.870318, 24: 0.116289}
    assert {i: ts[i] for i in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("tokens", "mu", "t_6", "t_7"),
    [(729, 0.58007, 0.84976, 0.82120), (1221, 0.66335, 0.86009, 0.83311), (868, 0.60359, 0.85274, 0.82463)],
)
def test_schedule_of_the_published_demos(tokens, mu, t_6, t_7):
    ts = flux_schedule(tokens)
    assert (flux_mu(tokens), ts[6], ts[7]) == pytest.approx((mu, t_6, t_7), abs=1e-5)


def test_mu_is_linear_and_not_clamped():
    assert flux_mu(256) == 0.5
    assert flux_mu(4096) == 1.15
    assert flux_mu(1024) == pytest.approx(0.63)
    assert math.exp(flux_mu(1024)) == pytest.approx(1.877611, abs=1e-6)
    assert flux_mu(64) < 0.5
    assert flux_mu(16384) > 1.15


@given(tokens=st.integers(1, 70_000), steps=st.integers(1, 200))
def test_schedule_falls_strictly_from_exactly_one_to_exactly_zero(tokens, steps):
    ts = flux_schedule(tokens, steps)
    assert len(ts) == steps + 1
    assert (ts[0], ts[-1]) == (1.0, 0.0)
    assert all(a > b for a, b in zip(ts, ts[1:], strict=False))


def test_unshifted_schedule_is_uniform():
    assert flux_schedule(4096, 4, shifted=False) == (1.0, 0.75, 0.5, 0.25, 0.0)


def test_zero_mu_shifts_nothing():
    assert [shift_time(u / 8, 0.0) for u in range(9)] == pytest.approx([u / 8 for u in range(9)])


def test_inversion_and_sampling_visit_the_same_nodes_in_opposite_order():
    ts = flux_schedule(1024)
    up, down = inversion_times(ts, 6), sampling_times(ts, 6)
    assert len(up) == len(down) == 20
    assert up == down[::-1]
    assert (up[0], up[-1]) == (0.0, ts[6])


def test_skip_must_leave_a_step():
    ts = flux_schedule(1024, 8)
    assert sampling_times(ts, 0) == ts
    with pytest.raises(ValueError, match="skip = 8"):
        sampling_times(ts, 8)
    with pytest.raises(ValueError, match="skip = -1"):
        inversion_times(ts, -1)


def test_custom_schedule_keeps_good_times():
    assert custom_schedule([0.9, 0.5, 0]) == (0.9, 0.5, 0.0)


@pytest.mark.parametrize(
    ("times", "complaint"),
    [
        ([1.0], "at least 2 times"),
        ([999.0, 500.0, 0.0], "got 999.0"),
        ([1.0, float("nan"), 0.0], "got nan"),
        ([1.0, 0.5, 0.5, 0.0], "got 0.5 then 0.5"),
        ([0.0, 0.5, 1.0], "got 0.0 then 0.5"),
        ([1.0, 0.5], "must end at the picture"),
    ],
)
def test_custom_schedule_refuses_bad_times_by_name(times, complaint):
    with pytest.raises(ValueError, match=complaint):
        custom_schedule(times)


def test_empty_pictures_and_no_steps_are_refused():
    with pytest.raises(ValueError, match="0 image tokens"):
        flux_schedule(0)
    with pytest.raises(ValueError, match="0 steps"):
        flux_schedule(1024, 0)
