"""DirectDrag: a whole edit by handle points alone, without mask or prompt, on a model that predicts noise (paper section 3).

    edit = directdrag(backbone, autoencoder, image, drag, empty_prompt, head=load_readout(path))

Invert by DDIM; carry the noise a little of the way (latent warp); then walk back, and at each of the first steps drag before denoising,
held by the soft mask and by the readout of what the picture looked like; from then on the edited picture looks at the original's keys and
values. Without its three ideas it is GoodDrag (`BASELINE`).

Convention: image is [1, 3, H, W] in [0, 1], its sides multiples of the autoencoder's factor; the drag is in its pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from ..field.latent_warp import PUBLISHED as PUBLISHED_WARP
from ..field.latent_warp import LatentWarpSettings
from ..instruction.operations import Drag
from ..model.backbone import Autoencoder, Conditioning, NoiseBackbone
from ..model.mutual_attention import mutual_attention, mutual_blocks
from ..model.readout import ReadoutHead
from ..optimise.appearance import PUBLISHED as PUBLISHED_READOUT
from ..optimise.appearance import ReadoutSettings, appearance_term, read_out, readout_of, seen_at
from ..optimise.guidance import Term
from ..optimise.handles import Clamp, Handles
from ..optimise.point_drag import PointDragState, gave_up, point_drag
from ..optimise.point_drag_settings import PUBLISHED as PUBLISHED_DRAG
from ..optimise.point_drag_settings import PointDragSettings
from ..optimise.soft_mask import PUBLISHED as PUBLISHED_MASK
from ..optimise.soft_mask import SoftMaskSettings, point_masks
from ..progress import Interrupted, Progress, Report, stop_if, tell
from ..sampling.ddim import ddim_step
from ..sampling.ddim_inversion import DDIMInversion, DDIMSettings, invert_ddim
from ..sampling.probes import NoiseProbe
from .edit import Edit, pictured, untouched
from .point_edit import carried, latent_shape, points_of


@dataclass(frozen=True)
class DirectDragSettings:
    """DirectDrag as a whole. Defaults: the preset `tuned`; `PUBLISHED`: what the published code does, quirks included.

    inversion: DDIM steps and how many of them are gone.  drag: the optimisation at one timestep.
    drag_steps: at how many of the first timesteps is dragged (7).
    soft_mask: None for none.  warp: None for none.  readout: None for none; without a head there is none either.
    warp_within: with a soft mask, carry only where that is at least this much, in [0, 1]; 0 carries the whole latent (published), the
        picture's border included. A mask is one half at the ends of a drag: 0.2 is 25 px behind its handle where sigma is 30 px.
    follow_warp: look for the handles where the warp takes them, not where they were (published): a search reaches 24 px.
    path: what the undragged picture is at each timestep. "inversion" is the inversion's own latent, which costs nothing and ends
        exactly at the picture; "sample" denoises the inverted latent in lockstep (published).
    mutual: whether the edited picture looks at the original's keys and values once the drag is over; mutual_first: from which
        self-attention on, None for the later two thirds of the decoder's (SD 1.5: 10).
    mutual_from: once handles have arrived, "at_once", while this timestep is denoised, or from the "next" one on (published).
    rounded: points at cells of the published grid, and the published warp's place for them.  clamp: see `make_handles`.
    sides: of a picture that are no multiples of the autoencoder's factor. "multiples": refused; "floor": the latent has as many cells as
        fit, and the result is stretched to the picture's size again, bilinearly (published; for autoencoders that take such pictures).
    paste_back: keep every pixel that the mask closes completely bit for bit.  feather: px over which the edit fades into the picture.
    """

    inversion: DDIMSettings = DDIMSettings()
    drag: PointDragSettings = PointDragSettings()
    drag_steps: int = 7
    soft_mask: SoftMaskSettings | None = SoftMaskSettings()
    warp: LatentWarpSettings | None = LatentWarpSettings()
    readout: ReadoutSettings | None = ReadoutSettings()
    warp_within: float = 0.2
    follow_warp: bool = True
    path: Literal["inversion", "sample"] = "inversion"
    mutual: bool = True
    mutual_first: int | None = None
    mutual_from: Literal["at_once", "next"] = "at_once"
    rounded: bool = False
    clamp: Clamp = "none"
    sides: Literal["multiples", "floor"] = "multiples"
    paste_back: bool = True
    feather: float = 0.0

    def __post_init__(self) -> None:
        if self.drag_steps < 1:
            raise ValueError(f"a drag at {self.drag_steps} timesteps moves nothing: use 1 or more (published: 7)")
        if self.path not in ("inversion", "sample"):
            raise ValueError(f"path = {self.path!r} is unknown: use inversion or sample (as published)")
        if self.mutual_from not in ("at_once", "next") or self.sides not in ("multiples", "floor"):
            raise ValueError(
                f"mutual_from = {self.mutual_from!r}, sides = {self.sides!r}: use at_once or next, and multiples or floor (as published)"
            )


BASELINE = DirectDragSettings(soft_mask=None, warp=None, readout=None)
"""GoodDrag without mask and prompt: the first row of the paper's ablation."""

PUBLISHED = DirectDragSettings(
    drag=PUBLISHED_DRAG, soft_mask=PUBLISHED_MASK, warp=PUBLISHED_WARP, readout=PUBLISHED_READOUT, warp_within=0.0,
    follow_warp=False, path="sample", mutual_from="next", rounded=True, clamp="transposed", sides="floor", paste_back=False,
)  # fmt: skip


def directdrag(
    backbone: NoiseBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    cond: Conditioning,
    settings: DirectDragSettings = DirectDragSettings(),
    *,
    head: ReadoutHead | None = None,
    terms: Sequence[Term] = (),
    inversion: DDIMInversion | None = None,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Edit:
    """Edit `image` [1, 3, H, W] by the points of `drag`; pins and `editable` are respected, regions that move are refused.

    cond: the empty prompt (or one, see the paper's ablation).  head: for this backbone; None: no readout guidance.  terms: further ones,
    added at every timestep.  inversion: of this picture, from an earlier edit with equal inversion settings.
    Raises ValueError before anything heavy starts; Interrupted when should_stop() says so.
    """
    began = time.perf_counter()
    handles = points_of(drag, settings.rounded, settings.clamp)
    shape = latent_shape(autoencoder, image, drag, floor=settings.sides == "floor")
    mask, support = point_masks(drag, handles, shape, settings.soft_mask)
    spent = 0
    if inversion is None:
        with torch.no_grad():
            z0 = autoencoder.encode(image)
        inversion = invert_ddim(backbone, z0, cond, settings.inversion, report=report, should_stop=should_stop)
        spent = inversion.nfe
    elif inversion.settings != settings.inversion or tuple(inversion.z.shape[-2:]) != shape:
        raise ValueError(
            f"the inversion was made with {inversion.settings} at {tuple(inversion.z.shape[-2:])} cells, this edit wants "
            f"{settings.inversion} at {shape}: invert this picture with these settings"
        )
    if max(handles.distances()) == 0:
        return untouched(autoencoder, image, inversion, spent, began)
    z = inversion.z
    if settings.warp is not None:
        signal = math.sqrt(backbone.schedule.at(inversion.t)) * inversion.z0
        z = carried(z, handles, settings.warp, mask, settings.warp_within, signal=signal, rounded=settings.rounded)
        handles = handles.carried(settings.warp.ratio) if settings.follow_warp else handles
    walk = _Walk(backbone, cond, inversion, settings, head, terms, mask, report, should_stop, z, handles)
    walk.run()
    return Edit(
        image=pictured(autoencoder, walk.z, image, support, settings.paste_back, settings.feather), z=walk.z, mask=support,
        reconstruction=autoencoder.decode(walk.original), inversion=inversion, drag=walk.state,
        nfe_forward=spent + walk.forwards, nfe_backward=walk.backwards, seconds=time.perf_counter() - began,
    )  # fmt: skip


@dataclass(eq=False)
class _Walk:
    """The way back from the inverted latent to the picture, dragging first, with what is counted on it."""

    backbone: NoiseBackbone
    cond: Conditioning
    inversion: DDIMInversion
    settings: DirectDragSettings
    head: ReadoutHead | None
    terms: Sequence[Term]
    mask: Tensor | None
    report: Report | None
    should_stop: Callable[[], bool] | None
    z: Tensor
    handles: Handles
    state: PointDragState | None = None
    forwards: int = 0
    backwards: int = 0
    original: Tensor = field(init=False)
    _seen: list[Tensor] | None = None

    def run(self) -> None:
        times, settings = self.inversion.times, self.settings
        self.original = self.inversion.path[0]
        dragging = True
        for i, (t, to) in enumerate(zip(times, times[1:], strict=False)):
            stop_if(self.should_stop)
            begun = dragging = dragging and i < settings.drag_steps and not gave_up(self.state, settings.drag)
            if begun:
                self._drag(i, t, to)
                # Arrived or stuck: no more of it at later times either.
                dragging = self.state.ended == ""
            over = not (dragging if settings.mutual_from == "at_once" else begun)
            self._denoise(i, t, to, settings.mutual and over)
            tell(self.report, Progress("denoise", i + 1, len(times) - 1, self.z))

    def _drag(self, i: int, t: int, to: int) -> None:
        settings, known = self.settings, self.settings.path == "inversion"
        terms = [*self.terms, *self._guidance(t)]
        total = settings.drag_steps * settings.drag.rounds * settings.drag.steps_per_round
        done, last = i * settings.drag.rounds * settings.drag.steps_per_round, None
        for last in point_drag(
            self.backbone, self.z, t, self.cond, self.handles, self.mask, settings.drag, reference=self.original,
            reference_next=self.inversion.path[i + 1] if known else None, t_next=to, terms=terms,
            idle=0 if self.state is None else self.state.idle, should_stop=self.should_stop,
        ):  # fmt: skip
            tell(self.report, Progress("drag", done + last.step, total, last.z, last))
        stop_if(self.should_stop)
        if last is None:
            raise Interrupted("the edit was stopped before its first drag iteration")
        self.state, self.z, self.handles = last, last.z, last.handles
        self.forwards, self.backwards = self.forwards + last.nfe_forward, self.backwards + last.nfe_backward

    def _guidance(self, t: int) -> list[Term]:
        """The readout's term for timestep t, if there is one."""
        settings = self.settings.readout
        if settings is None or self.head is None or settings.weight == 0:
            return []
        probe = NoiseProbe(self.backbone, self.cond)
        if settings.reference == "per_step":
            wanted = readout_of(probe, self.head, self.original, t, settings)
            self.forwards += 1
        else:
            if self._seen is None:
                # Published: the features that the inversion's last call saw, whatever the timestep.
                self._seen = seen_at(probe, self.inversion.path[1], t)
                self.forwards += 1
            wanted = read_out(probe, self.head, self._seen, t, settings)
        return [appearance_term(probe, self.head, self.z, t, wanted, settings)]

    @torch.no_grad()
    def _denoise(self, i: int, t: int, to: int, mutual: bool) -> None:
        known, schedule = self.settings.path == "inversion", self.backbone.schedule
        both = mutual or not known
        z = torch.cat([self.original, self.z]) if both else self.z
        kv = mutual_attention(mutual_blocks(self.backbone, self.settings.mutual_first)) if mutual else None
        after = ddim_step(z, self.backbone.noise(z, t, self.cond, kv=kv), schedule, t, to)
        self.forwards += len(z)
        self.z = after[-1:]
        self.original = self.inversion.path[i + 1] if known else after[:1]


def ablation(whole: DirectDragSettings = DirectDragSettings()) -> dict[str, DirectDragSettings]:
    """The rows of the paper's Table 3, each adding one idea to the one before, up to `whole`, which has all of them."""
    baseline = replace(whole, soft_mask=None, warp=None, readout=None)
    masked = replace(baseline, soft_mask=whole.soft_mask)
    guided = replace(masked, readout=whole.readout)
    return {"baseline": baseline, "soft_mask": masked, "readout": guided, "directdrag": whole}
