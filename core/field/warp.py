"""Reading and writing images at positions: sample, warp by a backward map, splat by a forward map.

Convention: positions are (x, y) in cells of the image they address, the centre of cell (column c, row r) at
(c + 0.5, r + 0.5), so the same as `grid_sample` with align_corners=False but without its normalised coordinates. Those
round: here the identity map gives back the very numbers, and a shift by whole cells moves them exactly.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from ..device import sent_to


class HasBackward(Protocol):
    """Anything that knows, for each cell of a grid of `size` (w, h), where its content comes from (a DragField)."""

    def backward(self, progress: float = 1.0, size: tuple[int, int] | None = None) -> Tensor: ...


def warp(
    image: Tensor,
    field: Tensor | HasBackward,
    *,
    progress: float = 1.0,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Literal["border", "zeros"] = "border",
) -> Tensor:
    """Pull every cell's content from where the field says it comes from. Differentiable with respect to the image.

    image: [B, C, h, w].  field: a DragField, taken at `progress` and the image's own size, or a backward map [h', w',
        2].
    -> [B, C, h', w'], dtype and device of the image. What the field vacates still shows what was there.
    """
    if not isinstance(field, Tensor):
        field = field.backward(progress, (image.shape[-1], image.shape[-2]))
    if field.ndim != 3:
        raise ValueError(f"a backward map has the shape [h, w, 2], got {list(field.shape)}: pass field.backward()")
    return sample(image, field, mode=mode, padding=padding)


def sample(
    image: Tensor,
    xy: Tensor,
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Literal["border", "zeros"] = "border",
) -> Tensor:
    """Values of an image at any positions. Differentiable with respect to the image and, if bilinear, the positions.

    image: [B, C, h, w].  xy: [..., 2].  -> [B, C, ...].
    padding: beyond the outermost cell centres, "border" repeats the edge and "zeros" fades to zero within one cell.
    """
    if image.ndim != 4 or xy.shape[-1:] != (2,) or not image.is_floating_point():
        raise ValueError(
            f"need a floating point image [B, C, h, w] and positions [..., 2], got {image.dtype} {list(image.shape)} "
            f"and {list(xy.shape)}"
        )
    if mode not in ("bilinear", "nearest") or padding not in ("border", "zeros"):
        raise ValueError(f"cannot sample with {mode=} and {padding=}: use bilinear or nearest, border or zeros")
    height, width = image.shape[-2:]
    x, y = (sent_to(xy, image.device) - 0.5).unbind(-1)
    if padding == "border":
        x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    flat = image.flatten(2)

    def read(column: Tensor, row: Tensor, weight: Tensor | None) -> Tensor:
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
        share = inside.to(image.dtype) if weight is None else (weight * inside).to(image.dtype)
        return flat[:, :, index] * share

    if mode == "nearest":
        return read(x.round(), y.round(), None)
    x0, y0 = x.detach().floor(), y.detach().floor()
    fx, fy = x - x0, y - y0
    out = read(x0, y0, (1 - fx) * (1 - fy))
    # On a cell centre, the common case outside of what moves, the other three neighbours weigh exactly 0.
    out = out + read(x0 + 1, y0, fx * (1 - fy))
    out = out + read(x0, y0 + 1, (1 - fx) * fy)
    return out + read(x0 + 1, y0 + 1, fx * fy)


def splat(
    image: Tensor,
    forward: Tensor,
    *,
    source: Tensor | None = None,
    collisions: Literal["first", "mean"] = "first",
) -> tuple[Tensor, Tensor]:
    """Push every cell's content to where a forward map carries it.

    image: [B, C, h, w].  forward: [h, w, 2], where each cell's centre goes.  source: bool [h, w], the cells that take
        part (None: all).
    collisions: "first" rounds to whole cells, half to even, and lets the first source in row-major order keep a cell
        (FastDrag's latent warp); "mean" spreads each source bilinearly over four cells and divides by
        what arrived.
    -> (image [B, C, h, w], zero where nothing arrived; filled, bool [h, w]: where something did). What would land
       outside the grid is dropped. Clamp the map first to pile it up at the edge.
    """
    if image.ndim != 4 or forward.shape != (*image.shape[-2:], 2):
        raise ValueError(
            f"need an image [B, C, h, w] and a forward map [h, w, 2] of its size, got {list(image.shape)} "
            f"and {list(forward.shape)}"
        )
    if collisions not in ("first", "mean"):
        raise ValueError(f"cannot splat with {collisions=}: use first or mean")
    height, width = image.shape[-2:]
    cells = height * width
    flat = image.flatten(2)
    taking = torch.ones(cells, dtype=torch.bool) if source is None else source.flatten()
    origin = taking.to(image.device).nonzero().squeeze(1)
    x, y = (sent_to(forward, image.device).flatten(0, 1)[origin] - 0.5).unbind(-1)

    if collisions == "first":
        x, y = x.round(), y.round()
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        origin, goal = origin[inside], (y[inside] * width + x[inside]).long()
        winner = torch.full((cells,), cells, device=image.device).scatter_reduce(0, goal, origin, "amin")
        filled = winner < cells
        out = flat[:, :, winner.clamp(max=cells - 1)] * filled
        return out.unflatten(2, (height, width)), filled.view(height, width)

    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    total = flat.new_zeros(cells)
    out = torch.zeros_like(flat)
    for column, row, weight in (
        (x0, y0, (1 - fx) * (1 - fy)),
        (x0 + 1, y0, fx * (1 - fy)),
        (x0, y0 + 1, (1 - fx) * fy),
        (x0 + 1, y0 + 1, fx * fy),
    ):
        hit = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (weight > 0)
        goal, share = (row[hit] * width + column[hit]).long(), weight[hit].to(image.dtype)
        total = total.index_add(0, goal, share)
        out = out.index_add(2, goal, flat[:, :, origin[hit]] * share)
    filled = total > 1e-4
    out = out / total.clamp(min=1e-4) * filled
    return out.unflatten(2, (height, width)), filled.view(height, width)
