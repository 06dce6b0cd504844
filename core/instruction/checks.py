"""One value at a time: what a user wrote becomes a plain finite number, point, outline or text, or is refused.

Each check takes the raw value and `what`, the subject of the error's sentence, and returns the value in its one
canonical Python form (floats, tuples), so that equal drags compare equal and hash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np

from .guarded_json import InstructionError, show
from .operations import Point
from .schema import MAX_SIDE, MAX_VERTICES

MAX_PIXELS = 8192 * 8192
"""Largest picture, in pixels: 67 megapixels."""

Ring = tuple[Point, ...]
Polygons = tuple[tuple[Ring, ...], ...]
"""Polygons of rings of (x, y), normalised: the first ring of a polygon is its outside, the others are holes."""


def number(value: object, what: str, low: float, high: float, fix: str) -> float:
    """A finite number from `low` to `high`; true and false are not numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InstructionError(f"{what} is {show(value)}, not a number; write one from {low:g} to {high:g}")
    # Written so that NaN fails too, and compared before float(), which overflows on huge integers.
    if not low <= value <= high:
        raise InstructionError(f"{what} is {show(value)}; it must be from {low:g} to {high:g}, {fix}")
    return float(value) + 0.0  # -0.0 becomes 0.0: equal points are written alike


def point(value: object, what: str, low: float = 0.0, high: float = 1.0, fix: str = "place it on the picture") -> Point:
    """A normalised point [x, y]: (0, 0) is the picture's top left corner, (1, 1) its bottom right corner."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InstructionError(f"{what} is {show(value)}; write it as two numbers [x, y]")
    x, y = value
    # The vertices of long outlines come here: no strings are made until something is wrong.
    if type(x) is float and type(y) is float and low <= x <= high and low <= y <= high:
        return (x + 0.0, y + 0.0)
    return (number(x, f"x of {what}", low, high, fix), number(y, f"y of {what}", low, high, fix))


def polygons(value: object, what: str) -> Polygons:
    """A region: a list of polygons, each a list of rings (outside, then holes), each a list of three or more points.

    This is the nesting of a GeoJSON MultiPolygon. A ring may repeat its first point at its end.
    """
    total = 0
    found = []
    for p, rings in enumerate(_items(value, what, "polygons"), 1):
        kept = []
        for r, ring in enumerate(_items(rings, f"polygon {p} of {what}", "rings"), 1):
            name = f"ring {r} of polygon {p} of {what}"
            if isinstance(ring[0] if ring and isinstance(ring, list | tuple) else ring, int | float):
                raise InstructionError(f"{name} is {show(ring)}; {what} is a list of polygons, each a list of rings of "
                                       "points, so wrap a single ring as [[ring]]")
            vertices = _items(ring, name, "points")
            total += len(vertices)
            if total > MAX_VERTICES:
                raise InstructionError(f"{what} has more than {MAX_VERTICES:,} vertices; simplify its outline")
            corners = [point(v, f"vertex {i} of {name}") for i, v in enumerate(vertices, 1)]
            while len(corners) > 1 and corners[0] == corners[-1]:
                corners.pop()
            if len(corners) < 3:
                raise InstructionError(f"{name} has {len(corners)} corners; a ring needs at least 3, draw an area")
            kept.append(tuple(corners))
        found.append(tuple(kept))
    return tuple(found)


def text(value: object, what: str, longest: int) -> str:
    """A string of at most `longest` characters that UTF-8 can hold."""
    if not isinstance(value, str):
        raise InstructionError(f"{what} is {show(value)}; write a text in quotes")
    if len(value) > longest:
        raise InstructionError(f"{what} is {len(value):,} characters long; at most {longest:,} are allowed, shorten it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InstructionError(f"{what} has half a surrogate pair at character {error.start + 1}; remove it") from None
    return str(value)


def picture_size(value: object, what: str = "size") -> tuple[int, int]:
    """A picture's (width, height) in whole pixels, at most `MAX_SIDE` each and `MAX_PIXELS` together."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InstructionError(f"{what} is {show(value)}; write it as two whole numbers [width, height]")
    sides = []
    for name, side in zip(("width", "height"), value, strict=True):
        whole = number(side, f"{name} of {what}", 1, MAX_SIDE, "use a picture of that size")
        if whole != math.floor(whole):
            raise InstructionError(f"{name} of {what} is {whole:g}; pixels are counted in whole numbers, round it")
        sides.append(int(whole))
    width, height = sides
    if width * height > MAX_PIXELS:
        raise InstructionError(f"{what} is {width} x {height}, {width * height / 1e6:.0f} megapixels; at most "
                               f"{MAX_PIXELS / 1e6:.0f} are worked on, scale the picture down")
    return width, height


def fields(value: object, allowed: Iterable[str], what: str, strict: bool = True) -> dict[str, Any]:
    """The entries of an object that are not null.

    strict: refuse keys that are not `allowed`, except remarks, whose keys start with "_"; else skip them.
    """
    if not isinstance(value, dict):
        raise InstructionError(f"{what} is {show(value)}; write an object in braces")
    allowed = tuple(allowed)
    known = {}
    for key, entry in value.items():
        if key in allowed:
            if entry is not None:
                known[key] = entry
        elif strict and not (isinstance(key, str) and key.startswith("_")):
            close = get_close_matches(key, allowed, 1) if isinstance(key, str) and len(key) < 40 else []
            fix = f"did you mean {close[0]!r}" if close else f"allowed are {', '.join(allowed)}"
            raise InstructionError(f"{what} has the unknown key {show(key)}; {fix}, and remarks start with '_'")
    return known


def label(index: int, name: str) -> str:
    """How errors call the operation at `index` (from 0) of the user's list."""
    return f"operation {index + 1}" + (f" ({show(name)})" if name else "")


def _items(value: object, what: str, of: str) -> list | tuple:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise InstructionError(f"{what} is {show(value)}; write a list of {of}")
    if not value:
        raise InstructionError(f"{what} is empty; give it {of}, or remove it")
    return value
