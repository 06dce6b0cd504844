"""The parts of scripts/gpu_report.py: generators of rows, each given a Scale and the device. "ok" is False in a row that shows a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """says: what it measures.  limit: seconds until it is cut off.  module, function: where it is; only its own process imports it."""

    says: str
    limit: float
    module: str
    function: str

    def load(self) -> Callable[..., Iterator[Row]]:
        return getattr(import_module(f"gpu_parts.{self.module}"), self.function)


PARTS = {
    "correct": Part("whether core computes the same there, again and again", 60, "correct", "correct"),
    "iteration": Part("a drag iteration on FLUX.1-dev's size, the published way and ours", 75, "flux", "iteration"),
    "edits": Part("whole edits on FLUX.1-dev's size", 120, "flux", "edits"),
    "comfyui": Part("a drag iteration in ComfyUI, by precision and saving", 120, "comfyui", "iteration"),
    "limits": Part("whole edits in ComfyUI on a smaller card", 120, "comfyui", "limits"),
    "host_tests": Part("the tests in ComfyUI on the card", 150, "comfyui", "host_tests"),
    "families": Part("a drag iteration on other models' sizes", 60, "comfyui", "families"),
    "points": Part("a round of a point drag on SD 1.5's size, the published way and ours", 60, "points", "points"),
    "profile": Part("what a drag iteration spends its time on", 60, "flux", "profiled"),
    "dynamic": Part("the same as limits, with ComfyUI's dynamic memory", 90, "comfyui", "dynamic"),
}
"""In order of importance."""
