"""An instruction meets a picture: normalised outlines and points become the masks and pixels of a `Drag`.

Here fall the mistakes that only a picture's size can show: regions that are too small on it, regions that overlap,
rotations without a direction. Moving regions of a `Drag` never share a pixel; a copy may share all of what it copies.

Convention: as in `operations.py`, pixels, (x, y), pixel centres at + 0.5. A point on the right or lower border of the
picture is taken a millionth of the picture inside it, so that its pixel always exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import dist, hypot

import numpy as np

from .checks import Polygons, label, picture_size
from .drawn import DrawnPoints, DrawnRegion
from .guarded_json import InstructionError, show
from .operations import Drag, Point, PointOperation, RegionOperation, contradiction
from .outline import Box, fill

MIN_PIXELS = 4
"""A region of fewer pixels is a slip of the hand."""
OVERLAP = 0.02
"""Regions may share this part of the smaller one (hand-drawn borders touch); the pixels go to the earlier operation."""
MIN_ARM = 1.0
"""Pixels between the anchor of a rotation and its centroid or target, below which the angle means nothing."""
MAX_MASKS = 1 << 30
"""Bytes of all masks of one drag."""


def rasterise(operations: Sequence[DrawnRegion | DrawnPoints], editable: Polygons | None, size: tuple[int, int]) -> Drag:
    """The visible ones of `operations` on a picture of `size` px, without prompts. editable: normalised polygons, see `DragInstruction`.

    Raises: InstructionError for a size out of range; a region of fewer than `MIN_PIXELS` pixels, before or after it is scaled; two moving
    regions, copies not counted, that share more than `OVERLAP` of the smaller; a moving region covered by pins; a rotation whose anchor
    lies on its centroid or target, or that carries the centroid off the picture; one handle with two targets, or two within a
    pixel of each other whose targets are not; points that move and none of which lies in what they take along; masks of more than
    `MAX_MASKS` bytes.
    """
    width, height = size = picture_size(size, "the picture's size")
    shown = [(label(i, o.name), o) for i, o in enumerate(operations) if o.visible]
    drawn = [(name, o) for name, o in shown if hasattr(o, "region")]
    more = sum(getattr(o, part, None) is not None for _, o in shown for part in ("along", "selected"))
    if (len(drawn) + more) * width * height > MAX_MASKS:
        raise InstructionError(f"{len(drawn)} regions on a picture of {width} x {height} need more than "
                               f"{MAX_MASKS >> 30} GiB of masks; use fewer regions or a smaller picture")

    # owner: which moving region holds a pixel, counted from 1 in the order of `moving`.
    owner = np.zeros((height, width), dtype=np.uint8)
    pinned = np.zeros((height, width), dtype=bool)
    regions: list[RegionOperation] = []
    moving: list[tuple[str, int, Box, np.ndarray]] = []
    for name, operation in drawn:
        mask, box = fill(operation.region, size)
        part = mask[box]
        area = _area(part, name, size)
        if operation.task == "pin":
            pinned[box] |= part
        else:
            if not operation.copy:
                _claim(owner[box], part, area, name, moving)
                area = _area(part, name, size)
                moving.append((name, area, box, part))
                owner[box][part] = len(moving)
            _check_scale(operation, area, name, size)
            if operation.task == "rotation":
                _check_rotation(operation, part, area, box, name, size)
        regions.append(RegionOperation(mask, operation.task, _pixel(operation.target, size), _scale(operation.anchor, size), operation.name,
                                       _along(operation, mask, size), operation.scale, operation.angle, operation.copy, operation.front))
    for name, _, box, part in moving:
        if pinned[box][part].all():
            raise InstructionError(f"{name} lies wholly under pins, so that nothing of it can move; make a pin smaller")

    points = _points(shown, size)
    open_to_change = None
    if editable is not None:
        open_to_change, box = fill(editable, size)
        _area(open_to_change[box], "editable", size)
    return Drag(size, tuple(regions), points, editable=open_to_change)


def _along(operation: DrawnRegion, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """What goes with a region and is not the region itself; None where nothing does."""
    if operation.along is None:
        return None
    along = fill(operation.along, size)[0] & ~mask
    return along if along.any() else None


def _claim(owner: np.ndarray, part: np.ndarray, area: int, name: str, moving: list) -> None:
    """Take from `part` the few pixels that an earlier region holds; refuse if they are not few."""
    shared = part & (owner > 0)
    for k, pixels in enumerate(np.bincount(owner[shared])):
        if not pixels:
            continue
        other, other_area, *_ = moving[k - 1]
        if pixels > OVERLAP * min(area, other_area):
            part_of = f"{pixels:,} pixels, {pixels / min(area, other_area):.0%} of the smaller"
            raise InstructionError(f"{name} and {other} share {part_of}; at most {OVERLAP:.0%} may overlap, "
                                   "separate them or merge them")
    part &= ~shared


def _check_scale(operation: DrawnRegion, area: int, name: str, size: tuple[int, int]) -> None:
    left = area * abs(operation.scale[0] * operation.scale[1])
    if left < MIN_PIXELS:
        raise InstructionError(f"{name}, scaled by {operation.scale[0]:g} x {operation.scale[1]:g}, covers {left:.2g} pixels of the "
                               f"{size[0]} x {size[1]} picture; a region needs at least {MIN_PIXELS}, shrink it less")


def _check_rotation(
    operation: DrawnRegion, part: np.ndarray, area: int, box: Box, name: str, size: tuple[int, int]
) -> None:
    """The angle from anchor->centroid to anchor->target must exist, and the turn must end on the picture."""
    rows, columns = box
    x = np.count_nonzero(part, axis=0) @ (np.arange(columns.start, columns.stop) + 0.5) / area
    y = np.count_nonzero(part, axis=1) @ (np.arange(rows.start, rows.stop) + 0.5) / area
    (ax, ay), (tx, ty) = _scale(operation.anchor, size), _scale(operation.target, size)
    arm, reach = hypot(x - ax, y - ay), hypot(tx - ax, ty - ay)
    if arm < MIN_ARM:
        raise InstructionError(f"{name}: the anchor lies on the region's centroid ({x:.1f}, {y:.1f}), where a turn "
                               "moves nothing; move the anchor to the joint it should turn about")
    if reach < MIN_ARM:
        raise InstructionError(f"{name}: the target lies on the anchor ({ax:.1f}, {ay:.1f}) and gives no direction; "
                               "move the target to where the centroid should point")
    lx, ly = ax + (tx - ax) * arm / reach, ay + (ty - ay) * arm / reach
    if not (0 <= lx <= size[0] and 0 <= ly <= size[1]):
        raise InstructionError(f"{name}: turned about its anchor the centroid lands at ({lx:.1f}, {ly:.1f}), off the "
                               f"picture of {size[0]} x {size[1]}; turn it less or move the anchor")


def _points(shown: list, size: tuple[int, int]) -> tuple[PointOperation, ...]:
    targets: dict[Point, Point] = {}
    names: list[str] = []
    made: list[PointOperation] = []
    for name, operation in shown:
        if not hasattr(operation, "pairs"):
            continue
        selected = _selected(operation, name, size)
        for handle, target in operation.pairs:
            if handle not in targets:
                names.append(name)
                made.append(PointOperation(_pixel(handle, size), _pixel(target, size), selected))
            if targets.setdefault(handle, target) != target:
                raise InstructionError(f"{name} gives handle {show(list(handle))} a second target; keep one of them")
    points = tuple(made)
    if (found := contradiction(points)) is not None:
        a, b = (points[k] for k in found)
        whose = " and ".join(dict.fromkeys(names[k] for k in found))
        raise InstructionError(f"handles ({a.handle[0]:.1f}, {a.handle[1]:.1f}) and ({b.handle[0]:.1f}, {b.handle[1]:.1f}) of {whose} lie "
                               f"{dist(a.handle, b.handle):.2g} pixels apart on the {size[0]} x {size[1]} picture, but their targets "
                               f"{dist(a.target, b.target):.3g}; one place cannot go to two, move the handles apart or remove one")
    return points


def _selected(operation: DrawnPoints, name: str, size: tuple[int, int]) -> np.ndarray | None:
    """What points take along, as the user says. bool [H, W]"""
    if operation.selected is None:
        return None
    selected, box = fill(operation.selected, size)
    _area(selected[box], f"what is selected for {name}", size)
    moving = [_pixel(handle, size) for handle, target in operation.pairs if handle != target]
    if moving and not any(selected[int(y), int(x)] for x, y in moving):
        raise InstructionError(f"no handle of {name} that moves lies in what is selected for it; select what one lies on, or move one "
                               "into it")
    return selected


def _area(part: np.ndarray, name: str, size: tuple[int, int]) -> int:
    area = int(np.count_nonzero(part))
    if area < MIN_PIXELS:
        raise InstructionError(f"{name} covers {area} pixels of the {size[0]} x {size[1]} picture; a region needs at "
                               f"least {MIN_PIXELS}, draw it larger")
    return area


def _scale(point: Point | None, size: tuple[int, int]) -> Point | None:
    return None if point is None else (point[0] * size[0], point[1] * size[1])


def _pixel(point: Point | None, size: tuple[int, int]) -> Point | None:
    if point is None:
        return None
    return tuple(min(p, s * (1 - 1e-6)) for p, s in zip(_scale(point, size), size, strict=True))
