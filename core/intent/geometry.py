"""The task of a dragged region from geometry and colours alone: what there is without a language model.

An anchor means rotation. A region at an object's edge means deformation: its outline follows the object on the side to which it goes, and
cuts through the object behind. What lies outside behind is then made of the colours of the region's middle, and not of those around the
rest of it. Otherwise it is a relocation: the outline follows the object all round, or lies in the ground all round.

Convention: points are (x, y) px; pictures uint8 [H, W, 3] RGB.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..field.geometry import centroid
from ..instruction import DragInstruction
from ..instruction.operations import RegionOperation, Task
from .answer import Candidate, Intent

BEHIND, AROUND = math.cos(math.radians(37)), math.cos(math.radians(78))
"""Directions from the centroid: behind is within 37 degrees of straight back, around is what is more than 78 degrees from it."""
MIDDLE = 0.4
"""How deep in the region its middle begins, as a part of the deepest: outlines are drawn generously."""
CLEARLY = 5.0
"""CIE76 colour difference by which the middle's colours must be nearer than those around."""
CUT = 0.4
"""Share of what is behind that must be nearer."""
SAMPLES, LIKE = 400, 3
"""Colours compared at most, and how many of a place are like one before it counts: single pixels don't."""


def guess(picture: np.ndarray, instruction: DragInstruction) -> Intent:
    """One candidate with a task for every moving region and an empty prompt."""
    drag = instruction.rasterise(picture.shape[1], picture.shape[0])
    regions = [region for region in drag.regions if region.task != "pin"]
    tasks = tuple(guess_task(picture, region) for region in regions)
    return Intent("", (Candidate("", tasks, (None,) * len(tasks)),))


def guess_task(picture: np.ndarray, region: RegionOperation) -> Task:
    """relocation, rotation or deformation, see above."""
    if region.anchor is not None:
        return "rotation"
    displacement = np.array(region.target) - np.array(centroid(region.mask))
    length = float(np.hypot(*displacement))
    if length < 1:
        return "relocation"
    middle, outside, direction = _places(picture, region)
    along = direction @ (displacement / length)
    behind, around = outside[along < -BEHIND], outside[along > -AROUND]
    if not len(behind) or not len(around):
        return "relocation"
    nearer = _distance(behind, middle) + CLEARLY < _distance(behind, around)
    return "deformation" if float(nearer.mean()) > CUT else "relocation"


def _places(picture: np.ndarray, region: RegionOperation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours (CIE Lab) of the region's middle [M, 3] and of a band around it [N, 3]; the band's directions from the centroid [N, 2]."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    width = max(2.0, math.sqrt(region.mask.sum()) / 12)
    lab = cv2.GaussianBlur(lab, (0, 0), width / 3)
    depth = cv2.distanceTransform(np.pad(region.mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    away = cv2.distanceTransform((~region.mask).astype(np.uint8), cv2.DIST_L2, 5)
    rows, columns = np.nonzero((away > 0) & (away <= 2 * width))
    direction = np.stack([columns, rows], -1) + 0.5 - np.array(centroid(region.mask))
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
    return lab[depth >= MIDDLE * depth.max()], lab[rows, columns], direction


def _distance(colours: np.ndarray, place: np.ndarray) -> np.ndarray:
    """How far each of (some of) the colours is from those of a place."""
    colours, place = (x[np.linspace(0, len(x) - 1, min(len(x), SAMPLES)).astype(int)] for x in (colours, place))
    every = np.linalg.norm(colours[:, None] - place, axis=2)
    return np.sort(every, axis=1)[:, min(LIKE, len(place)) - 1]
