"""A thing's shadow goes where the thing goes: lifted off the old place with the thing, laid down with it at the new one.

A region is drawn around a thing, never around its shadow, so a plain warp leaves the shadow behind and the filled hole inherits its dark
rim. Here the thing is cut out of its region with a soft edge (matte.py) and its shadow is measured (cast_shadow.py, else shadow_pixels.py).
Dividing by the shadow lights the old place with its texture kept; the hole is filled from lit ground; at the new place the shadow of the
moved outline darkens the ground, turned and the thing brightened as the light there asks for (light.py). Of a stretched region the
whole thing takes part, where it can be told from its ground. It is a guess to start from, not a claim about the light.

Convention: pictures are float [H, W, 3] in [0, 1]; masks bool [H, W]; alphas float32 [H, W] in [0, 1]; lengths px of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from .cast_shadow import CastShadow, fit_cast_shadow
from .field import DragField
from .geometry import Point, Size, cell_centres, centroid, transform
from .light import Light, fit_light
from .masks import grow
from .matte import matte, nearest_colour, whole_thing
from .moves import RegionMove
from .preview import fill_hole
from .shadow_pixels import Shadow, find_shadow
from .stretch import drawn_out


@dataclass(frozen=True, eq=False)
class Thing:
    """What a region of the field moves.

    alpha: where the thing is, None if it is stretched and cannot be told from its surroundings.  backward: float32 [H, W, 2], where the
    content of each pixel comes from.  cast: its shadow as a shifted outline, or None.  pixels: else, its shadow as dark pixels.
    light: which way the shadow turns, None if unknown.
    """

    move: RegionMove
    alpha: np.ndarray | None
    backward: np.ndarray
    cast: CastShadow | None = None
    pixels: Shadow | None = None
    light: Light | None = None

    def shade(self) -> np.ndarray | None:
        """How much light its shadow leaves where the thing stood. float32 [H, W], None without a shadow."""
        if self.cast is not None:
            return self.cast.ratio(self.alpha)
        return self.pixels.ratio if self.pixels is not None else None


@dataclass(frozen=True, eq=False)
class CleanPlate:
    """The picture with what moves lifted off, its shadow too, and the holes filled roughly.

    image: float32 [H, W, 3].  changed: bool [H, W], where it differs from the picture.  things: what was lifted, per region of the field;
    with an alpha or a shadow where it was.
    """

    image: np.ndarray
    changed: np.ndarray
    things: tuple[Thing, ...]


@dataclass(frozen=True, eq=False)
class Carried:
    """The picture with the field applied.

    image: float32 [H, W, 3].  moved: float32 [H, W] in [0, 1], how much of a pixel moved in.  backward: float32 [H, W, 2], from where.
    changed: bool [H, W], where something was lifted or left, or a shadow fell.
    """

    image: np.ndarray
    moved: np.ndarray
    backward: np.ndarray
    changed: np.ndarray

    def known(self) -> np.ndarray:
        """How much of a pixel is the picture's own: what moved in, and what stayed as it was. float32 [H, W] in [0, 1]."""
        return np.maximum(self.moved, ~self.changed)


def clean_plate(image: np.ndarray, field: DragField, reach: float) -> CleanPlate:
    """Lift the field's regions and their shadows within `reach` px. What is stretched or pulled by points is left where it is."""
    image = image.astype(np.float32)
    return _plate(image, [lift(image, move, field.size, reach) for move in field.regions if move.stretch is None])


def warp_with_shadows(image: np.ndarray, field: DragField, reach: float) -> np.ndarray:
    """`carry`, the picture only. -> float32 [H, W, 3], a new array."""
    return carry(image, field, reach).image


def carry(image: np.ndarray, field: DragField, reach: float) -> Carried:
    """The picture with the field applied, shadows of its regions carried along, holes filled roughly.

    reach: how far from its region a shadow is looked for, px. Pinned and uneditable pixels are left as they are.
    """
    image = image.astype(np.float32)
    layout = field.layout()
    plate = _plate(image, [lift(image, move, field.size, reach) for move in field.regions])
    ground, changed = plate.image, plate.changed.copy()
    left = layout.vacated.numpy() & ~changed
    changed |= left
    if left.any() and not (left | layout.moved.numpy()).all():
        ground = fill_hole(ground, left, ~(left | layout.moved.numpy()))
    by_points = (layout.operation >= len(field.regions)).numpy().astype(np.float32)
    done = Carried(ground, np.zeros_like(by_points), cell_centres((0, 0, *field.size), torch.float32).numpy(), changed)
    done = _over(done, _remapped(image, layout.backward.numpy()), by_points, layout.backward.numpy())
    for thing in plate.things:
        done = _laid_down(image, done, thing)
    for fixed, keep in ((field.pinned, True), (field.editable, False)):
        if fixed is not None:
            done.image[fixed == keep], done.moved[fixed == keep], done.changed[fixed == keep] = image[fixed == keep], 0, False
    return replace(done, image=np.clip(done.image, 0, 1).astype(np.float32))


def lift(image: np.ndarray, move: RegionMove, size: Size, reach: float) -> Thing:
    """The thing that a region moves, and its shadow within `reach` px of it. image: float32 [H, W, 3]."""
    region, backward = move.mask, None
    if move.stretch is None:
        centres = cell_centres((0, 0, *size), torch.float64)
        backward = transform(move.motion.backward(1.0, size), centres).float().numpy()
    else:
        (sx, sy), (fx, fy) = move.motion.shift, move.motion.frame
        shift = sx / fx * size[0], sy / fy * size[1]
        backward = drawn_out(move.mask, shift, move.stretch)
        whole = None if backward is None else whole_thing(image, move.mask, 2 * float(np.hypot(*shift)) + reach / 2)
        if whole is None:
            return Thing(move, None, DragField(size, (move,)).backward().numpy())
        region = whole
    alpha = matte(image, region)
    cast = fit_cast_shadow(image, alpha, reach)
    if cast is not None:
        ignore = grow(region, reach)
        light = fit_light(image, ignore, centroid(alpha), cast.offset) if np.hypot(*cast.offset) > 2 else None
        return Thing(move, alpha, backward, cast, light=light)
    pixels = find_shadow(image, region, reach) if move.stretch is None else None
    return Thing(move, alpha, backward, pixels=pixels if pixels is not None and pixels.where.any() else None)


def _plate(image: np.ndarray, things: list[Thing]) -> CleanPlate:
    lit, hole, changed = image.copy(), np.zeros(image.shape[:2], bool), np.zeros(image.shape[:2], bool)
    for thing in things:
        shade = thing.shade()
        if shade is not None:
            lit /= shade[..., None]
            changed |= shade < 0.98
        if thing.alpha is not None:
            # Antialiased edges reach a pixel beyond.
            hole |= grow(thing.alpha > 0.02, 1)
    lit = np.clip(lit, 0, 1)
    if hole.any() and not hole.all():
        lit = fill_hole(lit, hole, ~hole)
    return CleanPlate(lit, changed | hole, tuple(things))


def _laid_down(image: np.ndarray, done: Carried, thing: Thing) -> Carried:
    """Draw the thing and its shadow where they belong after the move."""
    size = image.shape[1::-1]
    if thing.alpha is None:
        cells = DragField(size, (thing.move,)).moved().numpy()
        return _over(done, _remapped(image, thing.backward), cells.astype(np.float32), thing.backward)
    alpha = _remapped(thing.alpha, thing.backward, cv2.BORDER_CONSTANT)
    solid = thing.alpha > 0.9
    # Edges are mixed with the old ground: there, the thing's own colour is taken from beside.
    colour = _remapped(np.where(solid[..., None], image, nearest_colour(image, solid)) if solid.any() else image, thing.backward)
    ratio = thing.pixels.carried(thing.move, size) if thing.pixels is not None else np.ones_like(alpha)
    if thing.cast is not None:
        offset, gain = _light_at(thing, alpha)
        ratio, colour = CastShadow(offset, thing.cast.softness, thing.cast.strength).ratio(alpha), colour * gain
    done = replace(done, image=done.image * ratio[..., None], changed=done.changed | (ratio < 0.98))
    return _over(done, colour, alpha, thing.backward)


def _light_at(thing: Thing, alpha: np.ndarray) -> tuple[Point, float]:
    """The shadow's offset and how much brighter it is, where the thing has got to."""
    if thing.light is None or not (alpha > 0.5).any():
        return thing.cast.offset, 1.0
    place = centroid(alpha)
    return thing.light.turned(thing.cast.offset, place), thing.light.gain(place)


def _over(done: Carried, colour: np.ndarray, alpha: np.ndarray, backward: np.ndarray) -> Carried:
    return replace(
        done, image=done.image + alpha[..., None] * (colour - done.image), moved=np.maximum(done.moved, alpha),
        backward=np.where((alpha > 0)[..., None], backward, done.backward),
    )  # fmt: skip


def _remapped(image: np.ndarray, backward: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    # OpenCV counts positions from pixel centres.
    return cv2.remap(image, backward[..., 0] - 0.5, backward[..., 1] - 0.5, cv2.INTER_LINEAR, borderMode=border)
