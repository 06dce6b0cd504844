"""What a model sees, as a picture: a row for each place, a column for each level of noise, the brighter the more is found again, whether
shifted or turned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from .sight import Sight

ROW, COLUMN, MARGIN = 22, 96, 150
INK, OWN = (230, 230, 230), (255, 200, 90)


def sight_chart(sight: Sight, own: Sequence[Any] = ()) -> np.ndarray:
    """float32 [H, W, 3] in [0, 1]. own: places whose names are marked."""
    rows, columns = sight.both.shape
    heat = cv2.applyColorMap((255 * sight.both).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    heat = cv2.resize(heat, (columns * COLUMN, rows * ROW), interpolation=cv2.INTER_NEAREST)
    chart = np.full((rows * ROW + ROW, columns * COLUMN + MARGIN, 3), 32, np.uint8)
    chart[ROW:, MARGIN:] = heat

    def write(text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
        cv2.putText(chart, text, (x, y - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    write("noise", 6, ROW, INK)
    for j, level in enumerate(sight.levels):
        write(f"{level:.2f}", MARGIN + j * COLUMN + 30, ROW, INK)
    for i, tap in enumerate(sight.taps):
        write(str(tap), 6, (i + 2) * ROW, OWN if tap in own else INK)
        for j in range(columns):
            dark = (20, 20, 20) if sight.both[i, j] > 0.6 else INK
            write(f"{sight.both[i, j]:.0%}", MARGIN + j * COLUMN + 30, (i + 2) * ROW, dark)
    return chart.astype(np.float32) / 255
