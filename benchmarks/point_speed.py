"""Suite `point-speed`: what one round of a point drag costs, done the published way and done ours, side by side in one run.

SD 1.5's proportions (4 levels of 1, 2, 4 and 4 widths, two ResNet blocks each, attention in the first three) and the readout head that
belongs to them; weights are random, which time does not mind. A round is three gradient steps. Ours is measured with two recipes: "same
loss" descends the published loss step by step, "carry" is the recipe of our own edits. All take turns, so that whatever else the machine
does hits them alike; times are medians.

`time_ratio`, `memory_ratio` and `flops_ratio` are published over ours: above 1 is better. The report's own are the lowest of "carry".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..core.backbones.unet import DiffusersUNet
from ..core.demo.directdrag_settings import DRAG
from ..core.instruction.operations import PointOperation
from ..core.model.backbone import Conditioning
from ..core.model.readout import ReadoutHead
from ..core.optimise.appearance import ReadoutSettings, appearance_term, readout_of
from ..core.optimise.handles import Handles, make_handles
from ..core.optimise.point_drag import PointDragState, point_drag
from ..core.optimise.point_drag_settings import PointDragSettings
from ..core.sampling.sampler import NoiseSampler
from ..core.training.readout_training import new_head
from .cost import count_flops, peak_memory, seconds_of, take
from .published_points import PublishedPointDrag

CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
SD15 = {
    "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "attention_head_dim": 8, "cross_attention_dim": 768,
    "down_block_types": (CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, "DownBlock2D"), "up_block_types": ("UpBlock2D", CROSS_UP, CROSS_UP, CROSS_UP),
}  # fmt: skip
LEVELS = (1, 2, 4, 4)
"""Widths of the levels in multiples of the first (SD 1.5: 320)."""

TIME, NEXT = 741, 721
DEFAULTS = PointDragSettings()
RECIPES = {"same loss": DEFAULTS, "carry": DRAG}


@dataclass(frozen=True, eq=False)
class Case:
    """One model at one picture size with one drag, ready for both ways."""

    name: str
    size: int
    backbone: DiffusersUNet
    head: ReadoutHead
    z: Tensor
    cond: Conditioning
    handles: Handles
    mask: Tensor
    readout: ReadoutSettings = ReadoutSettings()

    def ours(self, settings: PointDragSettings = DEFAULTS) -> Iterator[PointDragState]:
        """Our steps, endlessly enough."""
        probe = NoiseSampler(self.backbone, self.cond)
        wanted = readout_of(probe, self.head, self.z, TIME, self.readout)
        term = appearance_term(probe, self.head, self.z, TIME, wanted, self.readout)
        endless = replace(settings, rounds=1000, patience=None)
        return point_drag(probe, self.z, TIME, self.handles, self.mask, endless, reference=self.z, t_next=NEXT, terms=[term])

    def published(self, settings: PointDragSettings = DEFAULTS) -> PublishedPointDrag:
        return PublishedPointDrag(
            self.backbone, self.z, TIME, NEXT, self.cond, self.handles, self.mask, settings, self.head, self.readout
        )


def run(
    sizes: Sequence[int] = (256, 512),
    widths: Sequence[int] = (320,),
    *,
    device: str = "auto",
    repeats: int = 3,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Measure SD 1.5's proportions at each width (of its first level, multiples of 32; SD 1.5: 320) and size (px, multiples of 64).

    repeats: timed rounds a way.  progress(done, total, what) is told before each case.
    -> {"suite", "device", "threads", "torch", "time_ratio", "memory_ratio", "flops_ratio", "cases": [...]}, see `measure`.
    """
    if bad := [s for s in sizes if s < 64 or s % 64]:
        raise ValueError(f"size {bad[0]} does not fit: use multiples of 64 px")
    if bad := [w for w in widths if w < 32 or w % 32]:
        raise ValueError(f"width {bad[0]} does not fit groups of 32: use multiples of 32 (SD 1.5: 320)")
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    cases: list[dict[str, Any]] = []
    for width in widths:
        for size in sizes:
            if progress is not None:
                progress(len(cases), len(widths) * len(sizes), f"sd15-{width} at {size} px")
            cases += measure(make_case(width, size, where), repeats)
    return {
        "suite": "point-speed",
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "repeats": repeats,
        **{
            name: min(case[name] for case in cases if case["recipe"] == "carry")
            for name in ("time_ratio", "memory_ratio", "flops_ratio")
        },
        "cases": cases,
    }


def measure(case: Case, repeats: int) -> list[dict[str, Any]]:
    """Seconds, peak bytes and FLOPs of one round, both ways, a row for each recipe of ours; bytes with the pass for the reference."""
    device, count = case.z.device, DEFAULTS.steps_per_round
    recipes = {"published": case.published, **{name: partial(case.ours, settings) for name, settings in RECIPES.items()}}
    memory = {name: peak_memory(lambda start=start: take(start(), count), device) for name, start in recipes.items()}
    flops, seconds = {}, {name: [] for name in recipes}
    published, ours = case.published(), {name: case.ours(settings) for name, settings in RECIPES.items()}
    rounds = {"published": published, **ours}

    def one_round(name: str) -> None:
        if name == "published":
            # The weights are one and the same: they take gradients in the published steps and are frozen in ours.
            case.backbone.model.requires_grad_(True)
            case.head.requires_grad_(True)
        for _ in range(count):
            next(rounds[name])
        if name == "published":
            published.close()

    for name in recipes:
        # The first one looks at the reference too.
        one_round(name)
        flops[name] = count_flops(partial(one_round, name))
    for _ in range(repeats):
        for name in recipes:
            seconds[name].append(seconds_of(partial(one_round, name), device))
    times = {name: median(taken) for name, taken in seconds.items()}
    measured = {"seconds": times, "memory_bytes": memory, "flops": flops}
    rows = []
    for name in RECIPES:
        both = {what: {"published": figures["published"], "ours": figures[name]} for what, figures in measured.items()}
        short = {"seconds": "time_ratio", "memory_bytes": "memory_ratio", "flops": "flops_ratio"}
        ratios = {short[what]: figures["published"] / figures["ours"] for what, figures in both.items()}
        rows.append({"model": case.name, "size": case.size, "recipe": name, **both, **ratios})
    return rows


def make_case(width: int, size: int, device: torch.device, projection: int | None = None, groups: int = 32, **config: Any) -> Case:
    """A model of that width with random weights, its readout head, and one pair of points a quarter of the picture apart.

    projection: of the head; None: SD 1.5's 384 at its width of 320, less with less, a multiple of 4 · groups.
    """
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    levels = tuple(width * n for n in LEVELS)
    backbone = DiffusersUNet(UNet2DConditionModel(**{**SD15, "block_out_channels": levels, "sample_size": size // 8, **config}).to(device))
    z = torch.randn(1, 4, size // 8, size // 8, device=device)
    cond = Conditioning(torch.randn(1, 77, backbone.model.config.cross_attention_dim, device=device))
    projection = projection or max(1, round(384 * width / 320 / (4 * groups))) * 4 * groups
    head = new_head(NoiseSampler(backbone, cond), projection, groups).eval().requires_grad_(False)
    handles = make_handles([PointOperation((0.35 * size, 0.5 * size), (0.6 * size, 0.5 * size))], (size, size), rounded=True)
    mask = torch.full((size // 8, size // 8), 0.5, device=device)
    return Case(f"sd15-{width}", size, backbone, head, z, cond, handles, mask)
