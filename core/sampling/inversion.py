"""A picture carried to its noise once, to be edited many times (DragFlow sections 3.1 and 3.3).

    inversion = invert(backbone, autoencoder.encode(image), embed(prompt))

An `Inversion` holds the latent at every sampling time and what attention saw on the way. Walking it backwards is the reconstruction that
costs nothing: it ends exactly at the picture's own latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..choices import check_choices
from ..model.attention import KVBank, KVSession, Placement, choose_blocks
from ..model.backbone import Conditioning, FlowBackbone
from ..progress import ALONE, RunContext
from .schedules import Schedule, custom_schedule, flux_schedule, sampling_times
from .solvers import Velocity, fireflow_step, start


@dataclass(frozen=True)
class InversionSettings:
    """How a picture is carried to its noise. One inversion serves every edit with equal settings.

    steps, skip: FireFlow steps of the whole schedule, and how many of the noisiest are left out (DragFlow: 25 and 6).
    guidance: distilled guidance while inverting (1: none).  shifted: FLUX's shift by picture size (False for schnell).
    kv_blocks: where keys and values are remembered, see `choose_blocks`.  kv_text_in_single, kv_dtype, kv_placement: see `KVBank`.
    """

    steps: int = 25
    skip: int = 6
    guidance: float = 1.0
    shifted: bool = True
    kv_blocks: str | tuple = "auto"
    kv_text_in_single: bool = False
    kv_dtype: torch.dtype | None = None
    kv_placement: Placement = "device"

    def __post_init__(self) -> None:
        check_choices(self)

    @property
    def walked(self) -> int:
        """How many steps that are."""
        return self.steps - self.skip


@dataclass(frozen=True, eq=False)
class Inversion:
    """A picture on its way to noise: its latent at each sampling time, and what attention saw on the way.

    z0: [1, C, h, w].  times: descending sampling times, from `t` to 0.  path: the latent at each of them, path[-1] is z0.
    """

    z0: Tensor
    times: Schedule
    path: tuple[Tensor, ...]
    bank: KVBank
    settings: InversionSettings
    nfe: int
    flow = True

    @property
    def t(self) -> float:
        return self.times[0]

    @property
    def z(self) -> Tensor:
        """The inverted latent, at time t."""
        return self.path[0]

    def index_at(self, t: float) -> int:
        """Index of the sampling time nearest to t."""
        return min(range(len(self.times)), key=lambda i: abs(self.times[i] - t))

    def level(self, index: int) -> float:
        """Time of the flow at an index, in [0, 1]; what `times` themselves are here."""
        return self.times[index]

    def to_flow(self, z: Tensor, index: int) -> Tensor:
        """A latent of that index as a flow has it, (1 - t) picture + t noise: itself."""
        return z

    def from_flow(self, z: Tensor, index: int) -> Tensor:
        """The other way."""
        return z

    def sigma(self, index: int) -> float:
        """How much noise there is to one part of the picture, as ComfyUI's samplers count it."""
        return self.times[index]

    def noise(self, index: int = 0, z: Tensor | None = None) -> Tensor:
        """The noise that, mixed with the picture's latent, gives z, or path[index] for None: (z - (1 - t) z_0) / t."""
        t = self.times[index]
        return ((self.path[index] if z is None else z) - (1 - t) * self.z0) / t


@torch.no_grad()
def invert(
    backbone: FlowBackbone,
    z0: Tensor,
    cond: Conditioning,
    settings: InversionSettings = InversionSettings(),
    *,
    times: Schedule | None = None,
    run: RunContext = ALONE,
) -> Inversion:
    """Carry a latent z0 [1, C, h, w] along the flow to its noise by FireFlow, remembering keys and values (DragFlow 3.1, 3.3).

    times: a schedule from elsewhere in place of FLUX's own, falling to 0; of `settings` it overrules steps and shifted, while skip leaves
    out its noisiest steps too. Raises ValueError for one that `custom_schedule` refuses.
    """
    if times is None:
        schedule = flux_schedule(z0.shape[-2] * z0.shape[-1] // backbone.patch**2, settings.steps, shifted=settings.shifted)
    else:
        schedule = custom_schedule(times)
    times = sampling_times(schedule, settings.skip)
    bank = KVBank(
        choose_blocks(settings.kv_blocks, backbone.double_blocks, backbone.single_blocks),
        text_in_single=settings.kv_text_in_single, dtype=settings.kv_dtype, placement=settings.kv_placement,
    )  # fmt: skip
    capture = bank.capture() if bank.blocks else None
    velocity = velocity_of(backbone, cond, settings.guidance, capture)
    state = start(z0, times[-1])
    path = [z0]
    for done, to in enumerate(times[-2::-1], start=1):
        run.check()
        state = fireflow_step(velocity, state, to)
        path.append(state.z)
        run.tell("invert", done, len(times) - 1, state.z)
    return Inversion(z0, times, tuple(reversed(path)), bank, settings, state.nfe)


@torch.no_grad()
def reconstruct(
    backbone: FlowBackbone,
    inversion: Inversion,
    cond: Conditioning,
    *,
    guidance: float = 1.0,
    kv: KVSession | None = None,
    run: RunContext = ALONE,
) -> tuple[Tensor, ...]:
    """Denoise the inverted latent itself: the latent at each sampling time, the last being the reconstruction of z0."""
    velocity = velocity_of(backbone, cond, guidance, kv)
    state = start(inversion.z, inversion.t)
    path = [state.z]
    for to in inversion.times[1:]:
        run.check()
        state = fireflow_step(velocity, state, to)
        path.append(state.z)
    return tuple(path)


def velocity_of(backbone: FlowBackbone, cond: Conditioning, guidance: float, kv: KVSession | None) -> Velocity:
    return lambda z, t: backbone.velocity(z, t, cond, guidance=guidance, kv=kv)
