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

from ..instruction.operations import PointOperation
from .geometry import Size, cell_centres

SHARE = 1 / 6
"""Radius of a body's discs, as a share of the picture's shorter side."""
NEAR = 1e-4
"""Added to squared distances, px: at a handle its own pair counts alone."""


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
    """Where positions `at` [..., 2] come from when `handles` [n, 2] go to `targets` and all around moves rigidly. -> like at"""
    to = targets - at[..., None, :]
    weights = 1 / (to.square().sum(dim=-1, keepdim=True) + NEAR)
    weights = weights / weights.sum(dim=-2, keepdim=True)
    middle_to, middle_from = (weights * targets).sum(dim=-2), (weights * handles).sum(dim=-2)
    (ax, ay), (bx, by) = (targets - middle_to[..., None, :]).unbind(-1), (handles - middle_from[..., None, :]).unbind(-1)
    share = weights[..., 0]
    along, across = (share * (ax * bx + ay * by)).sum(dim=-1), (share * (ax * by - ay * bx)).sum(dim=-1)
    # One handle, or several in one place, say nothing of a turn: then there is none.
    length = torch.hypot(along, across)
    cosine = torch.where(length > 1e-9, along / length.clamp_min(1e-9), 1.0)
    sine = torch.where(length > 1e-9, across / length.clamp_min(1e-9), 0.0)
    x, y = (at - middle_to).unbind(-1)
    return torch.stack((cosine * x - sine * y, sine * x + cosine * y), dim=-1) + middle_from


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
