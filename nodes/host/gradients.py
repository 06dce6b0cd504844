"""Gradients with respect to the latent through a ComfyUI model whose weights are frozen, whatever form they are in.

Prompts run in inference mode, on weights that may be inference tensors, fp8, quantised, patched by LoRAs or elsewhere than on the GPU;
blocks add to their streams in place (out_of_place.py); attention and rotary encoding may have no backward. Inside `differentiable` and
`unchanged_streams` the gradient is right in each of these cases and no weight is kept for the backward pass. Layers are found by what they
have (in_features, out_features, weight), because quantised ones are no `nn.Linear`.

Everything set here is reset on the way out. A backward pass may come later: it needs nothing of this any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.ops
import torch
import torch.nn.functional as F
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn

from .out_of_place import OutOfPlace
from .replaced_forwards import has_forward_of_its_class, replaced_forwards


@dataclass(frozen=True, eq=False)
class Weights:
    """What of a model `differentiable` holds still.

    layers: its linear layers, of whatever class, but those that PyTorch differentiates well by itself.  others: norms and convolutions
    whose weight autograd can't keep.  wanting: parameters that would take a gradient.
    """

    layers: tuple[nn.Module, ...]
    others: tuple[nn.Module, ...]
    wanting: tuple[nn.Parameter, ...]


def weights_of(model: nn.Module) -> Weights:
    """Walks over all modules, which takes longer than holding them still: keep it over several calls."""
    modules = [m for m in model.modules() if getattr(m, "weight", None) is not None]
    layers = (m for m in modules if hasattr(m, "in_features") and hasattr(m, "out_features") and ("forward" in vars(m) or not _is_plain(m)))
    # With dynamic VRAM (`_v`) what a norm computes with is not its parameter.
    others = (m for m in modules if not hasattr(m, "in_features") and (m.weight.is_inference() or hasattr(m, "_v")))
    return Weights(tuple(layers), tuple(others), tuple(p for p in model.parameters() if p.requires_grad))


@contextmanager
def differentiable(weights: Weights) -> Iterator[None]:
    """While inside, layers keep nothing for the backward pass, parameters take no gradient, rotary encoding is PyTorch's. May be nested."""
    wanting = [p for p in weights.wanting if p.requires_grad]
    training = comfy.model_management.in_training
    with replaced_forwards(weights.layers, _frozen), replaced_forwards(weights.others, _with_a_copy):
        try:
            comfy.model_management.in_training = True
            for parameter in wanting:
                parameter.requires_grad_(False)
            yield
        finally:
            comfy.model_management.in_training = training
            # In inference mode, out of which a weight that was made in it takes no order to want one again.
            with torch.inference_mode():
                for parameter in wanting:
                    parameter.requires_grad_(True)


def first_rows(layer: nn.Module, rows: int, tokens: int) -> Callable | None:
    """A forward for a fused linear layer that computes its first `rows` outputs and gives zeros for the others; None where it can't be.

    tokens: how many are asked for; of another number all is computed. Only what is computed has a backward pass.
    """
    whole = _frozen(layer) or layer.forward
    if not has_forward_of_its_class(layer):
        return None
    forward = layer.forward

    def run(x: Tensor) -> Tensor:
        if x.shape[1] != tokens:
            return whole(x)
        return _FirstRows.apply(x, layer, forward, rows)

    run.frozen = True
    return run


def _frozen(layer: nn.Module) -> Callable | None:
    forward = layer.forward
    if getattr(forward, "frozen", False):
        return None
    wrapped = not has_forward_of_its_class(layer)
    if not wrapped and _is_plain(layer):
        return None

    def run(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or not (x.requires_grad and torch.is_grad_enabled()):
            with torch.no_grad():
                return forward(x, *args, **kwargs)
        # A forward that somebody wrapped (an adapter beside the layer) is more than its weight: it has to be run again.
        return _Recomputed.apply(x, forward) if wrapped else Frozen.apply(x, layer, forward)

    run.frozen = True
    return run


def _with_a_copy(layer: nn.Module) -> Callable:
    forward = layer.forward

    def run(x: Tensor) -> Tensor:
        with OutOfPlace():
            return forward(x)

    return run


class Frozen(torch.autograd.Function):
    """A linear layer; its weight is fetched again in the backward pass, as the layer itself fetches it (cast, patched, moved)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.layer = layer
        return forward(x.detach())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _backward(ctx.layer, grad), None, None


class _FirstRows(torch.autograd.Function):
    """The first outputs of a linear layer, as `Frozen` does all of them, and zeros in place of the others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module, forward: Callable[[Tensor], Tensor], rows: int) -> Tensor:
        ctx.layer, ctx.rows = layer, rows
        if not _is_there(layer, x):
            out = forward(x.detach())
            out[..., rows:] = 0
            return out
        out = x.new_zeros(*x.shape[:-1], layer.out_features)
        out[..., :rows] = F.linear(x.detach(), layer.weight[:rows], None if layer.bias is None else layer.bias[:rows])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _backward(ctx.layer, grad[..., : ctx.rows], ctx.rows), None, None, None


def _backward(layer: nn.Module, grad: Tensor, rows: int | None = None) -> Tensor:
    """The gradient of a linear layer's input for that of its first `rows` outputs; None: of all."""
    if _is_there(layer, grad):
        return grad @ layer.weight[:rows]
    # GGUF layers fetch by a method of their own, which gives two values.
    own, stream = hasattr(layer, "cast_bias_weight"), None
    if own:
        weight, bias = layer.cast_bias_weight(grad)
    else:
        weight, bias, stream = comfy.ops.cast_bias_weight(layer, grad, offloadable=True)
    try:
        plain = weight.dequantize() if isinstance(weight, QuantizedTensor) else weight
        return grad @ plain[:rows].to(grad.dtype)
    finally:
        if not own:
            comfy.ops.uncast_bias_weight(layer, weight, bias, stream)


def _is_plain(layer: nn.Module) -> bool:
    """Whether PyTorch's own backward will do: it keeps the weight itself, an ordinary parameter that nothing casts, patches or moves."""
    if not isinstance(layer, nn.Linear) or type(layer.weight) is not nn.Parameter or layer.weight.is_inference():
        return False
    touched = ("comfy_cast_weights", "weight_function", "bias_function", "_v", "cast_bias_weight")
    return not any(getattr(layer, name, None) for name in touched)


def _is_there(layer: nn.Module, grad: Tensor) -> bool:
    """Whether a layer's weight is what fetching it would give: an ordinary parameter in the right place and dtype that nothing patches."""
    weight = layer.weight
    if type(weight) is not nn.Parameter or weight.dtype != grad.dtype or weight.device != grad.device:
        return False
    return not (getattr(layer, "weight_function", ()) or hasattr(layer, "_v") or hasattr(layer, "cast_bias_weight"))


class _Recomputed(torch.autograd.Function):
    """A layer with something of its own round it, computed a second time in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.layer = forward
        ctx.save_for_backward(x)
        return forward(x.detach())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad(), OutOfPlace():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(ctx.layer(x), x, grad)[0], None
