"""What an edit tells while it runs, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

Stage = Literal["check", "invert", "drag", "denoise"]


@dataclass(frozen=True, eq=False)
class Progress:
    """Told after every step of an edit: which stage, how far, the latent there, and while dragging the state of what drags (region_drag.py,
    point_drag.py)."""

    stage: Stage
    done: int
    total: int
    z: Tensor
    drag: Any = None


Report = Callable[[Progress], None]


class Interrupted(RuntimeError):
    """The edit was stopped by `should_stop`."""


@dataclass(frozen=True)
class RunContext:
    """Who is told how far a run is, and who may stop it; by default nobody.

    should_stop: asked before every step; True ends the run with `Interrupted`.
    """

    report: Report | None = None
    should_stop: Callable[[], bool] | None = None

    def tell(self, stage: Stage, done: int, total: int, z: Tensor, drag: Any = None) -> None:
        if self.report is not None:
            self.report(Progress(stage, done, total, z, drag))

    def part(self, number: int, count: int) -> RunContext:
        """For one of `count` alike runs in a row, `number` from 0: what it tells is how far all of them are. Inverting is done once."""
        report = self.report
        if report is None or count == 1:
            return self

        def of_all(at: Progress) -> None:
            report(at if at.stage == "invert" else replace(at, done=number * at.total + at.done, total=count * at.total))

        return replace(self, report=of_all)

    def check(self) -> None:
        """Raises Interrupted when the run shall end."""
        if self.should_stop is not None and self.should_stop():
            raise Interrupted("the edit was stopped")


ALONE = RunContext()
"""Nobody watches."""
