"""What an edit tells while it runs, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Progress:
    """Told after every step of an edit: which stage, how far, the latent there, and while dragging the state of what drags (region_drag.py,
    point_drag.py)."""

    stage: Literal["invert", "drag", "denoise"]
    done: int
    total: int
    z: Tensor
    drag: Any = None


Report = Callable[[Progress], None]


class Interrupted(RuntimeError):
    """The edit was stopped by `should_stop`."""


def tell(report: Report | None, progress: Progress) -> None:
    if report is not None:
        report(progress)


def stop_if(should_stop: Callable[[], bool] | None) -> None:
    if should_stop is not None and should_stop():
        raise Interrupted("the edit was stopped")
