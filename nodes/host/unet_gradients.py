"""What a UNet needs beside gradients.py, so that a gradient flows to its latent: frozen convolutions.

Their weights are kept for the backward pass like linear ones, and may be inference tensors.
Nothing in the stock forward writes in place; ControlNets do, which `ComfyUNet` sees to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import comfy.ops
import torch
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn

from .gradients import Weights, differentiable, weights_of
from .replaced_forwards import replaced_forwards


@dataclass(frozen=True, eq=False)
class UNetWeights:
    """What of a UNet is held still: everything that gradients.py knows, and convolutions."""

    others: Weights
    convolutions: tuple[nn.Module, ...]


def unet_weights_of(model: nn.Module) -> UNetWeights:
    """Walks over all modules: keep it over several calls."""
    modules = [m for m in model.modules() if getattr(m, "weight", None) is not None]
    convolutions = tuple(m for m in modules if hasattr(m, "kernel_size") and hasattr(m, "dilation"))
    weights, frozen = weights_of(model), set(convolutions)
    return UNetWeights(replace(weights, others=tuple(m for m in weights.others if m not in frozen)), convolutions)


@contextmanager
def differentiable_unet(weights: UNetWeights) -> Iterator[None]:
    """While inside, no layer keeps its weight for the backward pass and no parameter takes a gradient. A backward pass may come later."""
    with differentiable(weights.others), replaced_forwards(weights.convolutions, _frozen_convolution):
        yield


def _frozen_convolution(layer: nn.Module) -> Callable | None:
    forward = layer.forward
    if getattr(forward, "frozen", False):
        return None

    def run(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or not (x.requires_grad and torch.is_grad_enabled()):
            with torch.no_grad():
                return forward(x, *args, **kwargs)
        return _Frozen.apply(x, layer, forward)

    run.frozen = True
    return run


class _Frozen(torch.autograd.Function):
    """A convolution; its weight is fetched again in the backward pass, as the layer itself fetches it (cast, patched, moved)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.layer, ctx.size = layer, x.shape
        return forward(x.detach())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        layer, stream = ctx.layer, None
        # GGUF layers fetch by a method of their own, which gives two values.
        own = hasattr(layer, "cast_bias_weight")
        if own:
            weight, bias = layer.cast_bias_weight(grad)
        else:
            weight, bias, stream = comfy.ops.cast_bias_weight(layer, grad, offloadable=True)
        try:
            plain = weight.dequantize() if isinstance(weight, QuantizedTensor) else weight
            how = layer.stride, layer.padding, layer.dilation, layer.groups
            return nn.grad.conv2d_input(ctx.size, plain.to(grad.dtype), grad, *how), None, None
        finally:
            if not own:
                comfy.ops.uncast_bias_weight(layer, weight, bias, stream)
