"""Drags whose result is known without any model, made from any picture: what a setting can be judged on where nobody drew a truth.

- `smooth_shift`, `smooth_turn`: a disc moves within a field that fades to nothing, so that nothing is uncovered. The disc's own place
  is exact; between the two radii the truth is one smooth answer, and any other that closes is as good.
- their inverses: the picture is what was warped, the truth is the untouched picture.
- `over_repeated_ground`: a piece of the picture lies on ground that the picture shows twice (mirrored or shifted), and moves off it.
- `brought_back`: an object is taken away to another place, and the drag brings it back. The truth is the untouched picture, and what the
  drag uncovers is its own ground; only what the object covers again was filled.

Convention: pictures are uint8 [H, W, 3]; masks bool [H, W]; points and shifts (x, y) px as in `operations.py`, y down; angles in degrees,
positive clockwise on the screen. Shifts are whole pixels, so that what moved is the same numbers again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from .contract import SMALLEST, SelfDrag, check, disc
from .moves import brought_back, over_repeated_ground
from .warps import outer_radius, smooth_shift, smooth_turn

__all__ = ["SMALLEST", "SelfDrag", "brought_back", "over_repeated_ground", "self_drags", "smooth_shift", "smooth_turn"]

TRIES = 24
"""Places that are looked at for one warp."""


def self_drags(picture: np.ndarray, mask: np.ndarray | None = None, *, count: int = 8, seed: int = 0) -> tuple[SelfDrag, ...]:
    """A mixture of all kinds at places that have something to see.

    picture: uint8 [H, W, 3].  mask: bool [H, W] of an object, if one is known; else there is none of `brought_back`.
    count: how many.  seed: the same seed gives the same drags.
    Raises ValueError for a picture smaller than `SMALLEST` px, and as `brought_back` does.
    """
    check(picture, mask)
    if count < 1:
        raise ValueError(f"count is {count}: ask for one drag at least")
    rng = np.random.default_rng(seed)
    side = min(picture.shape[:2])
    made: list[SelfDrag] = []
    kinds = ("shift", "turn", "repeated", "shift_inverse", "turn_inverse") + (() if mask is None else ("brought_back",))
    for i in range(count):
        kind = kinds[i % len(kinds)]
        if kind == "brought_back":
            made.append(brought_back(picture, mask, seed=int(rng.integers(1 << 31))))
        elif kind == "repeated":
            made.append(over_repeated_ground(picture, seed=int(rng.integers(1 << 31)), repeat=("mirror", "shift")[i // len(kinds) % 2]))
        elif kind.startswith("shift"):
            length, angle = side * rng.uniform(0.06, 0.12), rng.uniform(0, 2 * math.pi)
            shift = round(length * math.cos(angle)), round(length * math.sin(angle))
            radius = side * rng.uniform(0.1, 0.15)
            centre = _textured(picture, radius, outer_radius(radius, math.hypot(*shift)), rng)
            made.append(smooth_shift(picture, centre, radius, shift, inverse=kind.endswith("inverse")))
        else:
            degrees, radius = float(rng.choice((-1, 1)) * rng.uniform(15, 35)), side * rng.uniform(0.12, 0.18)
            centre = _textured(picture, radius, outer_radius(radius, math.radians(abs(degrees)) * radius), rng)
            made.append(smooth_turn(picture, centre, radius, degrees, inverse=kind.endswith("inverse")))
    return tuple(made)


def _textured(picture: np.ndarray, radius: float, outer: float, rng: np.random.Generator) -> tuple[int, int]:
    """Of some places where a field fits, the one with the most to see in its disc."""
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(float)

    def seen(place: tuple[int, int]) -> float:
        return float(grey[disc(picture, place, radius)].std())

    return max(_places(width, height, math.ceil(outer), rng), key=seen)


def _places(width: int, height: int, margin: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    for _ in range(TRIES):
        yield int(rng.integers(margin, width - margin + 1)), int(rng.integers(margin, height - margin + 1))
