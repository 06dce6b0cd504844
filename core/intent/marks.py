"""The drag drawn on the picture for a language model to look at: sources blue, where they land green, an arrow (DragFlow D.3).

Convention: pictures are uint8 [H, W, 3] RGB of the drag's size; points as in `operations.py`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..field import DragField
from ..field.geometry import centroid
from ..instruction.operations import Drag, Point

SOURCE, TARGET, ARROW = (40, 110, 255), (40, 200, 80), (255, 255, 255)
TINT = 0.25
"""How much of the colour lies over what it marks: the object itself has to stay visible."""


def marked(picture: np.ndarray, drag: Drag) -> np.ndarray:
    """A copy of the picture with every moving region, its landing place, anchors and points marked."""
    canvas = picture.copy()
    width = max(2, round(min(drag.size) / 200))
    operation = DragField.from_drag(drag, deformation="rigid").layout().operation.numpy()
    moves = [region for region in drag.regions if region.task != "pin"]
    for index, region in enumerate(moves):
        _area(canvas, operation == index, TARGET, width)
        _area(canvas, region.mask, SOURCE, width)
    for region in moves:
        _arrow(canvas, centroid(region.mask), region.target, width)
        if region.anchor is not None:
            cv2.circle(canvas, _pixel(region.anchor), 3 * width, ARROW, width, cv2.LINE_AA)
    for point in drag.points:
        _arrow(canvas, point.handle, point.target, width)
        cv2.circle(canvas, _pixel(point.handle), 2 * width, SOURCE, -1, cv2.LINE_AA)
        cv2.circle(canvas, _pixel(point.target), 2 * width, TARGET, -1, cv2.LINE_AA)
    return canvas


def _area(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    tinted = (1 - TINT) * canvas[mask] + TINT * np.array(colour)
    canvas[mask] = np.rint(tinted).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, colour, width, cv2.LINE_AA)


def _arrow(canvas: np.ndarray, start: Point, end: Point, width: int) -> None:
    distance = math.dist(start, end)
    if distance < 1:
        return
    tip = min(0.5, 6 * width / distance)
    for thick, colour in ((width + 2, (0, 0, 0)), (width, ARROW)):
        cv2.arrowedLine(canvas, _pixel(start), _pixel(end), colour, thick, cv2.LINE_AA, tipLength=tip)


def _pixel(point: Point) -> tuple[int, int]:
    return int(math.floor(point[0])), int(math.floor(point[1]))
