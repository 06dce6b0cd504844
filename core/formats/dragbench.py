"""DragBench (DragDiffusion), DragBench-DR and -SR (RegionDrag): a folder of original_image.png and its drag.

The drag is drag_instruction.json {"prompt", "points"} with mask.png, or, as first published, meta_data.pkl, a pickle
of {"prompt", "points", "mask"}: points alternate between handle and target, the mask is nonzero where the picture may
change. Where both exist the JSON is read. Pickles are read as data only (`plain_pickle.py`).

Convention: as in `sample.py`, integers are pixel indices.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ..instruction import DragInstruction, DrawnPoints
from ..instruction.checks import fields, text
from ..instruction.guarded_json import InstructionError
from ..instruction.operations import Drag
from ..instruction.schema import MAX_PROMPT
from .picture_file import size_of
from .plain_pickle import load_plain
from .sample import Sample, from_alternating, read_bytes, read_json, read_mask, to_alternating, trace, write_mask, write_picture


def read(folder: str | Path) -> Sample:
    """Read a sample folder. Raises: InstructionError for missing, damaged, hostile or contradictory files."""
    folder = Path(folder)
    picture = folder / "original_image.png"
    size = size_of(picture)
    if (folder / "drag_instruction.json").is_file() or not (folder / "meta_data.pkl").is_file():
        source = "drag_instruction.json"
        data = fields(read_json(folder / source), ("prompt", "points"), source, strict=False)
        mask = read_mask(folder / "mask.png", size) if (folder / "mask.png").is_file() else None
    else:
        source = "meta_data.pkl"
        data = load_plain(read_bytes(folder / source), source)
        data = fields(data, ("prompt", "points", "mask"), source, strict=False)
        mask = pickled_mask(data["mask"], size, source) if "mask" in data else None
    pairs = from_alternating(data.get("points"), size, f"points of {source}")
    prompt = text(data.get("prompt", ""), f"prompt of {source}", MAX_PROMPT)
    editable = None if mask is None else trace(mask)
    return Sample(folder.name, picture, size,
                  DragInstruction((DrawnPoints(pairs),), background_prompt=prompt, size=size, editable=editable))


def write(folder: str | Path, picture: Image.Image | Path, drag: Drag) -> None:
    """Write a drag of points alone as a sample folder in the JSON form; its prompt is the background prompt.

    Raises: InstructionError for a drag with regions.
    """
    folder = Path(folder)
    data = {"prompt": drag.background_prompt, "points": to_alternating(drag, "DragBench")}
    write_picture(folder, "original_image.png", picture, drag.size)
    (folder / "drag_instruction.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    write_mask(folder / "mask.png", np.ones(drag.size[::-1], bool) if drag.editable is None else drag.editable)


def pickled_mask(mask: object, size: tuple[int, int], source: str) -> np.ndarray:
    """The mask of a pickle, bool [H, W]. Raises: InstructionError for one that is none of its picture."""
    if not isinstance(mask, np.ndarray) or mask.shape != size[::-1] or mask.dtype.kind not in "buif":
        shape = getattr(mask, "shape", None)
        raise InstructionError(f"mask of {source} has the shape {shape}; its picture needs {size[::-1]}, mend it")
    return mask > 0
