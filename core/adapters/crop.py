"""The part of a picture that shows the subject: cut out along a mask, square, on a plain ground where that is wanted.

Convention: pictures are [1, 3, H, W] in [0, 1]; masks bool [H, W] of the same size.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Ground = Literal["picture", "white"]


def subject_crop(picture: Tensor, mask: np.ndarray | None = None, ground: Ground = "picture", room: float = 0.1) -> Tensor:
    """A square [1, 3, S, S] around the mask, or the whole picture padded to a square without one.

    ground: what is outside of the mask: the picture, or white as InstantCharacter's own demo has it. Beyond the picture there is always
    white.  room: space around the mask's box, as a part of its longer side.

    Raises: ValueError for an empty mask, or one of another size.
    """
    height, width = picture.shape[-2:]
    if mask is None:
        return _square(picture)
    if mask.shape != (height, width):
        raise ValueError(f"the mask is {mask.shape[1]} x {mask.shape[0]} px but the picture {width} x {height}: make both the same size")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("the mask is empty, so it shows no subject: paint over the subject, or leave the mask away")
    if ground == "white":
        inside = torch.from_numpy(mask).to(picture.device)
        picture = torch.where(inside, picture, torch.ones_like(picture))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    more = round(room * max(bottom - top, right - left))
    top, left, bottom, right = max(0, top - more), max(0, left - more), min(height, bottom + more), min(width, right + more)
    return _square(picture[..., top:bottom, left:right])


def _square(picture: Tensor) -> Tensor:
    """White beside the shorter side, as much on both of its ends."""
    height, width = picture.shape[-2:]
    across, down = max(0, height - width), max(0, width - height)
    return F.pad(picture, (across // 2, across - across // 2, down // 2, down - down // 2), value=1.0)
