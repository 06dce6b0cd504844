"""Tests against a real ComfyUI, in this process: how it is found, and the tiny models they run on.

Run them with the Python that ComfyUI runs with, plus pytest, pytest-timeout and diffusers:

    COMFYUI_PATH=/path/to/ComfyUI /path/to/comfy-venv/bin/python -m pytest tests/host

They compute on the CPU; with COMFYUI_GPU=1 on the GPU, where the backward pass runs in a thread of its own. Without COMFYUI_PATH every
module is skipped, saying so. ComfyUI is never part of this repository. `dragfield` has to be importable (pip install -e .): ComfyUI's own
top-level `nodes` and ours, `dragfield.nodes`, do not meet.

torchvision, torchaudio, kornia and spandrel, which parts of ComfyUI import that are not used here, are replaced by empty modules where they
are not installed.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType

COMFYUI = os.environ.get("COMFYUI_PATH")
UNUSED = ("torchvision", "torchaudio", "kornia", "spandrel")


class _Empty(ModuleType):
    """A module in which every name is an empty class."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


class _EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return None


def start_comfyui(path: str) -> None:
    """Make ComfyUI's modules importable, on the CPU unless COMFYUI_GPU is set, without it reading pytest's command line."""
    # First: diffusers asks whether torchvision is there, and would believe the empty one.
    from diffusers import FluxTransformer2DModel  # noqa: F401

    sys.meta_path.append(_EmptyModules([name for name in UNUSED if importlib.util.find_spec(name) is None]))
    sys.path.insert(0, path)
    import comfy.options

    comfy.options.enable_args_parsing(False)
    import comfy.cli_args

    comfy.cli_args.args.cpu = not os.environ.get("COMFYUI_GPU")


if COMFYUI:
    start_comfyui(COMFYUI)
