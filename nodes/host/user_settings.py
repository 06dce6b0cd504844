"""Settings of the person at the machine: from the environment, else from ComfyUI's own settings. Never from a workflow.

A workflow may come from a stranger, so it says neither where pictures are sent to nor with which key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import folder_paths


def setting(name: str, variable: str, default: str = "") -> str:
    """The environment's `variable`, or ComfyUI's setting `name` (user "default"), or `default`; without blanks around it."""
    return (os.environ.get(variable) or _stored().get(name) or default).strip()


def _stored() -> dict[str, str]:
    path = Path(folder_paths.get_user_directory()) / "default" / "comfy.settings.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
