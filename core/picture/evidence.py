"""The picture with the field applied, as well as pixels alone can tell: what `dragfield` starts from.

What moves is lifted off, the ground behind it is filled (ground_fill.py), and it is laid down where it goes. Two parts are optional and
off, because on real frames they cost more than they bring (docs/performance.md): edges snapped to the object (cutout.py), and shadows.

A *shadow* is anything with the two methods of `Shadow`: how much light it leaves where the object stood, by which the ground is divided,
and how much it leaves where the object has got to, by which the ground there is darkened. `find_shadow` may claim one or, better, none.

Convention: pictures are float [H, W, 3] in [0, 1]; masks bool [H, W]; alphas float32 [H, W] in [0, 1]; lengths px of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from ..field import DragField, Layout
from ..field.masks import grow
from ..field.moves import RegionMove
from .carried_colours import carried_colours
from .cutout import Edges, cut_out, nearest_colour
from .ground_fill import fill_ground
from .preview import uncovered

FillHole = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(picture, hole, known) -> the picture with its hole filled."""
RIM = 1
"""Antialiased edges reach a pixel beyond an outline: so far the ground is filled too."""


class Shadow(Protocol):
    """What an object takes of the light on the ground."""

    def lifted(self, alpha: np.ndarray) -> np.ndarray:
        """How much light is left around the object where it stood, `alpha`. float32 [H, W] in (0, 1]."""
        ...

    def laid_down(self, alpha: np.ndarray) -> np.ndarray:
        """The same where it has got to, `alpha` there."""
        ...


FindShadow = Callable[[np.ndarray, np.ndarray], "Shadow | None"]
"""(picture, alpha of the object) -> its shadow, None where there is none to be sure of."""


@dataclass(frozen=True, eq=False)
class Lifted:
    """What a region of the field moves: where it was, and its shadow."""

    move: RegionMove
    alpha: np.ndarray
    shadow: Shadow | None = None


@dataclass(frozen=True, eq=False)
class CleanPlate:
    """The picture with what moves lifted off and the holes filled.

    image: float32 [H, W, 3].  changed: bool [H, W], where it differs from the picture.  shade: float32 [H, W], by how much light it was
    divided.  lifted: per region of the field.
    """

    image: np.ndarray
    changed: np.ndarray
    shade: np.ndarray
    lifted: tuple[Lifted, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The picture with the field applied.

    image: float32 [H, W, 3].  moved: float32 [H, W] in [0, 1], how much of a pixel moved in.  changed: bool [H, W], where something was
    lifted, left or darkened.
    """

    image: np.ndarray
    moved: np.ndarray
    changed: np.ndarray

    def known(self) -> np.ndarray:
        """How much of a pixel is the picture's own: what moved in, and what stayed as it was. float32 [H, W] in [0, 1]."""
        return np.maximum(self.moved, ~self.changed)


def clean_plate(
    image: np.ndarray, field: DragField, *, edges: Edges = "drawn", find_shadow: FindShadow | None = None, fill: FillHole = fill_ground
) -> CleanPlate:
    """Lift the field's regions and their shadows. What is copied, stretched or pulled by points is left where it is."""
    image = image.astype(np.float32)
    lifted = [_lift(image, move, edges, find_shadow) for move in field.regions if move.rigid and not move.copy]
    return _plate(image, lifted, np.zeros(image.shape[:2], bool), fill, field.front)


def carry(
    image: np.ndarray, field: DragField, *, progress: float = 1.0, edges: Edges = "drawn", find_shadow: FindShadow | None = None,
    fill: FillHole = fill_ground,
) -> Evidence:  # fmt: skip
    """The picture with the field applied and what it leaves filled. Pinned and uneditable pixels are left as they are, and so is what is
    copied, but where something lands on it.

    progress: how much of the way, in [0, 1].
    """
    image = image.astype(np.float32)
    layout = field.layout(progress)
    lifted = [_lift(image, move, edges, find_shadow) for move in field.regions if move.rigid]
    vacated, moved_in = layout.vacated.numpy(), layout.moved.numpy()
    revealed = layout.revealed.numpy()
    plate = _plate(image, [one for one in lifted if not one.move.copy], vacated & ~revealed, fill, field.front)
    share = moved_in.astype(np.float32)
    colour = carried_colours(uncovered(image, field), field, layout, progress)
    # The rim of what does not leave its place is its own.
    shown = grow(vacated, RIM) | moved_in if vacated.any() else moved_in
    ground = np.where(shown[..., None] | (plate.shade < 1)[..., None], plate.image, image)
    changed = (plate.changed & shown) | (plate.shade < 0.98)
    if edges == "snapped" and lifted:
        share, colour = _snapped(image, field, layout, progress, lifted, share, colour)
    for one in lifted:
        if one.shadow is not None:
            there = one.shadow.laid_down(_landed(one, field, layout, progress))
            ground = ground * there[..., None]
            changed |= there < 0.98
    result = ground + share[..., None] * (colour - ground)
    # A guess, which the model may change: no pixel of it is the picture's own.
    result[revealed] = colour[revealed]
    changed |= vacated | (moved_in & (share < 1))
    for fixed, keep in ((field.pinned, True), (field.editable, False)):
        if fixed is not None:
            result[fixed == keep], share[fixed == keep], changed[fixed == keep] = image[fixed == keep], 0, False
    return Evidence(np.clip(result, 0, 1).astype(np.float32), share, changed)


def _lift(image: np.ndarray, move: RegionMove, edges: Edges, find_shadow: FindShadow | None) -> Lifted:
    alpha = cut_out(image, move.mask, edges)
    return Lifted(move, alpha, None if find_shadow is None else find_shadow(image, alpha))


def _plate(image: np.ndarray, lifted: list[Lifted], vacated: np.ndarray, fill: FillHole, front: np.ndarray | None) -> CleanPlate:
    lit, hole = image.copy(), vacated.copy()
    shade = np.ones(image.shape[:2], np.float32)
    for one in lifted:
        if one.shadow is not None:
            shade *= one.shadow.lifted(one.alpha)
        hole |= grow(one.alpha > 0.02, RIM)
    lit = np.clip(lit / shade[..., None], 0, 1)
    known = ~hole
    if front is not None:
        # What stands in front is no ground, neither to be filled nor to fill with.
        hole, known = hole & ~front, known & ~front
    if hole.any() and known.any():
        lit = fill(lit, hole, known)
    return CleanPlate(lit, (shade < 0.98) | hole, shade, tuple(lifted))


def _snapped(
    image: np.ndarray, field: DragField, layout: Layout, progress: float, lifted: list[Lifted], share: np.ndarray, colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How much of a pixel moved in, and its colour, where regions hold some ground that stays behind."""
    rigid = iter(lifted)
    share, colour = share.copy(), colour.copy()
    for index, move in enumerate(field.regions):
        if not move.rigid:
            continue
        one = next(rigid)
        cells = (layout.operation == index).numpy()
        alpha = carried_colours(one.alpha, field, layout, progress, border=cv2.BORDER_CONSTANT)
        solid = one.alpha > 0.9
        if solid.any():
            # Edges are mixed with the old ground: there, the object's own colour is taken from beside.
            own = carried_colours(np.where(solid[..., None], image, nearest_colour(image, solid)), field, layout, progress)
            colour[cells] = own[cells]
        share[cells] = alpha[cells]
    return share, colour


def _landed(one: Lifted, field: DragField, layout: Layout, progress: float) -> np.ndarray:
    """The object's alpha where it has got to."""
    if not (one.move is field.regions[0] and len(field.regions) == 1 and field.points is None):
        field = DragField(field.size, (one.move,), span=field.span)
        layout = field.layout(progress)
    return carried_colours(one.alpha, field, layout, progress, border=cv2.BORDER_CONSTANT) * layout.moved.numpy()

