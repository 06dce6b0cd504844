"""Whole edits assembled from the parts: invert once, drag, denoise, paste back (DragFlow section 3). Ours is in dragfield.py.

    inversion = invert(backbone, autoencoder.encode(image), source, settings)
    edit = dragflow(backbone, autoencoder, image, drag, source, settings=settings, inversion=inversion)
    edit = dragfield(backbone, autoencoder, image, another_drag, source, inversion=inversion)   # inverts nothing again

Convention: image is [1, 3, H, W] in [0, 1], its sides multiples of the autoencoder's factor; the drag is in its pixels; masks are bool
[H, W] or [h, w].
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
from ..field.masks import adaptive_gradient_mask, to_latent, whole_tokens
from ..field.moves import RegionMove
from ..instruction.operations import Drag
from ..model.attention import KVSession, Pairing, Rounds
from ..model.backbone import Autoencoder, Conditioning, FlowBackbone
from ..optimise.published_regions import PublishedRegions
from ..optimise.region_drag import PUBLISHED as PUBLISHED_DRAG
from ..optimise.region_drag import DragState, RegionDragSettings, region_drag
from ..optimise.supervision import cut_shape
from ..picture.cast_shadow import Shadows, shadow_finder
from ..picture.compose import paste_back, picture_of
from ..picture.evidence import FindShadow
from ..progress import Interrupted, Progress, Report, stop_if, tell
from ..sampling.inversion import Inversion, InversionSettings, invert, reconstruct, velocity_of
from ..sampling.masked import masked_denoise
from .warm_start import emptied, warp_latent

SHADED = 0.97
"""Share of light left below which a place counts as a region's shadow."""


@dataclass(frozen=True)
class DragFlowSettings:
    """DragFlow as a whole. Defaults: the preset `tuned`; `PUBLISHED`: what the published code does, quirks included.

    drag: the optimisation (transport, intensify, rates, taps, background constraint).
    guidance: while denoising the edit; recon_guidance: while denoising the reconstruction.
    recon_path: what the background follows. "inversion" replays the inversion's own states, which costs nothing and ends exactly at the
        picture's latent; "sample" denoises the undragged latent in lockstep (published).
    recon_prompt: prompt of that lockstep branch, "source" or "target" (published).
    kv, kv_pairing, kv_eta, kv_rounds, kv_except_last: whether and how remembered keys and values are injected, see `KVBank.replay`.
    kv_where: while denoising, into which tokens. "kept": those of what neither moves nor is covered or left by what moves: what is
        remembered of the others belongs to the picture as it was; "all" (published).
    rounding: "cut" rounds a region's centroid, target and anchor to whole cells of the cut map (published); "exact" does not.
    ties: which cells belong to a moved region. "grid_sample": float32 sampling decides, as published, about cells half of which do, and
        every region counts for itself; "exact": those half inside do, and what another region covers does not.
    masks_at: "picture": the drag is given in the picture's own pixels, even where the working picture is smaller (published: sides are cut
        to multiples of 16, masks are not); "working": in those of the working picture.
    deformation: "stretch" supervises the material behind a dragged end too, so that it stays connected; "rigid" moves the end alone
        (published).
    vacated: what a relocated or rotated region leaves behind. "renew": the roughly filled ground, noised to the same level with `seed`;
        "keep": what was there (published), so that the thing easily comes back at its old place.
    shadows: "detected": a region's cast shadow is carried with it, as part of the region, and renewed; "none": only what was drawn
        (published), since on real frames most that is detected is none.
    shadow_reach: how far from the region its cast shadow is looked for, as a fraction of the picture's shorter side.
    hard_mask: False drops the background constraint everywhere (an ablation).
    mask_margin: by how much the gradient mask grows, as a fraction of the picture's shorter side (0 is the paper's).
    paste_back: keep every pixel outside of the feathered mask bit for bit.  feather: px over which the edit fades into the picture.
    """

    inversion: InversionSettings = InversionSettings()
    drag: RegionDragSettings = RegionDragSettings()
    guidance: float = 3.5
    recon_guidance: float = 1.0
    recon_path: Literal["inversion", "sample"] = "inversion"
    recon_prompt: Literal["source", "target"] = "source"
    kv: bool = True
    kv_pairing: Pairing = "matched"
    kv_eta: float = 0.0
    kv_rounds: Rounds = "all"
    kv_except_last: int = 0
    kv_where: Literal["kept", "all"] = "kept"
    rounding: Literal["exact", "cut"] = "exact"
    ties: Literal["exact", "grid_sample"] = "exact"
    masks_at: Literal["working", "picture"] = "working"
    deformation: Literal["stretch", "rigid"] = "stretch"
    vacated: Literal["renew", "keep"] = "renew"
    shadows: Shadows = "none"
    shadow_reach: float = 0.08
    seed: int = 0
    hard_mask: bool = True
    mask_margin: float = 0.08
    paste_back: bool = True
    feather: float = 0.0


PUBLISHED = DragFlowSettings(
    inversion=InversionSettings(kv_blocks="non_ridge", kv_text_in_single=True),
    drag=PUBLISHED_DRAG,
    recon_path="sample",
    recon_prompt="target",
    kv_pairing="lifo",
    kv_where="all",
    rounding="cut",
    ties="grid_sample",
    masks_at="picture",
    deformation="rigid",
    vacated="keep",
    mask_margin=0.0,
    paste_back=False,
)


@dataclass(frozen=True, eq=False)
class Edit:
    """The outcome of an edit.

    image: [1, 3, H, W] in [0, 1].  z: its latent before decoding.  mask: bool [H, W], where the picture was allowed to change.
    reconstruction: the undragged branch decoded.  inversion: to be handed to the next edit of this picture.
    drag: the last state of the optimisation, None where there was none.  nfe_forward, nfe_backward: network passes of this edit, an
    inversion that was handed in not counted.  seconds: wall time.  own_pixels: how much of the mask shows the picture's own pixels, pasted
    there or kept, in [0, 1]; what the model made alone is 0.
    """

    image: Tensor
    z: Tensor
    mask: np.ndarray
    reconstruction: Tensor
    inversion: Inversion
    drag: DragState | None
    nfe_forward: int
    nfe_backward: int
    seconds: float
    own_pixels: float = 0.0


def dragflow(
    backbone: FlowBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    source: Conditioning,
    target: Conditioning | None = None,
    settings: DragFlowSettings = DragFlowSettings(),
    *,
    inversion: Inversion | None = None,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Edit:
    """DragFlow: region-affine optimisation of the inverted latent, then gradient-masked denoising (paper section 3).

    source: prompt of the picture (inversion, reconstruction).  target: prompt of the edit; None: the same.
    inversion: of this picture, from an earlier edit with equal inversion settings.  Raises Interrupted when should_stop() says so.
    """
    began = time.perf_counter()
    target = target or source
    check_picture(image, autoencoder.factor)
    field = supervised(drag, (image.shape[-1], image.shape[-2]), settings)
    mask = adaptive_gradient_mask(drag, margin=settings.mask_margin * min(drag.size))
    inversion, spent = inverted(backbone, autoencoder, image, source, settings.inversion, inversion, report, should_stop)
    if not field.moves():
        return untouched(autoencoder, image, inversion, spent, began)
    cells = to_latent(mask, inversion.z.shape[-2:]).to(inversion.z.device)
    movable = cells if settings.hard_mask else None

    behind, find_shadow = inversion.z, shadow_finder(settings.shadows, settings.shadow_reach * min(drag.size))
    if find_shadow is not None:
        field = with_shadows(field, image, find_shadow)
    if settings.vacated == "renew":
        moved = DragField.from_drag(drag, deformation="stretch")
        behind = emptied(autoencoder, image, inversion.z, inversion.t, moved, find_shadow=find_shadow, seed=settings.seed)
    state = None
    for state in region_drag(
        backbone, inversion.z, inversion.t, target, field, movable, settings.drag,
        behind=behind, t_next=inversion.times[1], kv=_hold(inversion, settings), should_stop=should_stop,
    ):  # fmt: skip
        total = settings.drag.transport_steps + settings.drag.intensify_steps
        tell(report, Progress("drag", state.step, total, state.z, state))
    stop_if(should_stop)
    if state is None:
        raise Interrupted("the edit was stopped before its first drag iteration")
    path, recon_nfe = _background_path(backbone, inversion, source, target, settings, should_stop)
    kv = replay_of(inversion, settings, field, backbone.patch)
    z, nfe = _denoised(backbone, state.z, target, settings.guidance, inversion.times, movable, path, kv, report, should_stop)
    return Edit(
        image=pictured(autoencoder, z, image, mask, settings.paste_back, settings.feather), z=z, mask=mask,
        reconstruction=autoencoder.decode(path[-1]), inversion=inversion, drag=state,
        nfe_forward=spent + state.nfe_forward + recon_nfe + nfe, nfe_backward=state.nfe_backward,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def supervised(drag: Drag, working: tuple[int, int], settings: DragFlowSettings) -> DragField | PublishedRegions:
    """What region supervision reads for a working picture of (width, height) px. Raises ValueError for settings that don't go together."""
    if drag.size != working and settings.masks_at == "working":
        raise ValueError(
            f"the drag is drawn on {drag.size[0]} x {drag.size[1]} px and the working picture has {working[0]} x {working[1]}: rasterise "
            "it at that size, or use masks_at = 'picture'"
        )
    if drag.size != working and settings.paste_back:
        raise ValueError("paste_back needs the drag in the working picture's pixels: use masks_at = 'working', or paste_back = False")
    cut = cut_shape(working)
    if settings.ties == "grid_sample":
        if settings.deformation == "stretch" or settings.shadows != "none" or (settings.kv and settings.kv_where == "kept"):
            raise ValueError(
                "ties = 'grid_sample' knows rigid regions alone: use deformation = 'rigid', shadows = 'none' and kv_where = 'all' with it"
            )
        return PublishedRegions(drag, cut, rounded=settings.rounding == "cut")
    return DragField.from_drag(drag, deformation=settings.deformation, rounded_at=cut if settings.rounding == "cut" else None)


def with_shadows(field: DragField, image: Tensor, find_shadow: FindShadow) -> DragField:
    """The field with each region that is shifted as a whole grown by its cast shadow.

    Not where a region turns: the light does not turn with it, nor does its shadow. Not where what lies behind it gives: there the
    region is a part of a thing, and beside it is the rest of the thing.
    """
    picture = picture_of(image)

    def grown(move: RegionMove) -> RegionMove:
        if move.motion.angle or move.stretch is not None:
            return move
        alpha = move.mask.astype(np.float32)
        shadow = find_shadow(picture, alpha)
        return move if shadow is None else replace(move, mask=move.mask | (shadow.lifted(alpha) < SHADED))

    return replace(field, regions=tuple(grown(move) for move in field.regions))


def latent_copy_paste(
    backbone: FlowBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    source: Conditioning,
    target: Conditioning | None = None,
    settings: DragFlowSettings = DragFlowSettings(),
    *,
    inversion: Inversion | None = None,
    seed: int = 0,
) -> Edit:
    """RegionDrag's gradient-free edit on a flow model: carry the inverted latent's cells, renew the vacated ones, denoise.

    Keys and values are injected and the background is kept as in `dragflow`; only the optimisation is missing.
    """
    began = time.perf_counter()
    target = target or source
    mask = adaptive_gradient_mask(drag, margin=settings.mask_margin * min(drag.size))
    inversion, spent = inverted(backbone, autoencoder, image, source, settings.inversion, inversion, None, None)
    field = DragField.from_drag(drag)
    if not field.moves():
        return untouched(autoencoder, image, inversion, spent, began)
    cells = to_latent(mask, inversion.z.shape[-2:]).to(inversion.z.device)
    z = torch.where(cells, warp_latent(inversion.z, inversion.t, field, z0=inversion.z0, seed=seed), inversion.z)
    kv = replay_of(inversion, settings, field, backbone.patch)
    z, nfe = _denoised(backbone, z, target, settings.guidance, inversion.times, cells, inversion.path, kv, None, None)
    return Edit(
        image=pictured(autoencoder, z, image, mask, settings.paste_back, settings.feather), z=z, mask=mask,
        reconstruction=autoencoder.decode(inversion.path[-1]), inversion=inversion, drag=None,
        nfe_forward=spent + nfe, nfe_backward=0, seconds=time.perf_counter() - began,
    )  # fmt: skip


@torch.no_grad()
def untouched(autoencoder: Autoencoder, image: Tensor, inversion: Inversion, spent: int, began: float) -> Edit:
    """The outcome of a drag that moves nothing: the picture itself."""
    nowhere = np.zeros(image.shape[-2:], bool)
    whole = autoencoder.decode(inversion.z0)
    return Edit(image.clone(), inversion.z0, nowhere, whole, inversion, None, spent, 0, time.perf_counter() - began)


def check_picture(image: Tensor, factor: int) -> None:
    """Raises ValueError for what is not one picture whose sides are multiples of `factor`."""
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[-2] % factor or image.shape[-1] % factor:
        raise ValueError(
            f"the picture has shape {list(image.shape)}; an edit takes [1, 3, H, W] with H and W multiples of {factor}: "
            "crop or pad it first, and edit a batch one by one"
        )


def inverted(backbone, autoencoder, image, source, settings, given, report, should_stop) -> tuple[Inversion, int]:
    """The inversion to use and the network calls it cost now. Refuses one that was made with other settings or another size."""
    check_picture(image, autoencoder.factor)
    factor = autoencoder.factor
    height, width = image.shape[-2:]
    if given is None:
        with torch.no_grad():
            z0 = autoencoder.encode(image)
        made = invert(backbone, z0, source, settings, report=report, should_stop=should_stop)
        return made, made.nfe
    if given.settings != settings:
        raise ValueError(f"the inversion was made with {given.settings}, this edit wants {settings}: invert again")
    if given.z.shape[-2:] != (height // factor, width // factor):
        raise ValueError(
            f"the inversion is of a {given.z.shape[-1] * factor} x {given.z.shape[-2] * factor} px picture, this one is "
            f"{width} x {height} px: invert this picture"
        )
    return given, 0


def _hold(inversion: Inversion, settings: DragFlowSettings) -> KVSession | None:
    if not settings.kv or not inversion.bank.blocks or settings.kv_rounds == "after_drag":
        return None
    return inversion.bank.hold(eta=settings.kv_eta)


def replay_of(inversion: Inversion, settings: DragFlowSettings, field: DragField | None = None, patch: int = 1) -> KVSession | None:
    """What is injected while denoising from the inversion's time on; None: nothing.

    field: of the edit, with shadows and all; None while the undragged picture is denoised.  patch: latent cells per token side.
    """
    if not settings.kv or not inversion.bank.blocks:
        return None
    where = None
    if field is not None and settings.kv_where == "kept":
        where = whole_tokens(field.kept(size=(inversion.z.shape[-1], inversion.z.shape[-2])), patch)
    return inversion.bank.replay(
        settings.kv_pairing, eta=settings.kv_eta, rounds=settings.kv_rounds, except_last=settings.kv_except_last, where=where
    )


def _background_path(backbone, inversion, source, target, settings, should_stop) -> tuple[tuple[Tensor, ...], int]:
    if settings.recon_path == "inversion":
        return inversion.path, 0
    prompt = target if settings.recon_prompt == "target" else source
    kv = replay_of(inversion, settings)
    path = reconstruct(backbone, inversion, prompt, guidance=settings.recon_guidance, kv=kv, should_stop=should_stop)
    return path, len(inversion.times)


def _denoised(backbone, z, cond, guidance, times, mask, path, kv, report, should_stop) -> tuple[Tensor, int]:
    state = None
    for done, state in enumerate(masked_denoise(velocity_of(backbone, cond, guidance, kv), z, times, mask, path), start=1):
        tell(report, Progress("denoise", done, len(times) - 1, state.z))
        stop_if(should_stop)
    return state.z, state.nfe


def pictured(autoencoder, z: Tensor, image: Tensor, mask: np.ndarray, paste: bool, radius: float) -> Tensor:
    """The latent decoded, at the picture's size, pasted into the picture or not."""
    with torch.no_grad():
        edited = autoencoder.decode(z)
    if edited.shape[-2:] != image.shape[-2:]:
        edited = interpolate(edited, image.shape[-2:], mode="bilinear", align_corners=False)
    return paste_back(edited, image, mask, radius) if paste else edited
