"""A drag as far as a share of its way: the same operations with their targets nearer.

For what reads regions and points themselves: handles, the published regions, gradient masks. What reads a field takes
`DragField.between`, which also knows how far material gives.

Convention: as Drag, (x, y) px of the picture.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ..instruction.operations import Drag, Point, RegionOperation
from .geometry import centroid
from .moves import motion_of


def partway(drag: Drag, progress: float) -> Drag:
    """`drag` done as far as `progress` in [0, 1] says: the drag itself at 1.

    A region that turns is turned by a share of its angle, about its anchor; what is shifted goes a share of its way; what is scaled has
    the factors that it has there. Raises ValueError as `motion_of`.
    """
    if progress == 1:
        return drag
    regions = tuple(region if region.task == "pin" else _region(region, progress) for region in drag.regions)
    points = tuple(replace(p, target=_towards(p.handle, p.target, progress)) for p in drag.points)
    return replace(drag, regions=regions, points=points)


def _region(region: RegionOperation, progress: float) -> RegionOperation:
    start, motion = centroid(region.mask), motion_of(region)
    region = replace(region, scale=motion.factors(progress))
    if region.task != "rotation":
        return replace(region, target=_towards(start, region.target, progress), angle=region.angle * progress)
    turn = math.radians(motion.angle * progress)
    (x, y), (ax, ay) = start, region.anchor
    c, s = math.cos(turn), math.sin(turn)
    return replace(region, target=(ax + c * (x - ax) - s * (y - ay), ay + s * (x - ax) + c * (y - ay)))


def _towards(start: Point, target: Point, share: float) -> Point:
    return start[0] + share * (target[0] - start[0]), start[1] + share * (target[1] - start[1])
