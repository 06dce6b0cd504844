"""Suite `combinations`: which of DirectDrag's parts help DragFlow, and the other way round, each on both demo models.

Rows named flux_* run on demo-flux, unet_* on demo-unet; the drags are those of suite `demo`, told by regions (*_region*) or by points alone
(*_points*). Between rows of one prefix a single part is exchanged:

- flux_region: DragFlow.  _soft: the soft mask's support in place of the gradient mask.  _warp: begun from the warped latent.  _readout:
  with readout guidance.
- flux_points: point supervision on the transformer's taps with the soft mask.  _warp: carried first.  _readout: both, and guided.
- unet_points: DirectDrag.  unet_region, unet_dragfield: DragFlow's region drag and `dragfield` on the UNet.

No row pastes pixels back, so that fidelity is the method's own. Rows without the model or the readout head that they need are skipped by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..core.demo import flux
from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.directdrag_settings import DIRECTDRAG, DIRECTDRAG_FLOW
from ..core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW, MARGIN
from ..core.demo.measure import measure, psnr
from ..core.demo.text import embed
from ..core.edits.denoise import denoise
from ..core.edits.directdrag import directdrag
from ..core.edits.drag_region import drag_region, left_behind
from ..core.edits.dragfield import dragfield
from ..core.edits.dragflow import DragFlowSettings, dragflow, with_shadows
from ..core.edits.edit import Edit, finished, inverted
from ..core.edits.guides import OF_REGION, ReadoutGuide
from ..core.edits.point_edit import points_of
from ..core.edits.state import begin, last
from ..core.edits.warm_start import warp_latent
from ..core.field import DragField
from ..core.field.masks import adaptive_gradient_mask, to_latent
from ..core.model.readout import ReadoutHead, load_readout
from ..core.optimise.appearance import ReadoutSettings
from ..core.optimise.soft_mask import SoftMaskSettings, point_masks
from ..core.picture.cast_shadow import shadow_finder
from ..core.picture.compose import picture_of
from ..core.sampling.inversion import InversionSettings
from ..core.sampling.sampler import FlowSampler
from .demo import case_mask, summarise, to_picture
from .points import HEAD, PointModel, empty_prompt, handle_error, load_model, point_drag_of, summarise_points

UNET_INVERSION = InversionSettings(skip=10, kv_blocks="none")


@dataclass(frozen=True, eq=False)
class Models:
    """demo-flux and its head, demo-unet; None for what is not there."""

    flux: flux.DemoFlux | None
    head: ReadoutHead | None
    unet: PointModel | None


@dataclass(frozen=True)
class Region:
    """A DragFlow edit put together from its parts, so that each can be exchanged.

    weight: of the readout's distance, in units of an undone drag.
    """

    soft_mask: bool = False
    warp: bool = False
    readout: bool = False
    settings: DragFlowSettings = DRAGFLOW
    weight: float = 0.1

    def __call__(self, models: Models, case: DemoCase) -> Edit:
        backbone, autoencoder, image, drag = models.flux.backbone, models.flux.autoencoder, to_picture(case.source), case.drag
        prompt, settings = embed([drag.background_prompt]), self.settings
        inversion, spent = inverted(backbone, autoencoder, image, prompt, settings.inversion)
        find_shadow = shadow_finder(settings.shadows, settings.shadow_reach * min(drag.size))
        moved = DragField.from_drag(drag, settings.field)
        field = moved if find_shadow is None else with_shadows(moved, image, find_shadow)
        if self.soft_mask:
            points = point_drag_of(case)
            mask = point_masks(points, points_of(points), inversion.z.shape[-2:], SoftMaskSettings())[1]
        else:
            mask = adaptive_gradient_mask(drag, margin=settings.mask_margin * min(drag.size))
        cells = to_latent(mask, inversion.z.shape[-2:])
        state = begin(inversion, mask=cells, denoising=settings.denoising())
        behind = left_behind(state, moved, autoencoder, image, find_shadow=find_shadow, seed=settings.seed)
        if self.warp:
            warped = warp_latent(inversion.z, inversion.t, field, z0=inversion.z0, seed=settings.seed)
            state = state.moved_to(torch.where(cells, warped, inversion.z))
        guides = [ReadoutGuide(models.head, ReadoutSettings(weight=self.weight / OF_REGION))] if self.readout else []
        dragging, denoising = (FlowSampler(backbone, prompt, guidance) for guidance in (settings.drag.guidance, settings.guidance))
        state = last(drag_region(dragging, state, field, settings.drag, behind=behind, own_share=settings.kv_eta, guides=guides))
        state = last(denoise(denoising, state), state)
        return finished(autoencoder, image, state, mask, replace(settings, paste_back=False), inversion, spent, 0.0)


def flux_points(warp: bool = False, readout: bool = False) -> Callable[[Models, DemoCase], Edit]:
    settings = replace(DIRECTDRAG_FLOW, paste_back=False)
    settings = settings if warp else replace(settings, warp=None)

    def run(models: Models, case: DemoCase) -> Edit:
        prompt, head = embed([case.drag.background_prompt]), models.head if readout else None
        model = models.flux
        return directdrag(model.backbone, model.autoencoder, to_picture(case.source), point_drag_of(case), prompt, settings, head=head)

    return run


def unet_points(models: Models, case: DemoCase) -> Edit:
    model, settings = models.unet, replace(DIRECTDRAG, paste_back=False)
    return directdrag(
        model.backbone, model.autoencoder, to_picture(case.source), point_drag_of(case), empty_prompt(), settings, head=model.head
    )


def unet_dragfield(models: Models, case: DemoCase) -> Edit:
    settings = replace(DRAGFIELD, inversion=UNET_INVERSION, paste_back=False)
    prompt = embed([case.drag.background_prompt])
    return dragfield(models.unet.backbone, models.unet.autoencoder, to_picture(case.source), case.drag, prompt, settings=settings)


def unet_region(models: Models, case: DemoCase) -> Edit:
    settings = replace(DRAGFLOW, inversion=UNET_INVERSION, paste_back=False, mask_margin=MARGIN)
    prompt = embed([case.drag.background_prompt])
    return dragflow(models.unet.backbone, models.unet.autoencoder, to_picture(case.source), case.drag, prompt, settings=settings)


ROWS: dict[str, Callable[[Models, DemoCase], Edit]] = {
    "flux_region": Region(),
    "flux_region_soft": Region(soft_mask=True),
    "flux_region_warp": Region(warp=True),
    "flux_region_readout": Region(readout=True),
    "flux_points": flux_points(),
    "flux_points_warp": flux_points(warp=True),
    "flux_points_readout": flux_points(warp=True, readout=True),
    "unet_points": unet_points,
    "unet_region": unet_region,
    "unet_dragfield": unet_dragfield,
}


def load_models() -> Models:
    """What is bundled."""
    head = flux.WEIGHTS / HEAD
    try:
        unet = load_model()
    except FileNotFoundError:
        unet = None
    return Models(flux.load(), load_readout(head) if head.exists() else None, unet)


def run(
    cases: int = 16,
    seed: int = 0,
    methods: Sequence[str] = tuple(ROWS),
    *,
    models: Models | None = None,
    rows: dict[str, Callable[[Models, DemoCase], Edit]] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict:
    """Run `methods` on `cases` fresh cases of `seed`. -> a report as suite `demo-points` gives it. rows: others, for trials."""
    rows = rows or ROWS
    unknown = [name for name in methods if name not in rows]
    if unknown:
        raise ValueError(f"method {unknown[0]!r} is unknown: use {', '.join(rows)}")
    if cases < 1:
        raise ValueError(f"{cases} cases measure nothing: use 1 or more (4 have every task in them)")
    models = models or load_models()
    skipped = {name: why for name in methods if (why := _missing(name, models))}
    chosen = [name for name in methods if name not in skipped]
    found: dict[str, list[dict]] = {name: [] for name in chosen}
    for i, case in enumerate(sample_cases(cases, seed)):
        mask = case_mask(case)
        for j, name in enumerate(chosen):
            if progress is not None:
                progress(i * len(chosen) + j, cases * len(chosen), name)
            found[name].append(_row(case, mask, rows[name](models, case)))
    return {
        "suite": "combinations", "cases": cases, "seed": seed, "skipped": skipped,
        "methods": {name: {**summarise(results), **summarise_points(results)} for name, results in found.items()},
    }  # fmt: skip


def _missing(name: str, models: Models) -> str:
    if name.startswith("unet") and models.unet is None:
        return "no demo UNet is bundled: train one with `dragfield train unet`"
    if name.endswith("readout") and models.head is None:
        return f"no readout head in {HEAD} beside demo-flux: train one with `dragfield train readout --model flux`"
    return ""


def _row(case: DemoCase, mask: np.ndarray, edit: Edit) -> dict:
    image: Tensor = edit.image
    result = picture_of(image)
    return {
        "measured": measure(case, result, mask), "seconds": edit.seconds, "forward": edit.nfe_forward, "backward": edit.nfe_backward,
        "handle": handle_error(case, result), "tracked": None, "outside": psnr(result[~mask], case.source[~mask]),
        "source": psnr(result, case.source),
    }  # fmt: skip
