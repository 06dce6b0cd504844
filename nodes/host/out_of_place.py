"""Blocks that add to their streams in place, made to leave alone what autograd keeps.

ComfyUI's blocks write `img += ...`, which changes a tensor that the backward pass needs, and their norms would have autograd keep inference
tensors, which it refuses. For ComfyUI's own blocks it is enough that the streams know better (`Stream`); what other packs run round them is
watched function by function (`OutOfPlace`), which costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .replaced_forwards import replaced_forwards

ADD_IN_PLACE = frozenset([torch.Tensor.add_, torch.Tensor.__iadd__])
NORMS = (F.rms_norm, F.layer_norm, F.group_norm, torch.rms_norm, torch.layer_norm, torch.group_norm)
SAVES_WEIGHTS = frozenset([F.linear, F.conv2d, F.conv3d, *NORMS])
HANDLED = ADD_IN_PLACE | SAVES_WEIGHTS


class Stream(Tensor):
    """Tokens that stay as they are: `x += y` makes new ones, so that what was kept of x for the backward pass is still true.

    Everything else gives ordinary tensors, as with a parameter, at no cost.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __iadd__(self, other: Tensor) -> Stream:
        return (self + other).as_subclass(Stream)

    def add_(self, other: Tensor, *, alpha: float = 1) -> Stream:
        return torch.add(self, other, alpha=alpha).as_subclass(Stream)


@contextmanager
def unchanged_streams(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """While inside, no block changes the streams [B, tokens, width] that it is given or that it keeps for the backward pass."""
    with replaced_forwards(blocks, _streaming):
        yield


class OutOfPlace(TorchFunctionMode):
    """While entered, `x += y` makes a new x, and functions that would save an inference tensor for the backward pass get a copy of it.

    It sees every function of what it is entered round, hundreds in a whole model, so it is for single layers and for other packs'
    code. Only where a gradient flows: a LoRA added to a slice of a weight must still change that weight. Never enter it round the guided
    denoiser, which sums areas through views. It belongs to one thread.
    """

    def __torch_function__(self, func: Callable, types: Iterable[type], args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        # Asked first, because every function and every attribute of a tensor comes by here.
        if func in HANDLED and torch.is_grad_enabled() and _flows(args):
            if func in ADD_IN_PLACE:
                return torch.Tensor.add(*args, **(kwargs or {}))
            args, kwargs = tuple(map(usable, args)), {name: usable(x) for name, x in (kwargs or {}).items()}
        return func(*args, **kwargs) if kwargs else func(*args)


def usable(x: Any) -> Any:
    """x, or a copy of it that autograd can keep where x is an inference tensor. Call it outside of inference mode."""
    return x.detach().clone() if isinstance(x, Tensor) and x.is_inference() else x


def _flows(args: Iterable[Any]) -> bool:
    for x in args:
        if isinstance(x, Tensor) and x.requires_grad:
            return True
    return False


def _streaming(block: nn.Module) -> Callable:
    forward = block.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        return forward(*map(_stream, args), **{name: _stream(value) for name, value in kwargs.items()})

    return run


def _stream(x: Any) -> Any:
    return x.as_subclass(Stream) if isinstance(x, Tensor) and x.ndim == 3 else x
