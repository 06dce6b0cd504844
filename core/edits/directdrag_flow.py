"""DirectDrag's ideas on a flow-matching transformer: point supervision on its taps, soft mask, readout guidance, latent warp.

    edit = directdrag_flow(backbone, autoencoder, image, drag, prompt, head=head)

The inversion, the keys and values and the background's path are DragFlow's (inversion.py). The soft mask takes the place of the gradient
mask: inside of it the latent is held the less the nearer it is to a drag, outside it is the inversion's own after every step.

Convention: image is [1, 3, H, W] in [0, 1], its sides multiples of the autoencoder's factor; the drag is in its pixels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..instruction.operations import Drag
from ..model.attention import KVSession
from ..model.backbone import Autoencoder, Conditioning, FlowBackbone
from ..model.readout import ReadoutHead
from ..optimise.appearance import ReadoutSettings
from ..optimise.guidance import Term
from ..optimise.point_drag_settings import PointDragSettings
from ..optimise.soft_mask import point_masks
from ..progress import ALONE, RunContext
from ..sampling.inversion import Inversion, InversionSettings
from ..sampling.sampler import FlowSampler
from .denoise import denoise
from .drag_points import PointWalkSettings, drag_points
from .edit import Edit, finished, inverted, untouched
from .guides import guides_of
from .point_edit import latent_shape
from .state import DenoiseSettings, begin, last


@dataclass(frozen=True, kw_only=True)
class FlowPointSettings(PointWalkSettings):
    """How points are dragged on a flow model.

    inversion, guidance: as for DragFlow.  drag: its mask term holds the latent itself, as a step of the flow would cost a second pass.
    readout: None for none; without a head there is none either.
    kv: inject the inversion's keys and values, in the drag and in denoising.
    hold_background: outside of the mask's support the latent is the inversion's after every step.
    paste_back, feather: as for DragFlow.
    """

    inversion: InversionSettings = InversionSettings()
    drag: PointDragSettings = PointDragSettings(mask_on="latent")
    drag_steps: int = 3
    guidance: float = 1.0
    readout: ReadoutSettings | None = ReadoutSettings()
    kv: bool = True
    hold_background: bool = True
    paste_back: bool = True
    feather: float = 0.0

    def denoising(self) -> DenoiseSettings:
        """How the dragged state becomes a picture."""
        attention = "matched" if self.kv else None
        return DenoiseSettings(guidance=self.guidance, attention=attention, inject_into="all", hold=self.hold_background)

    def remembered(self, inversion: Inversion) -> KVSession | None:
        """The inversion's keys and values for the drag."""
        return inversion.bank.replay("matched") if self.kv and inversion.bank.blocks else None


def directdrag_flow(
    backbone: FlowBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    cond: Conditioning,
    settings: FlowPointSettings = FlowPointSettings(),
    *,
    head: ReadoutHead | None = None,
    terms: Sequence[Term] = (),
    inversion: Inversion | None = None,
    run: RunContext = ALONE,
) -> Edit:
    """Edit `image` [1, 3, H, W] by the points of `drag`. Arguments as for `directdrag`; `cond` is the picture's prompt."""
    began = time.perf_counter()
    handles = settings.handles(drag)
    mask, support = point_masks(drag, handles, latent_shape(autoencoder, image, drag), settings.soft_mask)
    inversion, spent = inverted(backbone, autoencoder, image, cond, settings.inversion, inversion, run)
    if max(handles.distances()) == 0:
        return untouched(autoencoder, image, inversion, spent, began)
    state = begin(inversion, mask=mask, denoising=settings.denoising())
    sampler = FlowSampler(backbone, cond, settings.guidance, settings.remembered(inversion))
    state = last(drag_points(sampler, state, handles, settings, run, guides=guides_of(head, settings.readout), terms=terms))
    state = last(denoise(sampler, state, run), state)
    return finished(autoencoder, image, state, support, settings, inversion, spent, began)
