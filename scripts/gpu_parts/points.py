"""SD 1.5's size with random weights: a round of a point drag, the published way and ours."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from dragfield.benchmarks import point_speed

from . import Row
from .scale import Scale, described


def points(scale: Scale, device: torch.device) -> Iterator[Row]:
    yield described(device)
    for side in scale.unet_sides:
        for row in point_speed.measure(point_speed.make_case(scale.unet, side, device), scale.repeats):
            yield {
                "side": side, "recipe": row["recipe"], "published_s": row["seconds"]["published"], "ours_s": row["seconds"]["ours"],
                "time_ratio": row["time_ratio"], "published_gib": row["memory_bytes"]["published"] / 2**30,
                "ours_gib": row["memory_bytes"]["ours"] / 2**30, "flops_ratio": row["flops_ratio"],
            }  # fmt: skip
