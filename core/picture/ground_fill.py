"""What was behind: a hole filled with ground that the picture shows elsewhere, moved there as it is.

A smooth fill leaves a grey smear where an object stood. Here the hole, with a ring of known ground around it, is laid over the picture
until the ring fits best, and what lies under the hole there is copied. What is left of a difference along the ring is spread over the hole
as a smooth surface, so that no rim shows. A hole for which no whole place fits is filled in two halves, one after the other. The copy
is mixed with a little of the smooth fill: where it is wrong it is less wrong then, at little loss of texture.

Measured on real frames (`dragfield bench --suite real`): docs/performance.md.

Convention: pictures are [H, W, 3], uint8 or float in [0, 1]; masks bool [H, W]; lengths px of the picture.
"""

from __future__ import annotations

import cv2
import numpy as np

from .preview import _box, fill_hole

RING = 6
"""How far around a hole the ground is compared."""
SIDE = 160
"""Cells along the longer side of the grid on which places are looked for first."""
CANDIDATES = 6
"""Places of that grid that are looked at pixel by pixel."""
SHARE = 0.8
"""How much of a filled pixel is the copy; the rest is the smooth fill."""
HALVINGS = 4
SMALLEST = 16
"""Pixels of a hole below which there is nothing to copy."""


def fill_ground(image: np.ndarray, hole: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill a hole with ground from elsewhere in the picture; what finds none is filled smoothly.

    image: [H, W, 3].  hole, known: bool [H, W]; pixels in neither are left alone and not looked at.
    -> a copy; only the hole differs.
    """
    smooth = fill_hole(image, hole, known)
    if not hole.any() or not known.any():
        return smooth
    scale = 255.0 if image.dtype == np.uint8 else 1.0
    own, result = image.astype(np.float32) / scale, smooth.astype(np.float32) / scale
    base, ground = result.copy(), known.copy()
    result[known] = own[known]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hole.astype(np.uint8))
    # The largest first: what is copied into it is ground for those beside it.
    for label in sorted(range(1, len(stats)), key=lambda one: -stats[one, cv2.CC_STAT_AREA]):
        if stats[label, cv2.CC_STAT_AREA] >= SMALLEST:
            _fill(own, result, ground, labels == label, known, HALVINGS)
    mixed = base + SHARE * (result - base)
    done = image.copy()
    done[hole] = (np.rint(np.clip(mixed[hole], 0, 1) * scale) if scale > 1 else np.clip(mixed[hole], 0, 1)).astype(image.dtype)
    return done


def _fill(own: np.ndarray, result: np.ndarray, ground: np.ndarray, piece: np.ndarray, known: np.ndarray, halvings: int) -> None:
    """Fill one piece of the hole in `result`, and add it to `ground`, what a ring may be compared with; `known` may be copied."""
    around = cv2.dilate(piece.astype(np.uint8), np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)).astype(bool)
    ring = around & ground & ~piece
    if not ring.any():
        return
    box = _box(piece | ring)
    shift = _best_shift(own, result, piece, ring, known)
    if shift is None:
        if halvings:
            for half in _halves(piece):
                if half.any():
                    _fill(own, result, ground, half, known, halvings - 1)
        return
    rows, columns = box
    there = slice(rows.start + shift[1], rows.stop + shift[1]), slice(columns.start + shift[0], columns.stop + shift[0])
    here, inside = result[box], piece[box]
    off = np.where(ring[box][..., None], here - own[there], 0).astype(np.float32)
    spread = fill_hole(off, inside, ring[box])
    here[inside] = own[there][inside] + spread[inside]
    ground |= piece


def _best_shift(own: np.ndarray, result: np.ndarray, piece: np.ndarray, ring: np.ndarray, known: np.ndarray) -> tuple[int, int] | None:
    """The shift (x, y) to the place where the ring fits best and all under the piece is known; None: there is none."""
    height, width = piece.shape
    step = max(1, -(-max(height, width) // SIDE))
    candidates = _coarse(own, result, piece, ring, known, step)
    ys, xs = np.nonzero(ring)
    wanted = result[ys, xs]
    inner_y, inner_x = np.nonzero(piece)
    (top, low), (left, right) = ((min(a.min(), b.min()), max(a.max(), b.max())) for a, b in ((ys, inner_y), (xs, inner_x)))
    best = None
    for dx, dy in candidates:
        for y in range(dy - step, dy + step + 1):
            for x in range(dx - step, dx + step + 1):
                if not (0 <= top + y and low + y < height and 0 <= left + x and right + x < width):
                    continue
                if not known[ys + y, xs + x].all() or not known[inner_y + y, inner_x + x].all():
                    continue
                cost = float(((own[ys + y, xs + x] - wanted) ** 2).sum())
                if best is None or cost < best[0]:
                    best = cost, (x, y)
            if step == 1 and best is not None and best[0] == 0:
                break
    return None if best is None else best[1]


def _coarse(
    own: np.ndarray, result: np.ndarray, piece: np.ndarray, ring: np.ndarray, known: np.ndarray, step: int
) -> list[tuple[int, int]]:
    """Shifts worth looking at, best first, multiples of `step`: the picture's blocks of step x step px compared by their means."""
    source, _ = _blocks(own, known, step)
    solid = _blocks(own, known, step)[1] > 0.5
    target, weight = _blocks(result, ring, step)
    needed = _blocks(own, piece | ring, step)[1] > 0
    box = _box(needed)
    rows, columns = box
    form, weight = target[box].astype(np.float32), weight[box].astype(np.float32)
    if form.shape[0] > source.shape[0] or form.shape[1] > source.shape[1]:
        return []
    cost = cv2.matchTemplate(source.astype(np.float32), form, cv2.TM_SQDIFF, mask=np.repeat(np.sqrt(weight)[..., None], 3, axis=2))
    # Blocks that are half unknown may do: the pixels decide.
    unknown = cv2.matchTemplate((~solid).astype(np.float32), needed[box].astype(np.float32), cv2.TM_CCORR)
    cost = np.where(unknown > 0.5, np.inf, cost)
    order = np.argsort(cost, axis=None, kind="stable")[:CANDIDATES]
    found = [divmod(int(one), cost.shape[1]) for one in order if np.isfinite(cost.flat[one])]
    return [((x - columns.start) * step, (y - rows.start) * step) for y, x in found]


def _blocks(image: np.ndarray, counted: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of the counted pixels of each block of step x step px, [h, w, 3] (0 without any), and their share, [h, w]."""
    height, width = (-(-side // step) * step for side in counted.shape)
    padded = np.zeros((height, width, 4), np.float32)
    padded[: counted.shape[0], : counted.shape[1], :3] = image * counted[..., None]
    padded[: counted.shape[0], : counted.shape[1], 3] = counted
    sums = padded.reshape(height // step, step, width // step, step, 4).sum(axis=(1, 3))
    return sums[..., :3] / np.maximum(sums[..., 3:], 1), sums[..., 3] / (step * step)


def _halves(piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The piece cut across the longer side of its box."""
    rows, columns = _box(piece)
    first = np.zeros_like(piece)
    if rows.stop - rows.start >= columns.stop - columns.start:
        first[: (rows.start + rows.stop) // 2] = True
    else:
        first[:, : (columns.start + columns.stop) // 2] = True
    return piece & first, piece & ~first
