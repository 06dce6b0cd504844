"""Suite `combinations`: which of DirectDrag's parts help DragFlow, and the other way round, each on both demo models.

Rows named flux_* run on demo-flux, unet_* on demo-unet; the drags are those of suite `demo`, told by regions (*_region*) or by points alone
(*_points*). Between rows of one prefix a single thing is exchanged:

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

from ..core.backbones.noise_as_flow import NoiseAsFlow, on_unet
from ..core.demo import flux
from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.directdrag_settings import DIRECTDRAG, DIRECTDRAG_FLOW
from ..core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW, MARGIN
from ..core.demo.measure import measure, psnr
from ..core.demo.text import embed
from ..core.edits.directdrag import directdrag
from ..core.edits.directdrag_flow import directdrag_flow
from ..core.edits.dragfield import dragfield
from ..core.edits.edit import DragFlowSettings, Edit, dragflow, inverted, replay_of, with_shadows
from ..core.edits.point_edit import points_of
from ..core.edits.warm_start import emptied, warp_latent
from ..core.field import DragField
from ..core.field.masks import adaptive_gradient_mask, to_latent
from ..core.model.readout import ReadoutHead, load_readout
from ..core.optimise.appearance import ReadoutSettings, appearance_term, readout_of
from ..core.optimise.region_drag import region_drag
from ..core.optimise.soft_mask import SoftMaskSettings, point_masks
from ..core.picture.cast_shadow import shadow_finder
from ..core.sampling.inversion import InversionSettings, velocity_of
from ..core.sampling.masked import masked_denoise
from ..core.sampling.probes import FlowProbe
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
        inversion, spent = inverted(backbone, autoencoder, image, prompt, settings.inversion, None, None, None)
        find_shadow = shadow_finder(settings.shadows, settings.shadow_reach * min(drag.size))
        field = DragField.from_drag(drag, deformation=settings.deformation)
        field = field if find_shadow is None else with_shadows(field, image, find_shadow)
        if self.soft_mask:
            points = point_drag_of(case)
            mask = point_masks(points, points_of(points), inversion.z.shape[-2:], SoftMaskSettings())[1]
        else:
            mask = adaptive_gradient_mask(drag, margin=settings.mask_margin * min(drag.size))
        cells = to_latent(mask, inversion.z.shape[-2:])
        moved = DragField.from_drag(drag, deformation="stretch")
        behind = emptied(autoencoder, image, inversion.z, inversion.t, moved, find_shadow=find_shadow, seed=settings.seed)
        z = inversion.z
        if self.warp:
            z = torch.where(cells, warp_latent(z, inversion.t, field, z0=inversion.z0, seed=settings.seed), z)
        terms, probe = [], FlowProbe(backbone, prompt, settings.drag.guidance)
        if self.readout:
            how = ReadoutSettings(weight=self.weight, range_factor=False)
            wanted = readout_of(probe, models.head, inversion.z, inversion.t, how)
            terms = [appearance_term(probe, models.head, z, inversion.t, wanted, how)]
        *_, state = region_drag(
            backbone, z, inversion.t, prompt, field, cells, settings.drag, reference=inversion.z if self.warp else None, behind=behind,
            kv=inversion.bank.hold(eta=settings.kv_eta), terms=terms,
        )  # fmt: skip
        velocity = velocity_of(backbone, prompt, settings.guidance, replay_of(inversion, settings, field, backbone.patch))
        *_, last = masked_denoise(velocity, state.z, inversion.times, cells, inversion.path)
        return Edit(
            image=autoencoder.decode(last.z).detach(), z=last.z, mask=mask, reconstruction=image, inversion=inversion, drag=None,
            nfe_forward=spent + state.nfe_forward + last.nfe, nfe_backward=state.nfe_backward, seconds=0.0,
        )  # fmt: skip


def flux_points(warp: bool = False, readout: bool = False) -> Callable[[Models, DemoCase], Edit]:
    settings = replace(DIRECTDRAG_FLOW, paste_back=False)
    settings = settings if warp else replace(settings, warp=None)

    def run(models: Models, case: DemoCase) -> Edit:
        prompt, head = embed([case.drag.background_prompt]), models.head if readout else None
        model = models.flux
        return directdrag_flow(model.backbone, model.autoencoder, to_picture(case.source), point_drag_of(case), prompt, settings, head=head)

    return run


def unet_points(models: Models, case: DemoCase) -> Edit:
    model, settings = models.unet, replace(DIRECTDRAG, paste_back=False)
    return directdrag(
        model.backbone, model.autoencoder, to_picture(case.source), point_drag_of(case), empty_prompt(), settings, head=model.head
    )


def unet_dragfield(models: Models, case: DemoCase) -> Edit:
    flow, settings = NoiseAsFlow(models.unet.backbone), replace(DRAGFIELD, inversion=UNET_INVERSION, paste_back=False)
    prompt = embed([case.drag.background_prompt])
    return dragfield(flow, models.unet.autoencoder, to_picture(case.source), case.drag, prompt, settings=settings)


def unet_region(models: Models, case: DemoCase) -> Edit:
    flow = NoiseAsFlow(models.unet.backbone)
    settings = replace(
        DRAGFLOW, inversion=UNET_INVERSION, kv=False, paste_back=False, mask_margin=MARGIN, drag=on_unet(DRAGFLOW.drag, flow)
    )
    prompt = embed([case.drag.background_prompt])
    return dragflow(flow, models.unet.autoencoder, to_picture(case.source), case.drag, prompt, settings=settings)


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
    result = image[0].permute(1, 2, 0).numpy()
    return {
        "measured": measure(case, result, mask), "seconds": edit.seconds, "forward": edit.nfe_forward, "backward": edit.nfe_backward,
        "handle": handle_error(case, result), "tracked": None, "outside": psnr(result[~mask], case.source[~mask]),
        "source": psnr(result, case.source),
    }  # fmt: skip
