"""How alike two pictures are, where the true one is known."""

from __future__ import annotations

import numpy as np


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio in dB of values in [0, 1]; identical pictures give 100."""
    return float(-10 * np.log10(max(np.mean((a - b) ** 2), 1e-10)))
