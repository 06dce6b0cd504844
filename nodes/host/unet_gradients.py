"""What a UNet needs beside gradients.py, so that a gradient flows to its latent: frozen convolutions and usable group norms.

Convolution weights are kept for the backward pass like linear ones, and group norms keep their scale; both may be inference tensors.
Nothing in the stock forward writes in place; ControlNets do, which `ComfyUNet` sees to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.ops
import torch
import torch.nn.functional as F
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .gradients import Weights, differentiable, weights_of
from .out_of_place import usable
from .replaced_forwards import replaced_forwards

GROUP_NORMS = frozenset([F.group_norm, torch.group_norm])


@dataclass(frozen=True, eq=False)
class UNetWeights:
    """What of a UNet is held still: everything that gradients.py knows, convolutions, and group norms whose scale autograd can't keep."""

    others: Weights
    convolutions: tuple[nn.Module, ...]
    group_norms: tuple[nn.Module, ...]


def unet_weights_of(model: nn.Module) -> UNetWeights:
    """Walks over all modules: keep it over several calls."""
    modules = [m for m in model.modules() if getattr(m, "weight", None) is not None]
    convolutions = (m for m in modules if hasattr(m, "kernel_size") and hasattr(m, "dilation"))
    # With dynamic VRAM (`_v`) what a norm computes with is not its parameter.
    norms = (m for m in modules if hasattr(m, "num_groups") and (m.weight.is_inference() or hasattr(m, "_v")))
    return UNetWeights(weights_of(model), tuple(convolutions), tuple(norms))


@contextmanager
def differentiable_unet(weights: UNetWeights) -> Iterator[None]:
    """While inside, no layer keeps its weight for the backward pass and no parameter takes a gradient. A backward pass may come later."""
    with (
        differentiable(weights.others),
        replaced_forwards(weights.convolutions, _frozen_convolution),
        replaced_forwards(weights.group_norms, _with_usable_scale),
    ):
        yield


class _UsableScale(TorchFunctionMode):
    """Group norms get copies of inference tensors. Entered round single layers only: it sees every function."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in GROUP_NORMS and torch.is_grad_enabled():
            args, kwargs = tuple(map(usable, args)), {name: usable(x) for name, x in kwargs.items()}
        return func(*args, **kwargs)


def _with_usable_scale(norm: nn.Module) -> Callable:
    forward = norm.forward

    def run(x: Tensor) -> Tensor:
        with _UsableScale():
            return forward(x)

    return run


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
