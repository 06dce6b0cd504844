"""A drag whose result is known: the picture, what is to be done with it, and what comes out.

Convention: pictures are uint8 [H, W, 3]; masks bool [H, W]; points and shifts (x, y) px as in `operations.py`, y down; angles in degrees,
positive clockwise on the screen. Shifts are whole pixels, so that what moved is the same numbers again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..instruction import DragInstruction
from ..instruction.operations import Drag, Point

SMALLEST = 64
"""Pixels of the shorter side below which no disc with a field around it fits."""


@dataclass(frozen=True, eq=False)
class SelfDrag:
    """A picture, what is to be done, and what comes out.

    drag.editable: where picture and truth may differ; outside they are equal.
    landed: bool [H, W], where what the drag names lies in the truth.  vacated: bool [H, W], ground that was uncovered; empty for warps.
    """

    name: str
    picture: np.ndarray
    drag: Drag
    truth: np.ndarray
    landed: np.ndarray
    vacated: np.ndarray

    @property
    def asked(self) -> Drag:
        """The drag as it is asked of an edit: without `editable`, since the region crosses ground that is the same in the end."""
        return replace(self.drag, editable=None)

    @property
    def instruction(self) -> DragInstruction:
        """The drag as nodes and files take it; it rasterises to `drag`."""
        return DragInstruction.from_drag(self.drag)

    def psnr(self, result: np.ndarray, where: np.ndarray | None = None) -> float:
        """How near a result is to the truth, dB.

        result: uint8 [H, W, 3].  where: bool [H, W], None for `drag.editable`.  -> inf if they are equal.
        Raises ValueError for a result of another size and for an empty `where`.
        """
        if result.shape != self.truth.shape:
            raise ValueError(f"the result is {list(result.shape)} but the truth is {list(self.truth.shape)}: judge it at the "
                             "picture's own size")
        counted = self.drag.editable if where is None else where
        if not counted.any():
            raise ValueError("there is no pixel to judge: give a mask with some, or None for all that may change")
        error = float(((result.astype(float) - self.truth) ** 2)[counted].mean())
        return 10 * math.log10(255**2 / error) if error else math.inf


def check(picture: np.ndarray, mask: np.ndarray | None = None) -> None:
    """Raise ValueError for a picture or an object mask that nothing can be made of."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"the picture is {picture.dtype} {list(picture.shape)}: give uint8 [H, W, 3]")
    if min(picture.shape[:2]) < SMALLEST:
        raise ValueError(f"the picture is {picture.shape[1]} x {picture.shape[0]} px: give one of at least {SMALLEST} px a side")
    if mask is not None and (mask.shape != picture.shape[:2] or mask.dtype != bool):
        raise ValueError(f"the object's mask is {mask.dtype} {list(mask.shape)}: give bool {list(picture.shape[:2])}, the picture's size")


def disc(picture: np.ndarray, centre: tuple[int, int], radius: float) -> np.ndarray:
    """Pixels whose centres lie within a radius. bool [H, W]."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return np.hypot(x - centre[0], y - centre[1]) <= radius


def shifted(mask: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The mask moved by whole pixels; it stays inside the picture."""
    ys, xs = np.nonzero(mask)
    moved = np.zeros_like(mask)
    moved[ys + shift[1], xs + shift[0]] = True
    return moved


def plus(point: Point, shift: np.ndarray) -> Point:
    """The point, moved."""
    return float(point[0] + shift[0]), float(point[1] + shift[1])
