"""From the region that was drawn to the thing itself: a soft edge, and the whole of which a region is the end.

A region is drawn a little too large, and what it holds of the ground is not part of the thing: carried along, it shows as a rim. Pixels
near the region's edge that look more like the ground beside them than like the thing are given back. For a region that is the end of a
thing, the rest is found as what hangs together with it and is not ground: it has to give when the end is pulled.

Convention: pictures are float32 [H, W, 3] in [0, 1]; regions bool [H, W]; lengths px of the picture.
"""

from __future__ import annotations

import cv2
import numpy as np

from .masks import grow
from .preview import fill_hole

RIM = 1 / 64
"""How deep the edge of a region is looked at, as a fraction of the picture's shorter side: about twice how carefully people draw."""
SAME = 0.06
"""Below this difference of colour thing and ground cannot be told apart: the region is believed."""
UNLIKE = 0.07
"""Difference to the ground, at whatever light, from which a pixel is not ground."""
LIGHT = (0.38, 1.12)
"""Between these multiples of its lit colour ground is still ground: in deep shadow, and a little brighter than expected."""
LARGEST = 12.0
"""A whole thing is at most this many times larger than the region; anything larger is not one thing."""


def matte(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """How much each pixel of a region belongs to the thing in it. -> float32 [H, W] in [0, 1], 0 outside of the region.

    Near the edge a pixel is compared with the nearest colour from deep inside and the nearest one from outside.
    """
    depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inner = depth >= min(max(4.0, RIM * min(region.shape)), 0.7 * float(depth.max()))
    edge = region & ~inner
    if region.all() or not edge.any():
        return region.astype(np.float32)
    smooth = cv2.GaussianBlur(image, (0, 0), 0.6)
    inside, outside = nearest_colour(smooth, inner), nearest_colour(smooth, ~region)
    to_inside, to_outside = (np.abs(image - other).max(-1) for other in (inside, outside))
    share = np.clip((to_outside / np.maximum(to_inside + to_outside, 1e-4) - 0.3) / 0.4, 0, 1)
    told_apart = np.abs(inside - outside).max(-1) > SAME
    return np.where(edge & told_apart, share, region).astype(np.float32)


def whole_thing(image: np.ndarray, region: np.ndarray, reach: float) -> np.ndarray | None:
    """The thing whose end a region is, looked for within `reach` px of it. bool [H, W], or None if nothing stands out alone.

    Ground is what is farther away, filled in smoothly, in whatever light. What is not ground and hangs together with the region is the
    thing, unless it runs out of reach or is far larger than the region: then it is the surroundings.
    """
    near = grow(region, reach)
    if near.all():
        return None
    ground = fill_hole(image, near, ~near)
    light = (image * ground).sum(-1) / np.maximum((ground * ground).sum(-1), 1e-4)
    unlike = np.abs(image - np.clip(light, *LIGHT)[..., None] * ground).max(-1)
    found = (cv2.GaussianBlur(unlike, (0, 0), 1.0) > UNLIKE).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    found[~near] = 0
    inner = cv2.erode(region.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    if found[inner if inner.any() else region].mean() < 0.5:
        return None
    found[inner] = 1
    _, labels = cv2.connectedComponents(found)
    touching = np.unique(labels[region & (found > 0)])
    thing = np.isin(labels, touching[touching > 0])
    if not thing.any() or (thing & ~grow(region, reach - 3)).any() or thing.sum() > LARGEST * region.sum():
        return None
    return grow(_without_holes(thing), 1) | region


def nearest_colour(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Each pixel's colour from the nearest known pixel. known: bool [H, W], not empty. -> [H, W, 3], known pixels unchanged."""
    _, labels = cv2.distanceTransformWithLabels((~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros((labels.max() + 1, image.shape[2]), image.dtype)
    table[labels[known]] = image[known]
    return table[labels]


def _without_holes(thing: np.ndarray) -> np.ndarray:
    """Gaps closed, and holes filled that are small against the thing."""
    closed = cv2.morphologyEx(thing.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - closed)
    for i in range(1, count):
        if stats[i, cv2.CC_STAT_AREA] < 0.2 * closed.sum():
            closed[labels == i] = 1
    return closed.astype(bool)
