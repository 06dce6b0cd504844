"""Masks around a drag: where the picture may change, how strongly, and what each part counts (DragFlow D.1, D.2).

Convention: a mask is [H, W] over the picture; positions are (x, y) px with the centre of pixel (c, r) at
(c + 0.5, r + 0.5). OpenCV counts from the pixel's centre, so 0.5 is taken off where points are handed to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from ..instruction.operations import Drag, Point, PointOperation, RegionOperation, by_selection
from .geometry import Motion, Size, centroid, checked_point, rotation_angle


def resample(mask: np.ndarray | Tensor, size: Size) -> Tensor:
    """A mask [H, W] on a grid of `size` (w, h): bilinear, align_corners=False, kept soft.

    -> float32 [h, w] in [0, 1]. Not antialiased: shrinking by 8 looks at the middle 2x2 of 8x8 pixels, as published.
    """
    soft = torch.as_tensor(mask).to(torch.float32)
    if soft.ndim != 2:
        raise ValueError(f"a mask must have the shape [H, W], got {list(soft.shape)}: take one channel")
    if soft.shape == (size[1], size[0]):
        return soft
    return interpolate(soft[None, None], (size[1], size[0]), mode="bilinear", align_corners=False)[0, 0]


def to_latent(mask: np.ndarray | Tensor, shape: tuple[int, int]) -> Tensor:
    """The mask at a latent's spatial shape (h, w): resampled > 0.5. -> bool tensor [h, w].

    Raises ValueError if a mask that is not empty has no cell left.
    """
    cells = resample(mask, (shape[1], shape[0])) > 0.5
    if not cells.any() and bool(torch.as_tensor(mask).any()):
        raise ValueError(
            f"the mask is smaller than one cell of the {shape[1]}x{shape[0]} latent: enlarge the region, add a margin "
            "or use a larger picture"
        )
    return cells


def whole_tokens(cells: Tensor, patch: int) -> Tensor:
    """Tokens of patch x patch latent cells that lie in `cells` (bool [h, w]) altogether. -> bool [tokens], row-major.

    One that hangs over the latent's edge is judged by the cells it has.
    """
    return max_pool2d((~cells).float()[None, None], patch, ceil_mode=True).flatten() == 0


def region_weights(areas: Sequence[float]) -> tuple[float, ...]:
    """Share gamma_i of each operation in the loss, so that large regions do not drown small ones (DragFlow Eq. 22-24).

    areas: fraction of the picture that each source region covers, in (0, 1].  -> as many weights, summing to 1.
    """
    raw = [min(5.0, max(1.0, 1.0 + 0.5 / (area + 0.1))) for area in areas]
    return tuple(r / sum(raw) for r in raw)


def default_point_radius(size: Size) -> float:
    """How many px around a handle belong to it when nothing else says so: 1/16 of the shorter side, at least 4.

    Our choice: 32 px at 512, about the largest patch around a handle that DAI compares (20 px) and its surroundings.
    """
    return max(4.0, min(size) / 16)


def adaptive_gradient_mask(
    drag: Drag, *, margin: float = 0.0, point_radius: float | None = None, include: np.ndarray | Tensor | None = None
) -> np.ndarray:
    """Where the edit may change the picture: one rotated rectangle around each operation (DragFlow D.2, Eq. 25-27).

    Each region gets the smallest rectangle around itself and its moved self, as published to the pixel: whole-pixel
    shift from the truncated centroid, corners truncated. One that scales, or turns on its way, is moved exactly, and a copy gets the
    rectangle around its moved self alone. A point operation gets the one around two discs, at handle and target, points with a selection
    together the one around their discs and what is selected, where it is and shifted as each of them is (our choice, all four; the paper
    has none). The rectangles are joined. Pins are taken out, and `drag.editable`, if
    given, restricts the rest.

    margin: px by which the joined rectangles grow; 0 is the paper's.
    point_radius: px of the discs; None takes `default_point_radius`.
    include: bool [H, W] that belongs to it in any case, such as `field.moved() | field.vacated()` of a field that
        stretches.
    -> bool [H, W].  Raises ValueError if nothing remains.
    """
    width, height = drag.size
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin is {margin}: use 0 (as published) or a positive number of pixels")
    canvas = np.zeros((height, width), np.uint8)
    radius = default_point_radius(drag.size) if point_radius is None else point_radius
    moving = [region for region in drag.regions if region.task != "pin"]
    outlines = [_region_outline(r) for r in moving]
    for selected, points in by_selection(drag.points):
        discs = [_point_outline(p, radius) for p in points]
        outlines += discs if selected is None else [np.concatenate((*discs, _selected_outline(selected, points)))]
    for outline in (o for o in outlines if len(o)):
        corners = cv2.boxPoints(cv2.minAreaRect(outline)).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 1)
    mask = canvas > 0
    if include is not None:
        mask |= np.asarray(include, dtype=bool)
    if margin:
        mask = grow(mask, margin)
    for region in drag.regions:
        if region.task == "pin":
            mask &= ~region.mask
    if drag.editable is not None:
        mask &= drag.editable
    if not mask.any():
        raise ValueError(
            "nothing of the picture may change: the drag has no moving operation, or its pins and editable area leave "
            "no room; add an operation or enlarge the editable area"
        )
    return mask


def grow(mask: np.ndarray, radius: float) -> np.ndarray:
    """The mask and every pixel within `radius` px of it. bool [H, W] -> bool [H, W], a new array."""
    if not 0 <= radius < math.inf:
        raise ValueError(f"radius is {radius}: use 0 or a positive number of pixels")
    return _distance_to(np.asarray(mask, dtype=bool)) <= radius


def feather(mask: np.ndarray, radius: float, *, within: np.ndarray | None = None) -> np.ndarray:
    """Weight for compositing an edit: 1 inside the mask, falling smoothly to exactly 0 at `radius` px outside of it.

    mask: bool [H, W].  within: bool [H, W], outside of which the weight is 0 too (the user's editable area).
    -> float32 [H, W]. A pixel with weight 0 can be copied from the input bit for bit.
    """
    mask = np.asarray(mask, dtype=bool)
    if not 0 <= radius < math.inf:
        raise ValueError(f"feather radius is {radius}: use 0 (a hard edge) or a positive number of pixels")
    weight = mask.astype(np.float32)
    if radius > 0 and mask.any():
        near = np.clip(1.0 - _distance_to(mask) / np.float32(radius), 0.0, 1.0)
        weight = near * near * (3.0 - 2.0 * near)
    if within is not None:
        weight = np.where(within, weight, np.float32(0.0))
    return weight


def auto_soft_mask(
    points: Sequence[PointOperation], size: Size, *, sigma: float = 30.0, stride: int = 2, transposed: bool = False,
    cells: Sequence[tuple[Point, Point]] | None = None,
) -> np.ndarray:  # fmt: skip
    """Soft mask along the drag lines of a point drag: Gaussian around each line, 1 at its peak (DirectDrag eq. 5-7).

    points: in px of a picture of `size`; the cell that each lies in is taken.  cells: their ends (x, y) in cells of the grid instead,
        centres at +0.5, as published, where they are rounded and kept from the border before.
    stride: px per cell of the grid it is drawn on; DirectDrag's is half the picture's size.
    sigma: in cells of that grid, cut off at 2 sigma as published.
    transposed: as the published code has it: x and y of every point are mistaken for each other, and what then lies off the picture is
        dropped, so that the mask may be empty.
    -> float32 [H // stride, W // stride] in [0, 1].
    """
    if not points:
        raise ValueError("a soft mask needs at least one pair of handle and target: add a point")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}: use a positive number of cells (the published setting is 30)")
    width, height = size[0] // stride, size[1] // stride
    lines = np.zeros((height, width), np.float32)
    if cells is None:
        cells = [tuple((x / stride, y / stride) for x, y in (point.handle, point.target)) for point in points]
    for ends in cells:
        (hx, hy), (tx, ty) = ((math.floor(x), math.floor(y)) for x, y in ends)
        steps = max(abs(tx - hx), abs(ty - hy)) + 1
        columns = np.rint(np.linspace(hx, tx, steps)).astype(int).clip(0, width - 1)
        rows = np.rint(np.linspace(hy, ty, steps)).astype(int).clip(0, height - 1)
        if transposed:
            columns, rows = rows, columns
            inside = (columns < width) & (rows < height)
            columns, rows = columns[inside], rows[inside]
        lines[rows, columns] = 1.0
    kernel = int(4 * sigma) | 1
    soft = cv2.GaussianBlur(lines, (kernel, kernel), sigma, borderType=cv2.BORDER_REFLECT_101)
    return soft / (soft.max() + np.float32(1e-6))


def disc(size: Size, centre: Point, radius: float) -> np.ndarray:
    """Pixels whose centres are within `radius` px of `centre`, at least the one that holds it. -> bool [H, W]."""
    x = np.arange(size[0]) + 0.5 - centre[0]
    y = np.arange(size[1])[:, None] + 0.5 - centre[1]
    inside = x * x + y * y <= radius * radius
    column, row = math.floor(centre[0]), math.floor(centre[1])
    if 0 <= column < size[0] and 0 <= row < size[1]:
        inside[row, column] = True
    return inside


def moved_as_published(region: RegionOperation) -> np.ndarray:
    """Where a region and what goes with it lands, as DragFlow's masks have it (D.2): nearest pixels, cut off at the picture's edge.

    Relocation and deformation: shifted by whole pixels from the truncated centroid. Rotation: turned about the anchor. -> bool [H, W].
    """
    height, width = region.mask.shape
    source = np.ascontiguousarray(region.body, dtype=np.uint8)
    x, y = (v - 0.5 for v in centroid(region.mask))
    target = tuple(v - 0.5 for v in checked_point(region.target, "target of a region"))
    if region.task == "rotation":
        anchor = tuple(v - 0.5 for v in checked_point(region.anchor, "anchor of a rotation"))
        angle = rotation_angle((x, y), target, anchor)
        # OpenCV turns counter-clockwise for a positive angle.
        matrix = cv2.getRotationMatrix2D(anchor, -angle, 1.0)
        if region.scale != (1, 1):
            matrix = Motion((width, height), angle=angle, anchor=anchor, scale=region.scale, centre=(x, y)).forward(1.0, (width, height))
    elif region.scale != (1, 1) or region.angle:
        shift = target[0] - x, target[1] - y
        matrix = Motion((width, height), shift, region.angle, (x, y), region.scale, (x, y)).forward(1.0, (width, height))
    else:
        dx, dy = round(target[0] - int(x)), round(target[1] - int(y))
        matrix = np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]])
    return cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_NEAREST) > 0


def _region_outline(region: RegionOperation) -> np.ndarray:
    """Contour points [n, 1, 2] of the source region, unless it stays as well, and its moved self, moved the published way."""
    moved = moved_as_published(region)
    shown = (moved if region.copy else region.body | moved).astype(np.uint8)
    contours, _ = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.concatenate(contours) if contours else np.empty((0, 1, 2), np.int32)


def _selected_outline(selected: np.ndarray, points: Sequence[PointOperation]) -> np.ndarray:
    """Contour points [n, 1, 2] of what is selected, and of it shifted by whole pixels as each of its points is."""
    source, shown = selected.astype(np.uint8), selected.copy()
    for point in points:
        dx, dy = (round(t - h) for h, t in zip(point.handle, point.target, strict=True))
        shown |= cv2.warpAffine(source, np.float32([[1, 0, dx], [0, 1, dy]]), source.shape[::-1], flags=cv2.INTER_NEAREST) > 0
    contours, _ = cv2.findContours(shown.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.concatenate(contours).astype(np.float32)


def _point_outline(point: PointOperation, radius: float) -> np.ndarray:
    angles = np.linspace(0.0, 2 * math.pi, 32, endpoint=False)
    circle = radius * np.stack((np.cos(angles), np.sin(angles)), axis=-1) - 0.5
    return np.concatenate((circle + point.handle, circle + point.target)).astype(np.float32)[:, None]


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Distance in px of each pixel from the nearest one of the mask; 0 inside, infinite if the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
