"""Where an adapter's weights are, and where they are used: a session may move between devices, and weights may be loaded in any mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def beside(weight: Tensor, x: Tensor) -> Tensor:
    """The weight on the device of x; no copy where it is there already. Autograd may keep it, even if it was loaded in inference mode."""
    there = weight.to(x.device)
    kept = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    return there.clone() if kept and there.is_inference() else there


def follow(adapter: Any, device: torch.device) -> None:
    """Have an adapter's weights on the device, from now on."""
    if isinstance(adapter, nn.Module):
        first = next(adapter.parameters(), None)
        if first is not None and first.device != device:
            adapter.to(device)
