"""What devices can hold: those of Apple, and some of Intel's, have no float64, in which places are computed here, on the CPU."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def has_float64(device: torch.device) -> bool:
    """Whether the device computes in float64."""
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        return False
    return True


def sent_to(x: Tensor, device: torch.device, *, non_blocking: bool = False) -> Tensor:
    """x on the device, in float32 where it is float64 and the device has none."""
    if x.dtype == torch.float64 and not has_float64(device):
        x = x.float()
    return x.to(device, non_blocking=non_blocking)
