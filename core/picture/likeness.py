"""How alike two pictures are, where the true one is known."""

from __future__ import annotations

import cv2
import numpy as np


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio in dB of values in [0, 1]; identical pictures give 100."""
    return float(-10 * np.log10(max(np.mean((a - b) ** 2), 1e-10)))


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of two pictures [H, W, 3] in [0, 1] at each pixel, mean of the colours. -> float32 [H, W] in [-1, 1].

    Wang et al. 2004: Gaussian windows of 1.5 px, constants 0.01 and 0.03.
    """

    def blurred(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image.astype(np.float32), (11, 11), 1.5)

    mean_a, mean_b = blurred(a), blurred(b)
    spread_a, spread_b = blurred(a * a) - mean_a * mean_a, blurred(b * b) - mean_b * mean_b
    together = blurred(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + 0.01**2) / (mean_a * mean_a + mean_b * mean_b + 0.01**2)
    structure = (2 * together + 0.03**2) / (spread_a + spread_b + 0.03**2)
    return (light * structure).mean(axis=-1)
