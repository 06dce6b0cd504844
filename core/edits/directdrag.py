"""DirectDrag: a whole edit by handle points alone, without mask or prompt, on a model that predicts noise (paper section 3).

    edit = directdrag(backbone, autoencoder, image, drag, empty_prompt, head=load_readout(path))

Invert by DDIM; carry the noise a little of the way (latent warp); then walk back, and at each of the first steps drag before denoising,
held by the soft mask and by the readout of what the picture looked like; from then on the edited picture looks at the original's keys and
values. Without its three ideas it is GoodDrag (`BASELINE`).

Convention: image is [1, 3, H, W] in [0, 1], its sides multiples of the autoencoder's factor; the drag is in its pixels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from ..field.latent_warp import PUBLISHED as PUBLISHED_WARP
from ..instruction.operations import Drag
from ..model.backbone import Autoencoder, Conditioning, NoiseBackbone
from ..model.readout import ReadoutHead
from ..optimise.appearance import PUBLISHED as PUBLISHED_READOUT
from ..optimise.appearance import ReadoutSettings
from ..optimise.guidance import Term
from ..optimise.point_drag_settings import PUBLISHED as PUBLISHED_DRAG
from ..optimise.soft_mask import PUBLISHED as PUBLISHED_MASK
from ..optimise.soft_mask import point_masks
from ..progress import ALONE, RunContext
from ..sampling.ddim_inversion import DDIMInversion, DDIMSettings
from ..sampling.sampler import sampler_of
from .denoise import denoise
from .drag_points import PointWalkSettings, drag_points
from .edit import Edit, finished, inverted, untouched
from .guides import guides_of
from .point_edit import latent_shape
from .state import DenoiseSettings, begin, last


@dataclass(frozen=True, kw_only=True)
class DirectDragSettings(PointWalkSettings):
    """DirectDrag as a whole. Defaults: the preset `tuned`; `PUBLISHED`: what the published code does, quirks included.

    inversion: DDIM steps and how many of them are gone.
    readout: None for none; without a head there is none either.
    mutual: whether the edited picture looks at the original's keys and values once the drag is over; mutual_first: from which
        self-attention on, None for the later two thirds of the decoder's (SD 1.5: 10).
    hold_background: while denoising, outside of the mask's support the latent is the inversion's after every step; False as published.
    sides: of a picture that are no multiples of the autoencoder's factor. "multiples": refused; "floor": the latent has as many cells as
        fit, and the result is stretched to the picture's size again, bilinearly (published; for autoencoders that take such pictures).
    paste_back: keep every pixel that the mask closes completely bit for bit.  feather: px over which the edit fades into the picture.
    """

    inversion: DDIMSettings = DDIMSettings()
    readout: ReadoutSettings | None = ReadoutSettings()
    mutual: bool = True
    mutual_first: int | None = None
    hold_background: bool = True
    sides: Literal["multiples", "floor"] = "multiples"
    paste_back: bool = True
    feather: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sides not in ("multiples", "floor"):
            raise ValueError(f"sides = {self.sides!r} is unknown: use multiples or floor (as published)")

    def denoising(self) -> DenoiseSettings:
        """How the dragged state becomes a picture: looking at the original."""
        attention = "matched" if self.mutual else None
        return DenoiseSettings(guidance=1.0, attention=attention, first=self.mutual_first, hold=self.hold_background)


BASELINE = DirectDragSettings(soft_mask=None, warp=None, readout=None)
"""GoodDrag without mask and prompt: the first row of the paper's ablation."""

PUBLISHED = DirectDragSettings(
    drag=PUBLISHED_DRAG, soft_mask=PUBLISHED_MASK, warp=PUBLISHED_WARP, readout=PUBLISHED_READOUT, warp_within=0.0,
    follow_warp=False, path="sample", mutual_from="next", rounded=True, clamp="transposed", sides="floor", hold_background=False,
    paste_back=False,
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
    run: RunContext = ALONE,
) -> Edit:
    """Edit `image` [1, 3, H, W] by the points of `drag`; pins and `editable` are respected, regions that move are refused.

    cond: the empty prompt (or one, see the paper's ablation).  head: for this backbone; None: no readout guidance.  terms: further ones,
    added at every timestep.  inversion: of this picture, from an earlier edit with equal inversion settings.
    Raises ValueError before anything heavy starts; Interrupted when the run shall end.
    """
    began = time.perf_counter()
    handles = settings.handles(drag)
    shape = latent_shape(autoencoder, image, drag, floor=settings.sides == "floor")
    mask, support = point_masks(drag, handles, shape, settings.soft_mask)
    inversion, spent = inverted(backbone, autoencoder, image, cond, settings.inversion, inversion, run)
    if max(handles.distances()) == 0:
        return untouched(autoencoder, image, inversion, spent, began)
    state = begin(inversion, mask=mask, denoising=settings.denoising())
    sampler, guides = sampler_of(backbone, cond), guides_of(head, settings.readout)
    state = last(drag_points(sampler, state, handles, settings, run, guides=guides, terms=terms))
    state = last(denoise(sampler, state, run), state)
    return finished(autoencoder, image, state, support, settings, inversion, spent, began)


def ablation(whole: DirectDragSettings = DirectDragSettings()) -> dict[str, DirectDragSettings]:
    """The rows of the paper's Table 3, each adding one idea to the one before, up to `whole`, which has all of them."""
    baseline = replace(whole, soft_mask=None, warp=None, readout=None)
    masked = replace(baseline, soft_mask=whole.soft_mask)
    guided = replace(masked, readout=whole.readout)
    return {"baseline": baseline, "soft_mask": masked, "readout": guided, "directdrag": whole}
