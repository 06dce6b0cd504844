"""Where a rigid move puts objects: centroids, angles, affine maps in part or whole, progress (DragFlow 3.2, Eq. 18-21).

Convention: points are (x, y), x right, y down, in pixels of a named grid; the centre of pixel (column c, row r) is
(c + 0.5, r + 0.5), as with align_corners=False. Scaling a grid from W to w columns multiplies x by w / W. Angles are in
degrees; positive turns clockwise on the screen, because y points down. A *forward* map carries a source position to its
target, a *backward* map a target position to its source; both are float64 [2, 3] matrices that act on (x, y, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..instruction.operations import Point

Size = tuple[int, int]
"""(width, height) of a grid."""


@dataclass(frozen=True)
class Motion:
    """A turn about `anchor` followed by a shift, done as far as a progress in [0, 1] says (DragFlow Eq. 18-21).

    Forward at progress w: p -> anchor + Rot(w angle) (p - anchor) + w shift.

    Convention: `shift` and `anchor` are (x, y) in pixels of a grid of `frame` (width, height); `angle` in degrees,
    clockwise on the screen. On a grid of another size the map is the same one seen in that grid's pixels, so a picture
    that is squashed squashes the turn with it.
    """

    frame: Size
    shift: Point = (0.0, 0.0)
    angle: float = 0.0
    anchor: Point = (0.0, 0.0)

    def forward(self, progress: float, size: Size) -> np.ndarray:
        """Source position -> target position on a grid of `size`. -> float64 [2, 3], exactly the identity at 0."""
        turn = math.radians(self.angle * progress)
        return self._matrix(turn, (self.shift[0] * progress, self.shift[1] * progress), size)

    def backward(self, progress: float, size: Size) -> np.ndarray:
        """Target position -> source position, the inverse of `forward`. -> float64 [2, 3]."""
        turn = -math.radians(self.angle * progress)
        c, s = math.cos(turn), math.sin(turn)
        dx, dy = self.shift[0] * progress, self.shift[1] * progress
        return self._matrix(turn, (-(c * dx - s * dy), -(s * dx + c * dy)), size)

    def _matrix(self, turn: float, shift: Point, size: Size) -> np.ndarray:
        c, s = math.cos(turn), math.sin(turn)
        ax, ay = self.anchor
        sx, sy = size[0] / self.frame[0], size[1] / self.frame[1]
        tx, ty = ax - (c * ax - s * ay) + shift[0], ay - (s * ax + c * ay) + shift[1]
        return np.array([[c, -s * sx / sy, tx * sx], [s * sy / sx, c, ty * sy]])


def centroid(mask: np.ndarray) -> Point:
    """Mean position of the pixels > 0.5 of a mask [h, w], exact. Raises ValueError if there is none."""
    inside = np.asarray(mask) > 0.5
    rows, columns = inside.sum(axis=1), inside.sum(axis=0)
    total = int(rows.sum())
    if total == 0:
        raise ValueError(f"an empty mask of {inside.shape[1]}x{inside.shape[0]} has no centroid: draw the region")
    x = float(columns @ np.arange(columns.size)) / total
    y = float(rows @ np.arange(rows.size)) / total
    return x + 0.5, y + 0.5


def rounded_centroid(mask: np.ndarray) -> Point:
    """The published centroid: mean pixel *index*, rounded half to even. -> the centre of that pixel."""
    x, y = centroid(mask)
    return round(x - 0.5) + 0.5, round(y - 0.5) + 0.5


def round_to_cell(point: Point, size: Size, grid: Size) -> Point:
    """The published scaling of an annotated point from `size` to `grid`: its pixel *index*, rounded half to even.

    -> the centre of that cell of the grid.
    """
    x, y = ((p - 0.5) / n * g for p, n, g in zip(point, size, grid, strict=True))
    return round(x) + 0.5, round(y) + 0.5


def rotation_angle(start: Point, target: Point, anchor: Point) -> float:
    """Degrees in [-180, 180) that turn `start` about `anchor` into the direction of `target`.

    Raises ValueError if start or target lies on the anchor, where a direction does not exist.
    """
    for name, point in (("region's centroid", start), ("target", target)):
        if math.dist(point, anchor) < 1e-6:
            raise ValueError(
                f"the anchor ({anchor[0]:g}, {anchor[1]:g}) lies on the {name}, so the angle is undefined: move it away"
            )

    def direction(point: Point) -> float:
        return math.degrees(math.atan2(point[1] - anchor[1], point[0] - anchor[0]))

    return (direction(target) - direction(start) + 180.0) % 360.0 - 180.0


def cut_shape(size: Size) -> tuple[int, int]:
    """(h, w) of the grid on which DragFlow compares features of a picture of working `size` (width, height)."""
    width, height = size
    mean = (width + height) / 2
    scale = 4 if mean > 1000 else 3 if mean > 600 else 2
    return height // scale, width // scale


def transform(matrix: np.ndarray, xy: Tensor) -> Tensor:
    """Apply a [2, 3] affine map to positions [..., 2]."""
    (a, b, c), (d, e, f) = matrix.tolist()
    x, y = xy.unbind(-1)
    return torch.stack((a * x + b * y + c, d * x + e * y + f), dim=-1)


def cell_centres(window: tuple[int, int, int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    """Centres (x, y) of the cells of a window (x0, y0, x1, y1), end exclusive. -> [y1 - y0, x1 - x0, 2]."""
    x0, y0, x1, y1 = window
    centres = torch.empty(y1 - y0, x1 - x0, 2, dtype=dtype)
    centres[..., 0] = torch.arange(x0, x1, dtype=dtype) + 0.5
    centres[..., 1] = torch.arange(y0, y1, dtype=dtype)[:, None] + 0.5
    return centres


def checked_point(point: Point | None, name: str) -> Point:
    """The point as two floats. Raises ValueError, naming it, if it is missing or not finite."""
    if point is None:
        raise ValueError(f"the {name} is missing: give (x, y) in pixels of the picture")
    if not all(math.isfinite(v) for v in point):
        raise ValueError(f"the {name} is {tuple(point)}, which is not a place: give two finite numbers (x, y)")
    return float(point[0]), float(point[1])
