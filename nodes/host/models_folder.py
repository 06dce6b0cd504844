"""Folders that a workflow names, which must not lead out of ComfyUI's models directory."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths


def folder_in_models(kind: str, name: str) -> Path:
    """The folder `name` inside `kind` of ComfyUI's models directory. Raises ValueError for one that is not inside."""
    root = Path(folder_paths.models_dir) / kind
    path = Path(os.path.normpath(root / name.strip()))
    if path == root or not path.is_relative_to(root):
        raise ValueError(f"the folder {name[:60]!r} is not inside {kind} of ComfyUI's models directory; copy or link it there")
    return path
