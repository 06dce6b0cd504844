"""Pairs of real frames between which something moved, so that the outcome of the drag is known.

A folder of pairs, a folder each: `before.jpg`, `after.jpg` (any picture format), `thing_before.png`, `thing_after.png` (masks of what
moved), `valid.png` (where the second frame has content; may be missing: everywhere), `pair.json` (`handle`, `target`: centroids,
and anything else), `tracks.json` (places of the object in both frames; may be missing).

Convention: pictures are float32 [H, W, 3] in [0, 1]; masks bool [H, W]; places (x, y) px, as the files have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..field.geometry import Point
from ..instruction.checks import number
from ..instruction.guarded_json import InstructionError, show
from ..instruction.operations import Drag, RegionOperation
from .picture_file import decode, size_of
from .sample import read_json, read_mask

PICTURES = (".jpg", ".png", ".webp")


@dataclass(frozen=True, eq=False)
class RealPair:
    """One pair. tracks: [N, 4], x, y before and x, y after; None where they are not known."""

    name: str
    clip: str
    before: np.ndarray
    after: np.ndarray
    object_before: np.ndarray
    object_after: np.ndarray
    valid: np.ndarray
    handle: Point
    target: Point
    tracks: np.ndarray | None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        return self.before.shape[1], self.before.shape[0]

    def drag(self) -> Drag:
        """The object moved by the way of its centroid."""
        return Drag(self.size, (RegionOperation(self.object_before, "relocation", self.target, name=self.name),))


def read(folder: Path) -> tuple[RealPair, ...]:
    """All pairs of a folder, by name. Raises: InstructionError for a folder without any, and for a pair that is damaged."""
    if not folder.is_dir():
        raise InstructionError(f"{folder} is no folder; give one with a folder for each pair of frames")
    found = [path for path in sorted(folder.iterdir()) if (path / "pair.json").is_file()]
    if not found:
        raise InstructionError(f"{folder} holds no pair of frames; each is a folder with before, after, thing_before.png and pair.json")
    return tuple(read_pair(path) for path in found)


def read_pair(folder: Path) -> RealPair:
    """One pair. Raises: InstructionError for what is missing, damaged or contradictory."""
    before, after = (_picture(folder, name) for name in ("before", "after"))
    size = size_of(before)
    if size_of(after) != size:
        raise InstructionError(f"{folder.name}: {after.name} has {size_of(after)} px but {before.name} {size}; make them the same size")
    masks = [read_mask(folder / f"thing_{name}.png", size) for name in ("before", "after")]
    for name, mask in zip(("before", "after"), masks, strict=True):
        if not mask.any():
            raise InstructionError(f"{folder.name}/thing_{name}.png is empty; mark the object in it")
    valid = folder / "valid.png"
    saved = read_json(folder / "pair.json")
    if not isinstance(saved, dict):
        raise InstructionError(f"{folder.name}/pair.json is {show(saved)}; write an object with handle and target")
    places = [_place(saved.get(name), f"{name} of {folder.name}", size) for name in ("handle", "target")]
    return RealPair(
        folder.name, str(saved.get("clip", folder.name)), *(np.asarray(decode(p), np.float32) / 255 for p in (before, after)), *masks,
        read_mask(valid, size) if valid.is_file() else np.ones(size[::-1], bool), *places, _tracks(folder / "tracks.json", size),
    )  # fmt: skip


def _picture(folder: Path, name: str) -> Path:
    for suffix in PICTURES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise InstructionError(f"{folder.name} has no {name}{PICTURES[0]}; a pair needs both frames")


def _place(value: object, what: str, size: tuple[int, int]) -> Point:
    if not isinstance(value, list) or len(value) != 2:
        raise InstructionError(f"the {what} is {show(value)}; write it as [x, y] in px")
    x, y = (
        number(v, f"{axis} of the {what}", -s, 2 * s, "in px of the picture") for axis, v, s in zip("xy", value, size, strict=True)
    )
    return x, y


def _tracks(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    if not path.is_file():
        return None
    saved = read_json(path)
    try:
        tracks = np.asarray(saved, np.float64)
    except (TypeError, ValueError):
        tracks = np.empty(0)
    if tracks.ndim != 2 or tracks.shape[1] != 4 or not np.isfinite(tracks).all() or np.abs(tracks).max() > 2 * max(size):
        raise InstructionError(f"{path.parent.name}/tracks.json is no list of [x, y, x', y'] in px of the picture; write it anew")
    return tracks
