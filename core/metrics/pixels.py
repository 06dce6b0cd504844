"""Metrics on pixels alone.

What is compared with the source has a trap: the unchanged picture is best at it. Only the background has a right answer, exactly no change;
over the whole picture these figures say how much was changed, not how well.
"""

from __future__ import annotations

import numpy as np

from ..picture.arrival import arrivals
from ..picture.likeness import psnr, ssim_map
from .judged import Judged


def psnr_source(edit: Judged) -> float:
    """PSNR of the result to the source, dB; 100 for no change at all."""
    return psnr(edit.after, edit.before)


def ssim_source(edit: Judged) -> float:
    """Structural similarity of the result to the source (Wang et al. 2004: Gaussian windows of 1.5 px), mean of pixels and colours."""
    return float(ssim_map(edit.after, edit.before).mean())


def psnr_background(edit: Judged) -> float | None:
    """PSNR outside of the mask, dB; None where the mask is everything."""
    outside = ~edit.mask
    return psnr(edit.after[outside], edit.before[outside]) if outside.any() else None


def max_background(edit: Judged) -> float | None:
    """Largest change outside of the mask, levels of 255: 0 is a background kept bit for bit."""
    outside = ~edit.mask
    return float(np.rint(np.abs(edit.after - edit.before)[outside].max() * 255)) if outside.any() else None


def psnr_truth(edit: Judged) -> float | None:
    """PSNR inside of the mask to what the picture should have become, dB; None where that is not known."""
    return None if edit.truth is None else psnr(edit.after[edit.mask], edit.truth[edit.mask])


def ssim_truth(edit: Judged) -> float | None:
    """Structural similarity inside of the mask to what the picture should have become."""
    return None if edit.truth is None else float(ssim_map(edit.after, edit.truth)[edit.mask].mean())


def arrival(edit: Judged) -> list[float]:
    """How far from its target each operation was found, px: what the field says should come there is looked for (arrival.py).

    Regions first, then points. What looks like its ground is found anywhere, so a single value may be far off.
    """
    return [found.off for found in arrivals(edit.before, edit.after, edit.drag)]
