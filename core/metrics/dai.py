"""DAI (GoodDrag, section on Drag100): do the pixels around a target look like those around its handle did?"""

from __future__ import annotations

from statistics import fmean

import numpy as np

from .judged import Judged
from .matching import pixel_of

RADII = (1, 5, 10, 20)
"""px, gamma of the paper."""


def dai(edit: Judged, radius: int) -> float | None:
    """Squared differences of two patches of side 2·radius + 1, the source's around the start and the result's around the target: summed
    over colours and pixels, divided by the patch's pixels, mean over operations. Lower is better.

    A patch that hangs over the picture's edge is not defined and left out; None where none is left. On Drag100 all fit.
    """
    found = _each(edit, radius)
    return fmean(found) if found else None


def dai_published(edit: Judged, radius: int) -> float | None:
    """The same as GoodDrag's and DirectDrag's code has it: divided by the number of operations twice, so that samples of several count
    less. Their tables hold this one."""
    found = _each(edit, radius)
    return fmean(found) / len(found) if found else None


def _each(edit: Judged, radius: int) -> list[float]:
    found = []
    for operation in edit.operations:
        patches = [_patch(picture, pixel_of(place, edit.size), radius) for picture, place in
                   ((edit.before, operation.start), (edit.after, operation.target))]  # fmt: skip
        if all(patch is not None for patch in patches):
            found.append(float(((patches[0] - patches[1]) ** 2).sum() / (2 * radius + 1) ** 2))
    return found


def _patch(picture: np.ndarray, centre: tuple[int, int], radius: int) -> np.ndarray | None:
    x, y = centre
    if x < radius or y < radius or x + radius >= picture.shape[1] or y + radius >= picture.shape[0]:
        return None
    return picture[y - radius : y + radius + 1, x - radius : x + radius + 1].astype(np.float64)
