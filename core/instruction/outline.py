"""Outlines to masks, masks to outlines.

Convention: outlines are `Polygons` in normalised coordinates (x to the right, y down, (0, 0) and (1, 1) the outer
corners of the picture); masks are bool [H, W]. A pixel belongs to a region when its centre lies inside one of the
region's polygons, even-odd between the rings of one polygon, union between polygons. A centre exactly on an edge
belongs to the side of larger x or y, so regions that share an edge share no pixel. Outlines of masks run along pixel
edges, not through pixel centres: filled at the mask's own size they give back the very same mask, at other sizes they
neither shrink nor grow.
"""

from __future__ import annotations

import cv2
import numpy as np

from .checks import MAX_VERTICES, Polygons
from .guarded_json import InstructionError

Box = tuple[slice, slice]

DIGITS = 6
"""Decimals of outline coordinates: within 0.01 px on the largest picture, never enough to lose a pixel of a mask."""
_CHUNK = 1 << 20


def fill(polygons: Polygons, size: tuple[int, int]) -> tuple[np.ndarray, Box]:
    """The mask of a region on a picture of `size` (width, height) px.

    Returns: bool [H, W], and the (rows, columns) box outside of which it is empty, for work on the small part only.
    """
    width, height = size
    mask = np.zeros((height, width), dtype=bool)
    rows, columns = [], []
    for rings in polygons:
        (r0, r1), (c0, c1), inside = _fill_polygon(rings, size)
        mask[r0:r1, c0:c1] |= inside
        rows += [r0, r1]
        columns += [c0, c1]
    return mask, (slice(min(rows), max(rows)), slice(min(columns), max(columns)))


def outline(mask: np.ndarray, tolerance: float = 0.0) -> Polygons:
    """The polygons of a mask bool [H, W], holes included.

    tolerance: how far, in px of the mask, corners may be dropped (Douglas-Peucker); 0 keeps every pixel.
    Raises: InstructionError when the mask is empty or too ragged for `MAX_VERTICES`.
    """
    height, width = mask.shape
    if not mask.any():
        raise InstructionError(f"the mask of {width} x {height} px is empty; paint at least a few pixels")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = rows[0], columns[0]
    crop = mask[top:rows[-1] + 1, left:columns[-1] + 1].astype(np.uint8)

    # Contours pass through pixel centres. With every pixel doubled, each of its four quarters lies at one corner of the
    # pixel, so the contour through the quarters names the corners that the pixel edges pass.
    doubled = cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer: dict[int, list] = {}
    holes: list[tuple[int, tuple]] = []
    total = 0
    for i, (contour, links) in enumerate(zip(contours, hierarchy[0], strict=True)):
        corners = _simplify((contour[:, 0] + 1) // 2, tolerance)
        if len(corners) < 3:
            continue
        total += len(corners)
        if total > MAX_VERTICES:
            raise InstructionError(f"the mask's outline has more than {MAX_VERTICES:,} corners; smooth the mask or "
                                   f"give a tolerance larger than {tolerance:g} px")
        ring = np.round((corners + (left, top)) / (width, height), DIGITS)
        ring = tuple((float(x), float(y)) for x, y in ring)
        if links[3] < 0:
            outer[i] = [ring]
        else:
            holes.append((links[3], ring))
    for parent, ring in holes:
        if parent in outer:
            outer[parent].append(ring)
    if not outer:
        raise InstructionError(f"nothing of the mask is wider than the tolerance of {tolerance:g} px; lower it")
    return tuple(tuple(rings) for rings in outer.values())


def _fill_polygon(rings: tuple, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int], np.ndarray]:
    """Even-odd filling down the columns: where an edge crosses a column of pixel centres, inside and outside swap."""
    width, height = size
    starts = np.concatenate([np.asarray(ring) for ring in rings]) * (width, height)
    ends = np.concatenate([np.roll(np.asarray(ring), -1, axis=0) for ring in rings]) * (width, height)
    # An edge is always walked from left to right, so that the two regions beside it find the same crossings.
    flip = (starts[:, 0] > ends[:, 0])[:, None]
    (x0, y0), (x1, y1) = np.where(flip, ends, starts).T, np.where(flip, starts, ends).T
    first, last = np.ceil(x0 - 0.5).astype(int), np.ceil(x1 - 0.5).astype(int)
    r0, r1 = int(np.ceil(min(y0.min(), y1.min()) - 0.5)), int(np.ceil(max(y0.max(), y1.max()) - 0.5))
    c0, c1 = int(first.min()), int(last.max())
    toggles = np.zeros((r1 - r0 + 1, c1 - c0), dtype=np.uint8)

    count = last - first
    chunk = np.cumsum(count) // _CHUNK
    for k in np.unique(chunk):
        edges = np.flatnonzero((chunk == k) & (count > 0))
        edge = np.repeat(edges, count[edges])
        step = np.arange(len(edge)) - np.repeat(np.cumsum(count[edges]) - count[edges], count[edges])
        column = first[edge] + step
        y = y0[edge] + (column + 0.5 - x0[edge]) * ((y1[edge] - y0[edge]) / (x1[edge] - x0[edge]))
        row = np.clip(np.ceil(y - 0.5).astype(int), r0, r1)
        np.bitwise_xor.at(toggles, (row - r0, column - c0), 1)
    # Row by row: twenty times faster than accumulate along this axis.
    for r in range(1, len(toggles)):
        np.bitwise_xor(toggles[r], toggles[r - 1], out=toggles[r])
    return (r0, r1), (c0, c1), toggles[:-1].view(bool)


def _simplify(corners: np.ndarray, tolerance: float) -> np.ndarray:
    """Corners [N, 2] without repeats and straight continuations; then Douglas-Peucker."""
    corners = corners[np.any(corners != np.roll(corners, 1, axis=0), axis=1)]
    if tolerance > 0 and len(corners) > 2:
        corners = cv2.approxPolyDP(corners.astype(np.float32)[:, None], tolerance, True)[:, 0]
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    return corners[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
