"""The solver for dz/dt = v(z, t): FireFlow (DragFlow section 3.1, FireFlow Alg. 1).

A solver, `solver(velocity, z, times)`, is a generator that yields the state at each of `times`
(the given start first), and runs whichever way `times` goes: ascending inverts a picture, descending makes one. A
caller that has to change the latent between steps (lockstep branches, masks) drives the step function itself.

    times = flux_schedule(tokens=1024)
    *_, inverted = fireflow(velocity, z0, inversion_times(times))      # picture -> t_6
    *_, picture = fireflow(velocity, inverted.z, sampling_times(times))  # t_6 -> picture

Convention: velocity(z, t) -> dz/dt = noise - data, a tensor like z [B, C, h, w]; t in [0, 1], 1 = noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True, eq=False)
class FlowState:
    """One point of a trajectory.

    t: time in [0, 1].  z: latent at t, [B, C, h, w].  step: how many steps led here.
    velocity: what the last step ended with, like z; FireFlow's next step starts from it (None before the first step).
    nfe: network evaluations so far.
    """

    t: float
    z: Tensor
    velocity: Tensor | None
    nfe: int
    step: int

    @property
    def slope(self) -> Tensor | None:
        return self.velocity


def fireflow_step(velocity: Velocity, state: FlowState, to: float) -> FlowState:
    """From state.t to `to` by the midpoint rule whose first slope is the last step's midpoint velocity (FireFlow Eq.
    10).

    One evaluation, at the midpoint; one more only where no velocity is cached, on the first step. Global error is of
    second order, as the midpoint rule's, at Euler's cost.
    """
    delta = to - state.t
    cached = state.velocity is not None
    v = state.velocity if cached else velocity(state.z, state.t)
    v_mid = velocity(state.z + (delta / 2) * v, state.t + delta / 2)
    return FlowState(to, state.z + delta * v_mid, v_mid, state.nfe + (1 if cached else 2), state.step + 1)


def start(z: Tensor, t: float) -> FlowState:
    """The state a trajectory starts from: nothing cached, nothing evaluated."""
    return FlowState(t, z, None, 0, 0)


def fireflow(velocity: Velocity, z: Tensor, times: Sequence[float]) -> Iterator[FlowState]:
    """FireFlow along `times` (either direction): len(times) states, len(times) evaluations in all."""
    state = start(z, times[0])
    yield state
    for t in times[1:]:
        state = fireflow_step(velocity, state, t)
        yield state
