"""DragFlow as a whole: invert once, drag regions, denoise, paste back (DragFlow section 3).

    inversion = invert(backbone, autoencoder.encode(image), source, settings)
    edit = dragflow(backbone, autoencoder, image, drag, source, settings=settings, inversion=inversion)
    edit = dragfield(backbone, autoencoder, image, another_drag, source, inversion=inversion)   # inverts nothing again

Convention: image is [1, 3, H, W] in [0, 1], its sides multiples of the autoencoder's factor; the drag is in its pixels; masks are bool
[H, W] or [h, w].
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..choices import check_choices
from ..field import DragField, FieldSettings
from ..field.masks import adaptive_gradient_mask, to_latent
from ..field.moves import RegionMove
from ..field.partway import partway
from ..instruction.operations import Drag
from ..model.attention import Pairing, Rounds
from ..model.backbone import Autoencoder, Conditioning
from ..optimise.published_regions import PublishedRegions
from ..optimise.region_drag import PUBLISHED as PUBLISHED_DRAG
from ..optimise.region_drag import RegionDragSettings
from ..optimise.supervision import cut_shape
from ..picture.cast_shadow import Shadows, shadow_finder
from ..picture.compose import picture_of
from ..picture.evidence import FindShadow
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings
from ..sampling.sampler import sampler_of
from .denoise import denoise, undragged_path
from .drag_region import drag_region, left_behind
from .edit import WHOLE, AnyBackbone, AnyInversion, Edit, Frame, check_picture, finished, inverted, untouched
from .state import DenoiseSettings, Tokens, begin, last
from .warm_start import warp_latent

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
    field: how the drag becomes a field; "rigid" deformation is published.
    vacated: what a relocated or rotated region leaves behind. "renew": the roughly filled ground, noised to the same level with `seed`;
        "keep": what was there (published), so that the object easily comes back at its old place.
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
    kv_where: Tokens = "kept"
    rounding: Literal["exact", "cut"] = "exact"
    ties: Literal["exact", "grid_sample"] = "exact"
    masks_at: Literal["working", "picture"] = "working"
    field: FieldSettings = FieldSettings()
    vacated: Literal["renew", "keep"] = "renew"
    shadows: Shadows = "none"
    shadow_reach: float = 0.08
    seed: int = 0
    hard_mask: bool = True
    mask_margin: float = 0.08
    paste_back: bool = True
    feather: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self)

    @property
    def holds_attention(self) -> bool:
        """Whether remembered keys and values are injected while dragging."""
        return self.kv and self.kv_rounds != "after_drag"

    def denoising(self) -> DenoiseSettings:
        """How the dragged state becomes a picture."""
        return DenoiseSettings(
            guidance=self.guidance, attention=self.kv_pairing if self.kv else None, own_share=self.kv_eta, rounds=self.kv_rounds,
            except_last=self.kv_except_last, inject_into=self.kv_where, hold=self.hard_mask,
        )  # fmt: skip


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
    field=FieldSettings(deformation="rigid"),
    vacated="keep",
    mask_margin=0.0,
    paste_back=False,
)


def dragflow(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    source: Conditioning,
    target: Conditioning | None = None,
    settings: DragFlowSettings = DragFlowSettings(),
    *,
    inversion: AnyInversion | None = None,
    field: DragField | None = None,
    frame: Frame = WHOLE,
    run: RunContext = ALONE,
) -> Edit:
    """DragFlow: region-affine optimisation of the inverted latent, then gradient-masked denoising (paper section 3).

    source: prompt of the picture (inversion, reconstruction).  target: prompt of the edit; None: the same.
    inversion: of this picture, from an earlier edit with equal inversion settings.  field: instead of the one that the drag asks for.
    frame: of an animation; the drag goes on from where the one beside it has got to.
    A model that predicts noise is inverted and denoised by DDIM. Raises Interrupted when the run shall end.
    """
    began = time.perf_counter()
    target = target or source
    check_picture(image, autoencoder.factor)
    before = None if frame.beside is None else frame.beside.dragged
    begun = 0.0 if before is None else frame.beside.progress
    supervision = supervised(drag, (image.shape[-1], image.shape[-2]), settings, field).between(begun, frame.progress)
    mask = adaptive_gradient_mask(partway(drag, frame.progress), margin=settings.mask_margin * min(drag.size))
    inversion, spent = inverted(backbone, autoencoder, image, source, settings.inversion, inversion, run)
    if not supervision.moves():
        return untouched(autoencoder, image, inversion, spent, began)
    find_shadow = shadow_finder(settings.shadows, settings.shadow_reach * min(drag.size))
    if find_shadow is not None:
        supervision = with_shadows(supervision, image, find_shadow)
    cells = to_latent(mask, inversion.z.shape[-2:]).to(inversion.z.device) if settings.hard_mask else None
    state = begin(inversion, mask=cells, denoising=settings.denoising())
    if before is not None:
        state = state.moved_to(before.z if cells is None else torch.where(cells, before.z, state.z))

    behind = None
    if settings.vacated == "renew":
        moved = (DragField.from_drag(drag) if field is None else field).between(0, frame.progress)
        behind = left_behind(state, moved, autoencoder, image, find_shadow=find_shadow, seed=settings.seed)
    sampler, steps = sampler_of(backbone, target, guidance=settings.drag.guidance), part_of(settings.drag, abs(frame.progress - begun))
    state = dragged = last(
        drag_region(
            sampler, state, supervision, steps, run, behind=behind, hold_attention=settings.holds_attention, own_share=settings.kv_eta
        )
    )  # fmt: skip
    sampler, original = (sampler_of(backbone, cond, guidance=settings.guidance) for cond in (target, source))
    if settings.recon_path == "sample":
        alone = sampler_of(backbone, target if settings.recon_prompt == "target" else source, guidance=settings.recon_guidance)
        state = undragged_path(alone, state, state.denoising, run)
    state = last(denoise(sampler, state, run, original=original), state)
    return finished(autoencoder, image, state, mask, settings, inversion, spent, began, frame=frame, dragged=dragged, within=drag.free)


def part_of(drag: RegionDragSettings, way: float) -> RegionDragSettings:
    """The same for a part of the way, in (0, 1]: as large steps, and as many fewer in both phases, at least one in each that has any."""

    def share(steps: int) -> int:
        return min(steps, max(1, round(steps * way)))

    return replace(drag, transport_steps=share(drag.transport_steps), intensify_steps=share(drag.intensify_steps))


def supervised(
    drag: Drag, working: tuple[int, int], settings: DragFlowSettings, field: DragField | None = None
) -> DragField | PublishedRegions:
    """What region supervision reads for a working picture of (width, height) px: `field`, or what the drag asks for.

    Raises ValueError for settings that don't go together.
    """
    if drag.size != working and settings.masks_at == "working":
        raise ValueError(
            f"the drag is drawn on {drag.size[0]} x {drag.size[1]} px and the working picture has {working[0]} x {working[1]}: rasterise "
            "it at that size, or use masks_at = 'picture'"
        )
    if drag.size != working and settings.paste_back:
        raise ValueError("paste_back needs the drag in the working picture's pixels: use masks_at = 'working', or paste_back = False")
    cut = cut_shape(working)
    if settings.ties == "grid_sample":
        check_ties(settings)
        return PublishedRegions(drag, cut, rounded=settings.rounding == "cut")
    if field is not None:
        return field
    return DragField.from_drag(drag, settings.field, rounded_at=cut if settings.rounding == "cut" else None)


def check_ties(settings: DragFlowSettings) -> None:
    """Raises ValueError where the published ties are asked for beside what they don't know."""
    stretched, kept = settings.field.deformation == "stretch", settings.kv and settings.kv_where == "kept"
    if settings.ties == "grid_sample" and (stretched or settings.shadows != "none" or kept):
        raise ValueError(
            "ties = 'grid_sample' knows rigid regions alone: use field = FieldSettings(deformation='rigid'), shadows = 'none' and "
            "kv_where = 'all' with it"
        )


def with_shadows(field: DragField, image: Tensor, find_shadow: FindShadow) -> DragField:
    """The field with each region that is shifted as a whole grown by its cast shadow.

    Not where a region turns or is mirrored: the light does not turn with it, nor does its shadow. Not where what lies behind it gives:
    there the region is a part of an object, and beside it is the rest of the object.
    """
    picture = picture_of(image)

    def grown(move: RegionMove) -> RegionMove:
        if not move.rigid or move.motion.angle or min(move.motion.scale) < 0:
            return move
        alpha = move.mask.astype(np.float32)
        shadow = find_shadow(picture, alpha)
        return move if shadow is None else replace(move, mask=move.mask | (shadow.lifted(alpha) < SHADED))

    return replace(field, regions=tuple(grown(move) for move in field.regions))


def latent_copy_paste(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    source: Conditioning,
    target: Conditioning | None = None,
    settings: DragFlowSettings = DragFlowSettings(),
    *,
    inversion: AnyInversion | None = None,
    seed: int = 0,
) -> Edit:
    """RegionDrag's gradient-free edit: carry the inverted latent's cells, renew the vacated ones, denoise.

    Keys and values are injected and the background is kept as in `dragflow`; only the optimisation is missing.
    """
    began = time.perf_counter()
    check_picture(image, autoencoder.factor)
    mask = adaptive_gradient_mask(drag, margin=settings.mask_margin * min(drag.size))
    inversion, spent = inverted(backbone, autoencoder, image, source, settings.inversion, inversion)
    field = DragField.from_drag(drag, settings.field, deformation="rigid")
    if not field.moves():
        return untouched(autoencoder, image, inversion, spent, began)
    cells = to_latent(mask, inversion.z.shape[-2:]).to(inversion.z.device)
    kept = field.kept(size=(inversion.z.shape[-1], inversion.z.shape[-2]))
    state = begin(inversion, mask=cells, denoising=settings.denoising(), kept=kept)
    z, t = inversion.to_flow(state.z, 0), inversion.level(0)
    warped = inversion.from_flow(warp_latent(z, t, field, z0=inversion.z0, seed=seed), 0)
    state = state.moved_to(torch.where(cells, warped, state.z))
    state = last(denoise(sampler_of(backbone, target or source, guidance=settings.guidance), state), state)
    return finished(autoencoder, image, state, mask, settings, inversion, spent, began, within=drag.free)
