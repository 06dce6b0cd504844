"""What a user asks for: `DragInstruction`, the drag as it travels between the canvas, files and nodes.

Versioned JSON with normalised coordinates (docs/instruction.md), so that one drag fits the picture at any size.
Objects check themselves when they are made: an existing instruction is well formed, and only what depends on the
picture (empty or overlapping regions, an anchor on a centroid) is left to `rasterise`. Every mistake is an
`InstructionError`.

Convention: points are (x, y), x to the right and y down, (0, 0) the outer corner of the top left pixel and (1, 1) the
outer corner of the bottom right one; a normalised point times (width, height) is a point of `operations.py`. Outlines
are filled as `instruction_outline.py` says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from . import checks as check
from .checks import Polygons
from .drawn import DrawnPoints, DrawnRegion, assign, read_operation, write_operation
from .guarded_json import InstructionError, load_json, show
from .on_picture import rasterise
from .operations import Drag, Point, by_selection
from .outline import outline
from .schema import MAX_OPERATIONS, MAX_PAIRS, MAX_PROMPT, MAX_VERTICES, PROMPTS, TOP

__all__ = ["VERSION", "DragInstruction", "DrawnPoints", "DrawnRegion", "InstructionError"]

VERSION = 2
"""The newest version; what version 1 can say is still written as version 1."""
MAX_LENGTH = 500.0
"""Length of all outlines together, in picture sides: what filling them may cost."""


@dataclass(frozen=True)
class DragInstruction:
    """A drag on a picture of any size.

    operations: regions and points, mixed, in the order of the user's list.
    size: (width, height) px of the picture it was drawn on, for information; None if unknown.
    editable: polygons of where the picture may change at all; None: decided by the method.
    version: the least that can say it, whatever is given: 2 with regions that scale, turn on their way, are copies or in front and
        with points that say what they take along, else 1.
    """

    operations: tuple[DrawnRegion | DrawnPoints, ...] = ()
    background_prompt: str = ""
    editing_prompt: str = ""
    size: tuple[int, int] | None = None
    editable: Polygons | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        if isinstance(self.version, bool) or not isinstance(self.version, int) or not 1 <= self.version <= VERSION:
            raise InstructionError(f"version is {show(self.version)}; this Dragfield reads versions 1 to {VERSION}, "
                                   "save the drag again with it or update Dragfield")
        if not isinstance(self.operations, list | tuple):
            raise InstructionError(f"operations is {show(self.operations)}; write a list of regions and points")
        if len(self.operations) > MAX_OPERATIONS:
            raise InstructionError(f"there are {len(self.operations):,} operations; at most {MAX_OPERATIONS} are "
                                   "allowed, merge or remove some")
        for i, operation in enumerate(self.operations, 1):
            if not isinstance(operation, DrawnRegion | DrawnPoints):
                raise InstructionError(f"operation {i} is {show(operation)}; make it a DrawnRegion or DrawnPoints")
        assign(self, operations=_with_ids(self.operations), version=1 if _newer(self.operations) is None else 2)
        assign(self, background_prompt=check.text(self.background_prompt, "the background prompt", MAX_PROMPT),
             editing_prompt=check.text(self.editing_prompt, "the editing prompt", MAX_PROMPT))
        if self.size is not None:
            assign(self, size=check.picture_size(self.size))
        if self.editable is not None:
            assign(self, editable=check.polygons(self.editable, "editable"))
        _check_amount(self)

    @property
    def moves(self) -> bool:
        """Whether anything visible is to move at all: pins alone, or nothing, leave the picture as it is."""
        return any(o.visible and getattr(o, "task", None) != "pin" for o in self.operations)

    @classmethod
    def from_json(cls, source: str | bytes | dict[str, Any]) -> DragInstruction:
        """Read the JSON of docs/instruction.md: text, UTF-8 bytes, or the object that json.loads made of it.

        Raises: InstructionError for everything that is not a well-formed instruction, and nothing else.
        """
        data = source if isinstance(source, dict) else load_json(source)
        if isinstance(data, list):
            raise InstructionError("the instruction is a list; write an object, or give points as handles and targets")
        known = check.fields(data, TOP, "the instruction")
        if "version" not in known:
            raise InstructionError('the instruction has no version; add "version": 1')
        operations = known.get("operations", [])
        if isinstance(operations, list | tuple) and len(operations) <= MAX_OPERATIONS:
            operations = tuple(read_operation(o, f"operation {i}") for i, o in enumerate(operations, 1))
        prompts = check.fields(known.get("prompts", {}), PROMPTS, "prompts")
        read = cls(operations, prompts.get("background", ""), prompts.get("editing", ""),
                   known.get("size"), known.get("editable"), known["version"])
        if known["version"] == 1 and (newer := _newer(read.operations)) is not None:
            raise InstructionError(f"{check.label(newer, read.operations[newer].name)} has a scale, an angle, a copy, what is selected "
                                   'or what is in front, which version 1 does not know; write "version": 2')
        return read

    def to_json(self) -> str:
        """The instruction as compact JSON; `from_json` of it is equal, and equal instructions give equal text."""
        data: dict[str, Any] = {"version": self.version}
        if self.size is not None:
            data["size"] = self.size
        data["operations"] = [write_operation(o) for o in self.operations]
        prompts = {"background": self.background_prompt, "editing": self.editing_prompt}
        if any(prompts.values()):
            data["prompts"] = {key: prompt for key, prompt in prompts.items() if prompt}
        if self.editable is not None:
            data["editable"] = self.editable
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_drag(cls, drag: Drag, *, tolerance: float = 0.0) -> DragInstruction:
        """The instruction that rasterises to `drag` again.

        tolerance: how far in px outlines may be simplified; 0 keeps every pixel of the masks, 1 makes short outlines.
        """
        width, height = check.picture_size(drag.size)
        check.number(tolerance, "tolerance", 0, 1000, "give it in pixels")

        def place(point: Point | None) -> Point | None:
            return None if point is None else (round(point[0] / width, 9), round(point[1] / height, 9))

        def trace(mask: Any, what: str) -> Polygons:
            if getattr(mask, "shape", None) != (height, width) or mask.dtype != bool:
                raise InstructionError(f"{what} is not a bool mask of {height} x {width} (height x width); make it one")
            return outline(mask, tolerance)

        operations: list[DrawnRegion | DrawnPoints] = [
            DrawnRegion(r.task, trace(r.mask, f"the mask of region {i}"), place(r.target), place(r.anchor), name=r.name,
                        along=None if r.along is None or not r.along.any() else trace(r.along, f"what goes with region {i}"),
                        scale=r.scale, angle=r.angle, copy=r.copy, front=r.front)
            for i, r in enumerate(drag.regions, 1)]
        for selected, points in by_selection(drag.points):
            pairs = tuple((place(p.handle), place(p.target)) for p in points)
            operations.append(DrawnPoints(pairs, selected=None if selected is None else trace(selected, "what is selected")))
        editable = None if drag.editable is None else trace(drag.editable, "editable")
        return cls(tuple(operations), drag.background_prompt, drag.editing_prompt, (width, height), editable)

    def rasterise(self, width: int, height: int) -> Drag:
        """The visible operations on a picture of width x height px, which need not be the `size` it was drawn on.

        Raises: InstructionError when regions are too small there, overlap, or cannot turn (on_picture.py).
        """
        drag = rasterise(self.operations, self.editable, (width, height))
        return replace(drag, background_prompt=self.background_prompt, editing_prompt=self.editing_prompt)

    def validate(self, width: int | None = None, height: int | None = None) -> None:
        """Raise the InstructionError that `rasterise` would raise, at the given size or the one it was drawn on."""
        if (width is None) != (height is None):
            raise InstructionError("only one of width and height is given; give both or neither")
        if width is None and self.size is None:
            raise InstructionError("the instruction has no size; give width and height of the picture to check it on")
        self.rasterise(*(self.size if width is None else (width, height)))


def _newer(operations: tuple) -> int | None:
    """Index of the first operation that version 1 cannot say; None: it can say all."""
    return next((i for i, operation in enumerate(operations) if not getattr(operation, "plain", True)), None)


def _with_ids(operations: tuple) -> tuple:
    """Give operations without an id the first free number, refuse repeated ids."""
    taken: set[str] = set()
    for i, operation in enumerate(operations):
        if operation.id in taken:
            name = check.label(i, operation.name)
            raise InstructionError(f"{name} repeats the id {show(operation.id)}; give it another")
        taken |= {operation.id} - {""}
    free = (str(n) for n in range(1, 2 * len(operations) + 2) if str(n) not in taken)
    return tuple(o if o.id else replace(o, id=next(free)) for o in operations)


def _check_amount(instruction: DragInstruction) -> None:
    """Bounds on the whole, so that a drag costs at most so much to keep, to write and to fill."""
    regions = [o for o in instruction.operations if isinstance(o, DrawnRegion)]
    points = [o for o in instruction.operations if isinstance(o, DrawnPoints)]
    parts = [*(o.along for o in regions), *(o.selected for o in points)]
    outlines = [*(o.region for o in regions), *(part for part in parts if part is not None)]
    rings = [ring for polygons in (*outlines, instruction.editable or ()) for rings in polygons for ring in rings]
    if sum(map(len, rings)) > MAX_VERTICES:
        raise InstructionError(f"all outlines together have more than {MAX_VERTICES:,} vertices; simplify them")
    length = sum(abs(x - px) + abs(y - py) for ring in rings
                 for (px, py), (x, y) in zip((ring[-1], *ring), ring, strict=False))
    if length > MAX_LENGTH:
        raise InstructionError(f"all outlines together are {length:.0f} picture sides long; at most {MAX_LENGTH:.0f} "
                               "are filled, simplify them")
    pairs = sum(len(o.pairs) for o in points)
    if pairs > MAX_PAIRS:
        raise InstructionError(f"there are {pairs:,} handle points; at most {MAX_PAIRS:,} are allowed, use fewer")
