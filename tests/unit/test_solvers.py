import math

import pytest
import torch

from dragfield.core.sampling.schedules import flux_schedule, inversion_times, sampling_times
from dragfield.core.sampling.solvers import FlowState, fireflow, fireflow_step, start


class Decay:
    """dz/dt = -3·sin(t)·z + t: smooth, with time dependence, and counts how often it is asked."""

    def __init__(self):
        self.times = []

    def __call__(self, z, t):
        self.times.append(t)
        return -3 * math.sin(t) * z + t


def euler(velocity, z, times):
    """First order, one evaluation a step: what FireFlow is measured against."""
    state = start(z, times[0])
    yield state
    for t in times[1:]:
        v = velocity(state.z, state.t)
        state = FlowState(t, state.z + (t - state.t) * v, v, state.nfe + 1, state.step + 1)
        yield state


def uniform(steps):
    return tuple(i / steps for i in range(steps + 1))


def end_error(solver, steps, z):
    *_, exact = fireflow(Decay(), z, uniform(4096))
    *_, last = solver(Decay(), z, uniform(steps))
    return (last.z - exact.z).abs().max().item()


@pytest.fixture
def z():
    return torch.linspace(-2, 2, 7, dtype=torch.float64).reshape(1, 1, 1, 7)


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (fireflow, 2)])
def test_error_falls_with_the_order_of_the_solver(solver, order, z):
    coarse, fine = end_error(solver, 32, z), end_error(solver, 64, z)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


def test_fireflow_costs_one_evaluation_a_step_and_one_to_start(z):
    f = Decay()
    states = list(fireflow(f, z, uniform(19)))
    assert len(states) == 20
    assert len(f.times) == states[-1].nfe == 20
    assert [s.nfe for s in states[:4]] == [0, 2, 3, 4]


def test_fireflow_asks_at_the_start_and_at_midpoints(z):
    f = Decay()
    list(fireflow(f, z, (1.0, 0.6, 0.4, 0.0)))
    assert f.times == pytest.approx([1.0, 0.8, 0.5, 0.2])


def test_fireflow_is_exact_on_a_straight_flow(z):
    *_, last = fireflow(lambda z, t: torch.full_like(z, 2.0), z, (1.0, 0.7, 0.0))
    torch.testing.assert_close(last.z, z - 2.0)


def test_inversion_then_sampling_returns_to_the_picture(z):
    ts = flux_schedule(1024)
    errors = {}
    for solver in (fireflow, euler):
        *_, noisy = solver(Decay(), z, inversion_times(ts))
        *_, back = solver(Decay(), noisy.z, sampling_times(ts))
        errors[solver] = (back.z - z).abs().max().item()
    assert errors[fireflow] < 0.02
    assert errors[fireflow] < errors[euler] / 5


def test_trajectory_starts_at_the_given_latent_and_visits_the_given_times(z):
    ts = (0.0, 0.3, 1.0)
    states = list(fireflow(Decay(), z, ts))
    assert tuple(s.t for s in states) == ts
    assert [s.step for s in states] == [0, 1, 2]
    assert states[0].z is z
    assert states[0].velocity is None


def test_a_step_leaves_the_state_it_started_from_unchanged(z):
    before = z.clone()
    first = fireflow_step(Decay(), start(z, 1.0), 0.5)
    again = fireflow_step(Decay(), start(z, 1.0), 0.5)
    assert torch.equal(z, before)
    assert torch.equal(first.z, again.z)


def test_each_step_starts_from_the_previous_midpoint_velocity(z):
    first = fireflow_step(Decay(), start(z, 1.0), 0.5)
    seen = []

    def spy(at, t):
        seen.append(at)
        return Decay()(at, t)

    fireflow_step(spy, first, 0.25)
    torch.testing.assert_close(seen[0], first.z + (0.25 - 0.5) / 2 * first.velocity)
