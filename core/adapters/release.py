"""What of an adapter is needed no longer once a picture is encoded."""

from __future__ import annotations

import copy

from torch import nn

from .contract import SubjectAdapter


def released(adapter: SubjectAdapter) -> SubjectAdapter:
    """The adapter without the modules named in its `only_encoding`, as "projector" or "projector.proj".

    It shares the weights of the rest and leaves the adapter as it is, which can be freed then. `encode` doesn't work any more.
    """
    for name in getattr(adapter, "only_encoding", ()):
        adapter = _without(adapter, name.split("."))
    return adapter


def _without(module: nn.Module, path: list[str]) -> nn.Module:
    # A shallow copy has the very dict of children that its original has.
    light = copy.copy(module)
    light._modules = dict(module._modules)
    if len(path) == 1:
        del light._modules[path[0]]
    else:
        light._modules[path[0]] = _without(module._modules[path[0]], path[1:])
    return light
