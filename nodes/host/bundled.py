"""Whether a MODEL is one of the bundled ones: a mark that clones keep, patched by LoRAs or not."""

from __future__ import annotations

from typing import Any

KEY = "dragfield_bundled"


def mark_bundled(patcher: Any) -> Any:
    """The same MODEL, marked."""
    patcher.set_attachments(KEY, True)
    return patcher


def is_bundled(patcher: Any) -> bool:
    return bool(getattr(patcher, "attachments", {}).get(KEY, False))
