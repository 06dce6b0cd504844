"""Where objects go that handle points take along as bodies: what lies around a handle keeps its shape, moves and turns.

The published latent warp moves every cell a little less than the handle, the farther the less: right for what is soft or vast, but it
squeezes an object that stands by itself. Here a disc around every handle moves as one. Handles in each other's discs belong to one body,
which moves by rigid moving least squares (Schaefer, McPhail and Warren 2006): each place p is turned and shifted as its handles are, the
near ones most, with weights 1 / |p - t_i|². One handle shifts, two that turn about each other turn all around them, and every handle
arrives exactly.

Convention: positions are (x, y) in px of the picture; maps in cells of the grid asked for, cell centres at (c + 0.5, r + 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..instruction.operations import PointOperation
from .geometry import Size, cell_centres

SHARE = 1 / 6
"""Radius of a body's discs, as a share of the picture's shorter side."""
NEAR = 1e-4
"""Added to squared distances, px: at a handle its own pair counts alone."""
ROUNDS = 12
CLOSE = 1e-2
"""Steps in which a place before a bend is looked for, and how near the place after it is near enough, in cells."""
COARSE = 8


@dataclass(frozen=True, eq=False)
class CarriedBodies:
    """source: [h, w, 2], where each cell is taken from, in cells; its own place where nothing lands.
    landed: bool [h, w], what bodies now cover.  left: bool [h, w], what they covered before."""

    source: Tensor
    landed: Tensor
    left: Tensor


def carry_bodies(points: Sequence[PointOperation], picture: Size, size: Size, radius: float, ratio: float = 1.0) -> CarriedBodies:
    """Carry the discs of `radius` px around the handles of `points`, `ratio` of the way to their targets, on a grid of `size` (w, h).

    Where two bodies land on each other, the one whose handle came nearer is seen. What comes from off the picture does not land.
    """
    cell = torch.tensor(picture, dtype=torch.float64) / torch.tensor(size)
    centres = cell_centres((0, 0, *size))
    at = centres * cell
    starts = torch.tensor([p.handle for p in points], dtype=torch.float64)
    ends = starts + ratio * (torch.tensor([p.target for p in points], dtype=torch.float64) - starts)
    source, nearest = centres.clone(), torch.full(centres.shape[:2], torch.inf, dtype=torch.float64)
    left = torch.zeros(centres.shape[:2], dtype=torch.bool)
    for members in _bodies(starts, radius):
        handles, targets = starts[members], ends[members]
        taken = rigid_back(at, handles, targets)
        distance = _distance(taken, handles)
        seen = ((taken >= 0) & (taken <= torch.tensor(picture))).all(dim=-1) & (distance <= radius) & (distance < nearest)
        source = torch.where(seen[..., None], taken / cell, source)
        nearest = torch.where(seen, distance, nearest)
        left |= _distance(at, handles) <= radius
    return CarriedBodies(source, nearest.isfinite(), left)


def rigid_back(at: Tensor, handles: Tensor, targets: Tensor) -> Tensor:
    """Where positions `at` [..., 2] come from when `handles` [n, 2] go to `targets` and all around moves rigidly. -> like at

    The formula with handles and targets exchanged: defined everywhere, and `rigid`'s inverse at the handles and for shifts and turns.
    """
    return _rigid(at, targets, handles)[0]


def rigid(at: Tensor, handles: Tensor, targets: Tensor) -> Tensor:
    """Where positions `at` [..., 2] go when `handles` [n, 2] go to `targets` and all around moves rigidly. -> like at"""
    return _rigid(at, handles, targets)[0]


def unbent(at: Tensor, handles: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What `rigid` takes to the positions `at` [..., 2], by steps that are turned back as it turns there. -> like at, and how far off [...]

    Of a place that two go to, one is found; of one that none goes to, the last guess, far off.
    """
    if len(handles) == 1:
        return rigid_back(at, handles, targets), at.new_zeros(at.shape[:-1])
    goals = at.reshape(-1, 2)
    source = _guess(at, handles, targets).reshape(-1, 2).clone()
    off, left = goals.new_zeros(len(goals)), torch.arange(len(goals))
    for _ in range(ROUNDS):
        goal, cosine, sine = _rigid(source[left], handles, targets)
        away = goals[left] - goal
        off[left] = away.norm(dim=-1)
        far = off[left] >= CLOSE
        left = left[far]
        if not len(left):
            break
        (dx, dy), cosine, sine = away[far].unbind(-1), cosine[far], sine[far]
        source[left] += torch.stack((cosine * dx + sine * dy, cosine * dy - sine * dx), dim=-1)
    return source.reshape(at.shape), off.reshape(at.shape[:-1])


def _guess(at: Tensor, handles: Tensor, targets: Tensor) -> Tensor:
    """Where to begin to look: of a large grid, between what is found for each `COARSE`th place of it. -> like at"""
    if at.ndim != 3 or min(at.shape[:2]) < 16 * COARSE:
        return rigid_back(at, handles, targets)
    part = at[::COARSE, ::COARSE]
    displacement = (unbent(part, handles, targets)[0] - part).permute(2, 0, 1)[None]
    rows, columns = ((n - 1) * COARSE + 1 for n in part.shape[:2])
    between = interpolate(displacement, (rows, columns), mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
    row, column = (torch.arange(n).clamp(max=m - 1) for n, m in zip(at.shape[:2], (rows, columns), strict=True))
    return at + between[row][:, column]


def _rigid(at: Tensor, handles: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where positions go, and the cosine and sine of their turn."""
    # From their middles, so that little is lost of what nearly cancels.
    middle, there = handles.mean(dim=0), targets.mean(dim=0)
    x, y = (at - middle).unbind(-1)
    total, hx, hy, tx, ty, along, across = (torch.zeros_like(x) for _ in range(7))
    # One pair after the other: a hundred on a large picture would not fit side by side.
    for (ax, ay), (bx, by) in zip((handles - middle).tolist(), (targets - there).tolist(), strict=True):
        weight = 1 / ((x - ax).square() + (y - ay).square() + NEAR)
        total, hx, hy, tx, ty = total + weight, hx + weight * ax, hy + weight * ay, tx + weight * bx, ty + weight * by
        along, across = along + weight * (ax * bx + ay * by), across + weight * (ax * by - ay * bx)
    hx, hy, tx, ty = hx / total, hy / total, tx / total, ty / total
    along, across = along / total - (hx * tx + hy * ty), across / total - (hx * ty - hy * tx)
    # One handle, or several in one place, say nothing of a turn: then there is none.
    length = torch.hypot(along, across)
    cosine = torch.where(length > 1e-9, along / length.clamp_min(1e-9), 1.0)
    sine = torch.where(length > 1e-9, across / length.clamp_min(1e-9), 0.0)
    x, y = x - hx, y - hy
    return torch.stack((cosine * x - sine * y + tx, sine * x + cosine * y + ty), dim=-1) + there, cosine, sine


def turns(handles: Tensor, targets: Tensor, radius: float) -> list[float]:
    """How far the body of each handle turns, radians, positive clockwise on the screen; 0 for one by itself. handles, targets: [n, 2]"""
    angles = [0.0] * len(handles)
    for members in _bodies(handles.double(), radius):
        (ax, ay), (bx, by) = ((v[members] - v[members].mean(dim=0)).double().unbind(-1) for v in (handles, targets))
        angle = math.atan2(float((ax * by - ay * bx).sum()), float((ax * bx + ay * by).sum()))
        for i in members:
            angles[i] = angle
    return angles


def _bodies(handles: Tensor, radius: float) -> list[list[int]]:
    """Handles by body: whoever is within `radius` of a member belongs to it too."""
    close, left, bodies = torch.cdist(handles, handles) <= radius, list(range(len(handles))), []
    while left:
        body, ahead = [], [left.pop(0)]
        while ahead:
            body.append(ahead.pop())
            found = [i for i in left if bool(close[body[-1], i])]
            ahead += found
            left = [i for i in left if i not in found]
        bodies.append(sorted(body))
    return bodies


def _distance(at: Tensor, handles: Tensor) -> Tensor:
    """To the nearest handle. [..., 2], [n, 2] -> [...]"""
    nearest = torch.full(at.shape[:-1], torch.inf, dtype=at.dtype)
    for handle in handles:
        nearest = torch.minimum(nearest, (at - handle).norm(dim=-1))
    return nearest
