"""A subject adapter's weights in ComfyUI's hands: loaded with the MODEL they work in, offloaded when room is short, freed with it.

Layers become ComfyUI's, which compute where what they are given is and fetch their weights there if they aren't; so an adapter that
ComfyUI has loaded works without a copy, and one that it has offloaded works too. What an adapter needs for encoding alone is never loaded:
each of those layers fetches its weights for the one time that it runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.adapters.contract import Injection, Injections, SubjectAdapter
from ...core.adapters.kept import ROOM
from ...core.adapters.placing import beside
from ...core.adapters.release import released
from .gradients import Frozen

SHARE = 8
"""One part in so many of the free memory may be keys and values of other times than the present one."""


class _Linear(comfy.ops.manual_cast.Linear):
    """A gradient goes through it, whatever its weight is, and its weight isn't kept for that."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return Frozen.apply(x, self, super().forward)
        return super().forward(x)


class _LayerNorm(nn.LayerNorm):
    """Not ComfyUI's: that one would hand autograd a buffer that other layers are fetched into."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (None if p is None else beside(p, x).to(x.dtype) for p in (self.weight, self.bias))
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


LAYERS = {nn.Linear: _Linear, nn.LayerNorm: _LayerNorm, nn.Conv2d: comfy.ops.manual_cast.Conv2d}


def hosted(adapter: SubjectAdapter) -> SubjectAdapter:
    """The adapter with layers that ComfyUI can load; they share the weights of those it had, and it stays as it was."""
    return _hosted(adapter) if isinstance(adapter, nn.Module) else adapter


def _hosted(module: nn.Module) -> nn.Module:
    made = copy.copy(module)
    made.__class__ = LAYERS.get(type(module), type(module))
    made._parameters, made._buffers = dict(module._parameters), dict(module._buffers)
    made._modules = {name: None if child is None else _hosted(child) for name, child in module._modules.items()}
    return made


class LoadedAdapter:
    """An adapter as it was read: what a subject is encoded with, and what of it works in a MODEL then, one for all subjects of it."""

    def __init__(self, adapter: SubjectAdapter) -> None:
        self.whole = hosted(adapter)
        self.working = WorkingAdapter(released(self.whole))


class WorkingAdapter:
    """What of a hosted adapter is at work in MODELs, and ComfyUI's hold on its weights."""

    def __init__(self, adapter: SubjectAdapter) -> None:
        self.adapter = adapter
        self._patchers: dict[torch.device, Any] = {}

    def weights(self, device: torch.device) -> list[Any]:
        """The ModelPatchers with which ComfyUI loads the adapter onto a MODEL's device; none if it has nothing to load."""
        if not isinstance(self.adapter, nn.Module):
            return []
        if device not in self._patchers:
            offload = comfy.model_management.unet_offload_device()
            self._patchers[device] = comfy.model_patcher.CoreModelPatcher(self.adapter, load_device=device, offload_device=offload)
        return [self._patchers[device]]


class Carrying:
    """A patch that ComfyUI asks for the models to load with it, and tells when a run ends; also on behalf of a patch that it goes on to."""

    def __init__(self, injections: Injections, weights: Sequence[Any], before: Callable | None = None) -> None:
        self.injections, self.before = injections, before
        self._weights = tuple(weights)

    def models(self) -> list[Any]:
        return [*self._weights, *(self.before.models() if hasattr(self.before, "models") else ())]

    def to(self, device_or_dtype: torch.device | torch.dtype) -> Carrying:
        if hasattr(self.before, "to"):
            self.before = self.before.to(device_or_dtype)
        return self

    def cleanup(self) -> None:
        self.injections.rest()
        if hasattr(self.before, "cleanup"):
            self.before.cleanup()

    def __deepcopy__(self, memo: dict[int, Any]) -> Carrying:
        """Itself, as a function is: packs that copy a MODEL's options deeply shall not copy gigabytes of weights."""
        return self


def injections_on(device: torch.device, injections: Sequence[Injection]) -> Injections:
    """The injections into a MODEL that computes on the device."""
    return Injections(injections, room=partial(_room, device), moves=False)


def _room(device: torch.device) -> int:
    if comfy.model_management.is_device_cpu(device):
        return ROOM
    return int(comfy.model_management.get_free_memory(device)) // SHARE
