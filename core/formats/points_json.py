"""Point lists as KJNodes' editors and ComfyUI's own nodes write them: [{"x": 10, "y": 20}, ...], JSON in a STRING.

Handles and as many targets make a drag (Points Editor's positive and negative_coords, say); so do tracks alone, whose first
point is the handle and whose last the target. What is read, by who writes it:

- Points Editor: a list of points, in pixels of its canvas or, with `normalize`, in fractions of it. What it stores,
  {"positive": [...], "negative": [...]}, is read as handles and targets.
- Spline Editor's coord_str: one track, or a list of tracks; a spline of a single point beside others stays where it is. What
  it stores, [{"points": [...]}, ...], is read as tracks.
- ComfyUI's TRACKS (Generate Video Tracks and others): frames of places, [T, N, 2].
- The same with ' for ", as older versions and Interpolate Coords write, and points as [x, y].

Which of pixels and fractions are meant shows in the numbers, except where both make sense: then the caller is asked. The
Spline Editor's normalized_str is one such text: values of a curve, counted from the bottom, not places.

Convention: these are positions on an editor's canvas, continuous pixels as in `operations.py`; no half pixel is added. The
canvas covers the whole picture. Written back, handles alone are what SAM nodes take as positive_coords.
"""

from __future__ import annotations

import json
from typing import Any, Literal, get_args

import numpy as np

from ..instruction import DragInstruction, DrawnPoints
from ..instruction.checks import fields, number, picture_size
from ..instruction.drawn import MAX_PAIRS
from ..instruction.guarded_json import InstructionError, load_json, show
from ..instruction.operations import Point

Size = tuple[int, int]
Units = Literal["auto", "pixels", "fractions"]

MAX_TRACK = 10_000
"""Points of one track; only its ends matter."""
BEYOND = 1e9
"""A number beyond is no place on any canvas."""


def read(handles: str, targets: str | None, size: Size, *, units: Units = "auto", canvas: Size | None = None) -> DragInstruction:
    """A drag from a list of handles and a list of as many targets; with targets None, from tracks.

    size: (width, height) px of the picture.  canvas: of the editor that the points were set in, which shows all of the
        picture; None: the same.  units: of the points; "auto": as their numbers show.
    Raises: InstructionError, also where the numbers fit pixels and fractions.
    """
    if units not in get_args(Units):
        raise InstructionError(f"units is {show(units)}; use one of {', '.join(get_args(Units))}")
    data = _load(handles, "tracks" if targets is None else "handles")
    alone = False
    if targets is not None:
        begin, end = _points(data, "handles"), _points(_load(targets, "targets"), "targets")
    elif isinstance(data, dict) and "positive" in data:
        begin, end = (_points(data.get(side), f"{side} points") for side in ("positive", "negative"))
    else:
        tracks, alone = _tracks(data)
        begin, end = [track[0] for track in tracks], [track[-1] for track in tracks]
    if len(begin) != len(end):
        raise InstructionError(f"there are {len(begin):,} handles and {len(end):,} targets; give each handle one")
    handle_places = [_place(p, f"handle {i}") for i, p in enumerate(begin, 1)]
    target_places = [_place(p, f"target {i}") for i, p in enumerate(end, 1)]
    return _drag(handle_places, target_places, size, canvas, _meant(handle_places, target_places, alone) if units == "auto" else units)


def read_tracks(path: Any, size: Size, *, canvas: Size | None = None) -> DragInstruction:
    """A drag from frames of places [T, N, 2] in px of the canvas: from where each is in the first to where it is in the last."""
    places = np.asarray(path, float)
    if places.ndim != 3 or places.shape[0] < 2 or not 1 <= places.shape[1] <= MAX_PAIRS or places.shape[2] != 2:
        raise InstructionError(f"the tracks have the shape {list(places.shape)}; give [frames, tracks, 2] with 2 frames or more and 1 to "
                               f"{MAX_PAIRS:,} tracks")
    return _drag(places[0].tolist(), places[-1].tolist(), size, canvas, "pixels")


def write(instruction: DragInstruction, size: Size) -> tuple[str, str]:
    """(handles, targets) of the visible points of an instruction as point JSON, on a picture of `size` px."""
    width, height = picture_size(size)
    pairs = [pair for o in instruction.operations if isinstance(o, DrawnPoints) and o.visible for pair in o.pairs]
    lists = [[{"x": round(x * width, 3), "y": round(y * height, 3)} for x, y in side]
             for side in ([h for h, _ in pairs], [t for _, t in pairs])]
    return json.dumps(lists[0]), json.dumps(lists[1])


def _load(text: str, what: str) -> Any:
    # Without a double quote it may be Python's way of writing the same, which ComfyUI's own reader takes as well.
    return load_json(text.replace("'", '"') if isinstance(text, str) and '"' not in text else text, what)


def _tracks(data: Any) -> tuple[list[list], bool]:
    """Tracks of one point or more, and whether it was one track that stood alone."""
    if not isinstance(data, list) or not data:
        raise InstructionError(f'tracks is {show(data)}; write a list of points, or of tracks, each a list of points {{"x": .., "y": ..}}')
    listed = data
    if isinstance(listed[0], dict) and "points" in listed[0]:
        listed = [fields(spline, ("points",), f"track {i}", strict=False).get("points") for i, spline in enumerate(listed, 1)]
    alone = _is_point(listed[0])
    tracks = [listed] if alone else listed
    if not alone and len(tracks) > MAX_PAIRS:
        raise InstructionError(f"there are {len(tracks):,} tracks; at most {MAX_PAIRS:,} are allowed, use fewer")
    for i, track in enumerate(tracks, 1):
        if not isinstance(track, list) or not 1 <= len(track) <= MAX_TRACK:
            raise InstructionError(f"track {i} is {show(track)}; write a list of 2 to {MAX_TRACK:,} points, or connect handles and targets")
    # A point alone stays where it is, beside tracks that go somewhere.
    if max(map(len, tracks)) < 2:
        raise InstructionError("track 1 is one point, which goes nowhere; give it a second point, or connect handles and targets")
    return tracks, alone


def _points(data: Any, what: str) -> list:
    if not isinstance(data, list) or not 1 <= len(data) <= MAX_PAIRS:
        raise InstructionError(f'{what} is {show(data)}; write a list of 1 to {MAX_PAIRS} points {{"x": .., "y": ..}}')
    return data


def _is_point(data: Any) -> bool:
    return isinstance(data, dict) or (isinstance(data, list) and len(data) == 2 and not any(isinstance(v, dict | list) for v in data))


def _place(data: Any, what: str) -> list:
    """[x, y] of a point as it was written: whole numbers stay whole."""
    if isinstance(data, list) and _is_point(data):
        data = dict(zip("xy", data, strict=True))
    # Editors add keys of their own to a point; a place is all that is asked of it here.
    place = fields(data, ("x", "y"), what, strict=False)
    if len(place) != 2:
        raise InstructionError(f'{what} lacks x or y; write {{"x": 10, "y": 20}}')
    for axis, value in place.items():
        number(value, f"{axis} of {what}", -BEYOND, BEYOND, "on the picture")
    return [place["x"], place["y"]]


def _meant(handles: list[list], targets: list[list], alone: bool) -> Units:
    """What the numbers show; InstructionError where they show both or neither.  alone: a single track, which may be no places at all."""
    shown = [_shown(handles), _shown(targets)]
    if "pixels" in shown and "fractions" in shown:
        small, large = ("handles", "targets") if shown[1] == "pixels" else ("targets", "handles")
        raise InstructionError(f"all numbers of the {small} are at most 1, like fractions of the picture, and those of the {large} "
                               "are not, like pixels; write both the same way, or set units")
    if "pixels" in shown:
        return "pixels"
    if "fractions" in shown and not alone:
        return "fractions"
    hint = "; of KJNodes' Spline Editor connect coord_str, for its normalized_str holds values of a curve and no places" if alone else ""
    raise InstructionError("all numbers of the points are at most 1: are they fractions of the picture, or pixels in its corner? "
                           f"Set units to fractions or pixels{hint}")


def _shown(places: list[list]) -> str:
    numbers = [v for place in places for v in place]
    if max(numbers) > 1:
        return "pixels"
    # No editor writes a fraction of a pixel; whole numbers may be the first pixel of a picture.
    return "either" if all(isinstance(v, int) for v in numbers) else "fractions"


def _drag(handles: list[list], targets: list[list], size: Size, canvas: Size | None, units: Units) -> DragInstruction:
    width, height = size = picture_size(size)
    if units == "fractions":
        width, height, fix = 1, 1, "in fractions of the picture"
    elif canvas is None:
        fix = f"inside the picture of {width} x {height}, or give the size of the canvas that the points were set on"
    else:
        width, height = picture_size(canvas, "the canvas")
        fix = f"inside the canvas of {width} x {height}"

    def point(place: list, what: str) -> Point:
        x, y = (number(v, f"{axis} of {what}", 0, side, fix) for v, axis, side in zip(place, "xy", (width, height), strict=True))
        return (x / width, y / height)

    pairs = enumerate(zip(handles, targets, strict=True), 1)
    return DragInstruction((DrawnPoints(tuple((point(h, f"handle {i}"), point(t, f"target {i}")) for i, (h, t) in pairs)),), size=size)
