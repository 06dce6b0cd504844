"""What metrics judge: a picture before and after, where it might change, and what was asked of it.

Convention: pictures are float32 [H, W, 3] in [0, 1], both of one size; masks bool [H, W]; points (x, y) px, the centre of pixel (c, r) at
(c + 0.5, r + 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..field.geometry import Motion, Point, centroid, rotation_angle
from ..field.masks import adaptive_gradient_mask, moved_as_published
from ..instruction.operations import Drag, RegionOperation


@dataclass(frozen=True, eq=False)
class Operation:
    """One thing that was asked: a handle point with its target, or a region.

    start: where it was: a handle, or a region's centroid as annotated.  target: where it was to go.
    source, moved: the region and where it lands; None for a point.  motion: which carries the region as published (DragFlow 4.3 at progress
    1); None for a point.
    """

    start: Point
    target: Point
    source: np.ndarray | None = None
    moved: np.ndarray | None = None
    motion: Motion | None = None

    @classmethod
    def of_region(cls, region: RegionOperation, start: Point, moved: np.ndarray | None = None) -> Operation:
        """A region's. start: its annotated centroid.  moved: where it lands, as a data set says; None: the published moved mask."""
        size = region.mask.shape[1], region.mask.shape[0]
        if region.task == "rotation":
            told = {"angle": rotation_angle(start, region.target, region.anchor), "anchor": region.anchor}
        else:
            shift = region.target[0] - start[0], region.target[1] - start[1]
            told = {"shift": shift, "angle": region.angle, "anchor": start}
        motion = Motion(size, **told, scale=region.scale, centre=start)
        return cls(start, region.target, region.mask, moved_as_published(region) if moved is None else moved, motion)


@dataclass(frozen=True, eq=False)
class Judged:
    """An edit to be judged.

    mask: where the picture might change, of the data set or made as published.  drag: the same operations as a whole.
    truth: what the picture should have become, where that is known.  prompt: of the picture.  seed: of the noise that a metric draws, so
    that its value depends on this sample alone.  remarks: what metrics have to say beyond their values, for JSON; they put it there.
    """

    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray
    operations: tuple[Operation, ...]
    drag: Drag
    truth: np.ndarray | None = None
    prompt: str = ""
    seed: int = 0
    remarks: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.after.shape != self.before.shape or self.mask.shape != self.before.shape[:2]:
            raise ValueError(
                f"the picture is {list(self.before.shape)}, the result {list(self.after.shape)} and the mask {list(self.mask.shape)}: "
                "scale the result to the picture's own size before it is judged"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        return self.before.shape[1], self.before.shape[0]


def operations_of(drag: Drag) -> tuple[Operation, ...]:
    """What a drag asks for: its regions but for pins, each from the centroid of its mask, then its points."""
    regions = (Operation.of_region(region, centroid(region.mask)) for region in drag.regions if region.task != "pin")
    return (*regions, *(Operation(point.handle, point.target) for point in drag.points))


def made_mask(drag: Drag, given: np.ndarray | None) -> tuple[np.ndarray, bool]:
    """Where a picture might change, bool [H, W], and whether it was given: DragFlow's adaptive mask (D.2) stands in where there is none.

    Raises: ValueError if nothing might.
    """
    return (adaptive_gradient_mask(drag), False) if given is None else (given, True)
