"""Our own method: start where the warp already is, let the model make it true, refine only where that pays.

Published numbers say that a warp gives the accuracy and the model the naturalness (design: one field, several engines). So the drag starts
from the picture warped by the field (evidence.py), at a noise level that leaves the layout open to the model: shadows, light, seams and the
vacated ground are denoised afresh around the region. What moved is held to the evidence by *where* and by *when*: firmly inside, so that it
arrives and keeps its identity; not in a band along its edge, where it meets the ground or is joined to what stays; and, if asked, not at
all from a time on. What lies outside of the mask follows the inversion.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..field import DragField
from ..field.masks import grow, to_latent
from ..instruction.operations import Drag
from ..model.backbone import Autoencoder, Conditioning, FlowBackbone
from ..optimise.region_drag import DragState, RegionDragSettings, region_drag
from ..picture.cast_shadow import Shadows, shadow_finder
from ..picture.compose import paste_back, picture_of
from ..picture.cutout import Edges
from ..progress import Progress, Report, stop_if, tell
from ..sampling.inversion import Inversion, InversionSettings, velocity_of
from ..sampling.solvers import FlowState, Velocity, fireflow_step, start
from .edit import Edit, inverted, untouched
from .warm_start import WarmStart, make_warm_start


@dataclass(frozen=True)
class DragFieldSettings:
    """How `dragfield` edits.

    inversion: as for DragFlow.  guidance: while denoising.
    start_at: time in [0, 1] of the flow to start from; the sampling time nearest to it is taken. Higher leaves more to the model.
    hold_until: time above which what moved is held to the evidence; below, it settles freely. 0: held to the end.
    free_edge: width of the band along the edge of what moved, inside of it, that is not held, in px of the picture; 0: none. It follows the
        outline that the field gives it, joints to what stays included.
    edges: "drawn" moves a region as it was drawn, "snapped" what of it can be told from the ground (cutout.py).
    shadows: "none", or "detected": the region's cast shadow, as far as one can be made out, goes along in the start (cast_shadow.py).
    detail: what the autoencoder loses of the warped picture is added to the result, where that shows the picture's own content and is
        held to it; `Edit.own_pixels` says how much of the mask that is. The latent of the result does not have it.
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
    free_edge: float = 0.0
    edges: Edges = "drawn"
    shadows: Shadows = "none"
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
    field = DragField.from_drag(
        drag, deformation=settings.deformation, stretch_length=settings.stretch_length, picture=picture_of(image) if drag.points else None
    )
    mask = open_mask(field, settings.margin * min(drag.size))
    inversion, spent = inverted(backbone, autoencoder, image, source, settings.inversion, inversion, report, should_stop)
    if not field.moves():
        return untouched(autoencoder, image, inversion, spent, began)
    cells = to_latent(mask, inversion.z.shape[-2:]).to(inversion.z.device)
    renew = cells if settings.renew == "mask" else None
    find_shadow = shadow_finder(settings.shadows, settings.margin * min(drag.size))
    warm = make_warm_start(
        autoencoder, image, field, inversion.noise(), edges=settings.edges, find_shadow=find_shadow, renew=renew, seed=settings.seed
    )
    held = inner(warm.moved, settings.free_edge * warm.moved.shape[-1] / drag.size[0]) & cells

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
        flow = _held_step(velocity, flow, to, cells, kept, warm, held if to >= settings.hold_until else None)
        tell(report, Progress("denoise", done, len(times) - 1, flow.z))
    with torch.no_grad():
        reconstruction, edited = autoencoder.decode(path[-1]), autoencoder.decode(flow.z)
        own = 0.0
        if settings.detail:
            share = own_share(warm, held if settings.hold_until == 0 else None, image)
            edited = (edited + lost_detail(autoencoder, warm, share).to(edited)).clamp(0, 1)
            own = float(share[mask].mean())
    return Edit(
        image=paste_back(edited, image, mask, settings.feather) if settings.paste_back else edited, z=flow.z, mask=mask,
        reconstruction=reconstruction, inversion=inversion, drag=state,
        nfe_forward=spent + flow.nfe + (state.nfe_forward if state else 0), nfe_backward=state.nfe_backward if state else 0,
        seconds=time.perf_counter() - began, own_pixels=own,
    )  # fmt: skip


def inner(moved: Tensor, depth: float) -> Tensor:
    """What of `moved`, bool [h, w], lies deeper than `depth` cells inside of it. All of it at 0; nothing where it is that thin."""
    if depth <= 0:
        return moved
    return torch.from_numpy(~grow(~moved.cpu().numpy(), depth)).to(moved.device)


def own_share(warm: WarmStart, held: Tensor | None, image: Tensor) -> np.ndarray:
    """How much of each pixel is the picture's own in the result: what stayed, and what moved in and was held to the end.

    held: bool [h, w], cells; None: what moved was let go. -> float32 [H, W] in [0, 1].
    """
    known = warm.picture.known()
    moved = warm.picture.moved
    if held is None:
        return np.where(moved > 0, 0, known).astype(np.float32)
    firm = interpolate(held[None, None].float().cpu(), image.shape[-2:], mode="nearest")[0, 0].numpy()
    return np.where(moved > 0, known * firm, known).astype(np.float32)


@torch.no_grad()
def lost_detail(autoencoder: Autoencoder, warm: WarmStart, share: np.ndarray) -> Tensor:
    """What the autoencoder loses of the warped picture, as far as `share` [H, W] says. -> [1, 3, H, W]."""
    lost = torch.from_numpy(warm.picture.image).permute(2, 0, 1)[None].to(warm.evidence) - autoencoder.decode(warm.evidence)
    return lost * torch.from_numpy(share).to(lost)


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
    velocity: Velocity, flow: FlowState, to: float, cells: Tensor, kept: Tensor, warm: WarmStart, held: Tensor | None
) -> FlowState:
    """One FireFlow step; then the background is the path's and the cells `held`, bool [h, w], are the evidence at the new time.

    Where a cell is held, the slope that the next step starts from is the evidence's own, noise - data.
    """
    flow = fireflow_step(velocity, flow, to)
    z = torch.where(cells, flow.z, kept)
    if held is None:
        return replace(flow, z=z)
    z = torch.where(held, warm.at(to), z)
    return replace(flow, z=z, velocity=torch.where(held, warm.noise - warm.evidence, flow.velocity))
