"""The point optimiser: move the latent until what is under each handle is found a little nearer to its target (DirectDrag section 4).

At one noise level t, in rounds: a few gradient steps of

    L = sum_i (2 r)² · mean | F(p_i + d_i + u) - sg F_0(p_i0 + u) |     motion supervision: u over (2 r + 1)² grid cells, all channels;
      + mask_weight · sum (1 - M) · | z' - z'_0 |                       d_i points to the target, at most `longest_step` cells
      + terms                                                           readout guidance and the like

then every handle is tracked anew (tracking.py). F_0 are the features of the undragged latent at the same t, p_i0 the handle's first place.

Two ways to step. Adam (published) starts afresh with every call, so that only the ratios of the three parts matter; at first it moves every
number of the latent by its rate, however little that number has to do with the drag. "normalised" goes along the gradient itself, as far as
if every cell under the windows moved by `rate` of the latent's root mean square: what the windows don't see stays.

Nothing but windows around the handles is ever read from a feature map, and the network stops behind the last tap unless the mask term asks
for the latent after the step (z' = z_{t-1}).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..sampling.sampler import FlowSampler, NoiseSampler, Sampler
from .adam import Adam, AlongGradient
from .guidance import TapPlan, Term
from .handles import Handles
from .motion import Patches, motion_loss, queries, reference_patches
from .point_drag_settings import PRINCIPLED, PointDragSettings
from .tracking import track

Ended = Literal["", "arrived", "stuck"]


@dataclass(frozen=True, eq=False)
class PointDragState:
    """A point drag after `step` gradient steps (0: found arrived before the first).

    round: the tracking round of the step, from 1.  handles: where the handles were last found.  z: the latent, [1, C, h, w].
    loss: before the step, extra parts included; motion: its supervision part, both [].  residual: [1], mean distance left over mean
    distance asked for.  distances: px of the picture left to each target.  ended: why this is the last state ("" if it is not, or the
    rounds are over).  idle: rounds in a row, up to this one, in which no handle moved.
    nfe_forward, nfe_backward: network passes so far.
    """

    step: int
    round: int
    handles: Handles
    z: Tensor
    loss: Tensor
    motion: Tensor
    residual: Tensor
    distances: tuple[float, ...]
    ended: Ended
    nfe_forward: int
    nfe_backward: int
    idle: int = 0

    @property
    def progress(self) -> float:
        """Share of the way done, in [0, 1]."""
        return min(1.0, max(0.0, 1.0 - float(self.residual)))


def point_drag(
    sampler: NoiseSampler | FlowSampler,
    z: Tensor,
    t: float,
    handles: Handles,
    mask: Tensor | None = None,
    settings: PointDragSettings = PRINCIPLED,
    *,
    reference: Tensor | None = None,
    reference_next: Tensor | None = None,
    t_next: float | None = None,
    terms: Sequence[Term] = (),
    idle: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[PointDragState]:
    """Drag the latent z [1, C, h, w] at t (a UNet's timestep, a flow's time); yields the state after every gradient step.

    sampler: the model with its prompt, the guidance of the drag, and keys and values if every call is given some.
    handles: from `make_handles`, or where an earlier call left them.
    mask: [h, w] in [0, 1], how freely each cell may change; None: everywhere, and then there is no mask term.
    reference: the undragged latent at t; None: z itself, and then the first pass serves as the reference pass too.
    t_next, reference_next: where the schedule goes after t, and the undragged latent there (None: one step from `reference`); only for
        mask_on = "next" with a mask.
    terms: see guidance.py.  idle: rounds in a row without a move that an earlier call ended with.
    should_stop: asked before every gradient step.
    """
    if z.shape[0] != 1:
        raise ValueError(f"a point drag takes one latent [1, C, h, w], got {list(z.shape)}: drag a batch one by one")
    plan = TapPlan(settings.taps or sampler.drag_taps, terms)
    free = None if mask is None else mask.to(z.device, torch.float32).clamp(0, 1)
    loosely = None if free is None or settings.mask_weight == 0 or settings.mask_on == "step" else 1 - free
    steps_on = loosely is not None and settings.mask_on == "next"
    if steps_on and t_next is None:
        raise ValueError("mask_on = 'next' needs t_next, the time the schedule visits after t: give it, or use mask_on = 'latent'")
    forwards = backwards = 0

    patches: Patches | None = None
    if reference is not None:
        with torch.no_grad():
            if steps_on and reference_next is None:
                found, reference_next = sampler.features_and_next(reference, t, t_next, plan.own)
            else:
                found = sampler.features(reference, t, plan.own)
            patches = reference_patches(found, handles, settings.radius, settings.reading, settings.turned)
        forwards += 1
    origin = (z if reference is None else reference).detach()

    leaf = z.detach().clone().requires_grad_()
    along = Adam(settings.rate, settings.betas) if settings.rate_mode == "adam" else AlongGradient(_length(origin, handles, settings))
    share = settings.steps_per_round if settings.terms_on == "round" else 1
    openly = free if settings.mask_on == "step" and free is not None else 1.0
    step = 0
    for number in range(1, settings.rounds + 1):
        for inner in range(settings.steps_per_round):
            if should_stop is not None and should_stop():
                return
            with torch.enable_grad():
                guided = settings.terms_on == "step" or inner == 0
                maps, after = _look(sampler, leaf, t, t_next if steps_on else None, plan.all if guided else plan.own)
                own = plan.split(maps) if guided else maps
                forwards += 1
                if patches is None:
                    patches = reference_patches(own, handles, settings.radius, settings.reading, settings.turned)
                    reference_next = None if after is None else after.detach()
                if inner == 0 and (settings.track_on == "fresh" or number == 1):
                    found = _tracked(own, patches, handles, settings)
                    if settings.track_on == "fresh":
                        idle = idle + 1 if number > 1 and found.now == handles.now else 0
                    handles = found
                if ended := _ended(handles, idle, settings):
                    nothing = torch.zeros((), device=z.device)
                    yield _state(step, number, handles, leaf, nothing, nothing, ended, forwards, backwards, idle)
                    return
                motion = motion_loss(
                    own, patches, handles, settings.radius, settings.longest_step, settings.arrived, settings.reading
                )
                loss = motion if not guided else motion + share * plan.total(maps, leaf).sum()
                if loosely is not None:
                    now, then = (leaf, origin) if after is None else (after, reference_next)
                    loss = loss + settings.mask_weight * (loosely * (now - then).abs()).sum()
                (slope,) = torch.autograd.grad(loss, leaf)
            backwards += 1
            leaf = (leaf.detach() - openly * along.step(slope)).requires_grad_()
            step += 1
            loss, motion = loss.detach(), motion.detach()
            # Read from the device only where a threshold was asked for: the published 0 is never reached before everything is.
            last = inner == settings.steps_per_round - 1 or (settings.loss_threshold > 0 and float(motion) <= settings.loss_threshold)
            if last and settings.track_on == "stale":
                found = _tracked(own, patches, handles, settings)
                idle = idle + 1 if found.now == handles.now else 0
                handles = found
            yield _state(step, number, handles, leaf, loss, motion, "", forwards, backwards, idle)
            if last:
                break


def _look(sampler: Sampler, leaf: Tensor, t: float, to: float | None, taps: Sequence[Any]) -> tuple[list[Tensor], Tensor | None]:
    # A view: what counts operations by hooks on modules cannot bear a leaf as a module's input.
    z = leaf.view_as(leaf)
    if to is None:
        return sampler.features(z, t, taps), None
    return sampler.features_and_next(z, t, to, taps)


def _length(z: Tensor, handles: Handles, settings: PointDragSettings) -> Tensor:
    """How long a normalised step is: as if each latent cell under the handles' windows moved by `rate` of the latent's RMS."""
    cells = len(handles) * (2 * settings.radius + 1) ** 2 * z.shape[-1] * z.shape[-2] / (handles.grid[0] * handles.grid[1])
    return settings.rate * (z.square().mean() * z.shape[1] * max(1.0, cells)).sqrt()


def _tracked(maps: Sequence[Tensor], patches: Patches, handles: Handles, settings: PointDragSettings) -> Handles:
    found = track(
        maps, queries(patches), handles.now, handles.grid, settings.search, settings.reading, handles.mapped, settings.outside
    )
    return handles.moved_to(found)


def _ended(handles: Handles, idle: int, settings: PointDragSettings) -> Ended:
    if all(settings.arrived(distance) for distance in handles.distances()):
        return "arrived"
    given_up = settings.patience is not None and settings.patience_at == "round" and idle >= settings.patience
    return "stuck" if given_up else ""


def gave_up(state: PointDragState | None, settings: PointDragSettings) -> bool:
    """Whether no drag begins at another time after `state`, because handles have not moved (published: asked there, and for one count)."""
    return state is not None and settings.patience_at == "timestep" and state.idle == settings.patience


def _state(
    step: int, number: int, handles: Handles, leaf: Tensor, loss: Tensor, motion: Tensor, ended: Ended, forwards: int, backwards: int,
    idle: int,
) -> PointDragState:  # fmt: skip
    return PointDragState(
        step, number, handles, leaf.detach(), loss, motion, torch.tensor([handles.residual()]), handles.distances_px(), ended,
        forwards, backwards, idle,
    )  # fmt: skip
