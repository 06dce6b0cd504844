"""Our own method: start where the warp already is, let the model make it true, refine only where that pays.

Published numbers say that a warp gives the accuracy and the model the naturalness (design: one field, several engines). So the drag starts
from the picture warped by the field (evidence.py), at a noise level that leaves the layout open to the model: shadows, light, seams and the
vacated ground are denoised afresh around the region. What moved is held to the evidence by *where* and by *when*: firmly inside, so that it
arrives and keeps its identity; not in a band along its edge, where it meets the ground or is joined to what stays; and, if asked, not at
all from a time on. What lies outside of the mask follows the inversion.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..choices import check_choices
from ..field import DragField, FieldSettings
from ..field.masks import grow, to_latent
from ..instruction.operations import Drag
from ..model.backbone import Autoencoder, Conditioning
from ..optimise.region_drag import RegionDragSettings
from ..picture.cast_shadow import Shadows, shadow_finder
from ..picture.compose import picture_of, tensor_of
from ..picture.cutout import Edges
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings
from ..sampling.sampler import sampler_of
from .denoise import denoise
from .drag_region import drag_region
from .edit import WHOLE, AnyBackbone, AnyInversion, Edit, Frame, check_picture, finished, inverted, untouched
from .state import DenoiseSettings, Held, State, begin, last
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
    field: how the drag becomes a field.
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
    field: FieldSettings = FieldSettings()
    margin: float = 0.08
    paste_back: bool = True
    feather: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_choices(self)

    def denoising(self) -> DenoiseSettings:
        """How the start becomes a picture."""
        return DenoiseSettings(guidance=self.guidance, attention=None)


def dragfield(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    source: Conditioning,
    target: Conditioning | None = None,
    settings: DragFieldSettings = DragFieldSettings(),
    *,
    inversion: AnyInversion | None = None,
    field: DragField | None = None,
    frame: Frame = WHOLE,
    run: RunContext = ALONE,
) -> Edit:
    """Edit `image` [1, 3, H, W] by a warm start from the field. Arguments as for `dragflow`.

    A frame needs none beside it: all of them start from the same noise, and see the same ground where the object stood.
    """
    began = time.perf_counter()
    target = target or source
    check_picture(image, autoencoder.factor)
    field = DragField.from_drag(drag, settings.field, picture=picture_of(image) if drag.points else None) if field is None else field
    field = field.between(0, frame.progress)
    mask = open_mask(field, settings.margin * min(field.size))
    inversion, spent = inverted(backbone, autoencoder, image, source, settings.inversion, inversion, run)
    if not field.moves():
        return untouched(autoencoder, image, inversion, spent, began)
    state = warm_started(autoencoder, image, field, inversion, mask, settings)
    if settings.refine is not None:
        behind = inversion.to_flow(state.z, state.index)
        sampler = sampler_of(backbone, target, guidance=settings.refine.guidance)
        state = last(drag_region(sampler, state, field, settings.refine, run, behind=behind, hold_attention=False), state)
    state = last(denoise(sampler_of(backbone, target, guidance=settings.guidance), state, run), state)
    with torch.no_grad():
        edited = state.held.detailed(autoencoder.decode(state.z))
    own = 0.0 if state.held.own is None else float(state.held.own[mask].mean())
    return finished(autoencoder, image, state, mask, settings, inversion, spent, began, edited, own, frame=frame, within=drag.free)


@torch.no_grad()
def warm_started(
    autoencoder: Autoencoder, image: Tensor, field: DragField, inversion: AnyInversion, mask: np.ndarray, settings: DragFieldSettings
) -> State:
    """The state that a warm start gives, at the time nearest to `settings.start_at`, with what is held of it.

    mask: bool [H, W], from `open_mask`.
    """
    cells = to_latent(mask, inversion.z.shape[-2:]).to(inversion.z.device)
    renew = cells if settings.renew == "mask" else None
    find_shadow = shadow_finder(settings.shadows, settings.margin * min(field.size))
    warm = make_warm_start(
        autoencoder, image, field, inversion.noise(), edges=settings.edges, find_shadow=find_shadow, renew=renew, seed=settings.seed
    )
    held = inner(warm.moved, settings.free_edge * warm.moved.shape[-1] / field.size[0]) & cells
    detail = own = None
    if settings.detail:
        own = own_share(warm, held if settings.hold_until == 0 else None, image)
        detail = lost_detail(autoencoder, warm, own)
    levels = [inversion.level(index) for index in range(len(inversion.times))]
    index = min(range(len(levels)), key=lambda i: abs(levels[i] - settings.start_at))
    state = begin(inversion, index, mask=cells, held=Held(warm, held, settings.hold_until, detail, own), denoising=settings.denoising())
    return state.moved_to(torch.where(cells, inversion.from_flow(warm.at(levels[index]), index), state.z))


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
    lost = tensor_of(warm.picture.image).to(warm.evidence) - autoencoder.decode(warm.evidence)
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
