"""ReD Bench and the DragFlow demos: a folder of original_image.png, operation.png and instruction.json.

operation.png marks the source regions, one white connected blob each; instruction.json says what each does and, for
point methods, gives the same drag as points. DragFlow, section 7.1 of its facts: "relocation" is spelled
`transformation`, the annotated start centroid only tells which blob is meant, and holes in a blob are filled.

Convention: as in `sample.py`, integers are pixel indices.
"""

from __future__ import annotations

import json
from math import hypot
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from ..instruction import DragInstruction, DrawnPoints, DrawnRegion
from ..instruction.checks import fields, label, text
from ..instruction.guarded_json import InstructionError, show
from ..instruction.operations import Drag, Point, RegionOperation
from ..instruction.schema import MAX_PROMPT
from .picture_file import size_of
from .sample import Sample, from_index, read_json, read_mask, to_index, trace, write_mask, write_picture

Use = Literal["regions", "points", "both"]

MIN_AREA = 5.0
"""Blobs of a smaller contour area are specks of the annotation."""
NEAR = 5.0
"""A start outside every blob (of a crescent, say) may be this far, in px, from the centroid of the blob it means."""

_TASKS = {"transformation": "relocation", "deformation": "deformation", "rotation": "rotation"}
_KEYS = ("region_operations", "point_operations", "background_prompt", "editing_prompt")


def read(folder: str | Path, use: Use = "regions") -> Sample:
    """Read a sample folder.

    use: the data set describes one drag twice; take its regions, its points (for point methods), or both, as `write`
        of a mixed drag left them.
    Raises: InstructionError for missing, damaged or contradictory files.
    """
    folder = Path(folder)
    picture = folder / "original_image.png"
    size = size_of(picture)
    data = fields(read_json(folder / "instruction.json"), _KEYS, "instruction.json", strict=False)
    operations: list[DrawnRegion | DrawnPoints] = []
    if use in ("regions", "both"):
        blobs = _blobs(read_mask(folder / "operation.png", size)) if data.get("region_operations") else []
        operations += _regions(data.get("region_operations", {}), blobs, size)
    if use in ("points", "both"):
        operations += _points(data.get("point_operations", {}), size)
    prompts = (text(data.get(f"{key}_prompt", ""), f"{key}_prompt", MAX_PROMPT) for key in ("background", "editing"))
    return Sample(folder.name, picture, size, DragInstruction(tuple(operations), *prompts, size))


def write(folder: str | Path, picture: Image.Image | Path, drag: Drag) -> None:
    """Write a drag as a sample folder that `read` understands.

    Raises: InstructionError for what the format cannot say: pins, and regions that touch each other, have holes or
    consist of several pieces, since a region is one blob of operation.png.
    """
    folder = Path(folder)
    marks = np.zeros((drag.size[1], drag.size[0]), dtype=bool)
    regions: dict[str, Any] = {}
    for i, region in enumerate(drag.regions):
        name = label(i, region.name)
        if region.task == "pin":
            raise InstructionError(f"{name} is a pin, which ReD Bench cannot hold; remove it or write JSON")
        blobs = _blobs(region.mask)
        if len(blobs) != 1 or np.any(blobs[0] != region.mask):
            raise InstructionError(f"{name} is not one blob without holes, as ReD Bench needs; redraw it or write JSON")
        if np.any(cv2.dilate(region.mask.astype(np.uint8), np.ones((3, 3), np.uint8))[marks]):
            raise InstructionError(f"{name} touches another region and would merge with it; leave a pixel between them")
        marks |= region.mask
        regions[str(i)] = _write_region(region, drag.size)
    data = {
        "region_operations": regions,
        "point_operations": {"begin_points": [to_index(p.handle, drag.size) for p in drag.points],
                             "target_points": [to_index(p.target, drag.size) for p in drag.points]},
        "background_prompt": drag.background_prompt,
        "editing_prompt": drag.editing_prompt,
    }
    write_picture(folder, "original_image.png", picture, drag.size)
    write_mask(folder / "operation.png", marks)
    (folder / "instruction.json").write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _blobs(mask: np.ndarray) -> list[np.ndarray]:
    """The connected blobs of a mask bool [H, W], holes filled, specks dropped."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = []
    for contour in contours:
        if cv2.contourArea(contour) >= MIN_AREA:
            blob = np.zeros(mask.shape, np.uint8)
            cv2.drawContours(blob, [contour], -1, 1, cv2.FILLED)
            filled.append(blob.astype(bool))
    return filled


def _regions(data: Any, blobs: list[np.ndarray], size: tuple[int, int]) -> list[DrawnRegion]:
    if not isinstance(data, dict) or not all(isinstance(k, str) and k.isdecimal() and len(k) < 4 for k in data):
        raise InstructionError(f'region_operations is {show(data)}; number its entries "0", "1", ...')
    found: list[DrawnRegion] = []
    meant: dict[int, str] = {}
    for key in sorted(data, key=int):
        name = f"region operation {key}"
        entry = fields(data[key], ("task", "centroids", "anchors"), name, strict=False)
        task = entry.get("task")
        if not isinstance(task, str) or task not in _TASKS:
            raise InstructionError(f"the task of {name} is {show(task)}; use one of {', '.join(_TASKS)}")
        ends = entry.get("centroids")
        if not isinstance(ends, list) or len(ends) != 2:
            raise InstructionError(f"centroids of {name} is {show(ends)}; write [start, target], each [x, y]")
        start = from_index(ends[0], size, f"the start of {name}")
        blob = _meant(start, blobs, size, name)
        if blob in meant:
            raise InstructionError(f"{name} starts in the same blob as {meant[blob]}; give each operation its own blob")
        meant[blob] = name
        anchor = entry.get("anchors")
        if anchor is not None:
            anchor = from_index(anchor, size, f"the anchor of {name}", outside=True)
        target = from_index(ends[1], size, f"the target of {name}")
        try:
            found.append(DrawnRegion(_TASKS[task], trace(blobs[blob]), target, anchor))
        except InstructionError as error:
            raise InstructionError(f"{name}: {error}") from None
    return found


def _meant(start: Point, blobs: list[np.ndarray], size: tuple[int, int], name: str) -> int:
    """The index of the blob that holds the annotated start, else of the one whose centroid it nearly is."""
    column, row = to_index((start[0] * size[0], start[1] * size[1]), size)
    for i, blob in enumerate(blobs):
        if blob[row, column]:
            return i
    away = [hypot(*(np.argwhere(blob).mean(axis=0) - (row, column))) for blob in blobs]
    if not away or min(away) > NEAR:
        raise InstructionError(f"{name} starts at ({column}, {row}), in none of the {len(blobs)} blobs of "
                               "operation.png; move the start into its region")
    return int(np.argmin(away))


def _points(data: Any, size: tuple[int, int]) -> list[DrawnPoints]:
    known = fields(data, ("begin_points", "target_points"), "point_operations", strict=False)
    begin, target = known.get("begin_points", []), known.get("target_points", [])
    if not isinstance(begin, list) or not isinstance(target, list) or len(begin) != len(target):
        raise InstructionError(f"begin_points is {show(begin)} and target_points {show(target)}; "
                               "write two lists of equal length")
    pairs = tuple((from_index(b, size, f"begin point {i}"), from_index(t, size, f"target point {i}"))
                  for i, (b, t) in enumerate(zip(begin, target, strict=True), 1))
    return [DrawnPoints(pairs)] if pairs else []


def _write_region(region: RegionOperation, size: tuple[int, int]) -> dict[str, Any]:
    task = next(theirs for theirs, ours in _TASKS.items() if ours == region.task)
    row, column = np.argwhere(region.mask).mean(axis=0) + 0.5
    return {"task": task, "centroids": [to_index((column, row), size), to_index(region.target, size)],
            "anchors": None if region.anchor is None else to_index(region.anchor)}
