"""Crop and stitch: the part of a picture that an edit works on, and the way back.

A model takes pictures whose sides are multiples of 16, and a large picture costs far more than what a drag touches. So an edit sees a
window around the drag, at its own resolution where that fits, else scaled down; and only what was allowed to change is put back.

Convention: sizes are (width, height) px; a window is in px of the picture, `work` is the size it is edited at. Points of a drag are (x, y)
px, masks bool [H, W].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ..field.masks import feather
from ..instruction.operations import Drag, Point, by_selection
from .compose import paste_back
from .working_size import MULTIPLE

Size = tuple[int, int]

CONTEXT = 0.125
"""What a window shows around the drag at least, as a part of the drag's own extent on each side."""


@dataclass(frozen=True)
class Window:
    x: int
    y: int
    width: int
    height: int
    work: Size

    @property
    def rows(self) -> slice:
        return slice(self.y, self.y + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.x, self.x + self.width)

    @property
    def scaled(self) -> bool:
        return self.work != (self.width, self.height)


def window_around(mask: np.ndarray, drag: Drag, longest: int) -> Window:
    """The window to edit `drag` in.

    mask: bool [H, W], what may change; the window holds it, and the drag's own regions and points.  longest: no side is worked on larger.
    A picture that fits is taken whole, but for the up to 15 px that its sides have too much for the model; those are cut where the drag is
    not, and if it is everywhere the picture is scaled.
    """
    width, height = drag.size
    if min(drag.size) < MULTIPLE or longest < MULTIPLE:
        raise ValueError(
            f"the picture is {width} x {height} px and the work size {longest}; both need at least {MULTIPLE} px, enlarge them"
        )
    x0, y0, x1, y1 = _extent(mask, drag)
    (x, w), (y, h) = _side(x0, x1, width, longest), _side(y0, y1, height, longest)
    scale = min(1.0, longest / max(w, h))
    work = tuple(max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (w, h))
    return Window(x, y, w, h, work)


def crop_drag(drag: Drag, window: Window) -> Drag:
    """The drag on the picture that the window shows, at the size it is worked at."""
    sx, sy = window.work[0] / window.width, window.work[1] / window.height

    def place(point: Point | None) -> Point | None:
        return None if point is None else ((point[0] - window.x) * sx, (point[1] - window.y) * sy)

    def cut(mask: np.ndarray | None) -> np.ndarray | None:
        return None if mask is None else _resized(mask[window.rows, window.columns], window.work)

    regions = [
        replace(r, mask=shown, target=place(r.target), anchor=place(r.anchor), along=cut(r.along))
        for r in drag.regions
        if (shown := cut(r.mask)).any()
    ]
    points = tuple(
        replace(p, handle=place(p.handle), target=place(p.target), selected=shown)
        for selected, group in by_selection(drag.points)
        for shown in [cut(selected)]
        for p in group
    )
    return replace(drag, size=window.work, regions=tuple(regions), points=points, editable=cut(drag.editable))


def crop(picture: Tensor, window: Window) -> Tensor:
    """What the window shows of [1, 3, H, W], at the size it is worked at."""
    part = picture[..., window.rows, window.columns]
    if not window.scaled:
        return part.contiguous()
    size = (window.work[1], window.work[0])
    return torch.nn.functional.interpolate(part, size, mode="bicubic", antialias=True).clamp(0.0, 1.0)


def stitch(
    picture: Tensor, edited: Tensor, mask: np.ndarray, window: Window, fade: float, within: np.ndarray | None = None
) -> tuple[Tensor, np.ndarray]:
    """The edited window back in its picture.

    picture: [1, 3, H, W].  edited: [1, 3, h, w] and mask: bool [h, w], at the size worked at.  within: bool [H, W], outside of which the
    picture stays what it was in any case (`Drag.free`).
    -> [1, 3, H, W], and the weight float32 [H, W] of the edit in it: the mask, faded over `fade` px. Where that is 0, the picture is what
       it was, bit for bit.
    """
    whole = np.zeros(picture.shape[-2:], dtype=bool)
    whole[window.rows, window.columns] = _resized(mask, (window.width, window.height))
    canvas = picture.clone()
    if window.scaled:
        edited = torch.nn.functional.interpolate(edited, (window.height, window.width), mode="bicubic", antialias=True).clamp(0.0, 1.0)
    canvas[..., window.rows, window.columns] = edited.to(canvas)
    inside = np.zeros_like(whole)
    inside[window.rows, window.columns] = True
    # The fade must not reach out of the window, where there is no edit to fade into.
    reach = fade if not (feather(whole, fade) > 0)[~inside].any() else 0.0
    return paste_back(canvas, picture, whole, reach, within), feather(whole, reach, within=within)


def _extent(mask: np.ndarray, drag: Drag) -> tuple[float, float, float, float]:
    seen = mask.copy()
    for region in drag.regions:
        if region.task != "pin":
            seen |= region.body
    for selected, _ in by_selection(drag.points):
        if selected is not None:
            seen |= selected
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    xs = [p for o in drag.points for p in (o.handle[0], o.target[0])]
    ys = [p for o in drag.points for p in (o.handle[1], o.target[1])]
    return (
        min([columns[0], *xs]), min([rows[0], *ys]), max([columns[-1] + 1, *xs]), max([rows[-1] + 1, *ys]),
    )  # fmt: skip


def _side(low: float, high: float, length: int, longest: int) -> tuple[int, int]:
    """Where the window begins along one side, and how long it is: a multiple of 16 unless it has to be the whole side."""
    whole = length // MULTIPLE * MULTIPLE
    # Sizes and places on a coarse raster, so that a slightly different drag sees the same window and inverts nothing again.
    step = max(1, longest // MULTIPLE // 4) * MULTIPLE
    wanted = int(np.ceil((high - low) * (1 + 2 * CONTEXT) / step)) * step
    size = min(whole, max(wanted, longest // MULTIPLE * MULTIPLE))
    if size < high - low:
        return 0, length
    begin = round((low + high - size) / 2 / step) * step
    begin = min(max(begin, int(np.ceil(high)) - size), int(low))
    return min(max(begin, 0), length - size), size


def _resized(mask: np.ndarray, size: Size) -> np.ndarray:
    if mask.shape == (size[1], size[0]):
        return mask.copy()
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
