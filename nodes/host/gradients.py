"""Gradients with respect to the latent through a ComfyUI model whose weights are frozen, whatever form they are in.

Prompts run in inference mode, on weights that may be inference tensors, fp8, quantised, patched by LoRAs or elsewhere than on the GPU;
blocks add to their streams in place; attention and rotary encoding may have no backward. Inside `differentiable`, with `OutOfPlace`
entered round the model's forward, the gradient is right in each of these cases and no weight is kept for the backward pass. Layers are
found by what they have (in_features, out_features, weight), because quantised ones are no `nn.Linear`.

Everything set here is reset on the way out. A backward pass may come later: it needs nothing of this any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.ops
import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import attention_pytorch
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

ADD_IN_PLACE = frozenset([torch.Tensor.add_, torch.Tensor.__iadd__])
SAVES_WEIGHTS = frozenset([F.linear, F.rms_norm, F.layer_norm, torch.rms_norm, torch.layer_norm])
HANDLED = ADD_IN_PLACE | SAVES_WEIGHTS


class OutOfPlace(TorchFunctionMode):
    """While entered, `x += y` makes a new x, and functions that would save an inference tensor for the backward pass get a copy of it.

    Only where a gradient flows: a LoRA added to a slice of a weight must still change that weight. Enter it round the model's own forward
    and never round the guided denoiser, which sums areas through views. It belongs to one thread: a recomputed block enters its own.
    """

    def __torch_function__(self, func: Callable, types: Iterable[type], args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        # Asked first, because every function and every attribute of a tensor comes by here.
        if func in HANDLED and torch.is_grad_enabled() and _flows(args):
            if func in ADD_IN_PLACE:
                return torch.Tensor.add(*args, **kwargs)
            args, kwargs = tuple(map(usable, args)), {name: usable(x) for name, x in kwargs.items()}
        return func(*args, **kwargs)


def usable(x: Any) -> Any:
    """x, or a copy of it that autograd can keep where x is an inference tensor. Call it outside of inference mode."""
    return x.detach().clone() if isinstance(x, Tensor) and x.is_inference() else x


def pytorch_attention(_chosen: Callable, *args: Any, **kwargs: Any) -> Tensor:
    """An "optimized_attention_override": PyTorch's attention instead of one without a backward (sage, flash, int8)."""
    return attention_pytorch(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class Weights:
    """What of a model `differentiable` holds still: its linear layers, of whatever class, and the parameters that would take a gradient."""

    layers: tuple[nn.Module, ...]
    wanting: tuple[nn.Parameter, ...]


def weights_of(model: nn.Module) -> Weights:
    """Walks over all modules, which takes longer than holding them still: keep it over several calls."""
    layers = (m for m in model.modules() if hasattr(m, "in_features") and hasattr(m, "out_features") and hasattr(m, "weight"))
    return Weights(tuple(layers), tuple(p for p in model.parameters() if p.requires_grad and not p.is_inference()))


@contextmanager
def differentiable(weights: Weights) -> Iterator[None]:
    """While inside, layers keep nothing for the backward pass, parameters take no gradient, rotary encoding is PyTorch's. May be nested."""
    wanting = [p for p in weights.wanting if p.requires_grad]
    training = comfy.model_management.in_training
    with replaced_forwards(weights.layers, _frozen):
        try:
            comfy.model_management.in_training = True
            for parameter in wanting:
                parameter.requires_grad_(False)
            yield
        finally:
            comfy.model_management.in_training = training
            for parameter in wanting:
                parameter.requires_grad_(True)


@contextmanager
def checkpointed(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """While inside, each block keeps only its inputs and is computed again in the backward pass."""
    with replaced_forwards(blocks, _recomputed_block):
        yield


@contextmanager
def replaced_forwards(modules: Iterable[nn.Module], replacement: Callable[[nn.Module], Callable | None]) -> Iterator[None]:
    """While inside, each module's forward is `replacement(module)`, where that is not None; then it is what it was."""
    undo: list[tuple[nn.Module, Callable | None]] = []
    try:
        for module in modules:
            forward = replacement(module)
            if forward is not None:
                undo.append((module, module.__dict__.get("forward")))
                module.forward = forward
        yield
    finally:
        for module, forward in reversed(undo):
            if forward is None:
                del module.forward
            else:
                module.forward = forward


def _flows(args: Iterable[Any]) -> bool:
    return any(isinstance(x, Tensor) and x.requires_grad for x in args)


def _frozen(layer: nn.Module) -> Callable | None:
    forward = layer.forward
    if getattr(forward, "frozen", False):
        return None
    wrapped = getattr(forward, "__func__", None) is not type(layer).forward

    def run(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or not (torch.is_grad_enabled() and x.requires_grad):
            with torch.no_grad():
                return forward(x, *args, **kwargs)
        # A forward that somebody wrapped (an adapter beside the layer) is more than its weight: it has to be run again.
        return _Recomputed.apply(x, forward) if wrapped else _Frozen.apply(x, layer, forward)

    run.frozen = True
    return run


class _Frozen(torch.autograd.Function):
    """A linear layer; its weight is fetched again in the backward pass, as the layer itself fetches it (cast, patched, moved)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.layer = layer
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
            return grad @ plain.to(grad.dtype), None, None
        finally:
            if not own:
                comfy.ops.uncast_bias_weight(layer, weight, bias, stream)


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


def _recomputed_block(block: nn.Module) -> Callable:
    forward, weights = block.forward, weights_of(block)

    def body(*args: Any, **kwargs: Any) -> Any:
        # Run a second time when every context round the call has closed, on CUDA in another thread: it brings its own.
        with differentiable(weights), OutOfPlace():
            return forward(*args, **kwargs)

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # The model goes on writing the index of the block into this dict; the second run must read the first one's.
        kwargs["transformer_options"] = dict(kwargs["transformer_options"])
        return checkpoint(body, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return run
