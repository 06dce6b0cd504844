"""All metrics by name: which direction is better, what each needs, and how it is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Literal

from . import judge, matching, perceptual, pixels
from .backbones import Backbones
from .clip_similarity import clip_similarity
from .dai import RADII, dai, dai_published
from .dreamsim import dreamsim
from .judged import Judged

Value = float | list[float] | None
"""A number, one for each operation, or None where the metric says nothing of an edit."""


@dataclass(frozen=True)
class Metric:
    """better: which direction is.  needs: the network, "" for none.  pooled: its mean is over all operations of a data set, not samples.
    unit: of its value, "" for none.  of_truth: whether it compares with the picture's truth, and says nothing without one."""

    name: str
    better: Literal["higher", "lower"]
    measure: Callable[[Judged, Backbones], Value]
    needs: str = ""
    pooled: bool = False
    unit: str = ""
    of_truth: bool = False


def _plain(measure: Callable[[Judged], Value]) -> Callable[[Judged, Backbones], Value]:
    return lambda edit, _: measure(edit)


def _by(network: str, measure: Callable[..., Value]) -> Callable[[Judged, Backbones], Value]:
    return lambda edit, backbones: measure(edit, getattr(backbones, network))


def _clip(edit: Judged, backbones: Backbones) -> float:
    return clip_similarity(edit, backbones.clip_network, backbones.clip_network.side)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr_source", "higher", _plain(pixels.psnr_source), unit="dB"),
        Metric("ssim_source", "higher", _plain(pixels.ssim_source)),
        Metric("psnr_background", "higher", _plain(pixels.psnr_background), unit="dB"),
        Metric("max_background", "lower", _plain(pixels.max_background), unit="of 255"),
        Metric("psnr_truth", "higher", _plain(pixels.psnr_truth), unit="dB", of_truth=True),
        Metric("ssim_truth", "higher", _plain(pixels.ssim_truth), of_truth=True),
        Metric("arrival", "lower", _plain(pixels.arrival), unit="px"),
        *(Metric(f"dai_{radius}", "lower", _plain(partial(dai, radius=radius))) for radius in RADII),
        *(Metric(f"dai_{radius}_published", "lower", _plain(partial(dai_published, radius=radius))) for radius in RADII),
        Metric("if", "higher", _by("lpips_network", perceptual.fidelity), "lpips"),
        Metric("if_bg", "higher", _by("lpips_network", perceptual.background_fidelity), "lpips"),
        Metric("if_s2t", "higher", _by("lpips_network", perceptual.source_to_target), "lpips"),
        Metric("if_s2s", "lower", _by("lpips_network", perceptual.source_to_source), "lpips"),
        Metric("clip", "higher", _clip, "clip"),
        Metric("dreamsim", "lower", _by("dreamsim_network", dreamsim), "dreamsim"),
        Metric("md", "lower", _by("dift_network", matching.mean_distance), "dift", pooled=True, unit="px"),
        Metric("md1", "lower", _by("dift_network", matching.within_mask), "dift", unit="px"),
        Metric("md2", "lower", _by("dift_network", matching.normalised), "dift", unit="%"),
        Metric("gscore", "higher", _by("judge", judge.quality), "judge", unit="of 10"),
        Metric("gscore_drag", "higher", _by("judge", judge.drag_done), "judge", unit="of 10"),
    )
}


def mean_value(value: Value) -> float | None:
    """One number for an edit: the mean of its operations where a metric judges each."""
    return (fmean(value) if value else None) if isinstance(value, list) else value


def check_known(names: Sequence[str]) -> None:
    """Raises: ValueError for an unknown metric, naming all."""
    for name in names:
        if name not in METRICS:
            raise ValueError(f"metric {name!r} is unknown: use some of {', '.join(METRICS)}")


def chosen(names: Sequence[str], backbones: Backbones) -> tuple[str, ...]:
    """The metrics of `names`, all that the backbones allow if there are none.

    Raises: ValueError for an unknown metric and for one whose network is not named.
    """
    check_known(names)
    for name in names:
        if not backbones.has(METRICS[name].needs):
            raise ValueError(f"metric {name} needs a network: name it by --{METRICS[name].needs}, or leave the metric out")
    return tuple(names) or tuple(name for name, metric in METRICS.items() if backbones.has(metric.needs))
