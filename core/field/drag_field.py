"""The displacement field: which place of the source ends up where. Every method of this package starts from it.

A `DragField` holds a whole drag as a value and answers on any grid, at any progress from 0 (nothing has happened) to 1:
for each target cell its source position (a backward map), and the three kinds of cells. Every cell is exactly one of
- *moved*: content that moves lands here (affine region, material stretched after it, or surroundings of a handle
  point);
- *vacated*: moving content was here and nothing has covered the place again; a copy leaves nothing;
- *kept*: all the rest. Pins are always kept.

Of vacated cells some are *revealed*: there comes what a pin in front hid of a region, or of what is selected for points, at its old place.
It is known where it lies, not what it looks like.

Laid over each other from below: points, stretched material, regions in their order (a later one covers an earlier one),
then pins and everything outside of `Drag.editable`, which nothing may change. What a pin shows is not carried elsewhere
either, and what belongs to a region is moved by that region only.

Convention: `size` is (width, height) of the grid, None the picture itself; positions are (x, y) in cells of that grid,
the centre of cell (c, r) at (c + 0.5, r + 0.5). Results are CPU tensors [h, w] or [h, w, 2].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..choices import check_choices
from ..instruction.operations import Drag, PointOperation, RegionOperation
from .carried import object_moves
from .geometry import Point, Size, cell_centres
from .masks import default_point_radius, region_weights, resample
from .moves import Departure, Landing, RegionMove, motion_of
from .points import PointMode, PointMoves
from .stretch import Stretch

Deformation = Literal["stretch", "rigid"]

REMEMBERED = 4
"""Layouts that a field keeps: an iteration of a drag asks for the same one once for each operation."""
REMEMBERED_CELLS = 1 << 18
"""Grids of more cells are laid out anew each time: four of a whole photograph would fill the memory."""


class Move(Protocol):
    """What a field asks of what it lays over each other: see moves.py. stretch: what gives beside it, None for nothing.  copy: whether
    what it moves stays at its old place as well."""

    name: str
    mask: np.ndarray
    stretch: Stretch | None
    rigid: bool
    copy: bool
    operations: tuple[str, ...]
    areas: tuple[float, ...]

    def leaving(self, size: Size) -> Tensor: ...

    def landing(self, progress: float, size: Size) -> Landing: ...

    def departure(self, progress: float, size: Size) -> Departure: ...


class Layout(NamedTuple):
    """A field at one progress on one grid, all of it from one evaluation. It may be handed out again: not to be written to."""

    backward: Tensor
    """float32 [h, w, 2]: source position of each cell; its own centre where nothing moved in."""
    operation: Tensor
    """int64 [h, w]: index into `DragField.operations` of what moved in, -1 for nothing."""
    vacated: Tensor
    """bool [h, w]."""
    revealed: Tensor
    """bool [h, w]: of vacated, what comes from behind something in front; `backward` says from where."""

    @property
    def moved(self) -> Tensor:
        return self.operation >= 0

    @property
    def kept(self) -> Tensor:
        return ~(self.moved | self.vacated)


@dataclass(frozen=True)
class FieldSettings:
    """How a drag becomes a field; the same defaults for every method, node and preview.

    deformation: "stretch" covers the gap behind a deformed region by stretching what lies behind. If the operation has an anchor, that is
        the end that stays: the material between it and the region gives, and is pressed together if the region moves towards it. "rigid"
        moves the region alone (DragFlow).
    stretch_length: how much material gives, in multiples of the drag's length, where there is no anchor.
    point_mode, point_fading: how points spread, see points.py. point_mode None is "idw" in an editable area. Without one it is
        "latent_warp" within a circle around the points that is wide enough for the surroundings to give way: nothing is torn out and
        nothing far away moves. Where the picture is known, or what is selected, and neither is given, points take along what they belong to
        (carried.py).
    point_radius: px around a handle, None for 1/16 of the shorter side. Points move what is in `Drag.editable` if that is given, else what
        is in their radius or, if they fade, everything.
    """

    deformation: Deformation = "stretch"
    stretch_length: float = 0.5
    point_mode: PointMode | None = None
    point_radius: float | None = None
    point_fading: bool | None = None

    def __post_init__(self) -> None:
        check_choices(self)


@dataclass(frozen=True, eq=False)
class DragField:
    """A drag as a field. Make one with `from_drag`, or from moves of your own.

    size: (width, height) px of the picture.  regions: moves of regions, in order, or of anything that answers as a `Move` does.
    points: moves of handle points.
    pinned, editable: bool [H, W] or None, what must not and what may change.  front: bool [H, W] or None, of pinned what stands in front.
    span: where on the way of its moves its own progress begins and ends, see `between`.
    """

    size: Size
    regions: tuple[Move, ...] = ()
    points: PointMoves | None = None
    pinned: np.ndarray | None = None
    editable: np.ndarray | None = None
    front: np.ndarray | None = None
    span: tuple[float, float] = (0.0, 1.0)
    _laid: dict[tuple[float, Size], Layout] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        named = {"pinned area": self.pinned, "editable area": self.editable, "what is in front": self.front}
        for name, mask in {**named, **{region.name: region.mask for region in self.regions}}.items():
            if mask is not None and mask.shape != (self.size[1], self.size[0]):
                raise ValueError(
                    f"the mask of {name} is {mask.shape[-1]}x{mask.shape[0]} but the picture is "
                    f"{self.size[0]}x{self.size[1]}: draw it on the picture itself"
                )

    @classmethod
    def from_drag(
        cls,
        drag: Drag,
        settings: FieldSettings = FieldSettings(),
        *,
        rounded_at: Size | None = None,
        picture: np.ndarray | None = None,
        selected: np.ndarray | None = None,
        **changes: Any,
    ) -> DragField:
        """The field that a drag asks for.

        rounded_at: (w, h) of the published code's cut map to round as it does; None is exact.
        picture: [H, W, 3] of the drag, uint8 or float in [0, 1]: points then take along what they belong to on it, rather than what is
            close, unless the settings say how they spread or the drag what is selected.  selected: bool or float [H, W], what that is, as
            the user says, in place of what the drag selects; None: as that says, else looked for. Without a picture it counts by itself.
        changes: of the settings, by name.
        Raises ValueError for an operation that makes no sense (see `motion_of`), and for a picture or selection of another size.
        """
        settings = replace(settings, **changes)

        def stretch_of(region: RegionOperation) -> Stretch | None:
            if settings.deformation == "rigid" or region.task != "deformation":
                return None
            return Stretch(settings.stretch_length, _fraction(region.anchor, drag.size))

        moving = [region for region in drag.regions if region.task != "pin"]
        regions = tuple(
            RegionMove(r.body, motion_of(r, rounded_at=rounded_at), stretch_of(r), r.name or f"region {i + 1}", r.copy)
            for i, r in enumerate(moving)
        )
        points = None
        if drag.points:
            radius = default_point_radius(drag.size) if settings.point_radius is None else settings.point_radius
            asked = _selecting(drag.points, selected, drag.size)
            known = picture is not None or any(point.selected is not None for point in asked)
            if known and settings.point_mode is None and settings.point_fading is None:
                _check_picture(picture, selected, drag.size)
                points = object_moves(picture, drag.size, asked, radius, drag.editable)
            if points is None or not points.bodies:
                free = settings.point_mode is None and drag.editable is None
                longest = max(math.dist(point.handle, point.target) for point in drag.points)
                # Ahead of a target the circle is at least this far: nearer than the way, what lies between would fold over itself.
                reach = longest + 2 * radius if free else None
                mode = settings.point_mode or ("latent_warp" if free else "idw")
                points = PointMoves(drag.size, drag.points, radius, mode, drag.editable, settings.point_fading, reach)
        pins, fronts = ([r.mask for r in drag.regions if r.task == "pin" and r.front >= front] for front in (False, True))
        pinned, front = (np.logical_or.reduce(masks) if masks else None for masks in (pins, fronts))
        return cls(drag.size, regions, points, pinned, drag.editable, front)

    def between(self, begin: float, end: float) -> DragField:
        """The field whose progress 0 is this one's `begin` and whose 1 is its `end`, both in [0, 1]; `begin` may be the later one.

        `between(0, w)` is the drag as far as w: the same material gives, the same things go along, less far.
        """
        return replace(self, span=(self.travelled(begin), self.travelled(end)))

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of what moves: regions without pins in their order, then points; `op` indexes into it."""
        return tuple(name for move in self._moves for name in move.operations)

    def weights(self) -> tuple[float, ...]:
        """Share gamma_i of each operation in the loss, summing to 1 (Eq. 22-24); a point counts with its disc."""
        return region_weights([area for move in self._moves for area in move.areas])

    def moves(self) -> bool:
        """Whether anything goes anywhere: False when all content lands where it was (to a thousandth of a pixel)."""
        layout = self.layout()
        still = cell_centres((0, 0, *self.size), torch.float32)
        return bool(layout.vacated.any()) or bool(((layout.backward - still).abs() > 1e-3).any())

    def backward(self, progress: float = 1.0, size: Size | None = None) -> Tensor:
        """Source position of each target cell. -> float32 [h, w, 2]; exactly its own centre where nothing moved in."""
        return self.layout(progress, size).backward

    def moved(self, progress: float = 1.0, size: Size | None = None) -> Tensor:
        """Where moving content lands. -> bool [h, w]."""
        return self.layout(progress, size).moved

    def vacated(self, progress: float = 1.0, size: Size | None = None) -> Tensor:
        """What moving content left and nothing covered again. -> bool [h, w]."""
        return self.layout(progress, size).vacated

    def kept(self, progress: float = 1.0, size: Size | None = None) -> Tensor:
        """Everything else. -> bool [h, w]."""
        return self.layout(progress, size).kept

    def layout(self, progress: float = 1.0, size: Size | None = None) -> Layout:
        """Backward map and all masks at once.

        Raises ValueError if progress is outside of [0, 1], or if a region is smaller than one cell of the grid or has
        left it.
        """
        return self._layout(*self._checked(progress, size))

    def _layout(self, progress: float, size: Size) -> Layout:
        """At a progress of the whole way."""
        if (progress, size) in self._laid:
            return self._laid[progress, size]
        layout = self._laid_out(progress, size)
        if size[0] * size[1] <= REMEMBERED_CELLS:
            while len(self._laid) >= REMEMBERED:
                self._laid.pop(next(iter(self._laid)))
            self._laid[progress, size] = layout
        return layout

    def _laid_out(self, progress: float, size: Size) -> Layout:
        backward = cell_centres((0, 0, *size), torch.float32)
        operation = torch.full((size[1], size[0]), -1)
        fixed, pinned = self._fixed(size)
        front = None if self.front is None else resample(self.front, size) > 0.5
        revealed = torch.zeros(size[1], size[0], dtype=torch.bool)
        home = self._home(size)
        leaving = home >= 0
        for region in self.regions:
            if region.stretch is not None and region.stretch.fixed is not None:
                # Material that is pressed against its fixed end leaves room behind the region too.
                (x0, y0, x1, y1), _, moving = region.departure(progress, size)
                leaving[y0:y1, x0:x1] |= moving
        landings = [(i, region.landing(progress, size)) for i, region in enumerate(self.regions)]
        layers = [(i, landing, landing.loose, True) for i, landing in landings]
        if self.points is not None:
            leaving = leaving | self.points.leaving(size)
            landing = self.points.landing(progress, size)
            layers.insert(0, (len(self.regions), landing, landing.loose, True))
        layers += [(i, landing, landing.solid, False) for i, landing in landings]

        for first, landing, cells, loose in layers:
            x0, y0, x1, y1 = landing.window
            column, row = landing.source.floor().long().unbind(-1)
            origin = row.clamp(0, size[1] - 1), column.clamp(0, size[0] - 1)
            cells = cells & ~fixed[y0:y1, x0:x1]
            if loose:
                cells &= (home[origin] < 0) | (home[origin] == first)
            behind = None if front is None else cells & front[origin]
            if first == len(self.regions) or not self.regions[first].copy:
                cells &= ~pinned[origin]
            elif behind is not None:
                cells &= ~behind
            # Only what has an outline of its own goes on behind what hides it.
            if behind is not None and (not loose or (first == len(self.regions) and self.points.solid)):
                hidden = behind
                backward[y0:y1, x0:x1][hidden] = landing.source[hidden].float()
                operation[y0:y1, x0:x1][hidden] = -1
                revealed[y0:y1, x0:x1] = (revealed[y0:y1, x0:x1] & ~cells) | hidden
            backward[y0:y1, x0:x1][cells] = landing.source[cells].float()
            operation[y0:y1, x0:x1][cells] = (first + torch.as_tensor(landing.operation)).expand(cells.shape)[cells]
        revealed &= operation < 0
        return Layout(backward, operation, (leaving & (operation < 0) & ~fixed) | revealed, revealed)

    def enlarged(self, progress: float = 1.0, size: Size | None = None) -> Tensor:
        """Cells of regions that grow, in width or height: several of them may show one cell of the source. -> bool [h, w]"""
        operation, gone = self.layout(progress, size).operation, self.travelled(progress)
        growing = [
            index
            for index, move in enumerate(self.regions)
            if isinstance(move, RegionMove) and max(map(abs, move.motion.factors(gone))) > 1
        ]
        return torch.isin(operation, torch.tensor(growing, dtype=operation.dtype))

    def samples(self, op: int, progress: float = 1.0, size: Size | None = None) -> tuple[Tensor, Tensor]:
        """Where region supervision compares, and with what, for one operation (DragFlow Eq. 1 on masked cells only).

        For a region: the cells that show its content. For a point: the cells within its radius of where it has got to.
        -> target positions [N, 2] and source positions [N, 2], float32, row-major, one per cell of the grid; N >= 1, but 0 where all of it
        is behind something in front.
        Raises ValueError if there is no such cell otherwise, and IndexError for an operation that does not exist.
        """
        if not 0 <= op < len(self.operations):
            raise IndexError(f"there is no operation {op}: this drag has {len(self.operations)}, counted from 0")
        progress, size = self._checked(progress, size)
        layout = self._layout(progress, size)
        cells, source = layout.operation == op, layout.backward
        if op >= len(self.regions):
            # Not only where it lands: a fading point moves nothing at progress 0 and is supervised all the same.
            cells, source = self.points.patch(op - len(self.regions), progress, size)
            cells &= ~self._fixed(size)[0] & ((layout.operation < 0) | (layout.operation >= len(self.regions)))
        if not cells.any() and self.front is None:
            raise ValueError(
                f"{self.operations[op]} cannot be seen at progress {progress:g} on a grid of {size[0]}x{size[1]}: "
                "another operation, a pin or the edge of the editable area covers it; move its target or free the place"
            )
        return cell_centres((0, 0, *size), torch.float32)[cells], source[cells].float()

    def forward(self, progress: float = 1.0, size: Size | None = None) -> tuple[Tensor, Tensor]:
        """Where each source cell goes, for `splat`.

        -> float32 [h, w, 2], exactly its own centre if it stays; bool [h, w], whether it moves. What is copied stays.
        """
        progress, size = self._checked(progress, size)
        goal = cell_centres((0, 0, *size), torch.float32)
        moving = torch.zeros(size[1], size[0], dtype=torch.bool)
        stuck, home = self._fixed(size)[0], self._home(size)
        for index, move in enumerate(self._moves):
            if index < len(self.regions) and move.copy:
                continue
            departure = move.departure(progress, size)
            x0, y0, x1, y1 = departure.window
            owner = home[y0:y1, x0:x1]
            cells = departure.moving & ~stuck[y0:y1, x0:x1] & ((owner < 0) | (owner == index))
            goal[y0:y1, x0:x1][cells] = departure.goal[cells].float()
            moving[y0:y1, x0:x1] |= cells
        return goal, moving

    @property
    def _moves(self) -> tuple[Move | PointMoves, ...]:
        return self.regions if self.points is None else (*self.regions, self.points)

    def _home(self, size: Size) -> Tensor:
        """Index of the region that takes each cell away, -1 for none. -> int64 [h, w]."""
        home = torch.full((size[1], size[0]), -1)
        for index, region in enumerate(self.regions):
            if not region.copy:
                home[region.leaving(size)] = index
        return home

    def _fixed(self, size: Size) -> tuple[Tensor, Tensor]:
        """Cells that must not change, and those of them that are pins."""
        pinned = torch.zeros(size[1], size[0], dtype=torch.bool)
        if self.pinned is not None:
            pinned = resample(self.pinned, size) > 0.5
        if self.editable is None:
            return pinned, pinned
        return pinned | ~(resample(self.editable, size) > 0.5), pinned

    def travelled(self, progress: float) -> float:
        """How far its moves have gone at a progress in [0, 1] of this field, in [0, 1]."""
        if not 0.0 <= progress <= 1.0:
            raise ValueError(f"progress is {progress}: use a number from 0 (nothing has moved) to 1 (all the way)")
        begin, end = self.span
        return begin + progress * (end - begin)

    def _checked(self, progress: float, size: Size | None) -> tuple[float, Size]:
        progress = self.travelled(progress)
        size = self.size if size is None else (int(size[0]), int(size[1]))
        if min(size) < 1:
            raise ValueError(f"a grid of {size[0]}x{size[1]} cells has no cell: give (width, height) of at least 1")
        return progress, size


def _selecting(points: Sequence[PointOperation], selected: np.ndarray | None, size: Size) -> tuple[PointOperation, ...]:
    """The points with what they take along: by `selected`, if given, else by their own."""
    if selected is None:
        return tuple(points)
    _check_picture(None, selected, size)
    mask = np.asarray(selected, dtype=np.float32) > 0.5
    return tuple(replace(point, selected=mask) for point in points)


def _fraction(point: Point | None, size: Size) -> Point | None:
    return None if point is None else (point[0] / size[0], point[1] / size[1])


def _check_picture(picture: np.ndarray | None, selected: np.ndarray | None, size: Size) -> None:
    for name, array in (("picture", picture), ("selection", selected)):
        if array is not None and array.shape[:2] != size[::-1]:
            raise ValueError(
                f"the {name} is {array.shape[1]}x{array.shape[0]} but the drag is for {size[0]}x{size[1]}: give one of that size"
            )
