"""When the network is asked: descending times of a flow, t = 1 (noise) to t = 0 (picture).

DragFlow inherits FLUX's shifted schedule (BFL flux `get_schedule`): uniform times are pushed towards noise, the more
the larger the picture. A schedule here is a plain tuple of floats t_0 > t_1 > … > t_n; solvers take any such tuple,
so a schedule from elsewhere (ComfyUI's SIGMAS) needs only `custom_schedule` to be checked.

Convention: t runs from 1 (pure noise) to 0 (data); a schedule of n steps has n + 1 times. N is the number of image
tokens the transformer sees, (h/2)·(w/2) for a latent of h x w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Schedule = tuple[float, ...]


def flux_mu(tokens: int) -> float:
    """Shift exponent of FLUX.1: linear in the token count through (256, 0.5) and (4096, 1.15); not clamped outside.

    tokens: N >= 1.
    """
    if tokens < 1:
        raise ValueError(f"a schedule for {tokens} image tokens makes no sense: give (h/2)*(w/2) of the latent")
    return 0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256)


def shift_time(u: float, mu: float, sigma: float = 1.0) -> float:
    """Shifted time e^mu / (e^mu + (1/u - 1)^sigma) of a uniform time u in [0, 1]; both ends are kept exactly."""
    if u <= 0.0:
        return 0.0
    return math.exp(mu) / (math.exp(mu) + (1.0 / u - 1.0) ** sigma)


def flux_schedule(tokens: int, steps: int = 25, *, shifted: bool = True) -> Schedule:
    """Times t_0 = 1 … t_steps = 0 for N = tokens image tokens.

    shifted: True for FLUX.1-dev and anything trained like it; False gives uniform times (FLUX.1-schnell).
    """
    if steps < 1:
        raise ValueError(f"a schedule of {steps} steps makes no sense: use 1 or more (the published setting is 25)")
    uniform = [1.0 - i / steps for i in range(steps)] + [0.0]
    mu = flux_mu(tokens)
    return tuple(shift_time(u, mu) for u in uniform) if shifted else tuple(uniform)


def custom_schedule(times: Sequence[float]) -> Schedule:
    """Check times from elsewhere: at least two, finite, in [0, 1], strictly descending, ending at 0. -> Schedule."""
    ts = tuple(float(t) for t in times)
    if len(ts) < 2:
        raise ValueError(f"a schedule needs at least 2 times (one step), got {len(ts)}: add the end time 0")
    if not all(math.isfinite(t) and 0.0 <= t <= 1.0 for t in ts):
        bad = next(t for t in ts if not (math.isfinite(t) and 0.0 <= t <= 1.0))
        raise ValueError(f"a schedule holds times in [0, 1], got {bad}: pass flow sigmas, not timesteps to 1000")
    for a, b in zip(ts, ts[1:], strict=False):
        if b >= a:
            raise ValueError(f"a schedule must fall strictly, got {a} then {b}: sort downwards and deduplicate")
    if ts[-1] != 0.0:
        raise ValueError(f"a schedule must end at the picture, t = 0, got {ts[-1]}: append 0")
    return ts


def sampling_times(schedule: Schedule, skip: int = 6) -> Schedule:
    """What denoising visits after leaving out the `skip` noisiest steps: t_skip … t_n (len - skip times)."""
    _check_skip(schedule, skip)
    return schedule[skip:]


def inversion_times(schedule: Schedule, skip: int = 6) -> Schedule:
    """What inversion visits: the sampling times, ascending 0 … t_skip; never reaches pure noise for skip >= 1."""
    return sampling_times(schedule, skip)[::-1]


def _check_skip(schedule: Schedule, skip: int) -> None:
    steps = len(schedule) - 1
    if not 0 <= skip < steps:
        raise ValueError(f"skip = {skip} leaves no step of {steps}: use 0 (from pure noise) to {steps - 1}")
