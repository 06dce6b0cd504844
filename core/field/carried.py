"""Where objects go that handle points belong to: what is around a handle moves as one body, what is joined to it follows, the rest stays.

selection.py says what the handles belong to; joined.py how far what is joined gives. Of the pairs in one body each place
goes the mean way, the near ones' most, by inverse squared distance (Shepard 1968): each handle arrives. On real frames that is as near as
rigid moving least squares for three pairs, and nearer for two (docs/performance.md). A place goes the share a(p) of it: u(p) = a(p) v(p).

What the user selects goes as a region does: all of it all the way, nothing beside it. Of its pairs each place goes the rigid way
(Schaefer, McPhail and Warren 2006, moving least squares, in bodies.py): one pair shifts it, two turn it, more bend it as stiffly as they
allow, and a pair that stays is a pin.

The backward map looks for what lies on top: q(s) = p + s v'(p), v' the way back, with the largest s in [0, 1] for which a(q(s)) >= s. What
goes farther covers what goes less far. What would be drawn out to more than TORN times its width is left open instead: vacated.

Convention: positions (x, y) in cells of the grid asked for, cell centres at (c + 0.5, r + 0.5); shares [h, w] over the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from ..instruction.operations import PointOperation, by_selection
from .bodies import rigid, unbent
from .geometry import Size, cell_centres
from .joined import joined, travelled
from .moves import INSIDE, Departure, Landing
from .points import PointMoves
from .selection import cells_of, distance, select_cells, shrunk

STEPS = 24
"""Places looked at along each way."""
TORN = 6.0
GIVING = 1.5
"""What is joined to a body gives over this many times the longest way, and a handle's radius more."""
NEAREST = 1e-4
"""Added to squared distances, cells: at a handle its own pair counts alone."""
STILL = 1e-6
REMEMBERED_CELLS = 1 << 18
"""Grids of more cells are worked out anew each time."""
FAINT = 0.05
"""Going less than this share of its way, a cell is not missed where it was."""
BORDER = 0.25
"""How far inside the editable area objects come to rest, as a share of the length over which they give."""


@dataclass(frozen=True, eq=False)
class Body:
    """alpha: float32 [h, w], how far each place goes along.  points: the pairs that move it.  selected: whether the user says what it is.
    """

    alpha: np.ndarray
    points: tuple[PointOperation, ...]
    selected: bool = False


@dataclass(frozen=True, eq=False)
class ObjectMoves(PointMoves):
    """Handle points that take what they belong to along. Made by `object_moves`."""

    bodies: tuple[Body, ...] = ()
    _seen: dict[tuple[float, Size], tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @property
    def fades(self) -> bool:
        return False

    @property
    def solid(self) -> bool:
        return all(body.selected for body in self.bodies)

    def leaving(self, size: Size) -> Tensor:
        """Cells of which some or all goes. -> bool [h, w]."""
        parts = [self._alpha(body, size) > (INSIDE if body.selected else FAINT) for body in self.bodies]
        return torch.from_numpy(np.logical_or.reduce(parts))

    def landing(self, progress: float, size: Size) -> Landing:
        source, shown, nearest = self._laid(progress, size)
        return Landing((0, 0, *size), source, torch.zeros_like(shown), shown, nearest)

    def departure(self, progress: float, size: Size) -> Departure:
        centres = cell_centres((0, 0, *size))
        offset, _ = self.push(progress, size, centres)
        return Departure((0, 0, *size), centres + offset, self.leaving(size))

    def patch(self, index: int, progress: float, size: Size) -> tuple[Tensor, Tensor]:
        source, _, nearest = self._laid(progress, size)
        centres = cell_centres((0, 0, *size))
        at = self._ends(self.points, progress, size)[1][index]
        cell = torch.tensor(self.picture, dtype=torch.float64) / torch.tensor(size)
        close = ((centres - at) * cell).norm(dim=-1) <= self.radius
        return (close & (nearest == index)) | (centres.floor() == at.floor()).all(dim=-1), source

    def pull(self, progress: float, size: Size, at: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("what objects uncover has no place of its own: use landing")

    def push(self, progress: float, size: Size, at: Tensor) -> tuple[Tensor, Tensor]:
        """Forward displacement [..., 2] at positions [..., 2], and which body most moves each [...]."""
        total, most = torch.zeros_like(at), torch.zeros(at.shape[:-1], dtype=at.dtype)
        owner = torch.zeros(at.shape[:-1], dtype=torch.int64)
        for number, body in enumerate(self.bodies):
            share = torch.from_numpy(_read(self._alpha(body, size), at.numpy())).to(at)
            handles, targets = self._ends(body.points, progress, size)
            if body.selected:
                share = (share > INSIDE).to(at)
                way = rigid(at, handles, targets) - at
            else:
                way = blended(at, handles, targets - handles)
            more, displacement = share > most, share[..., None] * way
            total = torch.where(more[..., None], displacement, total)
            most, owner = torch.where(more, share, most), torch.where(more, number, owner)
        return total, owner

    def _laid(self, progress: float, size: Size) -> tuple[Tensor, Tensor, Tensor]:
        """Source of each cell, whether something of a body shows there, and the pair whose target is nearest."""
        if (progress, size) in self._seen:
            return self._seen[progress, size]
        centres = cell_centres((0, 0, *size))
        source, shown = centres.clone(), torch.zeros(size[1], size[0], dtype=torch.bool)
        top = torch.zeros(size[1], size[0], dtype=torch.float64)
        for body in self.bodies:
            handles, targets = self._ends(body.points, progress, size)
            alpha = self._alpha(body, size)
            x0, y0, x1, y1 = _window(alpha, handles, targets, body.selected)
            box = np.s_[y0:y1, x0:x1]
            if body.selected:
                taken, off = unbent(centres[box], handles, targets)
                went = ((torch.from_numpy(_read(alpha, taken.numpy())) > INSIDE) & (off < 0.5)).double()
                # Of two that lie on each other the later one is seen.
                seen = (went > 0) & (went >= top[box])
            else:
                displacement = blended(centres[box], targets, handles - targets)
                went, torn = (torch.from_numpy(v) for v in _on_top(alpha, centres[box].numpy(), displacement.numpy()))
                # What would come from off the picture is its border, drawn out.
                taken = (centres[box] + went[..., None] * displacement).clamp(min=0).minimum(torch.tensor(size, dtype=torch.float64))
                seen = (went > top[box]) & ~torn
            source[box] = torch.where(seen[..., None], taken, source[box])
            shown[box] |= seen
            top[box] = torch.where(seen, went, top[box])
        laid = source, shown, _nearest(centres, self._ends(self.points, progress, size)[1])
        if size[0] * size[1] <= REMEMBERED_CELLS:
            self._seen.clear()
            self._seen[progress, size] = laid
        return laid

    def _ends(self, points: Sequence[PointOperation], progress: float, size: Size) -> tuple[Tensor, Tensor]:
        """Handles [n, 2] and where they have got to."""
        scale = torch.tensor(size, dtype=torch.float64) / torch.tensor(self.picture)
        handles = torch.tensor([p.handle for p in points], dtype=torch.float64) * scale
        targets = torch.tensor([p.target for p in points], dtype=torch.float64) * scale
        return handles, handles + progress * (targets - handles)

    def _alpha(self, body: Body, size: Size) -> np.ndarray:
        """How far each cell of the grid goes along. -> float32 [h, w]"""
        enlarges = size[0] >= body.alpha.shape[1]
        return cv2.resize(body.alpha, size, interpolation=cv2.INTER_LINEAR if enlarges else cv2.INTER_AREA)


def object_moves(
    picture: np.ndarray | None,
    size: Size,
    points: Sequence[PointOperation],
    radius: float,
    area: np.ndarray | None = None,
    giving: float = GIVING,
) -> ObjectMoves:
    """What `points` take along on this picture. No body where nothing is selected and all handles lie outside of the area.

    picture: [H, W, 3], uint8 or float in [0, 1]; None: what is close to a handle goes along with it where nothing is selected.
    size: (width, height) of the drag.  radius: px, of what supervision compares.
    area: bool [H, W], what may move at all.
    giving: over how many longest ways what is joined to a body gives; 0: nothing does.
    Raises ValueError for a selection in which none of its handles lies that moves.
    """
    bodies: list[Body] = []
    for selected, group in by_selection(points):
        if selected is None:
            bodies += _found(picture, size, group, radius, area, giving)
        else:
            bodies += _selected(selected, size, group)
    return ObjectMoves(size, points, radius, area=area, bodies=tuple(bodies))


def _moving(points: Sequence[PointOperation]) -> list[PointOperation]:
    """Those that go somewhere; all where none does."""
    return [p for p in points if math.dist(p.handle, p.target) > STILL] or list(points)


def _found(
    picture: np.ndarray | None, size: Size, points: Sequence[PointOperation], radius: float, area: np.ndarray | None, giving: float
) -> list[Body]:
    """What points belong to on the picture."""
    moving = _moving(points)
    w, h = cells_of(*size)
    scale = np.array([w / size[0], h / size[1]])
    longest = max(math.dist(p.handle, p.target) for p in moving)
    length = max(1.0, (giving * longest + radius) * float(scale.min())) if giving > 0 else 1.0
    seeds = np.array([p.handle for p in moving]) * scale
    if picture is None:
        near = distance((h, w), seeds) <= max(1.0, radius * float(scale.min()))
        alpha = np.clip(1 - travelled(near, np.ones((h, w)), length) / length, 0, 1).astype(np.float32)
    else:
        small = shrunk(picture, (w, h))
        alpha = joined(small, select_cells(small, seeds), seeds, length)
    if area is not None:
        # At the border of what may move it has come to rest, not torn off.
        free = cv2.resize(area.astype(np.float32), alpha.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
        rest = max(1.0, length * BORDER)
        alpha = alpha * np.minimum(1.0, travelled(~free, np.ones(alpha.shape), rest) / rest).astype(np.float32)
    piece, at = _pieces(alpha > 0, points, size)
    bodies = []
    for number in sorted({k for p, k in zip(points, at, strict=True) if p in moving} - {0}):
        mine = tuple(p for p, k in zip(points, at, strict=True) if k == number)
        bodies.append(Body(np.where(piece == number, alpha, 0).astype(np.float32), mine))
    return bodies


def _selected(selected: np.ndarray, size: Size, points: Sequence[PointOperation]) -> list[Body]:
    """What the user selected: each piece of it goes with the handles in it and those beside all pieces, one that holds none with all."""
    inside = np.asarray(selected, dtype=np.float32) > INSIDE
    piece, at = _pieces(inside, points, size)
    moving = _moving(points)
    if not any(k for p, k in zip(points, at, strict=True) if p in moving):
        raise ValueError("what is selected holds no handle that moves: select what a handle lies on, or move the handle into it")
    pieces: dict[tuple[PointOperation, ...], list[int]] = {}
    for number in range(1, int(piece.max()) + 1):
        own = number in at
        mine = tuple(p for p, k in zip(points, at, strict=True) if not own or k in (0, number))
        if any(p in moving for p in mine):
            pieces.setdefault(mine, []).append(number)
    return [Body(np.isin(piece, numbers).astype(np.float32), mine, selected=True) for mine, numbers in pieces.items()]


def _pieces(inside: np.ndarray, points: Sequence[PointOperation], size: Size) -> tuple[np.ndarray, list[int]]:
    """Numbers from 1 of the pieces (8-connected) of a mask, 0 beside them: of each cell, and of where each handle lies."""
    h, w = inside.shape
    _, piece = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
    at = [(min(w - 1, max(0, int(p.handle[0] * w / size[0]))), min(h - 1, max(0, int(p.handle[1] * h / size[1])))) for p in points]
    return piece, [int(piece[y, x]) for x, y in at]


def _nearest(centres: Tensor, points: Tensor) -> Tensor:
    """Which of points [n, 2] is nearest to each cell. -> int64 [h, w]"""
    best, number = torch.full(centres.shape[:2], math.inf, dtype=centres.dtype), torch.zeros(centres.shape[:2], dtype=torch.int64)
    for i, point in enumerate(points):
        away = (centres - point).square().sum(dim=-1)
        best, number = torch.minimum(best, away), number.masked_fill(away < best, i)
    return number


def _read(alpha: np.ndarray, at: np.ndarray) -> np.ndarray:
    """alpha [h, w] bilinearly at positions [..., 2] in its cells; 0 off the grid."""
    x, y = (np.ascontiguousarray(at[..., k], dtype=np.float32).reshape(1, -1) - np.float32(0.5) for k in (0, 1))
    rows = max(1, x.size // 16384 + 1)
    parts = [
        cv2.remap(alpha, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        for px, py in zip(np.array_split(x, rows, axis=1), np.array_split(y, rows, axis=1), strict=True)
        if px.size
    ]
    return np.concatenate(parts, axis=1).reshape(at.shape[:-1])


def blended(at: Tensor, origins: Tensor, displacements: Tensor) -> Tensor:
    """The mean of `displacements` [n, 2] at positions [..., 2], those from near origins most: by inverse squared distance. -> like at"""
    total, weight = torch.zeros_like(at), torch.zeros(at.shape[:-1], dtype=at.dtype)
    for origin, displacement in zip(origins, displacements, strict=True):
        share = 1 / ((at - origin).square().sum(dim=-1) + NEAREST)
        total, weight = total + share[..., None] * displacement, weight + share
    return total / weight[..., None]


def _on_top(alpha: np.ndarray, at: np.ndarray, displacement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest s in [0, 1] with a(at + s displacement) >= s, and whether that place is drawn out too far. -> float64, bool [h, w]

    What goes at the picture's border goes on beyond it.
    """
    x, y = (np.ascontiguousarray(at[..., k], dtype=np.float32) - np.float32(0.5) for k in (0, 1))
    dx, dy = (np.ascontiguousarray(displacement[..., k], dtype=np.float32) for k in (0, 1))
    went, torn = np.zeros(x.shape, np.float32), np.zeros(x.shape, bool)
    found, before = np.zeros(x.shape, bool), np.zeros(x.shape, np.float32)
    for step in range(STEPS, -1, -1):
        s = np.float32(step / STEPS)
        a = cv2.remap(alpha, x + s * dx, y + s * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        over = a - s
        new = (over >= 0) & ~found
        if step == STEPS:
            went[new] = 1.0
        else:
            # Between this place and the one before, which was not covered yet.
            lack = np.maximum(over - before, 1e-6)
            share = np.clip(over / lack, 0, 1)
            went = np.where(new, s + share / STEPS, went)
            torn |= new & (lack * STEPS > TORN)
        found |= new
        before = over
    return went.astype(np.float64), torn & (went > 0)


def _window(alpha: np.ndarray, handles: Tensor, targets: Tensor, selected: bool) -> tuple[int, int, int, int]:
    """Cells that can show something of a body: its box, and what that box becomes."""
    h, w = alpha.shape
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if rows.size == 0:
        return 0, 0, 1, 1
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    rim = torch.tensor([(x, y) for x in np.linspace(x0, x1, 9) for y in np.linspace(y0, y1, 9)], dtype=torch.float64)
    ends = torch.cat((rim, rigid(rim, handles, targets) if selected else rim + blended(rim, handles, targets - handles))).numpy()
    # Between the places looked at a bend reaches a little farther.
    more = 2 + (max(x1 - x0, y1 - y0) // 16 if selected else 0)
    low, high = np.floor(ends.min(axis=0)).astype(int) - more, np.ceil(ends.max(axis=0)).astype(int) + more
    left, top = max(0, low[0]), max(0, low[1])
    return min(left, w - 1), min(top, h - 1), min(w, max(high[0], left + 1)), min(h, max(high[1], top + 1))
