"""Pictures as tensors and as arrays, and an edit laid over its original.

Convention: a tensor picture is [1, 3, H, W], an array [H, W, 3], both in [0, 1]; masks are bool [H, W].
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..field.masks import feather


def picture_of(image: Tensor) -> np.ndarray:
    """[1, 3, H, W] as float32 [H, W, 3]."""
    return np.ascontiguousarray(rearrange(image[0].detach().float().cpu(), "c h w -> h w c").numpy())


def tensor_of(picture: np.ndarray) -> Tensor:
    """[H, W, 3] as float32 [1, 3, H, W]."""
    return rearrange(torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32)), "h w c -> 1 c h w")


def paste_back(edited: Tensor, original: Tensor, mask: np.ndarray, radius: float = 0.0, within: np.ndarray | None = None) -> Tensor:
    """Composite: the edit inside of `mask`, fading over `radius` px outside of it; beyond that the original bit for bit.

    within: bool [H, W], outside of which the original stays in any case (`Drag.free`); None: nowhere.
    """
    weight = torch.from_numpy(feather(mask, radius, within=within)).to(original.device)
    mixed = original + weight * (edited.to(original.dtype) - original)
    return torch.where(weight > 0, torch.where(weight >= 1, edited.to(original.dtype), mixed), original)
