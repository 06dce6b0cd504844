"""The region affine optimiser: move the latent until its features are the reference's, carried along (DragFlow 3.2).

At one noise level t the latent is descended along the gradient of the region loss, in two phases: *transport* walks the
field from progress 0 to 1, *intensify* stays at 1. The background is a hard constraint (Eq. 4): outside the gradient
mask the latent is the reference's after every step.

The rate. Published: z - 1000·g of the full-map mean loss, a number tuned to that loss's 1/(C·h_c·w_c), to FLUX's
latent and to a picture size. Default here: every step has the same length, rate times the root mean square of the
reference latent, both taken over the cells where the region is at the moment. Only the direction of the gradient counts, so that the
step does not change when
  - the loss or its gradient is rescaled (picture size, grid, number of channels, taps, weights gamma): the length is fixed;
  - the latent is rescaled, z -> s·z: the step scales by s, as the latent does;
  - the region or the picture grows: a mean over entries does not know how many there are.
The default is as long as the published step: on five drags of a FLUX transformer of full depth with random weights, z - 1000·g moves the
cells where the region is by 0.024 to 0.070 of the latent's root mean square at the first iteration, 0.047 in the mean, and by 0.020 to
0.052 at the first one of intensify, 0.034 in the mean (scripts/published_step.py). Longer steps, as the demo model takes, would carry
FLUX.1's latent off the paths that it knows. A Polyak step, z - rate·(L/|g|²)·g,
shares these properties ("polyak"); it did no better in trials on
two to four cases of the demo model, too few to settle it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..choices import check_choices
from ..model.backbone import token_grid
from ..model.taps import Tap
from ..sampling.sampler import FlowSampler
from .guidance import TapPlan, Term
from .supervision import Correspondence, Grid, Layout, RegionLoss, cell_features, cut_shape

RateMode = Literal["normalised", "raw", "polyak"]
Phase = Literal["transport", "intensify"]


@dataclass(frozen=True)
class RegionDragSettings:
    """How a region drag descends. The defaults are the preset `tuned`; `PUBLISHED` is what the published code did.

    transport_steps, intensify_steps: iterations of the two phases (published: 50 and 20). Where the trail is reset, what
        arrives is formed at the target for the most part: more of the same 70 are spent there.
    rate_mode, rate, intensify_rate: "normalised" makes every step `rate` times as long as the reference latent, as root
        mean squares over the cells where the region is; "raw" multiplies the gradient (1000 published; 1200 while intensifying
        according to the paper, 1000 in its code); "polyak" aims the linearised loss at (1 - rate) of itself.
    step_limit: longest step, as a fraction of the reference latent's root mean square, over the cells where the
        region is; None: no limit.
    layout, grid: how tap maps are read (supervision.py) and where the loss is taken: at latent cells, at tokens, or
        on the published grid at 1/2 to 1/4 of the picture.
    reference_grid: how finely the reference features are known. "tokens": one per token (published), mixed in between.
        "cells": one per latent cell, from patch² - 1 more forwards of the shifted reference before the first iteration,
        and compared token by token (supervision.py); objects a few tokens wide then land where they should, and turn.
    reading: how a map is read at the grid's places. "direct": bilinearly, where they lie on it; "enlarged": the map is first enlarged to
        the grid, and what is carried is read between the grid's cells (published: cut features are made before they are warped).
    settle: how the rate goes on while intensifying. "linear": falls to zero, because steps of a fixed length come no
        closer to the optimum than that length; "none": stays (published).
    guidance: for whoever makes the sampler.  taps: None for `default_taps`.
    background: what the background is held to: the reference latent ("same_t", Eq. 4) or that latent advanced by half a
        step towards t_next ("half_step", as the published code does).
    trail: what becomes of cells that the region has passed and left. "free": they keep what was put into them
        (published). "reset": only the cells around the region's present place may change, the others go back to `behind`;
        no trail by construction.
    arrive_below: stop intensifying once the loss is below this fraction of the loss of an undone drag; None: never.
    patience: stop intensifying once this many iterations brought no loss lower than before; None: never.
    """

    transport_steps: int = 30
    intensify_steps: int = 40
    rate_mode: RateMode = "normalised"
    rate: float = 0.05
    intensify_rate: float = 0.035
    step_limit: float | None = None
    layout: Layout = "tokens"
    grid: Grid = "latent"
    reference_grid: Literal["cells", "tokens"] = "cells"
    reading: Literal["direct", "enlarged"] = "direct"
    settle: Literal["linear", "none"] = "linear"
    guidance: float = 3.5
    taps: tuple[Tap, ...] | None = None
    background: Literal["same_t", "half_step"] = "same_t"
    trail: Literal["reset", "free"] = "reset"
    arrive_below: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.transport_steps < 0 or self.intensify_steps < 0 or self.transport_steps + self.intensify_steps < 1:
            raise ValueError(
                f"{self.transport_steps} transport and {self.intensify_steps} intensify steps move nothing: use none "
                "below 0 and at least 1 together (published: 50 and 20)"
            )
        if not (self.rate > 0 and self.intensify_rate > 0):
            raise ValueError(f"rates must be positive, got {self.rate} and {self.intensify_rate}")
        check_choices(self)
        if self.layout == "shuffled" and self.reference_grid == "cells":
            raise ValueError("layout = 'shuffled' knows no features between tokens: use reference_grid = 'tokens' with it")
        if self.reading == "enlarged" and self.reference_grid == "cells":
            raise ValueError("reading = 'enlarged' reads one map: use reference_grid = 'tokens' with it")


PUBLISHED = RegionDragSettings(
    transport_steps=50, intensify_steps=20, rate_mode="raw", rate=1000.0, intensify_rate=1000.0, layout="shuffled", grid="cut",
    reference_grid="tokens", reading="enlarged", settle="none", background="half_step", trail="free",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DragState:
    """A drag after `step` iterations (from 1).

    phase, progress (in [0, 1]): what the iteration aimed at.  z: the latent after it, [B, C, h, w].
    loss: [B], before the iteration, extra terms included.  residual: [B], the region loss before the iteration as a
    fraction of the loss of an undone drag: 0 arrived, 1 nothing moved.  nfe_forward, nfe_backward: network passes so
    far. Tensors stay on the device; reading their values is the caller's decision.
    """

    step: int
    phase: Phase
    progress: float
    z: Tensor
    loss: Tensor
    residual: Tensor
    nfe_forward: int
    nfe_backward: int


def region_drag(
    sampler: FlowSampler,
    z: Tensor,
    t: float,
    field: Correspondence,
    mask: Tensor | None = None,
    settings: RegionDragSettings = RegionDragSettings(),
    *,
    reference: Tensor | None = None,
    behind: Tensor | None = None,
    t_next: float | None = None,
    terms: Sequence[Term] = (),
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[DragState]:
    """Drag the latent z [B, C, h, w] at time t along `field`; yields the state after every iteration.

    sampler: the model with its prompt, the guidance of the drag, and the keys and values that every call is given (`bank.hold()`).
    mask: bool [h, w] (or broadcasting to z), where the latent may change; None: everywhere.
    reference: the undragged latent at t whose features are carried and whose background is kept; None: z itself, and
        then the first iteration's forward serves as the reference pass too. Give it when z is a warm start.
    behind: the latent at t that cells return to once the region has left them, with trail = "reset"; None: the reference.
    t_next: the next time of the schedule, for background = "half_step" only.
    terms: extra losses (features, z) -> [] or [B], see guidance.py. They are added in units of the region loss of an undone drag, so that a
        weight means the same for small and large regions: a term of 1 counts as much as all of the way left to go.
    should_stop: asked before every iteration and every pass of the reference; True ends the drag.
    """
    shared = reference is None
    origin = (z if shared else reference).detach()
    z = z.detach()
    backbone, plan = sampler.backbone, TapPlan(settings.taps or sampler.drag_taps, terms)
    movable = torch.ones_like(z, dtype=torch.bool) if mask is None else mask.to(z.device).bool().expand_as(z)
    forwards = backwards = 0

    def features(latent: Tensor, taps: Sequence[Tap] = plan.own) -> list[Tensor]:
        return sampler.features(latent, t, taps)

    background = origin
    if settings.background == "half_step":
        if t_next is None:
            raise ValueError("background = 'half_step' needs t_next, the time the schedule visits after t")
        with torch.no_grad():
            v = sampler.answer(origin, t)
        background = (origin + (t_next - t) / 2 * v).to(origin.dtype)
        forwards += 1
    left = origin if behind is None else behind.detach()
    window, placed = movable, None  # where the region is, and at which progress that was found out
    windowed = settings.trail == "reset" or settings.rate_mode == "normalised" or settings.step_limit is not None

    parts = backbone.patch**2 - 1 if settings.reference_grid == "cells" else 0

    def loss_against(found: Sequence[Tensor]) -> RegionLoss | None:
        finer = cell_features(features, origin, found, backbone.patch, should_stop) if parts else None
        return None if parts and finer is None else _region_loss(field, found, finer, z, backbone.patch, settings)

    loss_of: RegionLoss | None = None
    unit: Tensor | None = None
    if not shared:
        with torch.no_grad():
            loss_of = loss_against(features(origin))
        if loss_of is None:
            return
        forwards += 1 + parts
    arrival = _Arrival(settings)
    for step, (phase, progress) in enumerate(_phases(settings), start=1):
        if (should_stop is not None and should_stop()) or arrival.reached:
            return
        with torch.enable_grad():
            leaf = z.clone().requires_grad_()
            maps = features(leaf, plan.all)
            found = plan.split(maps)
            if loss_of is None:
                loss_of = loss_against(found)
                if loss_of is None:
                    return
                forwards += parts
            region = loss = loss_of(found, progress)
            if terms:
                unit = loss_of.undone(1.0) if unit is None else unit
                loss = region + unit * plan.total(maps, leaf)
            (g,) = torch.autograd.grad(loss.sum(), leaf, allow_unused=True, materialize_grads=True)
        forwards, backwards = forwards + 1, backwards + 1
        loss, region = loss.detach(), region.detach()
        if windowed and progress != placed:
            window, placed = movable & present_cells(field, progress, z), progress
        around = window if settings.trail == "reset" else movable
        g = torch.where(around, g, torch.zeros_like(g))
        rate = settings.rate if phase == "transport" else settings.intensify_rate * _settling(settings, step)
        limit = None if settings.step_limit is None else settings.step_limit * _rms(origin, window)
        moved = z - _step(g, loss, rate, settings.rate_mode, origin, window, limit)
        z = torch.where(around, moved, torch.where(movable, left, background))
        residual = region / loss_of.undone(progress).clamp_min(torch.finfo(region.dtype).tiny)
        arrival.see(phase, loss, residual)
        yield DragState(step, phase, progress, z, loss, residual, forwards, backwards)


def present_cells(field: Correspondence, progress: float, z: Tensor) -> Tensor:
    """Latent cells under the moved regions at `progress`, and their neighbours. -> bool [h, w]."""
    h, w = z.shape[-2:]
    cells = torch.zeros(h, w)
    for op in range(len(field.weights())):
        target, _ = field.samples(op, progress, (w, h))
        x, y = target.long().unbind(-1)
        cells[y, x] = 1.0
    return (torch.nn.functional.max_pool2d(cells[None, None], 3, 1, 1)[0, 0] > 0).to(z.device)


def _phases(settings: RegionDragSettings) -> Iterator[tuple[Phase, float]]:
    for k in range(1, settings.transport_steps + 1):
        yield "transport", k / settings.transport_steps  # w_k = k/K, Eq. 18-19
    for _ in range(settings.intensify_steps):
        yield "intensify", 1.0


def _settling(settings: RegionDragSettings, step: int) -> float:
    """Share of the intensify rate at iteration `step` (from 1): 1 at the first of the phase, 1/Q at its last."""
    if settings.settle == "none":
        return 1.0
    return 1.0 - (step - settings.transport_steps - 1) / settings.intensify_steps


def _region_loss(
    field: Correspondence, features: Sequence[Tensor], finer: Sequence[Tensor] | None, z: Tensor, patch: int,
    settings: RegionDragSettings,
) -> RegionLoss:
    h, w = z.shape[-2:]
    grids = {"latent": (w, h), "tokens": (features[0].shape[-1], features[0].shape[-2]), "cut": cut_shape((8 * w, 8 * h))}
    # A UNet's maps of other resolutions show the picture and nothing beyond.
    whole = tuple(features[0].shape[-2:]) != token_grid(z, patch)
    extent = None if whole else (w / patch, h / patch)
    return RegionLoss(field, features, grids[settings.grid], settings.layout, finer, extent, enlarged=settings.reading == "enlarged")


def _step(
    g: Tensor, loss: Tensor, rate: float, mode: RateMode, origin: Tensor, window: Tensor, limit: Tensor | None
) -> Tensor:
    """What to subtract from z, per sample; zero where the gradient is zero."""
    if mode == "raw":
        step = rate * g
    else:
        # Divided by its largest entry first: squares of published-size gradients (1e-9 per entry) underflow in float32.
        peak = g.abs().amax(dim=(1, 2, 3), keepdim=True)
        peak = torch.where(peak > 0, peak, torch.ones_like(peak))
        unit = g / peak
        if mode == "normalised":
            length = _rms(unit, window)
            step = rate * _rms(origin, window) * unit / torch.where(length > 0, length, torch.ones_like(length))
        else:
            square = unit.square().sum(dim=(1, 2, 3), keepdim=True)
            aim = loss.to(g.dtype).view(-1, 1, 1, 1) / peak / torch.where(square > 0, square, torch.ones_like(square))
            step = rate * aim * unit
    if limit is None:
        return step
    length = _rms(step, window)
    return step * (limit / torch.where(length > 0, length, torch.ones_like(length))).clamp_max(1.0)


def _rms(x: Tensor, where: Tensor) -> Tensor:
    count = where.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1)
    return ((x * where).square().sum(dim=(1, 2, 3), keepdim=True) / count).sqrt()


class _Arrival:
    """Whether the drag has arrived or stopped improving; reads values from the device only where asked to judge."""

    def __init__(self, settings: RegionDragSettings) -> None:
        self.settings = settings
        self.reached = False
        self._best = float("inf")
        self._since_best = 0

    def see(self, phase: Phase, loss: Tensor, residual: Tensor) -> None:
        below, patience = self.settings.arrive_below, self.settings.patience
        if phase != "intensify" or (below is None and patience is None):
            return
        if below is not None and float(residual.max()) < below:
            self.reached = True
        if patience is not None:
            value = float(loss.sum())
            self._since_best = 0 if value < self._best else self._since_best + 1
            self._best = min(self._best, value)
            self.reached = self.reached or self._since_best >= patience
