"""Profiles of models (core/check/profile.py) in ComfyUI's user folder, found by what the model is and never by where its file lies."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import folder_paths

from ...core.check.profile import Profile, fingerprint

FOLDER = Path("default") / "dragfield" / "profiles"
_fingerprints: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def fingerprint_of(patcher: Any) -> str:
    """Of a MODEL's own weights, whatever LoRAs are on it. Looked at once for each network."""
    network = patcher.model.diffusion_model
    if network not in _fingerprints:
        # While a patched MODEL is loaded, its own weights wait here.
        own = {key: getattr(kept, "weight", kept) for key, kept in patcher.backup.items()}
        parameters = ((name, own.get(f"diffusion_model.{name}", one)) for name, one in network.named_parameters())
        _fingerprints[network] = fingerprint(type(network).__name__, parameters)
    return _fingerprints[network]


def path_of(patcher: Any) -> Path:
    """Where the MODEL's profile is, or would be."""
    return Path(folder_paths.get_user_directory()) / FOLDER / f"{fingerprint_of(patcher)}.json"


def profile_of(patcher: Any) -> Profile | None:
    """The MODEL's profile, if one was saved. One that can't be read is left alone, and the log says why."""
    if not hasattr(getattr(getattr(patcher, "model", None), "diffusion_model", None), "named_parameters"):
        return None
    try:
        found = Profile.read(path_of(patcher))
    except FileNotFoundError:
        return None
    except ValueError as error:
        logging.warning("Dragfield: %s", error)
        return None
    return found if found.model == fingerprint_of(patcher) else None
