import math

import pytest
import torch

from dragfield.core.model.noise_schedule import NoiseSchedule, scaled_linear
from dragfield.core.sampling.ddim import PICTURE, clean, ddim, ddim_step, ddim_times

SD = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def dummy(z, t, level):
    """A network whose answer depends on everything it is told."""
    return torch.tanh(z * 0.7 + 0.001 * t) + 0.1 * z.flip(-1)


@pytest.mark.parametrize(
    ("t", "kept"),
    [(0, 0.999150), (1, 0.998296), (21, 0.980381), (41, 0.960873), (261, 0.655669), (601, 0.159816), (621, 0.141292), (721, 0.070514),
     (741, 0.060356), (981, 0.005776), (999, 0.004660), (PICTURE, 0.999150)],
)  # fmt: skip
def test_the_schedule_has_the_published_values(t, kept):
    assert round(scaled_linear().at(t), 6) == kept


def test_the_published_walk_has_38_steps_from_741():
    times = ddim_times(scaled_linear(), 50, 0.75)
    assert (times[0], times[1], times[-2:], len(times)) == (741, 721, (1, PICTURE), 39)


@pytest.mark.parametrize("steps", [1, 3, 7, 20, 50, 1000])
def test_times_are_those_of_diffusers(steps):
    scheduler = pytest.importorskip("diffusers").DDIMScheduler(**SD, set_alpha_to_one=False, steps_offset=0 if steps == 1000 else 1)
    scheduler.set_timesteps(steps)
    assert ddim_times(scaled_linear(), steps)[:-1] == tuple(scheduler.timesteps.tolist())


@pytest.mark.parametrize("strength", [0.01, 0.3, 0.75, 1.0])
def test_a_share_of_the_walk_is_its_clean_end(strength):
    whole, part = ddim_times(scaled_linear(), 20), ddim_times(scaled_linear(), 20, strength)
    assert part == whole[-len(part) :] and len(part) == max(1, math.floor(20 * strength + 0.5)) + 1


def test_per_sample_levels_are_those_of_each():
    schedule, z = scaled_linear(), torch.zeros(3, 4, 1, 1, dtype=torch.float64)
    found = schedule.of(torch.tensor([-1, 21, 999]), z)
    assert found.flatten().tolist() == [schedule.at(t) for t in (PICTURE, 21, 999)]
    assert schedule.of(21, z).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("steps", [3, 10, 50])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_denoising_is_diffusers_ddim(steps, prediction):
    diffusers = pytest.importorskip("diffusers")
    schedule = scaled_linear()
    scheduler = diffusers.DDIMScheduler(**SD, set_alpha_to_one=False, steps_offset=1, prediction_type=prediction)
    scheduler.set_timesteps(steps)
    z = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def noise(z, t, level):
        a = schedule.at(level)
        return dummy(z, t, level) if prediction == "epsilon" else math.sqrt(a) * dummy(z, t, level) + math.sqrt(1 - a) * z

    *_, last = ddim(noise, schedule, z, ddim_times(schedule, steps))
    for t in scheduler.timesteps.tolist():
        z = scheduler.step(dummy(z, t, t), t, z).prev_sample
    # diffusers keeps its schedule in float32.
    torch.testing.assert_close(last.z, z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [3, 10, 50])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_inversion_is_diffusers_inverse_ddim(steps, prediction):
    diffusers = pytest.importorskip("diffusers")
    schedule = scaled_linear()
    scheduler = diffusers.DDIMInverseScheduler(**SD, set_alpha_to_one=False, steps_offset=1, prediction_type=prediction)
    scheduler.set_timesteps(steps)
    z = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def noise(z, t, level):
        a = schedule.at(level)
        return dummy(z, t, level) if prediction == "epsilon" else math.sqrt(a) * dummy(z, t, level) + math.sqrt(1 - a) * z

    *_, last = ddim(noise, schedule, z, ddim_times(schedule, steps)[::-1])
    for t in scheduler.timesteps.tolist():
        z = scheduler.step(dummy(z, t, t), t, z).prev_sample
    torch.testing.assert_close(last.z, z, rtol=1e-4, atol=1e-4)


def test_a_step_there_and_back_with_the_same_noise_is_the_identity():
    schedule = scaled_linear()
    z, eps = torch.randn(2, 1, 4, 5, 7, dtype=torch.float64)
    there = ddim_step(z, eps, schedule, 721, 741)
    torch.testing.assert_close(ddim_step(there, eps, schedule, 741, 721), z)
    torch.testing.assert_close(clean(there, eps, schedule, 741), clean(z, eps, schedule, 721))


def test_a_step_with_the_true_noise_lands_on_the_mixture_of_that_level():
    schedule = scaled_linear()
    z0, eps = torch.randn(2, 1, 4, 5, 7, dtype=torch.float64)
    mix = [math.sqrt(a) * z0 + math.sqrt(1 - a) * eps for a in (schedule.at(300), schedule.at(40))]
    torch.testing.assert_close(ddim_step(mix[0], eps, schedule, 300, 40), mix[1])


def test_a_walk_counts_its_evaluations_and_yields_every_state():
    schedule = scaled_linear()
    times = ddim_times(schedule, 10, 0.5)
    states = list(ddim(dummy, schedule, torch.zeros(1, 4, 2, 2), times))
    assert [state.t for state in states] == list(times)
    assert [state.nfe for state in states] == [state.step for state in states] == list(range(6))


@pytest.mark.parametrize("times", [(PICTURE, 1, 101), (101, 1, PICTURE)])
def test_the_network_is_asked_at_the_noisier_end_and_told_the_level_it_stands_on(times):
    asked = []

    def noise(z, t, level):
        asked.append((t, level))
        return z

    list(ddim(noise, scaled_linear(), torch.ones(1, 4, 2, 2), times))
    assert asked == ([(1, PICTURE), (101, 1)] if times[0] == PICTURE else [(101, 101), (1, 1)])


@pytest.mark.parametrize("values", [[0.9], [0.5, 0.9], [1.0, 0.5], [0.5, 0.0], [[0.9, 0.5]], [0.9, float("nan")]])
def test_what_is_no_schedule_is_refused(values):
    with pytest.raises(ValueError, match="is no schedule"):
        NoiseSchedule(torch.tensor(values))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda s: ddim_times(s, 0), "0 steps"),
        (lambda s: ddim_times(s, 1001), "1001 steps"),
        (lambda s: ddim_times(s, 50, 0.0), "strength = 0.0"),
        (lambda s: ddim_times(s, 50, float("nan")), "strength = nan"),
        (lambda s: s.at(1000), "timestep 1000"),
    ],
)
def test_walks_that_make_no_sense_are_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call(scaled_linear())
