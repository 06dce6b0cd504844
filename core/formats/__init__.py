"""Drags as others store them: `read` knows a data set's folder by its files.

Each module reads its format with `read` and writes it with `write`: red_bench, drag100, dragbench (folders, giving a
`Sample`) and points_json (strings).
"""

from __future__ import annotations

from pathlib import Path

from ..instruction.guarded_json import InstructionError
from . import drag100, dragbench, points_json, red_bench
from .sample import Sample

__all__ = ["Sample", "drag100", "dragbench", "points_json", "read", "red_bench"]

_SIGNS = (
    ("instruction.json", red_bench.read),
    ("points.json", drag100.read),
    ("drag_instruction.json", dragbench.read),
    ("meta_data.pkl", dragbench.read),
)


def read(folder: str | Path) -> Sample:
    """Read a sample folder of ReD Bench, Drag100 or DragBench, whichever it is. Raises: InstructionError."""
    folder = Path(folder)
    for file, reader in _SIGNS:
        if (folder / file).is_file():
            return reader(folder)
    raise InstructionError(f"{folder} is not a sample folder; it needs one of {', '.join(file for file, _ in _SIGNS)}")
