"""A disc moves within a field that fades to nothing, so that nothing is uncovered: the warped picture is the truth, or the other way round.

The disc's own place is exact; between the two radii the truth is one smooth answer, and any other that closes is as good.

Convention: pictures are uint8 [H, W, 3]; masks bool [H, W]; points and shifts (x, y) px as in `operations.py`, y down; angles in degrees,
positive clockwise on the screen. Shifts are whole pixels, so that what moved is the same numbers again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from ..field.geometry import centroid
from ..field.warp import sample
from ..instruction.operations import Drag, Point, RegionOperation
from .contract import SelfDrag, check, disc, plus, shifted

FADE = 2.0
"""Width of the fading band in lengths of the move: the field's steepest slope is 1.5 / FADE then, and below 1 it cannot fold over."""
STEPS = 80
"""Iterations that invert a field: each shrinks the error to 1.5 / FADE of it."""


def smooth_shift(
    picture: np.ndarray, centre: tuple[int, int], radius: float, shift: tuple[int, int], *, inverse: bool = False
) -> SelfDrag:
    """A disc is shifted, and its surroundings give way.

    centre, radius: px, of the disc in the picture.  shift: whole px.  inverse: the picture is the warped one and the disc goes home.
    Raises ValueError if the field does not fit into the picture or the shift is none.
    """
    shift = _whole(shift)
    outer, near = _field_disc(picture, centre, radius, math.hypot(*shift))

    def came_from(xy: np.ndarray) -> np.ndarray:
        # x + w(x) shift = y, solved for x: w's slope times the shift's length is below 1, so this contracts.
        x = xy.copy()
        for _ in range(STEPS):
            x = xy - _weight(x - centre, radius, outer) * shift
        return x

    warped, start = _warped(picture, near, came_from), disc(picture, centre, radius)
    landed = shifted(start, shift)
    if inverse:
        start, landed, shift = landed, start, -shift
    region = RegionOperation(start, "deformation", plus(centroid(start), shift))
    return _warp_drag("shift", picture, warped, (region,), landed, near, inverse)


def smooth_turn(picture: np.ndarray, centre: tuple[int, int], radius: float, degrees: float, *, inverse: bool = False) -> SelfDrag:
    """A disc turns about its centre, and its surroundings give way. The drag turns its two halves, so that all of it is named.

    centre, radius: px.  degrees: -90 to 90, positive clockwise.  inverse: the picture is the warped one and the disc turns home.
    Raises ValueError if the field does not fit into the picture, or for another angle.
    """
    if not 0 < abs(degrees) <= 90:
        raise ValueError(f"degrees is {degrees}: give an angle from -90 to 90 that is not 0")
    angle = math.radians(degrees)
    outer, near = _field_disc(picture, centre, radius, abs(angle) * radius)

    def came_from(xy: np.ndarray) -> np.ndarray:
        off = xy - centre
        back = -angle * _weight(off, radius, outer)[..., 0]
        x, y = off[..., 0], off[..., 1]
        return np.stack([np.cos(back) * x - np.sin(back) * y, np.sin(back) * x + np.cos(back) * y], -1) + centre

    turning = disc(picture, centre, radius)
    left = np.arange(turning.shape[1]) + 0.5 < centre[0]
    turn = -angle if inverse else angle
    regions = tuple(
        RegionOperation(half, "rotation", _turned(centroid(half), centre, turn), (float(centre[0]), float(centre[1])))
        for half in (turning & left, turning & ~left)
    )
    return _warp_drag("turn", picture, _warped(picture, near, came_from), regions, turning, near, inverse)


def outer_radius(radius: float, length: float) -> float:
    """Where the field of a disc of `radius` px, whose rim moves `length` px, has faded to nothing."""
    # For a turn the way at the outer radius is longer than at the inner one, but it goes along the circle, where nothing folds.
    return radius + FADE * length + 1


def _warp_drag(
    name: str, picture: np.ndarray, warped: np.ndarray, regions: tuple[RegionOperation, ...], landed: np.ndarray, near: np.ndarray,
    inverse: bool,
) -> SelfDrag:
    source, truth = (warped, picture.copy()) if inverse else (picture.copy(), warped)
    drag = Drag((near.shape[1], near.shape[0]), regions, editable=near)
    return SelfDrag(f"{name}_inverse" if inverse else name, source, drag, truth, landed, np.zeros_like(near))


def _field_disc(picture: np.ndarray, centre: tuple[int, int], radius: float, length: float) -> tuple[float, np.ndarray]:
    """Radius of the whole field and its disc. Raises ValueError if it leaves the picture."""
    check(picture)
    outer, (height, width) = outer_radius(radius, length), picture.shape[:2]
    if radius < 1 or not (outer <= centre[0] <= width - outer and outer <= centre[1] <= height - outer):
        raise ValueError(f"a disc of {radius:g} px that moves {length:.0f} px needs {outer:.0f} px around its centre "
                         f"({centre[0]}, {centre[1]}) and the picture is {width} x {height} px: move less, or nearer the middle")
    return outer, disc(picture, centre, outer)


def _weight(off: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """Share of the move at a place: 1 up to the inner radius, 0 from the outer one on, a smooth step between. [..., 1]."""
    x = np.clip((outer - np.hypot(off[..., :1], off[..., 1:])) / (outer - inner), 0, 1)
    return x * x * (3 - 2 * x)


def _warped(picture: np.ndarray, near: np.ndarray, came_from: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    ys, xs = np.nonzero(near)
    places = torch.from_numpy(came_from(np.stack([xs + 0.5, ys + 0.5], -1)))
    values = sample(torch.from_numpy(picture).permute(2, 0, 1)[None].double(), places)[0].T.numpy()
    warped = picture.copy()
    warped[near] = np.rint(values).clip(0, 255)
    return warped


def _whole(shift: tuple[int, int]) -> np.ndarray:
    if any(one != int(one) for one in shift) or not any(shift):
        raise ValueError(f"shift is {shift}: give whole pixels, not both 0")
    return np.array([int(one) for one in shift])


def _turned(point: Point, centre: tuple[int, int], angle: float) -> Point:
    x, y = point[0] - centre[0], point[1] - centre[1]
    return centre[0] + math.cos(angle) * x - math.sin(angle) * y, centre[1] + math.sin(angle) * x + math.cos(angle) * y
