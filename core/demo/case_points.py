"""A demo case's drag told by points alone, as somebody would who only clicks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..instruction.operations import Drag, PointOperation
from .cases import DemoCase


def point_drag_of(case: DemoCase) -> Drag:
    """The case's drag by points: the centroid of what moves; for a turn also the point of the region farthest from the anchor."""
    (region,) = case.drag.regions
    rows, columns = np.nonzero(region.mask)
    places = np.stack((columns, rows), axis=1) + 0.5
    centre = places.mean(axis=0)
    if case.task != "rotation":
        return replace(case.drag, regions=(), points=(PointOperation(tuple(centre.tolist()), region.target),))
    anchor, turn = np.array(region.anchor), math.radians(case.turn)
    spin = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    # Well inside of the region: a point on its very edge is half ground.
    far = centre + 0.7 * (places[np.linalg.norm(places - anchor, axis=1).argmax()] - centre)
    pairs = [(p, np.clip(anchor + spin @ (p - anchor), 0, case.size)) for p in (centre, far)]
    return replace(case.drag, regions=(), points=tuple(PointOperation(tuple(h.tolist()), tuple(t.tolist())) for h, t in pairs))
