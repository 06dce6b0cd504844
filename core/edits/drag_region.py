"""A region drag of one state, on either kind of model: the latent moves until its features are the reference's, carried by the field.

The optimiser (region_drag.py) works on a flow; a UNet is seen as one, at the time that has as much noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..field import DragField
from ..model.attention import KVBank, KVSession
from ..model.mutual_attention import mutual_blocks
from ..optimise.guidance import Term
from ..optimise.region_drag import RegionDragSettings, region_drag
from ..optimise.supervision import Correspondence
from ..picture.evidence import FindShadow
from ..progress import ALONE, RunContext
from ..sampling.noise_as_flow import NoiseAsFlow
from ..sampling.sampler import FlowSampler, Sampler
from .guides import Guide
from .state import State
from .warm_start import emptied, warp_latent


def drag_region(
    sampler: Sampler,
    state: State,
    field: Correspondence,
    settings: RegionDragSettings,
    run: RunContext = ALONE,
    *,
    behind: Tensor | None = None,
    hold_attention: bool = True,
    own_share: float = 0.0,
    guides: Sequence[Guide] = (),
    terms: Sequence[Term] = (),
) -> Iterator[State]:
    """Drag `state` along `field`, at its own time; yields the state after every iteration.

    behind: what cells go back to once the region has left them, as a flow has it; None: the undragged latent.
    hold_attention: with the original's keys and values, of which own_share in [0, 1] is its own.  guides, terms: what else shall hold.
    """
    inversion, index = state.inversion, state.index
    t, z = inversion.level(index), inversion.to_flow(state.z, index)
    held, passes = _held_attention(sampler, state, own_share) if hold_attention else (None, 0)
    sampler = replace(sampler, kv=held)
    backbone = sampler.backbone
    if not sampler.flow:
        backbone = NoiseAsFlow(backbone)
        # Its maps are one value a latent cell already.
        settings = replace(settings, taps=settings.taps or backbone.taps, reference_grid="tokens")
    made = [guide.term(sampler, state, {}, of_region=True) for guide in guides]
    kept = state.kept
    if isinstance(field, DragField):
        alone = field.kept(size=(z.shape[-1], z.shape[-2]))
        kept = alone if kept is None else kept & alone
    total, passes = settings.transport_steps + settings.intensify_steps, passes + sum(count for _, count in made)
    mask, reference = state.open, None if state.cold else inversion.to_flow(state.undragged, index)
    for drag in region_drag(
        FlowSampler(backbone, sampler.cond, settings.guidance, held), z, t, field, mask, settings, reference=reference, behind=behind,
        t_next=inversion.level(index + 1), terms=[*terms, *(term for term, _ in made)], should_stop=run.should_stop,
    ):  # fmt: skip
        run.tell("drag", drag.step, total, drag.z, drag)
        dragged = inversion.from_flow(drag.z, index)
        yield state.moved_to(dragged, kept=kept, drag=drag, forward=passes + drag.nfe_forward, backward=drag.nfe_backward)
    run.check()


def left_behind(
    state: State, field: DragField, autoencoder=None, image: Tensor | None = None, *, find_shadow: FindShadow | None = None, seed: int = 0
) -> Tensor:
    """The undragged latent with what moves taken out, as a flow has it: what a region leaves. -> [1, C, h, w]

    image: [1, 3, H, W], the picture; None: as the autoencoder has it. Without an autoencoder the latent itself is filled, and only where
    nothing covers the place again.
    """
    inversion, t = state.inversion, state.inversion.level(state.index)
    z = inversion.to_flow(state.undragged, state.index)
    if autoencoder is None:
        vacated = field.vacated(1.0, (z.shape[-1], z.shape[-2])).to(z.device)
        return torch.where(vacated, warp_latent(z, t, field, z0=inversion.z0, seed=seed), z)
    picture = autoencoder.decode(inversion.z0) if image is None else image
    return emptied(autoencoder, picture, z, t, field, find_shadow=find_shadow, seed=seed)


@torch.no_grad()
def _held_attention(sampler: Sampler, state: State, own_share: float) -> tuple[KVSession | None, int]:
    """The original's keys and values: what its inversion remembered last, or, of a UNet, what its latent has where the drag begins."""
    bank = state.inversion.bank
    if sampler.flow:
        return (bank.hold(eta=own_share), 0) if bank.blocks else (None, 0)
    bank = KVBank(mutual_blocks(sampler.backbone))
    sampler.backbone.noise(state.undragged, int(state.t), sampler.cond, kv=bank.capture())
    return bank.hold(eta=own_share), 1
