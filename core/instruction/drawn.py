"""The two kinds that a user draws: regions and points, each with where it goes.

Convention: normalised points (x, y), as in `instruction.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from . import checks as check
from .checks import Polygons
from .guarded_json import InstructionError, show
from .operations import Point, Task
from .schema import BESIDE, MAX_ANGLE, MAX_NAME, MAX_PAIRS, POINTS, REGION, REQUIRED

TASKS = get_args(Task)


@dataclass(frozen=True)
class DrawnRegion:
    """A region and where it goes.

    task: relocation and deformation carry the region's centroid to `target`; rotation turns it about `anchor` until its
        centroid lies in the direction of `target`; pin keeps it where it is.
    region: polygons of rings of points (`instruction_checks.polygons`).
    target: on the picture; None for pin only.  anchor: up to one picture size outside the picture. A rotation needs one, to turn about;
        a deformation may have one: the end that stays, away from which it is stretched.
    along: polygons of what goes with the region: its shadow, its reflection, something it holds. It does not count for the centroid.
    scale: (x, y) factors about the centroid, along the picture's axes and before any turn, from 0.1 to 10; negative ones mirror. Of
        relocation and rotation.
    angle: degrees from -180 to 180, positive clockwise on the screen, by which a relocation also turns about the centroid.
    copy: the original stays, and a copy of it goes. Of relocation and rotation.
    front: it stands in front, and what moves passes behind it. Of a pin.
    id: unique in its instruction; "" lets the instruction choose one.  name: a label, free.
    visible: a hidden operation is kept but takes no part in the edit.
    """

    task: Task
    region: Polygons
    target: Point | None = None
    anchor: Point | None = None
    id: str = ""
    name: str = ""
    visible: bool = True
    along: Polygons | None = None
    scale: Point = (1.0, 1.0)
    angle: float = 0.0
    copy: bool = False
    front: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.task, str) or self.task not in TASKS:
            raise InstructionError(f"task is {show(self.task)}; use one of {', '.join(TASKS)}")
        assign(self, region=check.polygons(self.region, "region"))
        if self.task == "pin" and self.target is not None:
            raise InstructionError("a pin has a target, but pinned regions stay; remove it or use the task relocation")
        if self.task != "pin":
            if self.target is None:
                raise InstructionError(f"{self.task} has no target; add one, or use the task pin to hold the region")
            assign(self, target=check.point(self.target, "target", fix="move it onto the picture"))
        if self.task == "rotation" and self.anchor is None:
            raise InstructionError("rotation has no anchor; add the point that the region turns about")
        if self.task not in ("rotation", "deformation") and self.anchor is not None:
            raise InstructionError(f"{self.task} has an anchor, which only rotation and deformation use; remove it or change the task")
        if self.anchor is not None:
            assign(self, anchor=check.point(self.anchor, "anchor", *BESIDE, "bring it nearer to the picture"))
        if self.along is not None:
            if self.task == "pin":
                raise InstructionError("a pin has something that goes along, but pinned regions stay; remove it or make it a pin too")
            assign(self, along=check.polygons(self.along, "along"))
        self._check_changes()
        _set_label(self)

    @property
    def plain(self) -> bool:
        """Whether version 1 can say it: neither scaled nor mirrored, not turned on its way, no copy, not in front."""
        return not self._changes and not self.front

    @property
    def _changes(self) -> bool:
        return self.scale != (1.0, 1.0) or self.angle != 0.0 or self.copy

    def _check_changes(self) -> None:
        for key in ("copy", "front"):
            if not isinstance(getattr(self, key), bool):
                raise InstructionError(f"{key} is {show(getattr(self, key))}; write true or false")
        if self.front and self.task != "pin":
            raise InstructionError(f"a {self.task} is in front, which only a pin can be, something that stays and hides what moves; remove "
                                   "front, or make it a pin")
        turn = check.number(self.angle, "angle", -MAX_ANGLE, MAX_ANGLE, "turn the region less or the other way round")
        assign(self, scale=check.scale(self.scale), angle=turn)
        if self.task in ("deformation", "pin") and self._changes:
            raise InstructionError(f"a {self.task} has a scale, an angle or a copy, which only relocation and rotation may have; remove it "
                                   "or change the task")
        if self.task == "rotation" and self.angle:
            raise InstructionError("a rotation has an angle, but its target says how far it turns; remove it or use the task relocation")


@dataclass(frozen=True)
class DrawnPoints:
    """Handle points and their targets: `pairs` of (handle, target), all on the picture. Labels as in `DrawnRegion`.

    selected: polygons of what they take along; None: it is looked for on the picture.
    """

    pairs: tuple[tuple[Point, Point], ...]
    id: str = ""
    name: str = ""
    visible: bool = True
    selected: Polygons | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pairs, list | tuple) or not self.pairs:
            raise InstructionError(f"pairs is {show(self.pairs)}; write a list with at least one [handle, target]")
        if len(self.pairs) > MAX_PAIRS:
            raise InstructionError(f"there are {len(self.pairs):,} pairs; at most {MAX_PAIRS:,} are allowed, use fewer")
        pairs = []
        for i, pair in enumerate(self.pairs, 1):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise InstructionError(f"pair {i} is {show(pair)}; write it as [handle, target], each [x, y]")
            pairs.append((check.point(pair[0], f"handle {i}"), check.point(pair[1], f"target {i}")))
        assign(self, pairs=tuple(pairs))
        if self.selected is not None:
            assign(self, selected=check.polygons(self.selected, "selected"))
        _set_label(self)

    @property
    def plain(self) -> bool:
        """Whether what they take along is looked for. Version 1 knows no more."""
        return self.selected is None


def read_operation(data: Any, what: str) -> DrawnRegion | DrawnPoints:
    """An operation of an instruction's JSON; `what` names it in errors."""
    kind = data.get("kind") if isinstance(data, dict) else None
    if isinstance(data, dict) and (not isinstance(kind, str) or kind not in ("region", "points")):
        raise InstructionError(f'{what} has the kind {show(kind)}; write "kind": "region" or "kind": "points"')
    known = check.fields(data, REGION if kind == "region" else POINTS, what)
    for key in REQUIRED[kind]:
        if key not in known:
            raise InstructionError(f"{what} has no {key}; a {kind} operation needs one, add it")
    del known["kind"]
    try:
        return (DrawnRegion if kind == "region" else DrawnPoints)(**known)
    except InstructionError as error:
        raise InstructionError(f"{what}: {error}") from None


def write_operation(operation: DrawnRegion | DrawnPoints) -> dict[str, Any]:
    """Its JSON again, without what is at its default."""
    region = isinstance(operation, DrawnRegion)
    data: dict[str, Any] = {"id": operation.id, "kind": "region" if region else "points"}
    for key in ("name", "task", "region", "target", "anchor", "along") if region else ("name", "pairs", "selected"):
        if getattr(operation, key) not in (None, ""):
            data[key] = getattr(operation, key)
    for key, default in (("scale", (1.0, 1.0)), ("angle", 0.0), ("copy", False), ("front", False)) if region else ():
        if getattr(operation, key) != default:
            data[key] = getattr(operation, key)
    return data if operation.visible else data | {"visible": False}


def assign(frozen: object, **values: object) -> None:
    """Replace fields of a frozen dataclass by their checked values, within its __post_init__."""
    for key, value in values.items():
        object.__setattr__(frozen, key, value)


def _set_label(operation: DrawnRegion | DrawnPoints) -> None:
    for key in ("id", "name"):
        assign(operation, **{key: check.text(getattr(operation, key), key, MAX_NAME)})
    if not isinstance(operation.visible, bool):
        raise InstructionError(f"visible is {show(operation.visible)}; write true or false")
