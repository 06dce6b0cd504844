"""How far what lies around a selection gives when it goes: what is joined to it follows, the farther the less; what is not stays behind.

Told by colour, and doubtful by nature: a nose is a part of a face, a player none of the court. So there is no cut. A way through cells of
the selection's own colours counts as long as it is, through others `WALL` times as long; over a length the share falls to nothing.

The same in JavaScript: web/drag/joined.mjs (tests/web/vectors/selection.json).

Convention: grids [h, w] of the cells of selection.py; seeds [n, 2], (x, y) in cells; lengths in cells.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from .selection import FLOOR, bins, distance, histogram, opponent, reach_of

CORE = 0.5
"""Selected more than this, a cell goes all the way."""
WALL = 3.0
SURE = 0.0005
"""Likeliness of any colour to be the selection's, beside its histogram: less than the ground's, so that what nobody knows is ground."""
OFF = 0.5
"""A colour is wholly the ground's from e^(1 - OFF) times as likely there, wholly the selection's below e^-OFF."""


def joined(small: np.ndarray, soft: np.ndarray, seeds: np.ndarray, length: float) -> np.ndarray:
    """The share of the way that each cell goes: 1 in the selection and at the seeds, falling to 0 over `length`. -> float32 [h, w]

    small: float64 [h, w, 3], the picture in cells.  soft: [h, w], the selection.
    """
    h, w = soft.shape
    number = bins(opponent(small))
    away, reach = distance((h, w), seeds), reach_of((h, w), len(seeds))
    core = soft > CORE
    at = np.clip(np.floor(seeds).astype(int), 0, (w - 1, h - 1))
    core[at[:, 1], at[:, 0]] = True
    around = (1 - soft) * np.exp(-np.maximum(0.0, away - 2 * reach - length) / reach)
    ours, ground = histogram(number, np.where(core, soft, 0.0)), histogram(number, around)
    foreign = np.clip(np.log((ground + FLOOR) / (ours + SURE)) + OFF, 0.0, 1.0)[number]
    price = 1 + (WALL - 1) * cv2.blur(foreign, (3, 3), borderType=cv2.BORDER_REPLICATE)
    return np.clip(1 - travelled(core, price, length) / length, 0.0, 1.0).astype(np.float32)


def travelled(start: np.ndarray, price: np.ndarray, limit: float) -> np.ndarray:
    """The length of the cheapest way to each cell from any of `start`, over eight neighbours, a step as dear as its ends on average.

    -> float64 [h, w], infinite beyond `limit`.
    """
    far = np.where(start, 0.0, np.inf)
    steps = [(dy, dx, 0.5 * math.hypot(dy, dx)) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    h, w = price.shape
    prices = np.pad(price, 1, mode="edge")
    while True:
        known, new = np.pad(far, 1, constant_values=np.inf), far
        for dy, dx, half in steps:
            beside = np.s_[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]
            new = np.minimum(new, known[beside] + half * (price + prices[beside]))
        new = np.where(new > limit, np.inf, new)
        if np.array_equal(new, far):
            return far
        far = new
