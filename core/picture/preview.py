"""What a drag will roughly do, at once and without a model: the picture warped by the field, the gaps filled smoothly.

Convention: pictures are numpy [H, W, 3], uint8 or float in [0, 1], RGB; results have the same type and shape and never
share memory with the input. Positions are (x, y) px, pixel centres at (c + 0.5, r + 0.5).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..field import DragField
from ..field.geometry import Size, centroid
from ..field.masks import grow
from ..instruction.operations import Drag, Point
from .carried_colours import carried_colours

SOURCE, TARGET, FIXED = (64, 156, 255), (255, 140, 40), (150, 150, 150)
"""RGB of what is taken, of where it goes, and of what stays (anchors, pins)."""

FILL_SIDE = 128
"""Longest side of the grid on which vacated places are filled."""


def preview(image: np.ndarray, field: DragField, *, progress: float = 1.0, fill: bool = True) -> np.ndarray:
    """The picture with the field applied: moved content bilinear (what shrinks: averaged), vacated places filled, kept pixels bit for bit.

    image: [H, W, 3] of the field's size.  progress: in [0, 1].  fill: False leaves vacated places as they were.
    Raises ValueError if the picture has another size than the field, or is not [H, W, 3].
    """
    _check(image, field.size)
    layout = field.layout(progress)
    result = image.copy()
    moved, vacated = layout.moved.numpy(), layout.vacated.numpy()
    revealed = layout.revealed.numpy()
    box = _box(moved | revealed)
    if box is not None:
        warped = carried_colours(uncovered(image, field), field, layout, progress, box=box)
        inside = (moved | revealed)[box] if fill else moved[box]
        result[box][inside] = warped[inside]
    vacated = vacated & ~revealed
    if fill and vacated.any():
        kept = ~(moved | vacated | revealed)
        # The moved object says nothing about what was behind it, unless there is nothing else to go by.
        result = fill_hole(result, vacated, kept if kept.any() else moved if moved.any() else ~moved)
    return result


def uncovered(image: np.ndarray, field: DragField) -> np.ndarray:
    """The picture with what a pin in front hides of moving content filled smoothly from the rest of that: a guess, and the rim of what
    hides it is no part of it either. The picture itself where nothing is in front.

    image: [H, W, 3] of the field's size. Regions, and what is selected for points, each from its own.
    """
    if field.front is None:
        return image
    hidden, result = grow(field.front, 1), image
    bodies = [move.mask for move in field.regions]
    if field.points is not None and field.points.solid:
        bodies += [body.alpha > 0.5 for body in field.points.bodies]
    for body in bodies:
        if (body & hidden).any() and (body & ~hidden).any():
            result = fill_hole(result, body & hidden, body & ~hidden)
    return result


def fill_hole(image: np.ndarray, hole: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill a hole smoothly from known pixels: averages of ever coarser cells fill what finer ones lack (push-pull).

    The finest level is at most `FILL_SIDE` cells long, so that a hole of any size takes a few milliseconds.

    image: [H, W, 3].  hole, known: bool [H, W]; pixels in neither are left alone and not looked at.
    -> a copy; only the hole differs. Without any known pixel the hole gets the picture's mean.
    """
    result = image.copy()
    box = _box(hole)
    if box is None:
        return result
    if not known.any():
        result[hole] = image.mean(axis=(0, 1)).astype(image.dtype)
        return result
    around = _surroundings(box, known)
    weight = known[around].astype(np.float32)
    colour = image[around].astype(np.float32) * weight[..., None]
    height, width = weight.shape
    shrink = min(1.0, FILL_SIDE / max(height, width))
    small = max(1, round(width * shrink)), max(1, round(height * shrink))
    filled = _push_pull(cv2.resize(colour, small, interpolation=cv2.INTER_AREA), _shrunk(weight, small))
    filled = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    if image.dtype == np.uint8:
        filled = np.rint(filled)
    inside = hole[around]
    result[around][inside] = filled[inside].astype(image.dtype)
    return result


def overlay(image: np.ndarray, drag: Drag, field: DragField | None = None) -> np.ndarray:
    """The picture with the drag drawn on it, for contact sheets: outlines of source and target, arrow, anchor, points.

    field: whose moved cells are outlined at the target; None takes `DragField.from_drag(drag)`.
    """
    _check(image, drag.size)
    field = DragField.from_drag(drag) if field is None else field
    eight_bit = image.dtype == np.uint8
    canvas = image.copy() if eight_bit else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    width = max(1, round(min(drag.size) / 256))
    layout = field.layout()
    index = 0
    for region in drag.regions:
        _outline(canvas, region.mask, FIXED if region.task == "pin" else SOURCE, width)
        if region.task == "pin":
            continue
        landed = (layout.operation == index).numpy()
        index += 1
        _outline(canvas, landed, TARGET, width)
        if landed.any():
            _arrow(canvas, centroid(region.mask), region.target, width)
        if region.anchor is not None:
            _line(canvas, [region.anchor] * 2, FIXED, 5 * width)
            _ring(canvas, region.anchor, 4 * width, FIXED, width)
    for point in drag.points:
        _arrow(canvas, point.handle, point.target, width)
        _ring(canvas, point.handle, 2 * width, SOURCE, width)
        _ring(canvas, point.target, 2 * width, TARGET, width)
    return canvas if eight_bit else (canvas / 255.0).astype(image.dtype)


def _push_pull(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """sums: float32 [h, w, 3], known colour times the share of a cell that is known.  total: [h, w], that share.

    -> colour [h, w, 3] everywhere; what is known of a cell counts by its share.
    """
    levels = [(sums, total)]
    while max(total.shape) > 1:
        size = tuple(math.ceil(n / 2) for n in total.shape[::-1])
        sums, total = cv2.resize(sums, size, interpolation=cv2.INTER_AREA), _shrunk(total, size)
        levels.append((sums, total))
    sums, total = levels.pop()
    filled = sums / np.maximum(total, 1e-12)[..., None]
    for sums, total in reversed(levels):
        coarse = cv2.resize(filled, total.shape[::-1], interpolation=cv2.INTER_LINEAR)
        filled = sums + coarse * (1.0 - total[..., None])
    return filled


def _shrunk(weight: np.ndarray, size: Size) -> np.ndarray:
    return np.clip(cv2.resize(weight, size, interpolation=cv2.INTER_AREA), 0.0, 1.0)


def _surroundings(box: tuple[slice, slice], known: np.ndarray) -> tuple[slice, slice]:
    """The box grown by half its size to every side, to hold what is around the hole; all if that is unknown."""
    grown = []
    for side, length in zip(box, known.shape, strict=True):
        more = 8 + (side.stop - side.start) // 2
        grown.append(slice(max(0, side.start - more), min(length, side.stop + more)))
    return tuple(grown) if known[tuple(grown)].any() else np.s_[:, :]


def _box(mask: np.ndarray) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _check(image: np.ndarray, size: Size) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.shape[:2] != (size[1], size[0]):
        raise ValueError(
            f"the picture is {image.shape}, the drag was made for [{size[1]}, {size[0]}, 3]: resize one to the other"
        )
    if image.dtype != np.uint8 and image.dtype.kind != "f":
        raise ValueError(f"the picture holds {image.dtype}: give uint8, or float in [0, 1]")


def _outline(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for thick, tone in ((width + 2, (255, 255, 255)), (width, colour)):
        cv2.drawContours(canvas, contours, -1, tone, thick, cv2.LINE_AA)


def _arrow(canvas: np.ndarray, start: Point, end: Point, width: int) -> None:
    distance = math.dist(start, end)
    if distance < 1:
        return
    (ux, uy), tip = ((end[0] - start[0]) / distance, (end[1] - start[1]) / distance), min(5.0 * width, distance / 2)
    wings = [(end[0] - tip * (ux - s * uy * 0.6), end[1] - tip * (uy + s * ux * 0.6)) for s in (-1, 1)]
    _line(canvas, [start, end], TARGET, width)
    _line(canvas, [wings[0], end, wings[1]], TARGET, width)


def _line(canvas: np.ndarray, points: list[Point], colour: tuple[int, int, int], width: int) -> None:
    # Four fractional bits: OpenCV draws at sixteenths of a pixel.
    path = np.rint((np.array(points) - 0.5) * 16).astype(np.int32)
    for thick, tone in ((width + 2, (255, 255, 255)), (width, colour)):
        cv2.polylines(canvas, [path], False, tone, thick, cv2.LINE_AA, 4)


def _ring(canvas: np.ndarray, centre: Point, radius: int, colour: tuple[int, int, int], width: int) -> None:
    at = tuple(int(round((v - 0.5) * 16)) for v in centre)
    for thick, tone in ((width + 2, (255, 255, 255)), (width, colour)):
        cv2.circle(canvas, at, radius * 16, tone, thick, cv2.LINE_AA, 4)
