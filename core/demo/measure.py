"""Exact measures of an edit where the truth is known.

The object is found as what differs from the clean plate (the same scene without it), so no detector or feature can be fooled. All measures
are taken on pictures float [H, W, 3] in [0, 1] and inside the mask that the edit was allowed to change.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..picture.likeness import psnr, ssim_map
from .cases import DemoCase
from .scenes import UNIT

SEAM = 8.0
"""Width of the band along outlines to either side, px of a picture of 256."""
SEEN = (0.12, 0.35)
"""Differences to the plate (the largest of the three colours) from which a pixel begins to count as the object, and in full. Below lie an
autoencoder's own error and a ground filled not quite right."""


@dataclass(frozen=True)
class Measured:
    """centroid_error_px: distance of the object's centroid (its shadow included) to the truth's, px of the picture.
    rotation_error_deg: |angle|, rotations only.  psnr_truth_db, psnr_truth_mask_db: over the picture, and inside the mask.
    background_max_abs: largest difference to the source outside of the mask.  source_left: how much of the object still stands where it
    was: 0 = the truth is there, 1 = the source is; None where source and truth hardly differ there.
    psnr_truth_seam_db: inside the mask within SEAM px of where the outline of the region was and is: seams, joints, what was uncovered.
    """

    centroid_error_px: float
    rotation_error_deg: float | None
    psnr_truth_db: float
    psnr_truth_mask_db: float
    background_max_abs: float
    source_left: float | None
    psnr_truth_seam_db: float
    object_ssim: float


def measure(case: DemoCase, result: np.ndarray, mask: np.ndarray) -> Measured:
    """result: the edited picture [H, W, 3]; mask: bool [H, W], where it was allowed to change."""
    outside = np.abs(result - case.source)[~mask]
    return Measured(
        centroid_error_px=float(np.hypot(*(_centroid(case, result, mask) - _centroid(case, case.truth, mask)))),
        rotation_error_deg=rotation_error(case, result, mask) if case.task == "rotation" else None,
        psnr_truth_db=psnr(result, case.truth),
        psnr_truth_mask_db=psnr(result[mask], case.truth[mask]),
        background_max_abs=float(outside.max()) if outside.size else 0.0,
        source_left=source_left(case, result),
        psnr_truth_seam_db=psnr(result[seam := seam_band(case, mask)], case.truth[seam]),
        object_ssim=float(ssim_map(result, case.truth)[case.landed].mean()),
    )


def seam_band(case: DemoCase, mask: np.ndarray) -> np.ndarray:
    """Within SEAM px of the outline of the region, where it was and where it belongs, inside of `mask`. bool [H, W]."""
    size = 2 * round(SEAM * case.size / UNIT) + 1
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    band = np.zeros(mask.shape, bool)
    for part in (case.region, case.landed):
        part = part.astype(np.uint8)
        band |= (cv2.dilate(part, reach) > 0) & (cv2.erode(part, reach) == 0)
    return band & mask


def source_left(case: DemoCase, result: np.ndarray) -> float | None:
    """Share of the way back from truth to source, by projection, over the vacated part of the region. In about [0, 1]."""
    grown = cv2.dilate(case.landed.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    vacated = case.region & ~grown
    if case.task == "deformation" or vacated.sum() < 0.1 * case.region.sum():
        return None
    left, whole = result[vacated] - case.truth[vacated], case.source[vacated] - case.truth[vacated]
    energy = float((whole**2).sum())
    if energy < 0.005 * whole.size:
        return None
    return max(0.0, float((left * whole).sum()) / energy)


def rotation_error(case: DemoCase, result: np.ndarray, mask: np.ndarray, span: float = 90.0) -> float:
    """Angle in degrees between the truth and the turned truth that fits the result best, within +-span."""
    error = {}
    for step, reach in ((6.0, span), (1.0, 5.0)):
        centre = min(error, key=error.get) if error else 0.0
        for turn in np.arange(centre - reach, centre + reach + 1e-6, step):
            turn = float(turn)
            if turn not in error:
                error[turn] = float(((case.truth_with(turn)[mask] - result[mask]) ** 2).mean())
    return abs(min(error, key=error.get))


def _centroid(case: DemoCase, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weight = np.clip((np.abs(image - case.plate).max(-1) - SEEN[0]) / (SEEN[1] - SEEN[0]), 0, 1) * mask
    total = weight.sum()
    if total < 1e-3:
        # Nothing to be seen: as far off as the picture is wide.
        return np.full(2, -float(max(image.shape[:2])))
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weight * xs).sum() / total, (weight * ys).sum() / total])
