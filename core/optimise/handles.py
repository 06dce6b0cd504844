"""Handle points on their way to their targets, on the grid where their features are compared (DirectDrag sections 1 and 4).

Points are supervised and tracked on a grid of half the picture's size, finer than any feature map: maps are read on it bilinearly, and only
around the handles.

Convention: positions are continuous (x, y) in cells of that grid, the centre of cell (c, r) at (c + 0.5, r + 0.5); points of a drag are in
px of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..choices import check_choice
from ..field.geometry import Size, checked_point
from ..instruction.operations import Point, PointOperation, contradiction
from ..instruction.schema import MAX_PAIRS

Clamp = Literal["none", "picture", "transposed"]

STRIDE = 2
"""Pixels per cell of the grid."""


@dataclass(frozen=True)
class Handles:
    """n handles, where they were, where they are and where they should go, each as n positions in cells of `grid` (width, height).

    picture: (width, height) px.  mapped: how many cells of the grid a feature map covers, (width, height): more than the grid has where a
    map's last tokens hang over the picture's edge; None: the grid.
    """

    picture: Size
    grid: Size
    start: tuple[Point, ...]
    now: tuple[Point, ...]
    targets: tuple[Point, ...]
    mapped: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.now)

    def moved_to(self, places: Sequence[Point]) -> Handles:
        """The same drag with its handles at `places`."""
        return replace(self, now=tuple(places))

    def distances(self) -> tuple[float, ...]:
        """How far each handle still is from its target, in cells."""
        return tuple(math.dist(p, t) for p, t in zip(self.now, self.targets, strict=True))

    def distances_px(self) -> tuple[float, ...]:
        """The same in px of the picture."""
        return tuple(math.dist(self._px(p), self._px(t)) for p, t in zip(self.now, self.targets, strict=True))

    def now_px(self) -> tuple[Point, ...]:
        """Where the handles are, in px of the picture."""
        return tuple(self._px(p) for p in self.now)

    def steps(self, longest: float) -> tuple[Point, ...]:
        """From each handle towards its target, at most `longest` cells and never past it."""
        steps = []
        for (x, y), (tx, ty), distance in zip(self.now, self.targets, self.distances(), strict=True):
            share = min(longest, distance) / distance if distance > 0 else 0.0
            steps.append(((tx - x) * share, (ty - y) * share))
        return tuple(steps)

    def carried(self, share: float) -> Handles:
        """The same drag with its handles `share` of the way on, where a latent warp by that ratio takes them."""
        return self.moved_to([
            (x + share * (tx - x), y + share * (ty - y)) for (x, y), (tx, ty) in zip(self.now, self.targets, strict=True)
        ])

    def residual(self) -> float:
        """Mean distance left over mean distance asked for: 0 arrived, 1 nothing moved."""
        whole = sum(math.dist(p, t) for p, t in zip(self.start, self.targets, strict=True))
        return sum(self.distances()) / whole if whole > 0 else 0.0

    def _px(self, place: Point) -> Point:
        return place[0] * self.picture[0] / self.grid[0], place[1] * self.picture[1] / self.grid[1]


def make_handles(
    points: Sequence[PointOperation], picture: Size, *, rounded: bool = False, clamp: Clamp = "none", margin: float = 12.0
) -> Handles:
    """The points of a drag on the grid of half of `picture` (width, height) px.

    rounded: at centres of cells, each coordinate the pixel's index scaled and rounded half to even, as published; else exactly.
    clamp: "picture" moves points to `margin` px from the border; "transposed" does so with width and height mistaken for each other, as
    published, which carries points of a picture that is not square across it; "none" leaves them, as reading past the border is safe.
    Raises ValueError, before anything heavy starts, for what `check_points` refuses.
    """
    check_points(points, picture)
    check_choice("clamp", clamp, Clamp)
    grid = max(1, picture[0] // STRIDE), max(1, picture[1] // STRIDE)
    limits = picture[::-1] if clamp == "transposed" else picture

    def placed(point: Point) -> Point:
        if clamp != "none":
            # On indices, as published: the last index is size - 1.
            point = tuple(min(max(v - 0.5, margin), max(n - 1 - margin, margin)) + 0.5 for v, n in zip(point, limits, strict=True))
        cells = []
        for v, pixels, count in zip(point, picture, grid, strict=True):
            at = round((v - 0.5) / pixels * count) + 0.5 if rounded else v / pixels * count
            cells.append(float(min(max(at, 0.5), count - 0.5)) if rounded else float(min(max(at, 0.0), count)))
        return cells[0], cells[1]

    start = tuple(placed(p.handle) for p in points)
    return Handles(picture, grid, start, start, tuple(placed(p.target) for p in points))


def check_points(points: Sequence[PointOperation], picture: Size) -> None:
    """Refuse, in one sentence: no points, more than 1,024, one that is not finite or off the picture, one handle with two targets,
    or two within a pixel of each other whose targets are not."""
    if not points:
        raise ValueError("a point drag needs at least one pair of handle and target: add a point")
    if len(points) > MAX_PAIRS:
        raise ValueError(f"{len(points):,} pairs of points are too many: use at most {MAX_PAIRS:,}")
    goals: dict[Point, Point] = {}
    for number, pair in enumerate(points, start=1):
        for name, place in (("handle", pair.handle), ("target", pair.target)):
            x, y = checked_point(place, f"{name} of point {number}")
            if not (0 <= x <= picture[0] and 0 <= y <= picture[1]):
                raise ValueError(
                    f"the {name} of point {number} is ({x:g}, {y:g}), off the picture of {picture[0]}x{picture[1]} px: "
                    f"put it between (0, 0) and ({picture[0]}, {picture[1]})"
                )
        if goals.setdefault(pair.handle, pair.target) != pair.target:
            raise ValueError(
                f"the handle ({pair.handle[0]:g}, {pair.handle[1]:g}) has two targets: point {number} repeats it with another one; "
                "remove one of them"
            )
    if (found := contradiction(points)) is not None:
        a, b = (points[k] for k in found)
        raise ValueError(
            f"the handles of points {found[0] + 1} and {found[1] + 1} lie {math.dist(a.handle, b.handle):.2g} px apart, but their targets "
            f"{math.dist(a.target, b.target):.3g}; one place cannot go to two, move the handles apart or remove one"
        )
