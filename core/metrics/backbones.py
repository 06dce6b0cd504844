"""The networks that metrics need, each from a folder or file that the user names, read when first asked for.

Nothing is fetched: a metric whose network is not named is not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Backbones:
    """Where networks lie; None for those that are not there.  device: where they run."""

    device: str = "cpu"

    def has(self, need: str) -> bool:
        """Whether a need of a metric is met; the empty one always is."""
        return need == "" or getattr(self, need, None) is not None

    def paths(self) -> dict[str, str]:
        """Those that are there, by name."""
        return {name: str(value) for name, value in vars(self).items() if isinstance(value, Path)}
