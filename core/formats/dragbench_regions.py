"""The regions of DragBench-DR and -SR (RegionDrag): meta_data_region.pkl beside a sample's points.

A pickle of {"prompt", "points", "mask"} like the other one, but for its points: they are dense, every pixel of what moves and the pixel
where it goes, in turn. It is read as data only (`plain_pickle.py`). Each patch of listed source pixels is a region here, and its task is
what fits its pairs by least squares: a shift, a turn and a scaling of each axis. That is a reading of ours: DragFlow reports numbers on
DragBench-DR, and how it made regions, tasks and prompts of these files was not released.

Convention: as in `sample.py`, integers are pixel indices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..field.geometry import centroid
from ..instruction import DragInstruction, DrawnRegion
from ..instruction.checks import fields, text
from ..instruction.guarded_json import InstructionError, show
from ..instruction.schema import MAX_PROMPT
from .dragbench import pickled_mask
from .picture_file import size_of
from .plain_pickle import load_plain
from .sample import Sample, read_bytes, trace

FILE = "meta_data_region.pkl"
MAX_PAIRS = 1_000_000
"""Pairs of one file; a picture of 1000 x 1000 px has as many pixels."""
GAP = 5
"""px: listed pixels no farther apart are one patch without holes between them. Where a region shrinks, not every source pixel is listed."""
LEAST = 16
"""Pixels of a patch; smaller ones are specks of somebody's brush."""
STRAIGHT, SAME = 1.0, 0.02
"""Degrees of turning and parts of scaling that whole pixels may feign, and that are taken for none."""
LOOSE, LOOSE_SHARE = 2.0, 0.1
"""A fit that misses its pairs by more, px and parts of the region's side, root of the mean square: the region is deformed."""


@dataclass(frozen=True)
class Regions:
    """A sample by regions. landed: bool [H, W] for each, the pixels that it goes to, as the file lists them."""

    sample: Sample
    landed: tuple[np.ndarray, ...]


def read(folder: str | Path) -> Regions:
    """Read the regions of a sample folder. Raises: InstructionError for missing, damaged, hostile or contradictory files."""
    folder = Path(folder)
    picture = folder / "original_image.png"
    size = size_of(picture)
    data = load_plain(read_bytes(folder / FILE), FILE, tuples=6 * MAX_PAIRS)
    data = fields(data, ("prompt", "points", "mask"), FILE, strict=False)
    sources, targets = _pairs(data.get("points"), size)
    patches = _patches(sources, size)
    drawn = [_region(mask, sources[inside], targets[inside], size) for mask, inside in patches]
    prompt = text(data.get("prompt", ""), f"prompt of {FILE}", MAX_PROMPT)
    editable = trace(pickled_mask(data["mask"], size, FILE)) if "mask" in data else None
    told = DragInstruction(tuple(drawn), background_prompt=prompt, size=size, editable=editable)
    landed = tuple(_filled(targets[inside], size) for _, inside in patches)
    return Regions(Sample(folder.name, picture, size, told), landed)


def _pairs(points: object, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Source and target pixels, float64 [n, 2] each."""
    try:
        numbers = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.ndim != 2 or numbers.shape[1] != 2 or len(numbers) % 2 or not len(numbers):
        raise InstructionError(f"points of {FILE} is {show(points)}; write source and target pixels [x, y] in turn, an even number of them")
    if len(numbers) > 2 * MAX_PAIRS:
        raise InstructionError(f"points of {FILE} has {len(numbers):,} pixels; at most {2 * MAX_PAIRS:,} are read, use fewer")
    # Written so that NaN is outside too.
    inside = ((numbers >= 0) & (numbers <= np.array(size) - 1)).all(1)
    if not inside.all():
        first = int(np.flatnonzero(~inside)[0])
        x, y = numbers[first]
        told = f"pixel {first + 1} of points of {FILE} is ({x:g}, {y:g})"
        raise InstructionError(f"{told}; it must be inside the picture of {size[0]} x {size[1]}")
    return numbers[::2], numbers[1::2]


def _patches(sources: np.ndarray, size: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each patch's mask bool [H, W], and which of the pairs start in it, in the order in which the file first names them."""
    count, labels = cv2.connectedComponents(_filled(sources, size).astype(np.uint8), connectivity=8)
    columns, rows = np.floor(sources).astype(int).T
    of_pair = labels[rows, columns]
    found = [(labels == k, of_pair == k) for k in range(1, count)]
    found = [(mask, inside) for mask, inside in found if mask.sum() >= LEAST]
    if not found:
        raise InstructionError(f"points of {FILE} start in no patch of {LEAST} pixels or more; draw a larger region")
    return sorted(found, key=lambda patch: int(np.flatnonzero(patch[1])[0]))


def _filled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels [n, 2] as a mask bool [H, W], gaps between them closed."""
    mask = np.zeros(size[::-1], np.uint8)
    columns, rows = np.floor(pixels).astype(int).T
    mask[rows, columns] = 1
    # A border, beyond which the closing does not look.
    wide = cv2.copyMakeBorder(mask, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((GAP, GAP), np.uint8))
    return closed[GAP:-GAP, GAP:-GAP] > 0


def _region(mask: np.ndarray, sources: np.ndarray, targets: np.ndarray, size: tuple[int, int]) -> DrawnRegion:
    """The operation that carries the sources to the targets best."""
    angle, scale, off = _fitted(sources, targets)
    turn = math.radians(angle)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    start = np.array(centroid(mask))
    # Pairs need not list all of the mask, so that their means are not its centroid and where that goes.
    goes = targets.mean(0) + 0.5 + matrix @ (np.array(scale) * (start - sources.mean(0) - 0.5))
    goes = goes.clip(0, size)
    told = {"region": trace(mask), "target": tuple(goes / size)}
    if off > max(LOOSE, LOOSE_SHARE * math.sqrt(mask.sum())):
        return DrawnRegion("deformation", **told)
    if angle and np.hypot(*(goes - start)) > 1:
        anchor = np.linalg.solve(np.eye(2) - matrix, goes - matrix @ start) / size
        if ((anchor >= -1) & (anchor <= 2)).all():
            return DrawnRegion("rotation", anchor=tuple(anchor), scale=scale, **told)
    return DrawnRegion("relocation", angle=angle, scale=scale, **told)


def _fitted(sources: np.ndarray, targets: np.ndarray) -> tuple[float, tuple[float, float], float]:
    """Turn in degrees, clockwise, and factors before it along the axes, of the best affine map; how far it misses the pairs, px.

    What little of a map is neither, a shear, is left out and counts as missed.
    """
    p, q = sources - sources.mean(0), targets - targets.mean(0)
    angle, scale = 0.0, (1.0, 1.0)
    if np.linalg.matrix_rank(p, tol=1.0) == 2:
        one, other = np.linalg.lstsq(p, q, rcond=None)[0]
        mirrored = one[0] * other[1] < one[1] * other[0]
        one = -one if mirrored else one
        length, width = np.hypot(*one), np.hypot(*other)
        if min(length, width) > 1e-6:
            # Where the turn takes the first axis, as both of them say.
            direction = one / length + np.array([other[1], -other[0]]) / width
            angle = math.degrees(math.atan2(direction[1], direction[0]))
            factors = [-length if mirrored else length, width]
            scale = tuple(float(math.copysign(min(max(abs(f), 0.1), 10.0), f)) for f in factors)
    angle = 0.0 if abs(angle) < STRAIGHT else angle
    scale = tuple(1.0 if abs(f - 1) < SAME else f for f in scale)
    turn = math.radians(angle)
    x, y = (p * scale).T
    made = np.stack((math.cos(turn) * x - math.sin(turn) * y, math.sin(turn) * x + math.cos(turn) * y), 1)
    return angle, scale, float(np.sqrt(((made - q) ** 2).sum(1).mean()))
