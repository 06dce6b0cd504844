"""The size an edit works at, and the way back to the picture's own size.

A model takes pictures whose sides are multiples of 16, and costs more than proportionally with their area. So a
picture may be edited smaller than it is; only the edited area is then put back into it, every other pixel stays.

Convention: sizes are (width, height) px; PIL pictures are RGB, tensors [1, 3, H, W] in [0, 1], masks bool [H, W].
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MULTIPLE = 16


def working_size(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    """`size` scaled down, never up, so that no side is above `longest` (None: not at all), then each side cut to a multiple of 16."""
    longest = max(size) if longest is None else longest
    if longest < MULTIPLE:
        raise ValueError(f"a longest side of {longest} px is too short; use {MULTIPLE} or more")
    if min(size) < MULTIPLE:
        raise ValueError(f"the picture is {size[0]} x {size[1]} px; a side needs at least {MULTIPLE} px, enlarge it")
    scale = min(1.0, longest / max(size))
    width, height = (max(MULTIPLE, int(side * scale + 1e-6) // MULTIPLE * MULTIPLE) for side in size)
    return width, height


def to_tensor(picture: Image.Image, size: tuple[int, int], resampling: Image.Resampling = Image.Resampling.LANCZOS) -> Tensor:
    """The picture at `size`: exact where it has that size already, else resampled (antialiased; DragFlow's code: bicubic)."""
    if picture.size != size:
        picture = picture.resize(size, resampling)
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def to_picture(edited: Tensor, original: Image.Image, mask: np.ndarray | None, *, truncated: bool = False) -> Image.Image:
    """The edited tensor as a picture of the original's size.

    mask: where the edit counts, at the tensor's size; every pixel outside of it is the original's bit for bit. None:
    all of the edit.  truncated: to 8 bits by cutting fractions off, as DragFlow's code does, not by rounding.
    """
    levels = edited[0].permute(1, 2, 0) * 255
    pixels = (levels if truncated else levels.round()).clamp(0, 255).to(torch.uint8).cpu().numpy()
    picture = Image.fromarray(pixels).resize(original.size, Image.Resampling.LANCZOS)
    if mask is None:
        return picture
    keep = Image.fromarray(mask).resize(original.size, Image.Resampling.NEAREST)
    return Image.composite(picture, original.convert("RGB"), keep)
