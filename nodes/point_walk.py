"""Dragging and denoising in turn, one picture of a trajectory at a time: the first half of DirectDrag (section 1), on either kind of model.

The walk ends where no more is dragged; what is left to denoise is any sampler's. A UNet takes DDIM steps, as a sampler with `euler` does
from there on; a flow model takes FireFlow steps with the keys and values of its inversion, as Gradient-Masked Denoise does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..core.edits.directdrag import DirectDragSettings
from ..core.edits.point_edit import carried, on_tokens
from ..core.optimise.guidance import Term
from ..core.optimise.handles import Handles
from ..core.optimise.point_drag import PointDragState, gave_up, point_drag
from ..core.progress import Interrupted
from ..core.sampling.ddim import ddim_step
from ..core.sampling.ddim_inversion import reconstruct_ddim
from ..core.sampling.inversion import velocity_of
from ..core.sampling.probes import FlowProbe, NoiseProbe
from ..core.sampling.solvers import fireflow_step, start
from .guides import Guides
from .trajectory import Branch

Told = Callable[[PointDragState, int], None]
"""Told after every gradient step: the state, and how many timesteps were dragged before."""


@dataclass(frozen=True, eq=False)
class Walked:
    """Where a walk ended: the branch there, the drag's last state (None: there was nothing to drag), where the handles are."""

    branch: Branch
    state: PointDragState | None
    handles: Handles


@dataclass(eq=False)
class PointWalk:
    """One picture's walk.

    probe: model and prompt.  mask: [h, w] in [0, 1], how freely each cell may change; None: all.  settings: a core preset, of which `path`,
    `warp`, `warp_within`, `follow_warp`, `drag`, `mutual_from` and `rounded` count here.
    """

    probe: NoiseProbe | FlowProbe
    mask: Tensor | None
    settings: DirectDragSettings
    guides: Guides = ()
    told: Told | None = None
    should_stop: Callable[[], bool] | None = None
    _seen: Tensor | None = None
    _kept: dict[int, list[Tensor]] = field(default_factory=dict)

    def run(self, branch: Branch, handles: Handles, steps: int) -> Walked:
        """Drag at the next `steps` times of the branch, denoising in between; less if the handles arrive or get stuck."""
        handles = on_tokens(handles, branch.z.shape[-2:], self.probe.backbone.patch) if self.probe.flow else handles
        if max(handles.distances()) == 0:
            return Walked(branch, None, handles)
        inversion, state, z = branch.inversion, None, branch.z
        self._seen = inversion.path[1]
        if self.settings.warp is not None and branch.z is branch.undragged:
            signal = self.probe.signal(branch.t) * inversion.z0
            warp, within, rounded = self.settings.warp, self.settings.warp_within, self.settings.rounded
            z = carried(z, handles, warp, self.mask, within, signal=signal, rounded=rounded)
            handles = handles.carried(self.settings.warp.ratio) if self.settings.follow_warp else handles
        branch = replace(branch, inversion=self._undragged(inversion), z=z)
        for done in range(steps):
            if gave_up(state, self.settings.drag):
                break
            state = self._drag(branch, handles, done, 0 if state is None else state.idle)
            branch, handles = replace(branch, z=state.z), state.handles
            over = state.ended != ""
            if not over or self.settings.mutual_from == "next":
                branch = self.denoised_to(branch, branch.index + 1)
            if over:
                # Arrived or stuck: no more of it at later times either.
                break
        return Walked(branch, state, handles)

    def denoised_to(self, branch: Branch, index: int) -> Branch:
        """The branch at a later one of its times."""
        while branch.index < index:
            branch = replace(branch, z=self._denoised(branch), index=branch.index + 1)
        return branch

    def _drag(self, branch: Branch, handles: Handles, done: int, idle: int) -> PointDragState:
        to = branch.inversion.times[branch.index + 1]
        last = None
        for last in point_drag(
            self.probe.backbone, branch.z, branch.t, self.probe.cond, handles, self.mask, self.settings.drag, reference=branch.undragged,
            reference_next=branch.inversion.path[branch.index + 1], t_next=to, kv=self.probe.kv, terms=self._terms(branch), idle=idle,
            should_stop=self.should_stop,
        ):  # fmt: skip
            if self.told is not None:
                self.told(last, done)
        if last is None:
            raise Interrupted("the drag was stopped before its first iteration")
        return last

    def _terms(self, branch: Branch) -> Sequence[Term]:
        return [guide.term(self.probe, branch, self._seen, self._kept) for guide in self.guides]

    @torch.no_grad()
    def _denoised(self, branch: Branch) -> Tensor:
        """The branch's latent one time further on."""
        probe, t, to = self.probe, branch.t, branch.inversion.times[branch.index + 1]
        if not probe.flow:
            return ddim_step(branch.z, probe.backbone.noise(branch.z, t, probe.cond, kv=probe.kv), probe.backbone.schedule, t, to)
        z = fireflow_step(velocity_of(probe.backbone, probe.cond, probe.guidance, probe.kv), start(branch.z, t), to).z
        if self.mask is None:
            return z
        return torch.where(self.mask.to(z.device) > 0, z, branch.inversion.path[branch.index + 1])

    def _undragged(self, inversion):
        """The inversion with the path that the undragged picture takes: its own, or what sampling makes of it, as published."""
        if self.probe.flow or self.settings.path == "inversion":
            return inversion
        path = reconstruct_ddim(self.probe.backbone, inversion, self.probe.cond, should_stop=self.should_stop)
        return replace(inversion, path=path)
