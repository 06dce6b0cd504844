"""Tests against a real ComfyUI, in this process: how it is found, and the tiny models they run on.

`make test-comfyui COMFYUI_PATH=/path/to/ComfyUI` prepares an environment and runs them together with tests/browser. By hand, with the
Python that ComfyUI runs with, plus pytest, pytest-timeout and diffusers:

    COMFYUI_PATH=/path/to/ComfyUI /path/to/comfy-venv/bin/python -m pytest tests/host

They compute on the CPU; with COMFYUI_GPU=1 on the GPU, where the backward pass runs in a thread of its own; with COMFYUI_CARD=1 on what
tests/card has instead of one. Without COMFYUI_PATH every
module is skipped, saying so. ComfyUI is never part of this repository. `dragfield` has to be importable (pip install -e .): ComfyUI's own
top-level `nodes` and ours, `dragfield.nodes`, do not meet.

torchvision, torchaudio, kornia, spandrel and av, which parts of ComfyUI import that are not used here, are replaced by empty modules where
they are not installed.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

COMFYUI = os.environ.get("COMFYUI_PATH")
UNUSED = ("torchvision", "torchaudio", "kornia", "spandrel", "av")


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
    device = _card() if os.environ.get("COMFYUI_CARD") else None
    # First: diffusers asks whether torchvision is there, and would believe the empty one.
    from diffusers import FluxTransformer2DModel  # noqa: F401

    sys.meta_path.append(_EmptyModules([name for name in UNUSED if importlib.util.find_spec(name) is None]))
    sys.path.insert(0, path)
    # What the tests here share, behind ComfyUI's own modules.
    sys.path.append(str(Path(__file__).parent))
    import comfy.options

    comfy.options.enable_args_parsing(False)
    import comfy.cli_args

    comfy.cli_args.args.cpu = not os.environ.get("COMFYUI_GPU")
    if device is not None:
        _compute_on(device)


def _card() -> torch.device:
    """The device of tests/card. Before all else: whether there is a device, PyTorch remembers from when it is first asked."""
    sys.path.append(str(Path(__file__).parents[1]))
    from card import install

    return install()


def _compute_on(device: torch.device) -> None:
    """Have ComfyUI load and run its models there."""
    import comfy.model_management as management

    free, total = management.get_free_memory, management.get_total_memory
    # Of memory it has what the machine has.
    management.get_free_memory = lambda dev=None, torch_free_too=False: free(torch.device("cpu"), torch_free_too)
    management.get_total_memory = lambda dev=None, torch_total_too=False: total(torch.device("cpu"), torch_total_too)
    management.get_torch_device = lambda: device
    management.get_all_torch_devices = lambda exclude_current=False: [] if exclude_current else [device]
    if os.environ.get("CARD_WITHOUT_FLOAT64"):
        # For which ComfyUI's own code makes way on these.
        management.is_device_mps = lambda dev: getattr(dev, "type", None) == device.type
    management.vram_state = management.VRAMState.NORMAL_VRAM


if COMFYUI:
    start_comfyui(COMFYUI)


class _Absent(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        pytest.skip(f"{self.path.name}: COMFYUI_PATH does not name a ComfyUI, see tests/host/conftest.py", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return None if COMFYUI else _Absent.from_parent(parent, path=module_path)


TINY = {
    "patch_size": 1, "in_channels": 64, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 12, "pooled_projection_dim": 8, "guidance_embeds": True, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
"""A FLUX transformer of width 32 in diffusers' words, with the demo model's 16 latent channels."""


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """The config behind `weights`."""
    return TINY


@pytest.fixture(scope="session")
def weights() -> dict[str, Any]:
    """The state dict of a TINY transformer: random, and big enough for every layer to matter."""
    import torch
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    model = FluxTransformer2DModel(**TINY)
    for name, parameter in model.named_parameters():
        is_scale = "norm_" in name and "norm_out" not in name
        torch.nn.init.normal_(parameter, mean=float(is_scale), std=0.2 if parameter.ndim > 1 else 0.1)
    return {name: parameter.detach() for name, parameter in model.state_dict().items()}


@pytest.fixture
def core_flux(weights: dict[str, Any]) -> Any:
    """core's own backbone with those weights."""
    from diffusers import FluxTransformer2DModel

    from dragfield.core.backbones.flux import DiffusersFlux

    model = FluxTransformer2DModel(**TINY)
    model.load_state_dict(weights)
    return DiffusersFlux(model)


@pytest.fixture
def make_flux(weights: dict[str, Any]) -> Callable[..., Any]:
    """Makes a MODEL with those weights, in a dtype."""
    from dragfield.nodes.host.demo_model import make_model

    return lambda **kwargs: make_model(TINY, weights, **kwargs)


@pytest.fixture
def prompt() -> Any:
    """A core Conditioning that TINY models take."""
    import torch

    from dragfield.core.model.backbone import Conditioning

    generator = torch.Generator().manual_seed(1)
    return Conditioning(torch.randn(1, 5, 12, generator=generator), torch.randn(1, 8, generator=generator))


@pytest.fixture
def latent() -> Any:
    """[1, 16, 8, 12]."""
    import torch

    return torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(2))
