"""DirectDrag: a whole edit by handle points alone, without mask or prompt (paper section 3).

    edit = directdrag(backbone, autoencoder, image, drag, empty_prompt, head=load_readout(path))
    edit = directdrag(flux, autoencoder, image, drag, prompt, FlowPointSettings(), head=head)      # its ideas on a transformer

Invert by DDIM; carry the noise a little of the way (latent warp); then walk back, and at each of the first steps drag before denoising,
held by the soft mask and by the readout of what the picture looked like; from then on the edited picture looks at the original's keys and
values. Without its three ideas it is GoodDrag (`BASELINE`).

Convention: image is [1, 3, H, W] in [0, 1], its sides multiples of the autoencoder's factor; the drag is in its pixels.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from ..field.latent_warp import PUBLISHED as PUBLISHED_WARP
from ..field.partway import partway
from ..instruction.operations import Drag
from ..model.attention import KVSession
from ..model.backbone import Autoencoder, Conditioning
from ..model.readout import ReadoutHead
from ..optimise.appearance import PUBLISHED as PUBLISHED_READOUT
from ..optimise.appearance import ReadoutSettings
from ..optimise.guidance import Term
from ..optimise.point_drag_settings import PUBLISHED as PUBLISHED_DRAG
from ..optimise.point_drag_settings import PointDragSettings
from ..optimise.soft_mask import PUBLISHED as PUBLISHED_MASK
from ..optimise.soft_mask import point_masks
from ..progress import ALONE, RunContext
from ..sampling.ddim_inversion import DDIMSettings
from ..sampling.inversion import InversionSettings
from ..sampling.sampler import sampler_of
from .denoise import denoise
from .drag_points import PointWalkSettings, drag_points
from .edit import WHOLE, AnyBackbone, AnyInversion, Edit, Frame, finished, inverted, untouched
from .guides import guides_of
from .point_edit import latent_shape
from .state import DenoiseSettings, begin, last


@dataclass(frozen=True, kw_only=True)
class PointEditSettings(PointWalkSettings, ABC):
    """What an edit by points has to know on either kind of model.

    inversion: how the picture is carried to its noise.  readout: None for none; without a head there is none either.
    hold_background: while denoising, outside of the mask's support the latent is the inversion's after every step; False as published.
    sides: of a picture that are no multiples of the autoencoder's factor. "multiples": refused; "floor": the latent has as many cells as
        fit, and the result is stretched to the picture's size again, bilinearly (published; for autoencoders that take such pictures).
    paste_back: keep every pixel that the mask closes completely bit for bit.  feather: px over which the edit fades into the picture.
    """

    inversion: DDIMSettings | InversionSettings
    readout: ReadoutSettings | None = ReadoutSettings()
    hold_background: bool = True
    sides: Literal["multiples", "floor"] = "multiples"
    paste_back: bool = True
    feather: float = 0.0

    @abstractmethod
    def denoising(self) -> DenoiseSettings:
        """How the dragged state becomes a picture."""

    def remembered(self, inversion: AnyInversion) -> KVSession | None:
        """The original's keys and values while dragging and between drags; None: its own alone."""
        return None

    def guided(self, scale: float) -> PointEditSettings:
        """The same at another distilled guidance, of models that take it."""
        return self


@dataclass(frozen=True, kw_only=True)
class DirectDragSettings(PointEditSettings):
    """DirectDrag as a whole. Defaults: the preset `tuned`; `PUBLISHED`: what the published code does, quirks included.

    inversion: DDIM steps and how many of them are gone.
    mutual: whether the edited picture looks at the original's keys and values once the drag is over; mutual_first: from which
        self-attention on, None for the later two thirds of the decoder's (SD 1.5: 10).
    """

    inversion: DDIMSettings = DDIMSettings()
    mutual: bool = True
    mutual_first: int | None = None

    def denoising(self) -> DenoiseSettings:
        """How the dragged state becomes a picture: looking at the original."""
        attention = "matched" if self.mutual else None
        return DenoiseSettings(guidance=1.0, attention=attention, first=self.mutual_first, hold=self.hold_background)


@dataclass(frozen=True, kw_only=True)
class FlowPointSettings(PointEditSettings):
    """How points are dragged on a flow model.

    inversion, guidance: as for DragFlow.  drag: its mask term holds the latent itself, as a step of the flow would cost a second pass.
    kv: inject the inversion's keys and values, in the drag and in denoising.
    """

    inversion: InversionSettings = InversionSettings()
    drag: PointDragSettings = PointDragSettings(mask_on="latent")
    drag_steps: int = 3
    guidance: float = 1.0
    kv: bool = True

    def denoising(self) -> DenoiseSettings:
        """How the dragged state becomes a picture."""
        attention = "matched" if self.kv else None
        return DenoiseSettings(guidance=self.guidance, attention=attention, inject_into="all", hold=self.hold_background)

    def remembered(self, inversion: AnyInversion) -> KVSession | None:
        return inversion.bank.replay("matched") if self.kv and inversion.bank.blocks else None

    def guided(self, scale: float) -> FlowPointSettings:
        return replace(self, guidance=scale, drag=replace(self.drag, guidance=scale))


BASELINE = DirectDragSettings(soft_mask=None, warp=None, readout=None)
"""GoodDrag without mask and prompt: the first row of the paper's ablation."""

PUBLISHED = DirectDragSettings(
    drag=PUBLISHED_DRAG, soft_mask=PUBLISHED_MASK, warp=PUBLISHED_WARP, readout=PUBLISHED_READOUT, warp_within=0.0,
    follow_warp=False, path="sample", mutual_from="next", rounded=True, clamp="transposed", sides="floor", hold_background=False,
    paste_back=False,
)  # fmt: skip


def directdrag(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    cond: Conditioning,
    settings: PointEditSettings = DirectDragSettings(),
    *,
    head: ReadoutHead | None = None,
    terms: Sequence[Term] = (),
    inversion: AnyInversion | None = None,
    frame: Frame = WHOLE,
    run: RunContext = ALONE,
) -> Edit:
    """Edit `image` [1, 3, H, W] by the points of `drag`; pins and `editable` are respected, regions that move are refused.

    settings: for a backbone of the other kind, `FlowPointSettings` for a flow.
    cond: the picture's prompt, on Stable Diffusion the empty one (or one, see the paper's ablation).  head: for this backbone; None: no
    readout guidance.  terms: further ones, added at every time that is dragged at.  inversion: of this picture, from an earlier edit with
    equal inversion settings.  frame: of an animation; it needs none beside it.
    Raises ValueError before anything heavy starts; Interrupted when the run shall end.
    """
    began = time.perf_counter()
    handles = settings.handles(drag)
    shape = latent_shape(autoencoder, image, drag, floor=settings.sides == "floor")
    mask, support = point_masks(drag, handles, shape, settings.soft_mask)
    if settings.drag_steps > (walked := settings.inversion.walked if inversion is None else len(inversion.times) - 1):
        raise ValueError(
            f"there is no dragging at {settings.drag_steps} steps where the inversion walks {walked}: use drag_steps of at most {walked}, "
            "or invert in more steps"
        )
    inversion, spent = inverted(backbone, autoencoder, image, cond, settings.inversion, inversion, run)
    if max(handles.distances()) == 0:
        return untouched(autoencoder, image, inversion, spent, began)
    state = begin(inversion, mask=mask, denoising=settings.denoising())
    sampler = sampler_of(backbone, cond, guidance=state.denoising.guidance, kv=settings.remembered(inversion))
    handles = settings.handles(partway(drag, frame.progress))
    state = last(drag_points(sampler, state, handles, settings, run, guides=guides_of(head, settings.readout), terms=terms))
    state = last(denoise(sampler, state, run), state)
    return finished(autoencoder, image, state, support, settings, inversion, spent, began, frame=frame, within=drag.free)


def ablation(whole: DirectDragSettings = DirectDragSettings()) -> dict[str, DirectDragSettings]:
    """The rows of the paper's Table 3, each adding one idea to the one before, up to `whole`, which has all of them."""
    baseline = replace(whole, soft_mask=None, warp=None, readout=None)
    masked = replace(baseline, soft_mask=whole.soft_mask)
    guided = replace(masked, readout=whole.readout)
    return {"baseline": baseline, "soft_mask": masked, "readout": guided, "directdrag": whole}
