"""Where a model sees what moved: for each block and time, how often a place is found again once the picture is shifted.

A drag follows features. They serve it where a token's nearest neighbour in the features of the shifted picture is the token that shows the
same; which blocks those are, and at how much noise, differs between models (DragFlow names two blocks of FLUX.1, section 3.2). Two windows
of one picture, whole tokens apart, give a shift whose truth is known without any model. Places that look alike are confused by anyone: what
is found on one picture compares blocks, not pictures.

Convention: (x, y); tokens of one map count rows downward. A map finer than tokens is read where its cells are, by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..edits.edit import AnyBackbone, check_picture, inverted
from ..model.backbone import Autoencoder, Conditioning
from ..model.taps import Tap
from ..model.unet_taps import UNetTap
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings
from ..sampling.sampler import is_flow, sampler_of

AT_ONCE = 16
"""Maps that are held together."""
NOISY = InversionSettings(skip=2, kv_blocks="none")
"""From more noise on than drags start at."""


@dataclass(frozen=True, eq=False)
class Sight:
    """taps: places, in the order of the network.  levels: of noise, in [0, 1], descending.
    found: float [taps, levels] in [0, 1], tokens whose nearest neighbour lies within one token of the right one.
    off: float [taps, levels], tokens between the two, on the mean.  chance: what `found` would be if features said nothing.
    """

    taps: tuple[Any, ...]
    levels: tuple[float, ...]
    found: np.ndarray
    off: np.ndarray
    chance: float

    def best(self) -> tuple[Any, float]:
        """The place and the level where most is found again; the first of equals."""
        tap, level = np.unravel_index(int(self.found.argmax()), self.found.shape)
        return self.taps[tap], self.levels[level]

    def of(self, taps: Sequence[Any]) -> np.ndarray:
        """What is found at these places, on the mean, [levels]. Raises ValueError for one that was not looked at."""
        missing = [str(tap) for tap in taps if tap not in self.taps]
        if missing:
            raise ValueError(f"{missing[0]} was not looked at: name it in taps")
        return self.found[[self.taps.index(tap) for tap in taps]].mean(axis=0)


@torch.no_grad()
def where_it_sees(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    cond: Conditioning,
    *,
    taps: Sequence[Any] | None = None,
    shift: tuple[int, int] = (3, 2),
    levels: int = 4,
    inversion: InversionSettings = NOISY,
    run: RunContext = ALONE,
) -> Sight:
    """Invert two windows of `image` [1, 3, H, W], whole tokens apart, and look for each token of one in the other.

    taps: None for the output of every block, and what its attention reads.  shift: (x, y) in tokens.  levels: how many of the inversion's
    times are looked at, from the noisiest on. Raises ValueError for a picture that is too small for the shift.
    """
    taps = tuple(all_taps(backbone) if taps is None else taps)
    cell, (width, height) = window_of(backbone, autoencoder, image, shift)
    windows = []
    for sign in (1, -1):
        x, y = (cell * max(0, sign * by) for by in shift)
        windows.append(image[..., y : y + height * cell, x : x + width * cell])
    inversions = []
    for window in windows:
        run.check()
        inversions.append(inverted(backbone, autoencoder, window, cond, inversion, run=run)[0])
    last = len(inversions[0].times) - 2
    indices = sorted({round(i * last / max(levels - 1, 1)) for i in range(levels)})
    sampler = sampler_of(backbone, cond, guidance=1.0)
    found, off = (np.zeros((len(taps), len(indices))) for _ in range(2))
    for column, index in enumerate(indices):
        for first in range(0, len(taps), AT_ONCE):
            run.check()
            chosen = taps[first : first + AT_ONCE]
            first_maps, second_maps = (sampler.features(one.path[index], one.times[index], chosen) for one in inversions)
            for row, (one, other) in enumerate(zip(first_maps, second_maps, strict=True), start=first):
                found[row, column], off[row, column] = _matches(one, other, shift, (width, height))
        run.tell("check", column + 1, len(indices), inversions[0].path[index])
    chance = min(1.0, 9 / (width * height))
    return Sight(taps, tuple(inversions[0].level(index) for index in indices), found, off, chance)


def window_of(
    backbone: AnyBackbone, autoencoder: Autoencoder, image: Tensor, shift: tuple[int, int] = (3, 2)
) -> tuple[int, tuple[int, int]]:
    """px of a token's side, and (across, down) tokens of two windows that far apart. Raises ValueError for a picture that is too small."""
    check_picture(image, autoencoder.factor)
    cell = autoencoder.factor * getattr(backbone, "patch", 1)
    if not is_flow(backbone):
        # As coarse as a UNet's middle: what its maps show is shifted by whole cells of the coarsest.
        cell *= 2 ** (len(backbone.up_resnets) - 1)
    width, height = (side // cell - abs(by) for side, by in zip((image.shape[-1], image.shape[-2]), shift, strict=True))
    if min(width, height) < 4:
        least = [(4 + abs(by)) * cell for by in shift]
        raise ValueError(
            f"a picture of {image.shape[-1]} x {image.shape[-2]} px holds no two windows {shift} tokens of {cell} px apart: use at least "
            f"{least[0]} x {least[1]} px"
        )
    return cell, (width, height)


def all_taps(backbone: AnyBackbone) -> list[Any]:
    """The output of every block that a drag may read, and in a transformer what its attention reads, in the order of the network."""
    if not is_flow(backbone):
        return [UNetTap("mid"), *(UNetTap("up", k) for k in range(len(backbone.up_resnets)))]
    blocks = [("double", i) for i in range(backbone.double_blocks)] + [("single", i) for i in range(backbone.single_blocks)]
    return [Tap(kind, i, point) for kind, i in blocks for point in ("attn_in", "out")]


def _matches(one: Tensor, other: Tensor, shift: tuple[int, int], tokens: tuple[int, int]) -> tuple[float, float]:
    """Of two maps [1, C, rows, columns]: how many places are found again within one token, and how far off they are on the mean.

    shift: (x, y) tokens by which what `one` shows lies further on in `other`.  tokens: (across, down) of the window.
    """
    rows, columns = one.shape[-2:]
    scale = np.array([columns / tokens[0], rows / tokens[1]])
    dx, dy = (round(by * s) for by, s in zip(shift, scale, strict=True))
    down, across = slice(max(0, -dy), rows - max(0, dy)), slice(max(0, -dx), columns - max(0, dx))
    y, x = torch.meshgrid(torch.arange(rows)[down], torch.arange(columns)[across], indexing="ij")
    sought = normalize(one[0][:, down, across].float().flatten(1), dim=0)
    among = normalize(other[0].float().flatten(1), dim=0)
    nearest = (sought.T @ among).argmax(dim=1).cpu()
    away = torch.stack([nearest % columns - (x.flatten() + dx), nearest // columns - (y.flatten() + dy)], dim=1).double()
    away = away / torch.from_numpy(scale)
    return float((away.abs().amax(dim=1) <= 1).double().mean()), float(away.norm(dim=1).mean())
