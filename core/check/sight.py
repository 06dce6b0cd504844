"""Where a model sees what moved: for each block and time, how often a place is found again once the picture is shifted, and turned.

A drag follows features. They serve it where a token's nearest neighbour in the features of the shifted picture is the token that shows the
same; which blocks those are, and at how much noise, differs between models (DragFlow names two blocks of FLUX.1, section 3.2). Two windows
of one picture, whole tokens apart, give a shift whose truth is known without any model; the first window turned about its middle gives a
turn. Places that look alike are confused by anyone: what is found on one picture compares blocks, not pictures.

Convention: (x, y); tokens of one map count rows downward. A map finer than tokens is read where its cells are, by the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..edits.edit import AnyBackbone, check_picture
from ..model.backbone import Autoencoder, Conditioning
from ..model.taps import Tap
from ..model.unet_taps import UNetTap
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings
from ..sampling.sampler import is_flow, sampler_of
from .walk import walked

AT_ONCE = 16
"""Maps that are held together."""
WITHIN = 1.0
"""Tokens, in x and in y, within which a place counts as found again."""
NOISY = InversionSettings(skip=2, kv_blocks="none")
"""From more noise on than drags start at."""


@dataclass(frozen=True, eq=False)
class Sight:
    """taps: places, in the order of the network.  levels: of noise, in [0, 1], descending.
    found: float [taps, levels] in [0, 1], of the shifted picture: tokens whose nearest neighbour lies within one token of the right one.
    off: float [taps, levels], tokens between the two, on the mean.  turned: as `found`, of the turned picture.
    chance: what `found` would be if features said nothing.
    """

    taps: tuple[Any, ...]
    levels: tuple[float, ...]
    found: np.ndarray
    off: np.ndarray
    turned: np.ndarray
    chance: float

    @property
    def both(self) -> np.ndarray:
        """[taps, levels]: what is found of the shifted picture and of the turned one, on the mean."""
        return (self.found + self.turned) / 2

    def best(self) -> tuple[Any, float]:
        """The place and the level where most is found again, shifted and turned; the first of equals."""
        tap, level = np.unravel_index(int(self.both.argmax()), self.found.shape)
        return self.taps[tap], self.levels[level]

    def of(self, taps: Sequence[Any]) -> np.ndarray:
        """What is found at these places, shifted and turned, on the mean, [levels]. Raises ValueError for one that was not looked at."""
        missing = [str(tap) for tap in taps if tap not in self.taps]
        if missing:
            raise ValueError(f"{missing[0]} was not looked at: name it in taps")
        return self.both[[self.taps.index(tap) for tap in taps]].mean(axis=0)


@torch.no_grad()
def where_it_sees(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    cond: Conditioning,
    *,
    taps: Sequence[Any] | None = None,
    shift: tuple[int, int] = (3, 2),
    turn: float = 20.0,
    levels: int = 4,
    inversion: InversionSettings = NOISY,
    run: RunContext = ALONE,
) -> Sight:
    """Invert two windows of `image` [1, 3, H, W], whole tokens apart, and the first one turned; look for each token of it in the others.

    taps: None for the output of every block, and what its attention reads.  shift: (x, y) in tokens.  turn: degrees, positive clockwise on
    the screen; only tokens in the circle that stays in sight count.  levels: how many of the inversion's times are looked at, from the
    noisiest on. Raises ValueError for a picture that is too small for the shift.
    """
    taps = tuple(all_taps(backbone) if taps is None else taps)
    cell, (width, height) = window_of(backbone, autoencoder, image, shift)
    windows = []
    for sign in (1, -1):
        x, y = (cell * max(0, sign * by) for by in shift)
        windows.append(image[..., y : y + height * cell, x : x + width * cell])
    windows.append(_turned(windows[0], turn))
    inversions = [walked(backbone, autoencoder, window, cond, inversion, run) for window in windows]
    last = len(inversions[0].times) - 2
    indices = sorted({round(i * last / max(levels - 1, 1)) for i in range(levels)})
    sampler = sampler_of(backbone, cond, guidance=1.0)
    found, off, turned = (np.zeros((len(taps), len(indices))) for _ in range(3))
    for column, index in enumerate(indices):
        for first in range(0, len(taps), AT_ONCE):
            run.check()
            chosen = taps[first : first + AT_ONCE]
            maps = [sampler.features(one.path[index], one.times[index], chosen) for one in inversions]
            for row, (one, moved, spun) in enumerate(zip(*maps, strict=True), start=first):
                found[row, column], off[row, column] = _matches(one, moved, *_shift_of(one, shift, (width, height)), (width, height))
                turned[row, column], _ = _matches(one, spun, *_turn_of(one, turn, (width, height)), (width, height))
        run.tell("check", column + 1, len(indices), inversions[0].path[index])
    chance = min(1.0, 9 / (width * height))
    return Sight(taps, tuple(inversions[0].level(index) for index in indices), found, off, turned, chance)


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


def _turned(image: Tensor, degrees: float) -> Tensor:
    """The picture [1, 3, H, W] turned about its middle, its border continued outwards."""
    height, width = image.shape[-2:]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    pixels = image[0].movedim(0, -1).float().cpu().numpy()
    spun = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return torch.from_numpy(spun).movedim(-1, 0)[None].clamp(0, 1).to(image)


def _places(one: Tensor) -> Tensor:
    """Middles of a map's cells [rows, columns, 2], (x, y) in cells from its corner."""
    rows, columns = one.shape[-2:]
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).double()


def _shift_of(one: Tensor, shift: tuple[int, int], tokens: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which cells of a map are still seen after the shift, bool [rows, columns], and where [rows, columns, 2], (x, y) cells."""
    rows, columns = one.shape[-2:]
    dx, dy = round(shift[0] * columns / tokens[0]), round(shift[1] * rows / tokens[1])
    there = _places(one) + torch.tensor([dx, dy])
    return ((there > 0) & (there < torch.tensor([columns, rows]))).all(dim=-1), there


def _turn_of(one: Tensor, degrees: float, tokens: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The same for a turn about the middle."""
    rows, columns = one.shape[-2:]
    cells = torch.tensor([tokens[0] / columns, tokens[1] / rows], dtype=torch.float64)
    angle, middle = math.radians(degrees), torch.tensor(tokens, dtype=torch.float64) / 2
    spin = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    from_middle = _places(one) * cells - middle
    seen = from_middle.norm(dim=-1) < min(tokens) / 2 - 0.5
    return seen, (from_middle @ spin + middle) / cells


def _matches(one: Tensor, other: Tensor, seen: Tensor, there: Tensor, tokens: tuple[int, int]) -> tuple[float, float]:
    """Of two maps [1, C, rows, columns]: how many places are found again within one token, and how far off they are on the mean.

    seen: bool [rows, columns], cells of `one` to be looked for.  there: [rows, columns, 2], where they are in `other`, (x, y) cells.
    tokens: (across, down) of the window.
    """
    rows, columns = one.shape[-2:]
    sought = normalize(one[0].float()[:, seen.to(one.device)], dim=0)
    among = normalize(other[0].float().flatten(1), dim=0)
    nearest = (sought.T @ among).argmax(dim=1).cpu()
    away = torch.stack([nearest % columns, nearest // columns], dim=1) + 0.5 - there[seen]
    away = away * torch.tensor([tokens[0] / columns, tokens[1] / rows])
    return float((away.abs().amax(dim=1) <= WITHIN).double().mean()), float(away.norm(dim=1).mean())
