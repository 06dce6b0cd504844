"""Our own method: start where the warp already is, let the model make it true, refine only where that pays.

Published numbers say that a warp gives the accuracy and the model the naturalness (design: one field, several engines). So the drag starts
from the picture warped by the field, at a noise level that leaves the layout open to the model: shadows, light, seams and the vacated
ground are denoised afresh around the region. Two clocks run: what moved is held to the warped evidence until `hold_until`, so that it
arrives and keeps its identity; from then on it is free too and settles into its place. What lies outside of the mask follows the inversion.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .backbone import Autoencoder, Conditioning, FlowBackbone
from .edit import Edit, inverted, paste_back, untouched
from .field import DragField
from .inversion import Inversion, InversionSettings, velocity_of
from .masks import grow, to_latent
from .operations import Drag
from .progress import Progress, Report, stop_if, tell
from .region_drag import DragState, RegionDragSettings, region_drag
from .solvers import FlowState, Velocity, fireflow_step, start
from .warm_start import WarmStart, make_warm_start


@dataclass(frozen=True)
class DragFieldSettings:
    """How `dragfield` edits.

    inversion: as for DragFlow.  guidance: while denoising.
    start_at: time in [0, 1] of the flow to start from; the sampling time nearest to it is taken. Higher leaves more to the model.
    hold_until: time until which what moved is held to the evidence.
    shadows: carry the region's cast shadow along in the start (shadow.py).
    detail: what the autoencoder loses of the warped picture is added to the result, where that shows the picture's own content. Needs
        `shadows`; the latent of the result does not have it.
    renew: "vacated" draws new noise only where the region was; "mask" wherever the mask is open and nothing moved in, so that old shadows
        go too.
    refine: region supervision of the start, before denoising; None: none.
    deformation: "stretch" keeps a dragged end connected, "rigid" is DragFlow's.
    stretch_length: how much material behind a dragged end gives, in multiples of the drag's length, see `Stretch`.
    margin: how far around the region, where it was and where it lands, the picture may change, as a fraction of its shorter side: room
        for shadows and seams.
    """

    inversion: InversionSettings = InversionSettings()
    guidance: float = 1.0
    start_at: float = 0.45
    hold_until: float = 0.0
    shadows: bool = True
    detail: bool = True
    renew: Literal["vacated", "mask"] = "vacated"
    refine: RegionDragSettings | None = None
    deformation: Literal["stretch", "rigid"] = "stretch"
    stretch_length: float = 0.5
    margin: float = 0.08
    paste_back: bool = True
    feather: float = 0.0
    seed: int = 0


def dragfield(
    backbone: FlowBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    source: Conditioning,
    target: Conditioning | None = None,
    settings: DragFieldSettings = DragFieldSettings(),
    *,
    inversion: Inversion | None = None,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Edit:
    """Edit `image` [1, 3, H, W] by a warm start from the field. Arguments as for `dragflow`."""
    began = time.perf_counter()
    target = target or source
    field = DragField.from_drag(drag, deformation=settings.deformation, stretch_length=settings.stretch_length)
    mask = open_mask(field, settings.margin * min(drag.size))
    inversion, spent = inverted(backbone, autoencoder, image, source, settings.inversion, inversion, report, should_stop)
    if not field.moves():
        return untouched(autoencoder, image, inversion, spent, began)
    cells = to_latent(mask, inversion.z.shape[-2:]).to(inversion.z.device)
    renew = cells if settings.renew == "mask" else None
    reach = settings.margin * min(drag.size) if settings.shadows else 0.0
    warm = make_warm_start(autoencoder, image, field, inversion.noise(), shadow_reach=reach, renew=renew, seed=settings.seed)

    first = inversion.index_at(settings.start_at)
    times, path = inversion.times[first:], inversion.path[first:]
    z = torch.where(cells, warm.at(times[0]), path[0])
    state: DragState | None = None
    if settings.refine is not None:
        for state in region_drag(
            backbone, z, times[0], target, field, cells, settings.refine, reference=path[0], behind=z, should_stop=should_stop
        ):
            z = state.z
            tell(report, Progress("drag", state.step, settings.refine.transport_steps + settings.refine.intensify_steps, z, state))
    velocity = velocity_of(backbone, target, settings.guidance, None)
    flow = start(z, times[0])
    for done, (to, kept) in enumerate(zip(times[1:], path[1:], strict=True), start=1):
        stop_if(should_stop)
        flow = _held_step(velocity, flow, to, cells, kept, warm, to >= settings.hold_until)
        tell(report, Progress("denoise", done, len(times) - 1, flow.z))
    with torch.no_grad():
        reconstruction, edited = autoencoder.decode(path[-1]), autoencoder.decode(flow.z)
        if settings.detail and warm.carried is not None:
            edited = (edited + lost_detail(autoencoder, warm).to(edited)).clamp(0, 1)
    return Edit(
        image=paste_back(edited, image, mask, settings.feather) if settings.paste_back else edited, z=flow.z, mask=mask,
        reconstruction=reconstruction, inversion=inversion, drag=state,
        nfe_forward=spent + flow.nfe + (state.nfe_forward if state else 0), nfe_backward=state.nfe_backward if state else 0,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


@torch.no_grad()
def lost_detail(autoencoder: Autoencoder, warm: WarmStart) -> Tensor:
    """What the autoencoder loses of the warped picture, where that is the picture's own content. -> [1, 3, H, W], 0 elsewhere."""
    lost = torch.from_numpy(warm.carried.image).permute(2, 0, 1)[None].to(warm.evidence) - autoencoder.decode(warm.evidence)
    return lost * torch.from_numpy(warm.carried.known()).to(lost)


def open_mask(field: DragField, margin: float) -> np.ndarray:
    """Where the picture may change: within `margin` px of what moved in or was left, less pins and what is not editable. bool [H, W]."""
    layout = field.layout()
    mask = grow((layout.moved | layout.vacated).numpy(), margin)
    if field.pinned is not None:
        mask &= ~field.pinned
    if field.editable is not None:
        mask &= field.editable
    if not mask.any():
        raise ValueError("nothing of the picture may change: the drag moves nothing, or its pins and editable area leave no room")
    return mask


@torch.no_grad()
def _held_step(
    velocity: Velocity, flow: FlowState, to: float, cells: Tensor, kept: Tensor, warm: WarmStart, hold: bool
) -> FlowState:
    """One FireFlow step; then the background is the path's and, while held, what moved is the evidence at the new time.

    Where a cell is held, the slope that the next step starts from is the evidence's own, noise - data.
    """
    flow = fireflow_step(velocity, flow, to)
    z = torch.where(cells, flow.z, kept)
    if not hold:
        return replace(flow, z=z)
    held = warm.moved & cells
    z = torch.where(held, warm.at(to), z)
    return replace(flow, z=z, velocity=torch.where(held, warm.noise - warm.evidence, flow.velocity))
