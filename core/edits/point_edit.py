"""What point edits have in common, whichever kind of model they run on: reading the drag, and refusing early what makes no sense.

Convention: points in px of the picture, handles in cells of their grid (handles.py).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..field.latent_warp import LatentWarpSettings, latent_warp
from ..instruction.operations import Drag, PointOperation
from ..model.backbone import Autoencoder
from ..optimise.handles import Clamp, Handles, make_handles


def points_of(drag: Drag, rounded: bool = False, clamp: Clamp = "none") -> Handles:
    """The handles of a drag that is meant for points. Refuses regions that move."""
    moving = [region for region in drag.regions if region.task != "pin"]
    if moving:
        raise ValueError(
            f"this drag moves {len(moving)} region(s), and DirectDrag moves points only: put handle points on them, or use DragFlow or "
            "dragfield"
        )
    return make_handles(drag.points, drag.size, rounded=rounded, clamp=clamp)


def on_tokens(handles: Handles, shape: tuple[int, int], patch: int) -> Handles:
    """Handles on the maps of a transformer, which go on to the end of the last tokens. shape: (h, w) of the latent."""
    spans = (-(-cells // patch) * patch * count / cells for cells, count in zip(shape[::-1], handles.grid, strict=True))
    return replace(handles, mapped=tuple(spans))


def latent_shape(autoencoder: Autoencoder, image: Tensor, drag: Drag, *, floor: bool = False) -> tuple[int, int]:
    """(h, w) of the picture's latent. Refuses a picture that does not fit the drag.

    floor: take sides that are no multiples of the autoencoder's factor, as many cells as fit.
    """
    unit = 1 if floor else autoencoder.factor
    height, width = image.shape[-2:]
    if image.ndim != 4 or image.shape[0] != 1 or height % unit or width % unit:
        raise ValueError(
            f"the picture has shape {list(image.shape)}; an edit takes [1, 3, H, W] with H and W multiples of {unit}: "
            "crop or pad it first, and edit a batch one by one"
        )
    if drag.size != (width, height):
        raise ValueError(
            f"the drag is for a picture of {drag.size[0]}x{drag.size[1]} px, this one has {width}x{height}: rasterise it for this picture"
        )
    return height // autoencoder.factor, width // autoencoder.factor


def carried(
    z: Tensor,
    handles: Handles,
    settings: LatentWarpSettings,
    mask: Tensor | None = None,
    within: float = 0.0,
    *,
    signal: Tensor | None = None,
    rounded: bool = False,
) -> Tensor:
    """The latent z [B, C, h, w] after the latent warp, where `mask` [h, w] is at least `within`; as it was elsewhere. signal: see there.

    The warp itself is the whole picture's in any case: a circle around the open cells alone would press a large drag into few of them.
    """
    moved = latent_warp(z, warp_points(handles, z.shape[-2:] if rounded else None), handles.picture, settings, signal=signal)
    return moved if mask is None else torch.where(mask.to(z.device) >= within, moved, z)


def warp_points(handles: Handles, latent: tuple[int, int] | None = None) -> tuple[PointOperation, ...]:
    """The pairs for the latent warp, px.

    latent: (h, w), for the published places: a cell of the grid is a quarter of its index in latent cells, counted from the same corner,
    whatever sides the picture has. That is 3 px off where they are multiples of 8.
    """

    def px(place: tuple[float, float]) -> tuple[float, float]:
        if latent is None:
            return tuple(v * n / g for v, n, g in zip(place, handles.picture, handles.grid, strict=True))
        return tuple(((v - 0.5) / 4 + 0.5) * n / cells for v, n, cells in zip(place, handles.picture, latent[::-1], strict=True))

    return tuple(PointOperation(px(p), px(t)) for p, t in zip(handles.start, handles.targets, strict=True))
