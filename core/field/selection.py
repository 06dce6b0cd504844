"""What a place on a picture belongs to: a soft mask grown from a few seeds, by how unlike its surroundings it is.

The picture is looked at in cells, `SIDE` on its longer side, their colours in three opponent axes. Two histograms are kept, of what goes
with the seeds and of what lies around; a cell goes with the seeds as far as its colour is likelier there, and as it is near. A colour that
is rare around counts as the object's even where the seeds have nothing like it: the legs of a person clicked on the shirt. The answer is
smoothed within edges, asked again with the histograms that it implies (a few rounds of expectation maximisation, the idea of GrabCut of
Rother, Kolmogorov and Blake 2004 without its cut), and of what is left only pieces with a seed stay.

The same in JavaScript: web/drag/selection.mjs, equal number by number (tests/web/vectors/selection.json).

Convention: pictures [H, W, 3], uint8 or float in [0, 1]; seeds (x, y) px of the picture; cells (c, r) with centres at (c + 0.5, r + 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from .geometry import Point

SIDE = 128
"""Cells on the picture's longer side."""
NEAR = 0.14
"""How far a seed speaks for, as a share of the shorter side: at this distance nearness weighs as much against as e^0.5 of likeliness.
Several seeds share it: divided by the fourth root of their number."""
RARE = 0.015
"""Likeliness of any colour to be the object's, beside the histogram; FLOOR: of being the ground's."""
FLOOR = 0.002
CERTAIN = 3.0
"""Largest logarithm of a likeliness ratio."""
ROUNDS = 3
SWEEPS = 6
STIFF = 4.0
"""Smoothing within edges: sweeps, and the weight of a neighbour of the same colour."""
BINS = (10, 14, 14)
LOW, HIGH = (0.0, -0.35, -0.35), (1.0, 0.35, 0.35)


def select(picture: np.ndarray, seeds: Sequence[Point], side: int = SIDE) -> np.ndarray:
    """What the seeds belong to. -> float32 [h, w] in [0, 1] in cells; above one half it goes with them.

    picture: [H, W, 3].  seeds: at least one, (x, y) px; what lies off the picture counts at its border.
    Raises ValueError without a seed, or if the picture is not [H, W, 3].
    """
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"the picture is {list(picture.shape)}: give [H, W, 3]")
    if len(seeds) == 0:
        raise ValueError("a selection needs a place to start from: give at least one seed")
    height, width = picture.shape[:2]
    w, h = cells_of(width, height, side)
    return select_cells(shrunk(picture, (w, h)), np.array(seeds, dtype=np.float64) * [w / width, h / height])


def cells_of(width: int, height: int, side: int = SIDE) -> tuple[int, int]:
    """(w, h) of the grid that a picture is looked at in: at most `side` cells, never finer than its pixels."""
    scale = min(1.0, side / max(width, height))
    return max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5))


def shrunk(picture: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """The mean colour of each of (w, h) cells. -> float64 [h, w, 3] in [0, 1]"""
    scale = 255.0 if picture.dtype == np.uint8 else 1.0
    return cv2.resize(picture.astype(np.float32), cells, interpolation=cv2.INTER_AREA).astype(np.float64) / scale


def select_cells(small: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """`select` on cells. small: float64 [h, w, 3] in [0, 1].  seeds: [n, 2] in cells. -> float32 [h, w]"""
    h, w = small.shape[:2]
    colour = opponent(small)
    number = bins(colour)
    away = distance((h, w), seeds)
    reach = reach_of((h, w), len(seeds))
    nearness = np.clip(-0.5 * (away / reach) ** 2, -6.0, 0.0)
    around = np.exp(-np.maximum(0.0, away - 2 * reach) / reach)
    across, down = _likeness(colour)
    soft = np.exp(-0.5 * (away / (0.5 * reach)) ** 2)
    for _ in range(ROUNDS):
        ours, ground = histogram(number, soft), histogram(number, (1 - soft) * around)
        ratio = np.clip(np.log((ours + FLOOR + RARE) / (ground + FLOOR)), -CERTAIN, CERTAIN)
        soft = 1 / (1 + np.exp(-2 * _smoothed(ratio[number] + nearness, across, down)))
    return np.where(_reached(soft > 0.5, seeds) | (away < 1.5), soft, 0.0).astype(np.float32)


def reach_of(shape: tuple[int, int], seeds: int) -> float:
    """How far each seed speaks for, in cells of a grid [h, w]."""
    return NEAR * min(shape) / seeds**0.25


def opponent(rgb: np.ndarray) -> np.ndarray:
    """Brightness, red against green, yellow against blue. [..., 3] -> [..., 3]"""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return np.stack(((r + g + b) / 3, r - g, (r + g) / 2 - b), axis=-1)


def bins(colour: np.ndarray) -> np.ndarray:
    """The number of each colour's bin. [h, w, 3] -> int64 [h, w]"""
    low, high, count = (np.array(v, dtype=np.float64) for v in (LOW, HIGH, BINS))
    place = np.clip(np.floor((colour - low) / (high - low) * count), 0, count - 1).astype(np.int64)
    return (place[..., 0] * BINS[1] + place[..., 1]) * BINS[2] + place[..., 2]


def histogram(bins: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Shares of the weight by colour, each bin spread 1:2:1 over its neighbours along every axis. -> [bins]"""
    found = np.bincount(bins.ravel(), weight.ravel(), math.prod(BINS)).reshape(BINS)
    for axis in range(3):
        padded = np.pad(found, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        before, after = (np.take(padded, np.arange(k, k + BINS[axis]), axis=axis) for k in (0, 2))
        found = 0.25 * before + 0.5 * found + 0.25 * after
    return found.ravel() / max(found.sum(), 1e-12)


def _likeness(colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much neighbours have to do with each other, 1 for the same colour: [h, w - 1] across, [h - 1, w] down."""
    across, down = ((np.diff(colour, axis=axis) ** 2).sum(axis=-1) for axis in (1, 0))
    count = across.size + down.size
    spread = max(2 * (across.sum() + down.sum()) / max(count, 1), 1e-9)
    return np.exp(-across / spread), np.exp(-down / spread)


def _smoothed(value: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Jacobi sweeps of: stay what you are, be like your neighbours as far as their colour is yours."""
    total = np.ones_like(value)
    total[:, 1:] += STIFF * across
    total[:, :-1] += STIFF * across
    total[1:] += STIFF * down
    total[:-1] += STIFF * down
    now = value
    for _ in range(SWEEPS):
        new = value.copy()
        new[:, 1:] += STIFF * across * now[:, :-1]
        new[:, :-1] += STIFF * across * now[:, 1:]
        new[1:] += STIFF * down * now[:-1]
        new[:-1] += STIFF * down * now[1:]
        now = new / total
    return now


def _reached(inside: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Pieces (4-connected) with a seed in them, and the cells that touch them (8-connected)."""
    h, w = inside.shape
    _, piece = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
    columns, rows = (np.clip(np.floor(seeds[:, k]).astype(int), 0, side - 1) for k, side in ((0, w), (1, h)))
    ours = np.isin(piece, [number for number in set(piece[rows, columns].tolist()) if number])
    return cv2.dilate(ours.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def distance(shape: tuple[int, int], seeds: np.ndarray) -> np.ndarray:
    """From every cell's centre to the nearest seed, in cells."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    away = np.full(shape, np.inf)
    for seed in seeds:
        away = np.minimum(away, np.hypot(x - seed[0], y - seed[1]))
    return away

