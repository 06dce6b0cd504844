"""Reading a subject adapter's file: what kind it is is told by its keys, and it must have every tensor of that kind and no other.

Read are .safetensors and pickles of plain tensors (weights only), flat or in the two parts image_proj and ip_adapter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .flux_ip_adapter import instantx, xlabs
from .instant_character import InstantCharacter, instant_character
from .pulid import RENAMES as PULID
from .pulid import PulidFlux, pulid_flux
from .token_adapter import TokenAdapter
from .unet_ip_adapter import UNetIpAdapter, unet_ip_adapter

Adapter = TokenAdapter | UNetIpAdapter | PulidFlux

Rename = tuple[str, str]

_XLABS = (
    (r"ip_adapter_proj_model\.(.+)", r"projector.\1"),
    (r"double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.(.+)", r"attention.layers.\1.to_\2_ip.\3"),
)
_PARTS = ((r"image_proj\.(.+)", r"projector.\1"), (r"(?:ip_adapter|adapter_modules)\.(\d+)\.(.+)", r"attention.layers.\1.\2"))

_ELSEWHERE = {
    "redux_up.weight": "FLUX Redux, which is no adapter of this kind: use ComfyUI's own Load Style Model and Apply Style Model",
    "id_adapter.id_embedding_mapping.0.weight": "PuLID for SDXL, which isn't supported: use PuLID-FLUX, or an IP-Adapter for SDXL",
}


def read_adapter(
    path: str | Path, *, dtype: torch.dtype = torch.bfloat16, time_multiplier: float | None = None, **sizes: Any
) -> Adapter:
    """The adapter in a file, frozen, in `dtype` on the CPU.

    time_multiplier: InstantCharacter's, see there; None for the published one. Other kinds don't know the time.
    sizes: what can't be read off the tensors and differs from the published files, as head=64 for a model with heads of that width.

    Raises: ValueError, one sentence, for a file that can't be read, of an unknown or unsupported kind, or with tensors missing, left over
    or of the wrong shape.
    """
    path = Path(path)
    state = _flat(_load(path))
    make, renames = _recognised(state, path.name)
    renamed = {_renamed(key, renames): value for key, value in state.items()}
    try:
        # The sizes first, without memory: 2.8 billion parameters need not be there twice.
        with torch.device("meta"):
            adapter = make(renamed, **sizes)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{path.name} lacks {error}, without which it can't be read: download it again") from None
    _check(adapter, renamed, path.name)
    adapter.load_state_dict({key: value.to(dtype) for key, value in renamed.items()}, assign=True)
    if time_multiplier is not None and isinstance(adapter, InstantCharacter):
        adapter.time_multiplier = time_multiplier
    return adapter.eval().requires_grad_(False)


def _recognised(state: Mapping[str, Tensor], name: str) -> tuple[Callable[..., Adapter], tuple[Rename, ...]]:
    if "ip_adapter_proj_model.proj.weight" in state:
        return xlabs, _XLABS
    if "image_proj.resampler.latents" in state:
        return instant_character, _PARTS
    if any(re.fullmatch(r"(ip_adapter|adapter_modules)\.0\.to_k_ip\.weight", key) for key in state):
        return instantx, _PARTS
    if any(key.startswith("pulid_ca.") for key in state):
        return pulid_flux, PULID
    if any("to_q_lora" in key for key in state):
        raise ValueError(f"{name} is an IP-Adapter FaceID, which isn't supported: use an IP-Adapter without FaceID")
    if any(re.fullmatch(r"(ip_adapter|adapter_modules)\.1\.to_k_ip\.weight", key) for key in state):
        return unet_ip_adapter, _PARTS
    for key, what in _ELSEWHERE.items():
        if key in state:
            raise ValueError(f"{name} is {what}")
    known = "InstantCharacter, PuLID-FLUX or an IP-Adapter for FLUX.1, SD 1.5 or SDXL"
    raise ValueError(f"{name} is no subject adapter known here: use {known}")


def _check(adapter: Adapter, state: Mapping[str, Tensor], name: str) -> None:
    wanted = adapter.state_dict()
    missing, left = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or left:
        faults = [f"{len(keys)} tensors {how}, such as {keys[0]}" for keys, how in ((missing, "are missing"), (left, "too many")) if keys]
        raise ValueError(f"{name} is no complete {adapter.kind} file ({'; '.join(faults)}): download it again")
    for key, value in wanted.items():
        if value.shape != state[key].shape:
            found, right = list(state[key].shape), list(value.shape)
            raise ValueError(f"{name} has {key} of the shape {found} where {adapter.kind} has {right}: is it for another model?")


def _load(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}: check the name") from None
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"{path.name} can't be read ({' '.join(str(error).split())[:200]}): download it again") from None
    except Exception as error:  # what unpickling refuses comes in many classes
        what = f"more than plain tensors ({type(error).__name__})"
        raise ValueError(f"{path.name} holds {what} and is not loaded: use a .safetensors file") from None


def _flat(data: Mapping[str, Any]) -> dict[str, Tensor]:
    """{"a": {"b": tensor}} -> {"a.b": tensor}."""
    found: dict[str, Tensor] = {}
    for key, value in data.items() if isinstance(data, Mapping) else ():
        if isinstance(value, Tensor):
            found[str(key)] = value
        elif isinstance(value, Mapping):
            found.update({f"{key}.{inner}": tensor for inner, tensor in _flat(value).items()})
    return found


def _renamed(key: str, renames: tuple[Rename, ...]) -> str:
    for pattern, name in renames:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, name, key)
    return key
