"""Where a point drag may change the picture: the auto soft mask, at latent and at picture size (DirectDrag section 6).

Convention: M is 1 where the latent may change freely and 0 where it is held; masks of pictures are [H, W], of latents [h, w].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ..choices import check_choices
from ..field.masks import auto_soft_mask, resample
from ..instruction.operations import Drag
from .handles import STRIDE, Handles

SIGMA_SHARE = 60 / 512
"""Published sigma, 60 px of a picture of 512, as a share of its shorter side."""


@dataclass(frozen=True)
class SoftMaskSettings:
    """How the mask is drawn. The defaults are the preset `tuned`; `PUBLISHED` is what the published code did.

    sigma: of the Gaussian along each drag, in cells of half the picture's size (published 30); None: 60/512 of the shorter side.
    transposed: x and y mistaken for each other, as published.
    nearest: take every fourth cell for the latent, as published, instead of the mean.
    drawn_from: "points", as the user has set them; "handles": where the drag takes them to be, clamped and rounded half to even to cells
        of the grid (published).
    """

    sigma: float | None = None
    transposed: bool = False
    nearest: bool = False
    drawn_from: Literal["points", "handles"] = "points"

    def __post_init__(self) -> None:
        check_choices(self)


PUBLISHED = SoftMaskSettings(sigma=30.0, transposed=True, nearest=True, drawn_from="handles")


def point_masks(
    drag: Drag, handles: Handles, shape: tuple[int, int], settings: SoftMaskSettings | None
) -> tuple[Tensor | None, np.ndarray]:
    """M at a latent's spatial shape (h, w), and all of the picture that may change at all.

    handles: of the drag's points.  settings: None for no soft mask. What `drag.editable` excludes and what is pinned is
    held in any case. -> float32 [h, w] or None where nothing is held; bool [H, W].
    Raises ValueError if nothing may change.
    """
    width, height = drag.size
    soft, support = None, np.ones((height, width), bool)
    if settings is not None:
        sigma = SIGMA_SHARE * min(drag.size) / STRIDE if settings.sigma is None else settings.sigma
        cells = list(zip(handles.start, handles.targets, strict=True)) if settings.drawn_from == "handles" else None
        drawn = auto_soft_mask(drag.points, drag.size, sigma=sigma, stride=STRIDE, transposed=settings.transposed, cells=cells)
        grid = torch.from_numpy(drawn)[None, None]
        soft = (interpolate(grid, shape, mode="nearest") if settings.nearest else adaptive_avg_pool2d(grid, shape))[0, 0]
        support = interpolate(grid, (height, width), mode="nearest")[0, 0].numpy() > 0
    held = np.zeros((height, width), bool) if drag.editable is None else ~drag.editable
    for region in drag.regions:
        if region.task == "pin":
            held = held | region.mask
    if held.any():
        support = support & ~held
        free = 1 - resample(held, (shape[1], shape[0]))
        soft = free if soft is None else soft * free
    if not support.any() and not (settings is not None and settings.transposed):
        raise ValueError(
            "nothing of the picture may change: pins and the editable area leave no room around the points; enlarge the editable area"
        )
    return soft, support
