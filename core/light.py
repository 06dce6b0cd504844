"""Where the light stands, from how the ground's brightness falls off and which way a shadow points.

A lamp lights what is near it more, and shadows point away from it: a thing that is carried past a lamp turns its shadow and changes its
brightness. The lamp is looked for on the line that the shadow gives, at every distance; for each place the log brightness of the ground is
fitted by a quadratic of the squared distance, and places count by how well that fits. A light far away comes out as a slope, or as nothing;
where the fall-off explains little of the ground, directions and brightness stay as they are.

Convention: pictures are float32 [H, W, 3] in [0, 1]; places (x, y) px of the picture; directions unit vectors (x, y), y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .cast_shadow import LUMA, SAME_HUE
from .geometry import Point

CELLS = 32
"""Cells along the picture's width on which the ground is looked at."""
NEAREST, FARTHEST = 0.05, 3.0
"""Distances of the light that are tried, in pictures."""
SPREAD = 6.0
"""How sure a shadow's direction is: standard deviation in degrees."""
INDEPENDENT = 10.0
"""Brightness of neighbouring ground is alike: all of it weighs as much as this many independent readings."""
TRUST = (0.2, 0.5)
"""Share of the ground's variance that the light explains, from which it begins to count, and counts in full."""
GAIN = (0.6, 1.6)


@dataclass(frozen=True, eq=False)
class Light:
    """Places where the light may be, with weights.

    places: [N, 2] px.  weights: [N], summing to 1.  falloff: [N, 3], log brightness over (1, q, q^2).  at: where it was measured from.
    side: longer side of the picture.  trust: in [0, 1], 0 where nothing is known.
    """

    places: np.ndarray
    weights: np.ndarray
    falloff: np.ndarray
    at: np.ndarray
    side: float
    trust: float

    def turned(self, offset: Point, to: Point) -> Point:
        """A shadow's offset, measured at `at`, of the same length as it falls at `to`."""
        length = float(np.hypot(*offset))
        way = np.array(offset) / max(length, 1e-6) + self.trust * (self._away(np.array(to)) - self._away(self.at))
        norm = float(np.hypot(*way))
        return offset if norm < 1e-3 else (float(length * way[0] / norm), float(length * way[1] / norm))

    def gain(self, to: Point) -> float:
        """How many times brighter it is at `to` than at `at`."""
        logs = np.einsum("pni,pi->pn", _basis(self.places, self.at, np.array([to, self.at]), self.side), self.falloff)
        change = float((self.weights * (logs[:, 0] - logs[:, 1])).sum())
        return float(np.clip(np.exp(change), *GAIN) ** self.trust)

    def _away(self, place: np.ndarray) -> np.ndarray:
        rays = place - self.places
        mean = (self.weights[:, None] * rays / (np.hypot(*rays.T) + 1e-6)[:, None]).sum(0)
        return mean / max(float(np.hypot(*mean)), 1e-6)


def fit_light(image: np.ndarray, ignore: np.ndarray, at: Point, shadow: Point) -> Light | None:
    """The light of a picture, seen from a thing at `at` whose shadow falls along `shadow` (not zero). None: not enough ground.

    ignore: bool [H, W], pixels that are not ground, such as the thing and its shadow. Other things are left out as what does not fit.
    """
    height, width = image.shape[:2]
    side, at_ = float(max(height, width)), np.array(at, float)
    size = (CELLS, max(4, round(CELLS * height / width)))
    colour = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    free = cv2.resize((~ignore).astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.9
    x, y = np.meshgrid((np.arange(size[0]) + 0.5) * width / size[0], (np.arange(size[1]) + 0.5) * height / size[1])
    ground = _ground(colour, free, x / side, y / side)
    if ground is None:
        return None
    logs = np.log(np.maximum(colour @ LUMA, 1e-3))[ground]
    seen = np.stack((x[ground], y[ground]), -1)

    towards = np.arctan2(-shadow[1], -shadow[0])
    off = np.linspace(-2.4, 2.4, 9)
    away, turn = np.meshgrid(np.geomspace(NEAREST, FARTHEST, 28) * side, off)
    angle = towards + np.deg2rad(SPREAD) * turn
    places = at_ + np.stack((away * np.cos(angle), away * np.sin(angle)), -1).reshape(-1, 2)
    basis = _basis(places, at_, seen, side)
    gram = np.einsum("pni,pnj->pij", basis, basis) + 1e-4 * len(logs) * np.eye(3)
    falloff = np.linalg.solve(gram, np.einsum("pni,n->pi", basis, logs)[..., None])[..., 0]
    missed = ((logs - np.einsum("pni,pi->pn", basis, falloff)) ** 2).mean(-1) + 1e-5
    # A lamp that darkens what is near it is none.
    score = -0.5 * INDEPENDENT * np.log(missed) - 0.5 * turn.ravel() ** 2 - np.where(falloff[:, 1] < 0, 0, 8)
    weights = np.exp(score - score.max())
    weights /= weights.sum()
    explained = float((weights * (1 - missed / max(float(logs.var()), 1e-5))).sum())
    trust = float(np.clip((explained - TRUST[0]) / (TRUST[1] - TRUST[0]), 0, 1))
    return Light(places, weights, falloff, at_, side, trust)


def _ground(colour: np.ndarray, free: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Cells of the commonest hue whose brightness follows a smooth surface. bool [h, w], None if they are too few."""
    light = np.maximum(colour @ LUMA, 1e-3)
    enough = max(60, free.size // 12)
    if free.sum() < enough:
        return None
    hue = colour / light[..., None]
    ground = free & (np.abs(hue - np.median(hue[free], axis=0)).max(-1) < SAME_HUE)
    surface, logs = np.stack((np.ones_like(x), x, y, x * x, y * y, x * y), -1), np.log(light)
    for _ in range(4):
        if ground.sum() < enough:
            return None
        residual = np.abs(logs - surface @ np.linalg.lstsq(surface[ground], logs[ground], rcond=None)[0])
        ground &= residual < 4 * (np.median(residual[ground]) + 1e-3)
    return ground if ground.sum() >= enough else None


def _basis(places: np.ndarray, at: np.ndarray, seen: np.ndarray, side: float) -> np.ndarray:
    """(1, q, q^2) for each place and reading, [P, N, 3]: q grows with squared distance, 0 at `at`, and tends to a plane for far lights."""
    far = ((places - at) ** 2).sum(-1)
    squared = ((seen[None] - places[:, None]) ** 2).sum(-1)
    q = (squared - far[:, None]) / (0.09 * side * side + 0.6 * side * np.sqrt(far))[:, None]
    return np.stack((np.ones_like(q), q, q * q), -1)
