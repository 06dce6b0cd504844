"""What the loss on one feature map of FLUX's width takes, read in tiles and read at once, for a region of some share of the picture.

    OMP_NUM_THREADS=1 python scripts/map_memory.py [SIDE_PX [SHARE]]

Bfloat16 maps of random numbers, tokens of 16 px, a region that is moved. Printed: the most that tensors held beyond the maps themselves
while two values of the loss and their gradients were made, in MB and in maps, and how long the quicker of two such turns took.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from dragfield.benchmarks.cost import peak_memory, seconds_of
from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.optimise.map_reading import TILE
from dragfield.core.optimise.supervision import RegionLoss

WIDTH, CELL, PATCH = 3072, 8, 2
CPU = torch.device("cpu")


def main(side: int = 1024, share: float = 0.5) -> None:
    cells, edge = side // CELL, round(side * share**0.5)
    mask = np.zeros((side, side), bool)
    mask[:edge, :edge] = True
    field = DragField.from_drag(Drag((side, side), (RegionOperation(mask, "relocation", target=(0.6 * edge, 0.55 * edge)),)))
    own, reference = (torch.randn(1, WIDTH, cells // PATCH, cells // PATCH, dtype=torch.bfloat16) for _ in range(2))
    own.requires_grad_()
    for name, finer in {"cells": [torch.randn(1, WIDTH, cells, cells, dtype=torch.bfloat16)], "tokens": None}.items():
        for how, tile in {f"tiles of {TILE}": TILE, "at once": cells * cells}.items():

            def work(finer=finer, tile=tile) -> None:
                loss = RegionLoss(field, [reference], (cells, cells), finer=finer, tile=tile)
                for progress in (0.5, 1.0):
                    torch.autograd.grad(loss([own], progress).sum(), own)

            taken = peak_memory(work, CPU)
            seconds = min(seconds_of(work, CPU) for _ in range(2))
            figures = f"{taken / 1e6:.0f} MB, {taken / own.nbytes:.1f} maps, {seconds:.1f} s"
            print(f"{side} px, {share:.0%}, reference_grid={name}, {how}: {figures}")


if __name__ == "__main__":
    main(*(kind(value) for kind, value in zip((int, float), sys.argv[1:], strict=False)))
