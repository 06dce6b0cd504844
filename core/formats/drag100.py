"""Drag100 (GoodDrag): a folder of original.jpg, points.json and mask.png.

points.json is {"points": [[x, y], ...]}, handle and target in turn; mask.png is 255 where the picture may change.
There are no prompts.

Convention: as in `sample.py`, integers are pixel indices.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ..instruction import DragInstruction, DrawnPoints
from ..instruction.checks import fields
from ..instruction.operations import Drag
from .picture_file import size_of
from .sample import Sample, from_alternating, read_json, read_mask, to_alternating, trace, write_mask, write_picture


def read(folder: str | Path) -> Sample:
    """Read a sample folder; mask.png may be missing. Raises: InstructionError."""
    folder = Path(folder)
    picture = folder / "original.jpg"
    size = size_of(picture)
    data = fields(read_json(folder / "points.json"), ("points",), "points.json", strict=False)
    pairs = from_alternating(data.get("points"), size, "points of points.json")
    mask = folder / "mask.png"
    editable = trace(read_mask(mask, size)) if mask.is_file() else None
    return Sample(folder.name, picture, size, DragInstruction((DrawnPoints(pairs),), size=size, editable=editable))


def write(folder: str | Path, picture: Image.Image | Path, drag: Drag) -> None:
    """Write a drag of points alone as a sample folder; without `drag.editable` the mask is white.

    Prompts have no place in this format. Raises: InstructionError for a drag with regions.
    """
    folder = Path(folder)
    points = to_alternating(drag, "Drag100")
    write_picture(folder, "original.jpg", picture, drag.size)
    (folder / "points.json").write_text(json.dumps({"points": points}), encoding="utf-8")
    write_mask(folder / "mask.png", np.ones(drag.size[::-1], bool) if drag.editable is None else drag.editable)
