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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch

from .geometry import centroid
from .ground_fill import fill_ground
from .instruction import DragInstruction
from .operations import Drag, Point, RegionOperation
from .warp import sample

SMALLEST = 64
"""Pixels of the shorter side below which no disc with a field around it fits."""
FADE = 2.0
"""Width of the fading band in lengths of the move: the field's steepest slope is 1.5 / FADE then, and below 1 it cannot fold over."""
STEPS = 80
"""Iterations that invert a field: each shrinks the error to 1.5 / FADE of it."""
TRIES = 24
"""Places, and ways of an object, that are looked at for one drag."""
NEAREST, FARTHEST = 1.0, 4.0
"""How far a piece moves, in its radii."""
RIM = 3
"""Pixels around an object's mask that are taken for its own when it is taken away: masks are a little small."""


@dataclass(frozen=True, eq=False)
class SelfDrag:
    """A picture, what is to be done, and what comes out.

    drag.editable: where picture and truth may differ; outside they are equal.
    landed: bool [H, W], where what the drag names lies in the truth.  vacated: bool [H, W], ground that was uncovered; empty for warps.
    """

    name: str
    picture: np.ndarray
    drag: Drag
    truth: np.ndarray
    landed: np.ndarray
    vacated: np.ndarray

    @property
    def instruction(self) -> DragInstruction:
        """The drag as nodes and files take it; it rasterises to `drag`."""
        return DragInstruction.from_drag(self.drag)

    def psnr(self, result: np.ndarray, where: np.ndarray | None = None) -> float:
        """How near a result is to the truth, dB.

        result: uint8 [H, W, 3].  where: bool [H, W], None for `drag.editable`.  -> inf if they are equal.
        Raises ValueError for a result of another size and for an empty `where`.
        """
        if result.shape != self.truth.shape:
            raise ValueError(f"the result is {list(result.shape)} but the truth is {list(self.truth.shape)}: judge it at the "
                             "picture's own size")
        counted = self.drag.editable if where is None else where
        if not counted.any():
            raise ValueError("there is no pixel to judge: give a mask with some, or None for all that may change")
        error = float(((result.astype(float) - self.truth) ** 2)[counted].mean())
        return 10 * math.log10(255**2 / error) if error else math.inf


def self_drags(picture: np.ndarray, mask: np.ndarray | None = None, *, count: int = 8, seed: int = 0) -> tuple[SelfDrag, ...]:
    """A mixture of all kinds at places that have something to see.

    picture: uint8 [H, W, 3].  mask: bool [H, W] of an object, if one is known; else there is none of `brought_back`.
    count: how many.  seed: the same seed gives the same drags.
    Raises ValueError for a picture smaller than `SMALLEST` px, and as `brought_back` does.
    """
    _check(picture, mask)
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
            centre = _textured(picture, radius, _outer(radius, math.hypot(*shift)), rng)
            made.append(smooth_shift(picture, centre, radius, shift, inverse=kind.endswith("inverse")))
        else:
            degrees, radius = float(rng.choice((-1, 1)) * rng.uniform(15, 35)), side * rng.uniform(0.12, 0.18)
            centre = _textured(picture, radius, _outer(radius, math.radians(abs(degrees)) * radius), rng)
            made.append(smooth_turn(picture, centre, radius, degrees, inverse=kind.endswith("inverse")))
    return tuple(made)


def smooth_shift(
    picture: np.ndarray, centre: tuple[int, int], radius: float, shift: tuple[int, int], *, inverse: bool = False
) -> SelfDrag:
    """A disc is shifted, and its surroundings give way.

    centre, radius: px, of the disc in the picture.  shift: whole px.  inverse: the picture is the warped one and the disc goes home.
    Raises ValueError if the field does not fit into the picture or the shift is none.
    """
    shift = _whole(shift)
    outer, near = _field_disc(picture, centre, radius, math.hypot(*shift))

    def came_from(xy: np.ndarray) -> np.ndarray:
        # x + w(x) shift = y, solved for x: w's slope times the shift's length is below 1, so this contracts.
        x = xy.copy()
        for _ in range(STEPS):
            x = xy - _weight(x - centre, radius, outer) * shift
        return x

    warped, start = _warped(picture, near, came_from), _disc(picture, centre, radius)
    landed = _shifted(start, shift)
    if inverse:
        start, landed, shift = landed, start, -shift
    region = RegionOperation(start, "deformation", _plus(centroid(start), shift))
    return _warp_drag("shift", picture, warped, (region,), landed, near, inverse)


def smooth_turn(picture: np.ndarray, centre: tuple[int, int], radius: float, degrees: float, *, inverse: bool = False) -> SelfDrag:
    """A disc turns about its centre, and its surroundings give way. The drag turns its two halves, so that all of it is named.

    centre, radius: px.  degrees: -90 to 90, positive clockwise.  inverse: the picture is the warped one and the disc turns home.
    Raises ValueError if the field does not fit into the picture, or for another angle.
    """
    if not 0 < abs(degrees) <= 90:
        raise ValueError(f"degrees is {degrees}: give an angle from -90 to 90 that is not 0")
    angle = math.radians(degrees)
    outer, near = _field_disc(picture, centre, radius, abs(angle) * radius)

    def came_from(xy: np.ndarray) -> np.ndarray:
        off = xy - centre
        back = -angle * _weight(off, radius, outer)[..., 0]
        x, y = off[..., 0], off[..., 1]
        return np.stack([np.cos(back) * x - np.sin(back) * y, np.sin(back) * x + np.cos(back) * y], -1) + centre

    disc = _disc(picture, centre, radius)
    left = np.arange(disc.shape[1]) + 0.5 < centre[0]
    turn = -angle if inverse else angle
    regions = tuple(
        RegionOperation(half, "rotation", _turned(centroid(half), centre, turn), (float(centre[0]), float(centre[1])))
        for half in (disc & left, disc & ~left)
    )
    return _warp_drag("turn", picture, _warped(picture, near, came_from), regions, disc, near, inverse)


def over_repeated_ground(picture: np.ndarray, *, repeat: Literal["mirror", "shift"] = "mirror", seed: int = 0) -> SelfDrag:
    """A piece of the picture's right half lies on its left half, which is there twice, and moves off what it hid.

    repeat: how the left half is repeated beside itself.  seed: of the piece's form, place and way.
    -> a drag on a picture of the same height and of the same width (one px less if that is odd). What the piece hides, before and after, is
       to be seen at its other place.
    """
    _check(picture)
    if repeat not in ("mirror", "shift"):
        raise ValueError(f"repeat {repeat!r} is unknown: use mirror or shift")
    rng = np.random.default_rng(seed)
    height, half = picture.shape[0], picture.shape[1] // 2
    left = picture[:, :half]
    ground = np.hstack([left, left[:, ::-1] if repeat == "mirror" else left])
    radius = min(height, half) / 6
    form = _blob(radius, rng)
    tall, wide = form.shape
    cuts = [(picture.shape[1] - half + x, y) for x, y in _corners(half - wide, height - tall, rng)]
    piece = max((picture[y : y + tall, x : x + wide] for x, y in cuts), key=lambda one: float(one[form].std(axis=0).sum()))

    def contrast(place: tuple[int, int]) -> float:
        """How far the piece stands out from the ground that it would lie on."""
        x, y = place
        return float(np.abs(ground[y : y + tall, x : x + wide][form] - piece[form].astype(float)).mean())

    # All places are in the left half: what is hidden there is shown in the right one.
    places = _corners(half - wide, height - tall, rng)
    pairs = [(a, b) for a in places for b in places if NEAREST * radius <= math.dist(a, b) <= FARTHEST * radius]
    if pairs:
        first, last = max(pairs, key=lambda two: min(map(contrast, two)))
    else:
        first, last = max(((a, b) for a in places for b in places), key=lambda two: math.dist(*two))
    pictures, masks = [], []
    for x, y in (first, last):
        mask = np.zeros(ground.shape[:2], bool)
        mask[y : y + tall, x : x + wide] = form
        laid = ground.copy()
        laid[mask] = piece[form]
        pictures.append(laid)
        masks.append(mask)
    region = RegionOperation(masks[0], "relocation", _plus(centroid(masks[0]), np.subtract(last, first)))
    return _move_drag(f"over_{repeat}", pictures[0], pictures[1], region, masks[1])


def brought_back(picture: np.ndarray, mask: np.ndarray, *, seed: int = 0) -> SelfDrag:
    """An object of the picture stands elsewhere, and the drag brings it to where it was: the truth is the picture itself.

    mask: bool [H, W], the object.  seed: of where it is taken.
    Raises ValueError for an empty mask or one of another size, and if the object finds no place beside itself.
    """
    _check(picture, mask)
    if not mask.any():
        raise ValueError("the object's mask is empty: select an object, or give no mask")
    rng = np.random.default_rng(seed)
    own = cv2.dilate(mask.astype(np.uint8), np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)).astype(bool)
    ys, xs = np.nonzero(mask)
    size = math.hypot(np.ptp(xs) + 1, np.ptp(ys) + 1)
    fitting = []
    for _ in range(8 * TRIES):
        length, angle = size * rng.uniform(0.4, 1.5), rng.uniform(0, 2 * math.pi)
        shift = np.array([round(length * math.cos(angle)), round(length * math.sin(angle))])
        moved = np.array([[xs.min(), ys.min()], [xs.max(), ys.max()]]) + shift
        if (moved[0] >= 0).all() and (moved[1] < mask.shape[::-1]).all() and not (_shifted(mask, shift) & own).any():
            fitting.append(shift)
    if not fitting:
        raise ValueError(f"the object is {np.ptp(xs) + 1} x {np.ptp(ys) + 1} px and finds no free place in a picture of {mask.shape[1]} x "
                         f"{mask.shape[0]} px: select a smaller one")
    shift = fitting[0]
    away = _shifted(mask, shift)
    source = fill_ground(picture, own, ~own)
    source[away] = picture[mask]
    region = RegionOperation(away, "relocation", _plus(centroid(away), -shift))
    return _move_drag("brought_back", source, picture.copy(), region, mask.copy(), own)


def _warp_drag(
    name: str, picture: np.ndarray, warped: np.ndarray, regions: tuple[RegionOperation, ...], landed: np.ndarray, near: np.ndarray,
    inverse: bool,
) -> SelfDrag:
    source, truth = (warped, picture.copy()) if inverse else (picture.copy(), warped)
    drag = Drag((near.shape[1], near.shape[0]), regions, editable=near)
    return SelfDrag(f"{name}_inverse" if inverse else name, source, drag, truth, landed, np.zeros_like(near))


def _move_drag(
    name: str, source: np.ndarray, truth: np.ndarray, region: RegionOperation, landed: np.ndarray, own: np.ndarray | None = None
) -> SelfDrag:
    editable = region.mask | landed if own is None else region.mask | landed | own
    drag = Drag((landed.shape[1], landed.shape[0]), (region,), editable=editable)
    return SelfDrag(name, source, drag, truth, landed, region.mask & ~landed)


def _check(picture: np.ndarray, mask: np.ndarray | None = None) -> None:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"the picture is {picture.dtype} {list(picture.shape)}: give uint8 [H, W, 3]")
    if min(picture.shape[:2]) < SMALLEST:
        raise ValueError(f"the picture is {picture.shape[1]} x {picture.shape[0]} px: give one of at least {SMALLEST} px a side")
    if mask is not None and (mask.shape != picture.shape[:2] or mask.dtype != bool):
        raise ValueError(f"the object's mask is {mask.dtype} {list(mask.shape)}: give bool {list(picture.shape[:2])}, the picture's size")


def _field_disc(picture: np.ndarray, centre: tuple[int, int], radius: float, length: float) -> tuple[float, np.ndarray]:
    """Radius of the whole field and its disc. Raises ValueError if it leaves the picture."""
    _check(picture)
    outer, (height, width) = _outer(radius, length), picture.shape[:2]
    if radius < 1 or not (outer <= centre[0] <= width - outer and outer <= centre[1] <= height - outer):
        raise ValueError(f"a disc of {radius:g} px that moves {length:.0f} px needs {outer:.0f} px around its centre "
                         f"({centre[0]}, {centre[1]}) and the picture is {width} x {height} px: move less, or nearer the middle")
    return outer, _disc(picture, centre, outer)


def _outer(radius: float, length: float) -> float:
    # For a turn the way at the outer radius is longer than at the inner one, but it goes along the circle, where nothing folds.
    return radius + FADE * length + 1


def _weight(off: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """Share of the move at a place: 1 up to the inner radius, 0 from the outer one on, a smooth step between. [..., 1]."""
    x = np.clip((outer - np.hypot(off[..., :1], off[..., 1:])) / (outer - inner), 0, 1)
    return x * x * (3 - 2 * x)


def _warped(picture: np.ndarray, near: np.ndarray, came_from: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    ys, xs = np.nonzero(near)
    places = torch.from_numpy(came_from(np.stack([xs + 0.5, ys + 0.5], -1)))
    values = sample(torch.from_numpy(picture).permute(2, 0, 1)[None].double(), places)[0].T.numpy()
    warped = picture.copy()
    warped[near] = np.rint(values).clip(0, 255)
    return warped


def _disc(picture: np.ndarray, centre: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return np.hypot(x - centre[0], y - centre[1]) <= radius


def _shifted(mask: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The mask moved by whole pixels; it stays inside the picture."""
    ys, xs = np.nonzero(mask)
    moved = np.zeros_like(mask)
    moved[ys + shift[1], xs + shift[0]] = True
    return moved


def _whole(shift: tuple[int, int]) -> np.ndarray:
    if any(one != int(one) for one in shift) or not any(shift):
        raise ValueError(f"shift is {shift}: give whole pixels, not both 0")
    return np.array([int(one) for one in shift])


def _plus(point: Point, shift: np.ndarray) -> Point:
    return float(point[0] + shift[0]), float(point[1] + shift[1])


def _turned(point: Point, centre: tuple[int, int], angle: float) -> Point:
    x, y = point[0] - centre[0], point[1] - centre[1]
    return centre[0] + math.cos(angle) * x - math.sin(angle) * y, centre[1] + math.sin(angle) * x + math.cos(angle) * y


def _textured(picture: np.ndarray, radius: float, outer: float, rng: np.random.Generator) -> tuple[int, int]:
    """Of some places where a field fits, the one with the most to see in its disc."""
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(float)

    def seen(place: tuple[int, int]) -> float:
        return float(grey[_disc(picture, place, radius)].std())

    return max(_places(width, height, math.ceil(outer), rng), key=seen)


def _places(width: int, height: int, margin: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    for _ in range(TRIES):
        yield int(rng.integers(margin, width - margin + 1)), int(rng.integers(margin, height - margin + 1))


def _corners(right: int, bottom: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    return [(int(rng.integers(0, right + 1)), int(rng.integers(0, bottom + 1))) for _ in range(TRIES)]


def _blob(radius: float, rng: np.random.Generator) -> np.ndarray:
    """A roundish form that is no disc, cut to its box: bool [h, w], within 2 radius + 1 px a side."""
    angle = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    wobble = sum(rng.uniform(0.05, 0.12) * np.cos(k * angle + rng.uniform(0, 2 * math.pi)) for k in (2, 3, 4))
    reach = radius * np.clip(1 + wobble, 0, 1.36) / 1.36
    side = 2 * math.ceil(radius) + 1
    outline = np.rint(np.stack([np.cos(angle), np.sin(angle)], -1) * reach[:, None] + side // 2).astype(np.int32)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [outline], 1)
    ys, xs = np.nonzero(mask)
    return mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].astype(bool)
