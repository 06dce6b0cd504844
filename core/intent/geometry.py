"""The task of a dragged region from geometry and colours alone: what there is without a language model.

An anchor means rotation. A region at an object's edge means deformation: behind it, seen from where it goes, the picture goes on as
it is inside the region, and what is behind differs from what is ahead (object behind, ground ahead). Otherwise it is a relocation:
either the outline follows the thing (nothing goes on across it), or it lies in the ground all round (behind and ahead are alike).

Convention: points are (x, y) px; pictures uint8 [H, W, 3] RGB.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..geometry import centroid
from ..instruction import DragInstruction
from ..operations import RegionOperation, Task
from .answer import Candidate, Intent

SECTOR = math.cos(math.radians(60))
"""The part of the border that counts as behind or ahead: within 60 degrees of the drag's line, seen from the centroid."""
GOES_ON = 0.5
"""Share of the border behind across which the picture must go on."""
ALIKE, OTHER = 12.0, 18.0
"""CIE76 colour differences: below the first, inside and outside of the border are the same material; above the second, behind and
ahead are different ones."""


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
    inside, outside, direction = _border(picture, region)
    way = np.array(region.target) - np.array(centroid(region.mask))
    length = float(np.hypot(*way))
    if length < 1 or not len(direction):
        return "relocation"
    along = direction @ (way / length)
    behind, ahead = along < -SECTOR, along > SECTOR
    if not behind.any() or not ahead.any():
        return "relocation"
    goes_on = float((np.linalg.norm(inside[behind] - outside[behind], axis=1) < ALIKE).mean())
    differs = float(np.linalg.norm(np.median(outside[behind], axis=0) - np.median(outside[ahead], axis=0)))
    return "deformation" if goes_on > GOES_ON and differs > OTHER else "relocation"


def _border(picture: np.ndarray, region: RegionOperation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours (CIE Lab) just inside and just outside of each point of the region's border, and its direction from the centroid.

    -> [N, 3], [N, 3], unit vectors [N, 2].
    """
    height, width = region.mask.shape
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    step = max(2.0, math.sqrt(region.mask.sum()) / 12)
    lab = cv2.GaussianBlur(lab, (0, 0), step / 2)
    depth = cv2.distanceTransform(np.pad(region.mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    away = cv2.distanceTransform((~region.mask).astype(np.uint8), cv2.DIST_L2, 5)
    signed = cv2.GaussianBlur(depth - away, (0, 0), step)
    slope_y, slope_x = np.gradient(signed)
    contours, _ = cv2.findContours(region.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate([contour[:, 0] for contour in contours])
    inward = np.stack([slope_x, slope_y], -1)[points[:, 1], points[:, 0]]
    inward /= np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-6)
    within, beyond = points + step * inward, points - step * inward
    on = (beyond >= 0).all(1) & (beyond[:, 0] < width) & (beyond[:, 1] < height)
    direction = points - (np.array(centroid(region.mask)) - 0.5)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
    return _at(lab, within[on]), _at(lab, beyond[on]), direction[on]


def _at(lab: np.ndarray, points: np.ndarray) -> np.ndarray:
    columns = np.clip(np.rint(points[:, 0]).astype(int), 0, lab.shape[1] - 1)
    rows = np.clip(np.rint(points[:, 1]).astype(int), 0, lab.shape[0] - 1)
    return lab[rows, columns]
