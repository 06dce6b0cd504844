"""A drag as boxes before and after, as ComfyUI and FLUX 3 write them: for detectors, layout editors and models that are told moves.

What is read, by who writes it:

- ComfyUI's BOUNDING_BOX: {"x", "y", "width", "height"} in pixels, one, a list, or a list for each picture of a batch (the first counts);
- Create Bounding Boxes' elements: [{"bbox": [top, left, bottom, right], "desc"}], 0 to 1000 whatever the picture's size;
- FLUX 3's layout, a JSON array alone or at the end of a prompt: rows {"id", "bbox", "desc"}, or, for edits, {"id", "from", "src_bbox",
  "tgt_bbox", "desc"}, where what is new has no src_bbox and what stays has two that are equal
  (docs.bfl.ai/flux_3/flux3_image_bounding_boxes).

Convention: a `Box` is (left, top, right, bottom) in fractions of the picture, (0, 0) and (1, 1) its outer corners.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..field import DragField
from ..field.carried import ObjectMoves
from ..field.geometry import Size
from ..field.masks import default_point_radius
from ..instruction.checks import number, picture_size
from ..instruction.guarded_json import InstructionError, load_json, show

Box = tuple[float, float, float, float]

GRID = 1000
"""Cells of a layout along each side."""
BEYOND = 1e6
"""A pixel beyond is on no canvas."""
MAX_BOXES = 64
PICTURE = "ref_image_0"
"""What FLUX 3 calls the picture that it edits."""


@dataclass(frozen=True)
class MovedBox:
    """before: where something is.  after: where it goes, None where that is not said.  name: what it is, "" for unknown."""

    before: Box
    after: Box | None = None
    name: str = ""

    @property
    def displacement(self) -> tuple[float, float]:
        """How far its middle goes, (x, y) in fractions of the picture."""
        goal = self.after or self.before
        return tuple((goal[i] + goal[i + 2] - self.before[i] - self.before[i + 2]) / 2 for i in (0, 1))


def read(data: Any, size: Size, what: str = "boxes") -> tuple[MovedBox, ...]:
    """Boxes from a text or from what a node hands on. What is new in a layout, and so is nowhere yet, is left out.

    size: (width, height) px that pixels count on.  what: the subject of errors. Raises InstructionError.
    """
    size = picture_size(size)
    if isinstance(data, str):
        start = re.search(r"[\[{]\s*[\[{\"]", data)
        data = load_json(data if start is None else data[start.start() :], what)
    listed = data if isinstance(data, list) else [data]
    if listed and isinstance(listed[0], list):
        listed = listed[0]
    if not 1 <= len(listed) <= MAX_BOXES:
        raise InstructionError(f"{what} holds {len(listed):,}; give 1 to {MAX_BOXES} boxes")
    found = [_read(one, size, f"box {i} of {what}") for i, one in enumerate(listed, 1)]
    return tuple(one for one in found if one is not None)


def boxes_of(field: DragField) -> tuple[MovedBox, ...]:
    """What a field moves, as boxes around it before and after: each region, each body that points move, else each point's surroundings."""
    found = []
    for move in field.regions:
        x0, y0, *_ = (landing := move.landing(field.span[1], field.size)).window
        landed = _around(landing.solid.numpy(), field.size, (x0, y0))
        name = "" if re.fullmatch(r"region( \d+)?|flow", move.name) else move.name
        found.append(MovedBox(_around(move.leaving(field.size).numpy(), field.size), landed, name))
    if isinstance(field.points, ObjectMoves):
        departure = field.points.departure(field.span[1], field.size)
        for body in field.points.bodies:
            alone = ObjectMoves(field.size, body.points, field.points.radius, bodies=(body,))
            leaving = alone.leaving(field.size).numpy()
            goal = departure.goal.numpy()[leaving]
            low, high = goal.min(axis=0) - 0.5, goal.max(axis=0) + 0.5
            found.append(MovedBox(_around(leaving, field.size), _cut((*low, *high), field.size)))
    elif field.points is not None:
        radius = default_point_radius(field.size)
        for point in field.points.points:
            ends = ((x - radius, y - radius, x + radius, y + radius) for x, y in (point.handle, point.target))
            found.append(MovedBox(*(_cut(end, field.size) for end in ends)))
    return tuple(found)


def bounding_boxes(boxes: Sequence[Box], size: Size) -> list[list[dict[str, int]]]:
    """As Create Bounding Boxes hands them on: of one picture, in px of `size`."""
    pixels = [[round(v * side) for v, side in zip(box, (*size, *size), strict=True)] for box in boxes]
    return [[{"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0} for x0, y0, x1, y1 in pixels]]


def layout_prompt(boxes: Sequence[MovedBox], prompt: str = "", looks: str = "") -> str:
    """A prompt that asks FLUX 3 for the same move, its layout behind it.

    prompt: the caption; "" for one that names what moves and keeps the rest.  looks: what is said of a box without a name.
    """
    ids = _ids([box.name for box in boxes])
    rows = [
        {"id": name, "from": PICTURE, "src_bbox": _row(box.before), "tgt_bbox": _row(box.after or box.before), "desc": box.name or looks}
        for name, box in zip(ids, boxes, strict=True)
    ]
    moved = " and ".join(f"<{name}>" for name in ids)
    caption = prompt.strip() or f"In <{PICTURE}>, move {moved}. Keep everything else exactly unchanged."
    return f"{caption} {json.dumps(rows, ensure_ascii=False)}"


def _read(data: Any, size: Size, what: str) -> MovedBox | None:
    if not isinstance(data, dict):
        raise InstructionError(f'{what} is {show(data)}; write {{"x", "y", "width", "height"}}, or {{"bbox": [top, left, bottom, right]}}')
    meta = data.get("metadata")
    name = next((s for s in (data.get("desc"), (meta or {}).get("desc") if isinstance(meta, dict) else "", data.get("id"))
                 if isinstance(s, str) and s.strip()), "")  # fmt: skip
    if "src_bbox" in data or "tgt_bbox" in data:
        if data.get("src_bbox") is None:
            return None
        return MovedBox(_grid(data["src_bbox"], f"src_bbox of {what}"), _grid(data.get("tgt_bbox"), f"tgt_bbox of {what}"), name)
    if "bbox" in data:
        return MovedBox(_grid(data["bbox"], f"bbox of {what}"), None, name)
    values = [number(data.get(key), f"{key} of {what}", -BEYOND, BEYOND, "in pixels") for key in ("x", "y", "width", "height")]
    x, y, width, height = values
    return MovedBox(_some(_cut((x, y, x + width, y + height), size), what), None, name)


def _grid(data: Any, what: str) -> Box:
    """[top, left, bottom, right] of a layout, in whichever order of each pair."""
    if not isinstance(data, list | tuple) or len(data) != 4:
        raise InstructionError(f"{what} is {show(data)}; write [top, left, bottom, right], each from 0 to {GRID}")
    top, left, bottom, right = (number(v, what, 0, GRID, "of the picture's side") / GRID for v in data)
    return _some((min(left, right), min(top, bottom), max(left, right), max(top, bottom)), what)


def _some(box: Box, what: str) -> Box:
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InstructionError(f"{what} holds nothing of the picture; draw it on the picture, with a width and a height")
    return box


def _cut(box: Sequence[float], size: Size) -> Box:
    """Pixels as fractions, cut to the picture."""
    return tuple(float(min(max(v / side, 0.0), 1.0)) for v, side in zip(box, (*size, *size), strict=True))


def _around(mask: np.ndarray, size: Size, origin: tuple[int, int] = (0, 0)) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = origin
    return _cut((x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1), size)


def _row(box: Box) -> list[int]:
    left, top, right, bottom = (round(v * GRID) for v in box)
    return [top, left, bottom, right]


def _ids(names: Sequence[str]) -> list[str]:
    """Lowercase words with a number, as FLUX 3 wants them: of equal ones, one after the other."""
    counts: dict[str, int] = {}
    found = []
    for name in names:
        word = re.sub(r"_\d+$", "", re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"))[:40].strip("_") or "object"
        counts[word] = counts.get(word, 0) + 1
        found.append(f"{word}_{counts[word]}")
    return found
