"""Mean distance: where what was at a start is found in the result, by features of a network, and how far that is from the target.

Three protocols, none comparable with another:
- `mean_distance`: DragBench's (DragDiffusion, GoodDrag, DirectDrag). px, over the whole picture, with the picture's prompt.
- `within_mask`: DragFlow's MD_1. px, inside of the editable mask (its appendix says outside; its code and section 4.2 say inside).
- `normalised`: DragFlow's MD_2, from RegionDrag. Percent of the picture's sides, at 768 x 768 px, in two discs alone.

Features mistake look-alikes for each other and don't mind a copy left behind: a plain warp of pixels scores near the best, and belongs in
every table.

Convention: places are (x, y) px with centres at +0.5; a place is read at the pixel that it lies in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..field.geometry import Point, Size
from ..field.warp import sample
from ..picture.compose import tensor_of
from .dift import Dift
from .judged import Judged

STRIP = 16
"""Rows of the picture whose features are held at a time: those of a whole picture are a gigabyte."""
SQUARE = 768
NEAREST_DISC = 5.0


def mean_distance(edit: Judged, dift: Dift) -> list[float]:
    """MD of DragBench, one for each operation, px: lower is better. A data set's is the mean over all operations, not over pictures."""
    return _found(edit, dift, edit.prompt, None)


def within_mask(edit: Judged, dift: Dift) -> list[float]:
    """MD_1 (DragFlow 4.2), px: the search is kept to the editable mask, and the prompt is empty. Mean over operations, then pictures."""
    return _found(edit, dift, "", edit.mask)


def normalised(edit: Judged, dift: Dift) -> list[float]:
    """MD_2 (DragFlow 4.2, RegionDrag), x 100: features of the pictures at 768 x 768 px (nearest pixels, posterior mean), the search in the
    discs around start and target of radius max(5, way / sqrt 2); distances as parts of the picture's width and height. The published code
    runs in half precision, this in single. Mean over operations, then pictures."""
    noise = torch.Generator().manual_seed(edit.seed)
    source, result = (
        dift.features(F.interpolate(tensor_of(picture), (SQUARE, SQUARE), mode="nearest"), noise, sampled=False)
        for picture in (edit.before, edit.after)
    )
    (width, height), distances = edit.size, []
    for operation in edit.operations:
        (x, y), cells = pixel_of(operation.start, edit.size), source.shape[-2:]
        query = source[:, int(y * cells[0] / height), int(x * cells[1] / width)]
        alike = F.cosine_similarity(query[:, None, None], result, dim=0)
        near = _discs(operation.start, operation.target, edit.size)
        found = _best(F.interpolate(alike[None, None], (height, width), mode="nearest")[0, 0].cpu().numpy(), near)
        off = ((t - m) / side for t, m, side in zip(operation.target, found, edit.size, strict=True))
        distances.append(100 * math.hypot(*off))
    return distances


def similarity(query: Tensor, features: Tensor, size: Size) -> np.ndarray:
    """Cosine of a query [C] with features [C, h, w] as they are bilinearly on a picture of `size` (align_corners=False). -> [H, W]."""
    rows = [F.cosine_similarity(query[None, :, None], strip, dim=1) for strip in _strips(features, size)]
    return torch.cat(rows).cpu().numpy()


def pixel_of(place: Point, size: Size) -> tuple[int, int]:
    """The pixel of a picture that a place lies in."""
    x, y = (min(max(int(v), 0), side - 1) for v, side in zip(place, size, strict=True))
    return x, y


def _found(edit: Judged, dift: Dift, prompt: str, where: np.ndarray | None) -> list[float]:
    noise = torch.Generator().manual_seed(edit.seed)
    source, result = (dift.features(tensor_of(picture), noise, prompt=prompt) for picture in (edit.before, edit.after))
    cells, distances = (source.shape[-1], source.shape[-2]), []
    for operation in edit.operations:
        place = [(v + 0.5) * n / side for v, n, side in zip(pixel_of(operation.start, edit.size), cells, edit.size, strict=True)]
        query = sample(source[None], torch.tensor([place], device=source.device))[0, :, 0]
        found = _best(similarity(query, result, edit.size), where)
        distances.append(math.dist(found, operation.target))
    return distances


def _strips(features: Tensor, size: Size) -> Iterator[Tensor]:
    """Features on a picture's rows, a few at a time: [rows, C, W]."""
    (width, height), cells = size, features.shape[-2]
    for first in range(0, height, STRIP):
        rows = torch.arange(first, min(first + STRIP, height), device=features.device)
        place = ((rows + 0.5) * cells / height - 0.5).clamp(0, cells - 1)
        low = place.floor().long()
        share = (place - low)[:, None, None]
        lines = features.permute(1, 0, 2)
        mixed = lines[low] * (1 - share) + lines[(low + 1).clamp(max=cells - 1)] * share
        yield F.interpolate(mixed, width, mode="linear", align_corners=False)


def _best(alike: np.ndarray, where: np.ndarray | None) -> Point:
    """The middle of the first pixel, row by row, that is most alike. where: bool [H, W], the candidates."""
    alike = alike if where is None else np.where(where, alike, -np.inf)
    row, column = divmod(int(alike.argmax()), alike.shape[1])
    return column + 0.5, row + 0.5


def _discs(start: Point, target: Point, size: Size) -> np.ndarray:
    """Pixels closer to start or target than the radius of the search. bool [H, W]."""
    radius = max(NEAREST_DISC, math.dist(start, target) / math.sqrt(2))
    x, y = np.arange(size[0]) + 0.5, np.arange(size[1])[:, None] + 0.5
    near = [np.hypot(x - px, y - py) < radius for px, py in (start, target)]
    return near[0] | near[1]
