"""What a drag asks for, in picture pixels: the plain values that every method reads.

`DragInstruction` (instruction.py) is the user's side: versioned, normalised, forgiving in form. Rasterised on a picture it
becomes a `Drag`: boolean region masks and points in pixels.

Convention: points are `(x, y)` in pixels of the picture, origin at the top left corner of the top left pixel, so that the
centre of pixel (column c, row r) is (c + 0.5, r + 0.5). Masks are `[H, W]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Task = Literal["relocation", "rotation", "deformation", "pin"]
Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class RegionOperation:
    """One region and where it goes.

    mask: bool [H, W], the source region.
    task: relocation and deformation carry the centroid to `target`; rotation turns the region about `anchor` until its
        centroid lies in the direction of `target`; pin keeps the region where it is.
    target: (x, y) px, None only for pin.  anchor: (x, y) px, of a rotation; of a deformation, if given, the end that stays.
    along: bool [H, W], what goes with the region as if it were part of it, but does not count for its centroid: its shadow, its reflection,
        something it holds; None for nothing.
    scale: (x, y) factors about the centroid, along the picture's axes and before any turn; negative ones mirror. Of relocation and
        rotation.
    angle: degrees, positive clockwise on the screen, by which a relocation turns about the centroid on its way.
    copy: the original stays where it is, and what goes is a copy of it. Of relocation and rotation.
    front: it stands in front: what moves passes behind it, and what it hides of that is not known. Of a pin.
    """

    mask: np.ndarray
    task: Task
    target: Point | None = None
    anchor: Point | None = None
    name: str = ""
    along: np.ndarray | None = None
    scale: Point = (1.0, 1.0)
    angle: float = 0.0
    copy: bool = False
    front: bool = False

    @property
    def body(self) -> np.ndarray:
        """All that moves: the region and what goes with it. bool [H, W]."""
        return self.mask if self.along is None else self.mask | self.along


@dataclass(frozen=True)
class PointOperation:
    """One handle point and its target, (x, y) px.

    selected: bool [H, W], what it takes along, as the user says; one array for all points that take the same along. None: looked
        for on the picture.
    """

    handle: Point
    target: Point
    selected: np.ndarray | None = field(default=None, compare=False, repr=False)


def by_selection(points: Sequence[PointOperation]) -> list[tuple[np.ndarray | None, tuple[PointOperation, ...]]]:
    """The selections that points have, each with its points; None with those that have none. In the order in which they first come."""
    groups: dict[int | None, list[PointOperation]] = {}
    for point in points:
        groups.setdefault(None if point.selected is None else id(point.selected), []).append(point)
    return [(group[0].selected, tuple(group)) for group in groups.values()]


NEAR = 1.0
"""Pixels below which two handles are one place of the picture, and two targets too."""


def contradiction(points: Sequence[PointOperation]) -> tuple[int, int] | None:
    """The first two points, by index, that send one place of the picture to two: handles within `NEAR` px, targets not. None: none do."""
    handles, targets = (np.array([getattr(p, end) for p in points], float).reshape(-1, 2) for end in ("handle", "target"))
    for i in range(1, len(points)):
        apart, targets_apart = (np.hypot(*(side[:i] - side[i]).T) for side in (handles, targets))
        for k in np.flatnonzero((apart < NEAR) & (targets_apart >= NEAR)):
            return int(k), i
    return None


@dataclass(frozen=True, eq=False)
class Drag:
    """A whole drag on a picture of `size` (width, height) px."""

    size: tuple[int, int]
    regions: tuple[RegionOperation, ...] = ()
    points: tuple[PointOperation, ...] = ()
    background_prompt: str = ""
    editing_prompt: str = ""
    editable: np.ndarray | None = None
    """bool [H, W]: where the picture may change at all (a user's own mask); None: decided by the method."""

    @property
    def free(self) -> np.ndarray | None:
        """Where nothing keeps the picture as it is: the editable area less pins. bool [H, W], None: everywhere."""
        pins = [region.mask for region in self.regions if region.task == "pin"]
        if not pins:
            return self.editable
        unpinned = ~np.logical_or.reduce(pins)
        return unpinned if self.editable is None else unpinned & self.editable
