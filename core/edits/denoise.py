"""From a state to the picture, the background along the inversion's own way (DragFlow section 3, DirectDrag section 1).

One engine for both kinds of models: a flow walks by FireFlow and reads the keys and values that its inversion remembered; a UNet walks by
DDIM, and the undragged latent is looked at beside each step, since its inversion remembers nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..field.masks import whole_tokens
from ..model.attention import KVBank, KVSession
from ..model.mutual_attention import mutual_blocks
from ..progress import ALONE, RunContext
from ..sampling.ddim_inversion import reconstruct_ddim
from ..sampling.inversion import reconstruct
from ..sampling.sampler import Sampler, Walk
from .state import DenoiseSettings, State


@torch.no_grad()
def denoise(
    sampler: Sampler,
    state: State,
    run: RunContext = ALONE,
    *,
    settings: DenoiseSettings | None = None,
    until: int | None = None,
    original: Sampler | None = None,
) -> Iterator[State]:
    """From `state` on, to the picture or to the time of index `until`; yields the state after every step.

    settings: None for the state's own.  original: the prompt that the picture was inverted with, for what is looked at; None: `sampler`'s.
    Outside of the state's mask the latent is the inversion's after every step, and what is held is the evidence's. How far a step had
    led away there is known before that, at no cost: `State.strayed` is the root mean square of it, added up over the steps, as a part of
    the picture's latent's. Near 0 the model comes back to the picture by itself; where it is large, what is made inside of the mask
    belongs to another picture than what is held outside.
    """
    settings = settings or state.denoising
    times = state.inversion.times
    end = len(times) - 1 if until is None else until
    looks = _Looks(sampler, original or sampler, state, settings)
    walk = sampler.walk(state.z, state.t, state.slope)
    for index in range(state.index + 1, end + 1):
        run.check()
        kv, passes = looks.at(index - 1)
        before = walk.nfe
        walk = sampler.step(walk, times[index], kv)
        strayed = _strayed(walk, state, index, settings)
        walk = _held(walk, state, index, settings)
        state = state.moved_to(walk.z, index=index, slope=walk.slope, forward=walk.nfe - before + passes, strayed=strayed)
        run.tell("denoise", index - state.first, len(times) - 1 - state.first, state.z)
        yield state


def undragged_path(original: Sampler, state: State, settings: DenoiseSettings, run: RunContext = ALONE) -> State:
    """The state with the path that sampling makes of the undragged picture, as published, instead of the inversion's own.

    original: model, prompt and guidance of that.  settings: how it looks at what the inversion remembered.
    """
    inversion = state.inversion
    if original.flow:
        kv = _remembered(inversion.bank, settings, None)
        path = reconstruct(original.backbone, inversion, original.cond, guidance=original.guidance, kv=kv, run=run)
        passes = len(inversion.times)
    else:
        path = reconstruct_ddim(original.backbone, inversion, original.cond, run=run)
        passes = len(inversion.times) - 1
    z = path[state.index] if state.cold else state.z
    return state.moved_to(z, inversion=replace(inversion, path=path), forward=passes)


def _remembered(bank: KVBank, settings: DenoiseSettings, where: Tensor | None) -> KVSession | None:
    if settings.attention is None or not bank.blocks:
        return None
    return bank.replay(
        settings.attention, eta=settings.own_share, rounds=settings.rounds, except_last=settings.except_last, where=where
    )


class _Looks:
    """What each step sees of the original."""

    def __init__(self, sampler: Sampler, original: Sampler, state: State, settings: DenoiseSettings) -> None:
        self._original, self._path, self._times = original, state.inversion.path, state.inversion.times
        self._share, self._session, self._bank = settings.own_share, sampler.kv, None
        if sampler.flow:
            if sampler.kv is None:
                alone = settings.inject_into == "kept" and state.kept is not None
                where = whole_tokens(state.kept, sampler.backbone.patch) if alone else None
                self._session = _remembered(state.inversion.bank, settings, where)
        elif settings.attention is not None:
            self._bank = KVBank(mutual_blocks(sampler.backbone, settings.first))

    def at(self, index: int) -> tuple[KVSession | None, int]:
        """For the step from that index, and the passes it took."""
        if self._bank is None:
            return self._session, 0
        self._bank.entries.clear()
        t = int(self._times[index])
        self._original.backbone.noise(self._path[index], t, self._original.cond, kv=self._bank.capture())
        return self._bank.hold(eta=self._share), 1


def _strayed(walk: Walk, state: State, index: int, settings: DenoiseSettings) -> Tensor | None:
    """`State.strayed` after a step; a number on the device, which nobody waits for."""
    if not settings.hold or state.open is None:
        return state.strayed
    inversion, outside = state.inversion, (~state.open).to(walk.z)
    off = ((walk.z - inversion.path[index]).square() * outside).sum() / (outside.sum().clamp(min=1) * walk.z.shape[1])
    off = (off / inversion.z0.square().mean()).sqrt()
    return off if state.strayed is None else state.strayed + off


def _held(walk: Walk, state: State, index: int, settings: DenoiseSettings) -> Walk:
    """After a step: the path's latent outside of the mask, and what is held."""
    z, inversion, held = walk.z, state.inversion, state.held
    if settings.hold and state.open is not None:
        z = torch.where(state.open, z, inversion.path[index])
    if held is None or inversion.level(index) < held.until:
        return replace(walk, z=z)
    z = torch.where(held.cells, inversion.from_flow(held.warm.at(inversion.level(index)), index), z)
    if walk.slope is None:
        return replace(walk, z=z)
    # The slope that the next step starts from is the evidence's own, noise - data.
    return replace(walk, z=z, velocity=torch.where(held.cells, held.warm.noise - held.warm.evidence, walk.slope))
