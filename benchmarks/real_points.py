"""The points rows of suite `real`: told one or three places of an object, where does a field take the others?

Handles are tracks of a pair: the one nearest their mean, then each time the one farthest from those chosen. The other tracks say where the
field should have taken them:
  - error_px: how far off it takes them, px;
  - carried: the share that it takes to within a quarter of their way;
  - ground_moved_px: how far it moves the ground on average, pixels farther than BESIDE from the object before and after.

`selection` asks what the default goes by, on photographs with regions that a person drew: told the place deepest inside of one, how like
it is what is selected?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..core.field import DragField
from ..core.field.bodies import SHARE, rigid_back
from ..core.field.carried import object_moves
from ..core.field.masks import default_point_radius
from ..core.field.points import PointMoves
from ..core.field.selection import select
from ..core.formats.real_motion import RealPair
from ..core.instruction.operations import Drag, PointOperation

Push = Callable[[Tensor], Tensor]
"""Displacement [n, 2] of positions [n, 2], px."""
BESIDE = 12
SIZES = (0.01, 0.3)
"""Regions that are asked for, as shares of the picture."""
COUNTS = (1, 3)
FIGURES = ("error_px", "carried", "ground_moved_px")


def object_field(pair: RealPair, points: Sequence[PointOperation]) -> Push:
    """The default with a picture: what the handles belong to."""
    return _pushed(DragField.from_drag(Drag(pair.size, points=tuple(points)), picture=pair.before).points)


def alone(pair: RealPair, points: Sequence[PointOperation]) -> Push:
    """The same without what is joined: nothing gives."""
    return _pushed(object_moves(pair.before, pair.size, tuple(points), default_point_radius(pair.size), giving=0.0))


def near_field(pair: RealPair, points: Sequence[PointOperation]) -> Push:
    """The default without a picture: the latent warp's formula within a circle around the points."""
    return _pushed(DragField.from_drag(Drag(pair.size, points=tuple(points))).points)


def latent_warp(pair: RealPair, points: Sequence[PointOperation]) -> Push:
    """The latent warp as published (FastDrag, DirectDrag): the whole picture, the farther the less."""
    return _pushed(PointMoves(pair.size, points, 1.0, "latent_warp"))


def discs(pair: RealPair, points: Sequence[PointOperation]) -> Push:
    """Rigid discs around the handles (bodies.py), all of them one body."""
    handles, targets = _ends(points)
    radius = SHARE * min(pair.size)

    def push(at: Tensor) -> Tensor:
        near = torch.cdist(at, handles).amin(dim=1) <= radius
        return torch.where(near[:, None], rigid_back(at, targets, handles) - at, 0.0)

    return push


def bound(pair: RealPair, points: Sequence[PointOperation]) -> Push:
    """The true object, and nothing else, by the handle's way; by the mean way of several. What selecting alone could reach."""
    inside = torch.from_numpy(pair.object_before)
    handles, targets = _ends(points)
    return lambda at: torch.where(_at(inside, at)[:, None], (targets - handles).mean(dim=0), 0.0)


FIELDS: dict[str, Callable[[RealPair, Sequence[PointOperation]], Push]] = {
    "object": object_field, "alone": alone, "near": near_field, "latent_warp": latent_warp, "discs": discs,
    "true_object_shifted": bound,
}  # fmt: skip


def run(pairs: Sequence[RealPair]) -> dict[str, dict]:
    """-> {"points_COUNT": default, "points_COUNT_FIELD": the others}, each {FIGURE: mean, "by_pair": {PAIR: {FIGURE: value}}}.

    Pairs without tracks, or with too few of them, are left out.
    """
    rows = {}
    for count in COUNTS:
        for name, field in FIELDS.items():
            by_pair = {
                pair.name: judge(pair, field, count) for pair in pairs if pair.tracks is not None and len(pair.tracks) > count
            }  # fmt: skip
            means = {figure: float(np.mean([row[figure] for row in by_pair.values()])) if by_pair else None for figure in FIGURES}
            rows[f"points_{count}" if name == "object" else f"points_{count}_{name}"] = {**means, "by_pair": by_pair}
    return rows


def selection(pictures: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float | int | None]:
    """Likeness of what one seed selects to the region that it lies in: the intersection over the union, of each region's largest piece.

    pictures: pictures [H, W, 3] with labels int [H, W] of their regions; those of SIZES of the picture are asked for.
    -> {"regions": how many, "iou": mean}
    """
    found = []
    for picture, labels in pictures:
        for label in np.unique(labels):
            _, piece, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
            region = piece == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            if not SIZES[0] <= region.mean() <= SIZES[1]:
                continue
            depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
            row, column = np.unravel_index(int(depth.argmax()), depth.shape)
            chosen = cv2.resize(select(picture, [(column + 0.5, row + 0.5)]), region.shape[::-1]) > 0.5
            found.append((chosen & region).sum() / (chosen | region).sum())
    return {"regions": len(found), "iou": float(np.mean(found)) if found else None}


def judge(pair: RealPair, field: Callable[[RealPair, Sequence[PointOperation]], Push], count: int) -> dict[str, float]:
    """The figures of one field for one pair."""
    tracks = np.asarray(pair.tracks, dtype=np.float64)
    chosen = handles_of(tracks, count)
    push = field(pair, [PointOperation(tuple(tracks[i, :2].tolist()), tuple(tracks[i, 2:].tolist())) for i in chosen])
    rest = np.delete(tracks, chosen, axis=0)
    went = rest[:, :2] + push(torch.from_numpy(rest[:, :2].copy())).numpy()
    error, distance = np.hypot(*(went - rest[:, 2:]).T), np.hypot(*(rest[:, 2:] - rest[:, :2]).T)
    far = cv2.distanceTransform((~(pair.object_before | pair.object_after)).astype(np.uint8), cv2.DIST_L2, 5) > BESIDE
    rows, columns = np.nonzero(far)
    ground = push(torch.from_numpy(np.stack((columns + 0.5, rows + 0.5), axis=1)))
    return {
        "error_px": float(error.mean()),
        "carried": float((error <= distance / 4).mean()),
        "ground_moved_px": float(ground.norm(dim=1).mean()) if len(ground) else 0.0,
    }


def handles_of(tracks: np.ndarray, count: int) -> list[int]:
    """The track nearest the mean, then each time the one farthest from those chosen. tracks: [n, 4] -> indices"""
    places = tracks[:, :2]
    chosen = [int(((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    while len(chosen) < count:
        chosen.append(int(((places[:, None] - places[chosen]) ** 2).sum(axis=-1).min(axis=1).argmax()))
    return chosen


def _pushed(moves: PointMoves) -> Push:
    return lambda at: moves.push(1.0, moves.picture, at)[0]


def _ends(points: Sequence[PointOperation]) -> tuple[Tensor, Tensor]:
    handles, targets = (torch.tensor([getattr(p, end) for p in points], dtype=torch.float64) for end in ("handle", "target"))
    return handles, targets


def _at(mask: Tensor, at: Tensor) -> Tensor:
    column, row = at.floor().long().unbind(-1)
    return mask[row.clamp(0, mask.shape[0] - 1), column.clamp(0, mask.shape[1] - 1)]
