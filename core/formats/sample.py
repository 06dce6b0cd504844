"""A sample of a data set: a picture on disk and the drag asked of it.

Nothing is decoded before its size is known (picture_file.py): a file of a thousand megapixels is refused as it lies.

Convention: the integer points of data sets are pixel indices (x, y); pixel i has its centre at i + 0.5, and that is
the point that an instruction holds. Written back, a point is the index of the pixel that it lies in.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..instruction import DragInstruction
from ..instruction.checks import Polygons, number
from ..instruction.drawn import MAX_PAIRS
from ..instruction.guarded_json import MAX_TEXT, InstructionError, load_json, show
from ..instruction.operations import Drag, Point
from ..instruction.outline import outline
from .picture_file import decode, reason, size_of

MAX_FILE = 64 << 20


@dataclass(frozen=True)
class Sample:
    """One sample; `size` (width, height) px is the picture's, which `image` decodes."""

    name: str
    picture: Path
    size: tuple[int, int]
    instruction: DragInstruction

    def image(self) -> Image.Image:
        """The picture, upright, RGB; transparency is dropped, not blended, as the benchmarks do."""
        return decode(self.picture)

    def drag(self) -> Drag:
        return self.instruction.rasterise(*self.size)


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask file as bool [H, W], true above 1 of 255. `size`: of the picture, which the mask must match."""
    found = size_of(path)
    if found != size:
        raise InstructionError(f"{path.name} is {found[0]} x {found[1]} but its picture {size[0]} x {size[1]}; "
                               "make them the same size")
    return np.asarray(decode(path).convert("L")) > 1


def read_json(path: Path) -> Any:
    """A JSON file, with the limits of `load_json`."""
    return load_json(read_bytes(path, MAX_TEXT), path.name)


def read_bytes(path: Path, longest: int = MAX_FILE) -> bytes:
    try:
        if path.stat().st_size > longest:
            raise InstructionError(f"{path.name} has more than {longest:,} bytes, which is no drag; shrink it")
        return path.read_bytes()
    except OSError as error:
        raise InstructionError(f"{path} cannot be read ({reason(error)}); check the folder") from None


def trace(mask: np.ndarray) -> Polygons:
    """The outline of a data set's mask: exact, or simplified by as many pixels as a very ragged one needs."""
    for tolerance in (0.0, 0.75, 1.5, 3.0):
        try:
            return outline(mask, tolerance)
        except InstructionError:
            if not mask.any():
                raise
    return outline(mask, 6.0)


def from_index(pixel: object, size: tuple[int, int], what: str, outside: bool = False) -> Point:
    """The normalised point of pixel (x, y); `outside` allows one picture size off the picture, for anchors."""
    if isinstance(pixel, np.ndarray):
        pixel = pixel.tolist()
    if not isinstance(pixel, list | tuple) or len(pixel) != 2:
        raise InstructionError(f"{what} is {show(pixel)}; write it as two pixel numbers [x, y]")
    low, high = (-1, 2) if outside else (0, 1)
    fix = f"inside the picture of {size[0]} x {size[1]}"
    x, y = (number(v, f"{axis} of {what}", low * s, high * s - 1, fix)
            for axis, v, s in zip("xy", pixel, size, strict=True))
    return ((x + 0.5) / size[0], (y + 0.5) / size[1])


def to_index(place: Point, size: tuple[int, int] | None = None) -> list[int]:
    """The pixel that a point lies in; `size` keeps it on the picture."""
    x, y = (int(np.floor(v + 1e-6)) for v in place)
    return [x, y] if size is None else [min(max(x, 0), size[0] - 1), min(max(y, 0), size[1] - 1)]


def from_alternating(points: object, size: tuple[int, int], what: str) -> tuple[tuple[Point, Point], ...]:
    """Pairs of handle and target from a list of pixels that alternates between them."""
    if isinstance(points, np.ndarray):
        points = points.tolist()
    if isinstance(points, list | tuple) and len(points) > 2 * MAX_PAIRS:
        raise InstructionError(f"{what} has {len(points):,} points; at most {2 * MAX_PAIRS:,} are allowed, use fewer")
    if not isinstance(points, list | tuple) or len(points) % 2 or not points:
        raise InstructionError(f"{what} is {show(points)}; write handle and target in turn, an even number of points")
    places = [from_index(p, size, f"point {i} of {what}") for i, p in enumerate(points, 1)]
    return tuple(zip(places[::2], places[1::2], strict=True))


def to_alternating(drag: Drag, kind: str) -> list[list[int]]:
    """The points of a drag as alternating pixels, for a data set `kind` that knows nothing but points."""
    if drag.regions or not drag.points:
        raise InstructionError(f"{kind} holds handle points only, and this drag has {len(drag.regions)} regions and "
                               f"{len(drag.points)} points; write it as ReD Bench or as JSON")
    return [to_index(p, drag.size) for o in drag.points for p in (o.handle, o.target)]


def write_picture(folder: Path, name: str, picture: Image.Image | Path, size: tuple[int, int]) -> None:
    """Put a picture into a sample's folder: a file is copied as it is, an image saved."""
    if isinstance(picture, Image.Image):
        found = picture.size
    else:
        found = size_of(picture)
    if found != size:
        raise InstructionError(f"the picture is {found[0]} x {found[1]} but the drag {size[0]} x {size[1]}; "
                               "rasterise the drag for this picture")
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, Image.Image):
        picture.convert("RGB").save(folder / name, quality=95)
    elif picture.suffix.lower() == Path(name).suffix:
        shutil.copyfile(picture, folder / name)
    else:
        decode(picture).save(folder / name, quality=95)


def write_mask(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
