"""Colours that a field carries along: read between the source's pixels, and of what shrinks as the mean of all that a pixel takes in.

Convention: pictures are numpy [H, W] or [H, W, C] of the field's size, uint8 or float; positions (x, y) px, pixel centres at
(c + 0.5, r + 0.5).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..field import DragField, Layout
from ..field.geometry import cell_centres, transform
from ..field.moves import RegionMove

Box = tuple[slice, slice]


def carried_colours(
    image: np.ndarray,
    field: DragField,
    layout: Layout,
    progress: float = 1.0,
    *,
    box: Box = np.s_[:, :],
    border: int = cv2.BORDER_REPLICATE,
) -> np.ndarray:
    """What each pixel of a box takes from where the layout says it comes from. -> like image[box]

    layout: of the field, at this progress and the picture's own size.  border: OpenCV's, of what comes from beyond the picture.
    """
    carried, progress = _read(image, layout.backward[box].numpy(), border), field.travelled(progress)
    for index, move in enumerate(field.regions):
        if not isinstance(move, RegionMove) or min(map(abs, move.motion.factors(progress))) >= 1:
            continue
        cells = (layout.operation[box] == index).numpy()
        rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
        if rows.size:
            part = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
            corner = (box[1].start or 0) + part[1].start, (box[0].start or 0) + part[0].start
            mean, known = _mean(image, move, progress, corner, cells[part].shape, border)
            known &= cells[part]
            carried[part][known] = mean[known] if image.dtype != np.uint8 else np.rint(mean[known])
    return carried


def _mean(
    image: np.ndarray, move: RegionMove, progress: float, corner: tuple[int, int], shape: tuple[int, int], border: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the region's own pixels, none from beside it, in each pixel of a window whose top left one is `corner` (column, row).

    -> float [h, w] or [h, w, C], and bool [h, w]: where there are any.
    """
    columns, rows = (math.ceil(1 / abs(factor)) for factor in move.motion.factors(progress))
    backward = move.motion.backward(progress, move.mask.shape[::-1])
    centres = cell_centres((*corner, corner[0] + shape[1], corner[1] + shape[0]))
    mask = move.mask.astype(np.float32)
    total, share = 0.0, np.zeros(shape, np.float32)
    for i in range(columns):
        for k in range(rows):
            beside = centres.new_tensor([(i + 0.5) / columns - 0.5, (k + 0.5) / rows - 0.5])
            source = transform(backward, centres + beside).numpy().astype(np.float32)
            weight = _read(mask, source, cv2.BORDER_CONSTANT)
            total = total + _read(image, source, border) * (weight[..., None] if image.ndim == 3 else weight)
            share += weight
    return total / np.maximum(share[..., None] if image.ndim == 3 else share, 1e-6), share > 0


def _read(image: np.ndarray, source: np.ndarray, border: int) -> np.ndarray:
    # OpenCV counts positions from pixel centres.
    return cv2.remap(image, source[..., 0] - 0.5, source[..., 1] - 0.5, cv2.INTER_LINEAR, borderMode=border)
