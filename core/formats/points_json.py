"""Point lists as KJNodes' editors and ComfyUI's own nodes write them: [{"x": 10, "y": 20}, ...] in pixels.

The JSON travels in a STRING. Two lists, handles and targets, make a drag (PointsEditor's positive_coords twice, say);
so does one list of tracks, each a list of points of which the first is the handle and the last the target (WanMove's
track_coords, spline editors). The handles alone, written back, are what SAM nodes take as positive_coords.

Convention: these are positions on an editor's canvas, continuous pixels as in `operations.py`; no half pixel is
added.
"""

from __future__ import annotations

import json
from typing import Any

from ..instruction import DragInstruction, DrawnPoints
from ..instruction_checks import fields, number, picture_size
from ..instruction_drawn import MAX_PAIRS
from ..instruction_json import InstructionError, load_json, show
from ..operations import Point

MAX_TRACK = 10_000
"""Points of one track; only its ends matter."""


def read(handles: str, targets: str | None, size: tuple[int, int]) -> DragInstruction:
    """A drag from a list of handles and a list of as many targets; with targets None, from a list of tracks.

    size: (width, height) px of the picture that the points were set on.  Raises: InstructionError.
    """
    size = picture_size(size)
    if targets is None:
        tracks = _list(handles, "tracks")
        ends = [_ends(track, f"track {i}") for i, track in enumerate(tracks, 1)]
    else:
        begin, end = _list(handles, "handles"), _list(targets, "targets")
        if len(begin) != len(end):
            raise InstructionError(f"there are {len(begin):,} handles and {len(end):,} targets; give each handle one")
        ends = list(zip(begin, end, strict=True))
    pairs = tuple((_point(h, f"handle {i}", size), _point(t, f"target {i}", size)) for i, (h, t) in enumerate(ends, 1))
    return DragInstruction((DrawnPoints(pairs),), size=size)


def write(instruction: DragInstruction, size: tuple[int, int]) -> tuple[str, str]:
    """(handles, targets) of the visible points of an instruction as point JSON, on a picture of `size` px."""
    width, height = picture_size(size)
    pairs = [pair for o in instruction.operations if isinstance(o, DrawnPoints) and o.visible for pair in o.pairs]
    lists = [[{"x": round(x * width, 3), "y": round(y * height, 3)} for x, y in side]
             for side in ([h for h, _ in pairs], [t for _, t in pairs])]
    return json.dumps(lists[0]), json.dumps(lists[1])


def _list(text: str, what: str) -> list:
    data = load_json(text, what)
    if not isinstance(data, list) or not data or len(data) > MAX_PAIRS:
        raise InstructionError(f'{what} is {show(data)}; write a list of 1 to {MAX_PAIRS} points {{"x": .., "y": ..}}')
    return data


def _ends(track: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(track, list) or not 2 <= len(track) <= MAX_TRACK:
        raise InstructionError(f"{what} is {show(track)}; write a list of 2 to {MAX_TRACK:,} points, "
                               "or connect handles and targets")
    return track[0], track[-1]


def _point(data: Any, what: str, size: tuple[int, int]) -> Point:
    # Editors add keys of their own to a point; a place is all that is asked of it here.
    place = fields(data, ("x", "y"), what, strict=False)
    if len(place) != 2:
        raise InstructionError(f'{what} lacks x or y; write {{"x": 10, "y": 20}}')
    fix = f"inside the picture of {size[0]} x {size[1]}"
    x, y = (number(place[axis], f"{axis} of {what}", 0, side, fix) for axis, side in zip("xy", size, strict=True))
    return (x / size[0], y / size[1])
