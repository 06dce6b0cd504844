"""How the cost of a drag iteration grows, with the picture's size, the dtype, the architecture and the number of operations: part of suite
`speed`.

One of the four is changed at a time, from a base that stands in every axis. The setups of an axis take turns, so that whatever else the
machine does hits them alike; times are medians, and every figure is also told as a ratio to the base in the same turns. Models have random
weights, which time does not mind: FLUX.1-dev's and SD 1.5's proportions at a fraction of their width, and the shapes of the bundled models.

    OUT/growth.csv, growth.md   a row for each setup
    OUT/growth.svg              the ratios, axis by axis (growth_plot.py)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from ..core.backbones.flux import DiffusersFlux
from ..core.backbones.unet import DiffusersUNet
from ..core.demo import flux as demo_flux
from ..core.demo import unet as demo_unet
from ..core.field import DragField
from ..core.field.masks import adaptive_gradient_mask, to_latent
from ..core.instruction.operations import Drag, RegionOperation
from ..core.model.attention import KVBank
from ..core.model.backbone import Conditioning
from ..core.model.blocks import choose_blocks
from ..core.optimise.region_drag import DragState, RegionDragSettings, region_drag
from ..core.sampling.noise_as_flow import NoiseAsFlow
from ..core.sampling.sampler import FlowSampler
from .cost import count_flops, peak_memory, seconds_of
from .growth_plot import plot
from .point_speed import LEVELS, SD15
from .speed import FLUX, TIME

RADIUS = 0.08
"""Of each region, a disc, in sides of the picture: 2 % of it."""
MOST = 8
"""Regions that find room beside each other."""
FIGURES = ("seconds", "flops", "memory_bytes")


@dataclass(frozen=True)
class Setup:
    """model: of MODELS.  size: a square's side, px.  dtype: of the weights, torch's name.  operations: regions that are dragged at once."""

    model: str = "flux-256"
    size: int = 256
    dtype: str = "float32"
    operations: int = 1

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model {self.model!r} is unknown: use one of {', '.join(MODELS)}")
        if self.size < 64 or self.size % 64:
            raise ValueError(f"size {self.size} does not fit: use multiples of 64 px")
        if not 1 <= self.operations <= MOST:
            raise ValueError(f"{self.operations} operations: use 1 to {MOST}")


AXES: dict[str, tuple[Any, ...]] = {
    "size": (128, 192, 256, 384),
    "dtype": ("float32", "bfloat16"),
    "model": ("flux-256", "demo-flux", "sd15-160", "demo-unet"),
    "operations": (1, 2, 4, 8),
}
"""What is changed, one at a time."""


def run(
    base: Setup | None = None,
    axes: Mapping[str, Sequence[Any]] = AXES,
    *,
    device: str = "cpu",
    repeats: int = 3,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Measure every axis. base: what the others are a ratio to; it is measured in every axis, whether its values name it or not.

    repeats: timed iterations of each setup.  progress(done, total, what) is told before each setup is made.
    -> {"base", "axes": {axis: [{"value", "seconds", "flops", "memory_bytes", and "ratio": the same three over the base's}]}}
    """
    base = base or Setup()
    setups = {axis: [replace(base, **{axis: value}) for value in values] for axis, values in axes.items()}
    total, done = sum(map(len, setups.values())), 0
    found: dict[str, list[dict[str, Any]]] = {}
    counted: dict[Setup, dict[str, int]] = {}
    for axis, others in setups.items():
        running: dict[Setup, Iteration] = {}
        for setup in dict.fromkeys((base, *others)):
            if progress is not None:
                progress(done, total, f"{axis} {getattr(setup, axis)}")
            running[setup] = one = Iteration(setup, device)
            # Counts are the same whenever they are taken, times are not.
            if setup not in counted:
                counted[setup] = {"flops": count_flops(one), "memory_bytes": peak_memory(one, one.device)}
            done += setup in others
        taken = turns(running.values(), repeats)
        figures = {setup: {"seconds": seconds, **counted[setup]} for setup, seconds in zip(running, taken, strict=True)}
        found[axis] = [
            {"value": getattr(setup, axis), **{name: figures[setup][name] for name in FIGURES},
             "ratio": {name: figures[setup][name] / figures[base][name] for name in FIGURES}}
            for setup in others
        ]  # fmt: skip
        network.cache_clear()
    return {"base": vars(base), "repeats": repeats, "axes": found}


class Iteration:
    """One iteration a call, of a drag whose first, which makes the reference too, is done. Regions are discs of 2 % of the picture, each
    moved by a fifth of its side."""

    def __init__(self, setup: Setup, device: str) -> None:
        backbone, cond = network(setup.model, setup.dtype, device)
        size, side = setup.size, setup.size // 8
        z = torch.randn(1, backbone.latent_channels, side, side, generator=torch.Generator().manual_seed(0)).to(device)
        drag = Drag((size, size), tuple(_disc(size, i) for i in range(setup.operations)))
        movable = to_latent(adaptive_gradient_mask(drag), (side, side)).to(device)
        settings = replace(RegionDragSettings(), transport_steps=1000)
        if isinstance(backbone, DiffusersUNet):
            # As edits drag regions on a UNet; its maps are one value a latent cell already.
            flow = NoiseAsFlow(backbone)
            settings, held = replace(settings, taps=flow.taps, reference_grid="tokens"), None
        else:
            flow = backbone
            bank = KVBank(choose_blocks("non_ridge", backbone.double_blocks, backbone.single_blocks), text_in_single=True)
            with torch.no_grad():
                backbone.velocity(z, TIME, cond, kv=bank.capture())
            held = bank.hold()
        sampler = FlowSampler(flow, cond, settings.guidance, held)
        self.device = z.device
        self._steps: Iterator[DragState] = region_drag(sampler, z, TIME, DragField.from_drag(drag), movable, settings)
        self()

    def __call__(self) -> None:
        next(self._steps)


def turns(running: Iterable[Iteration], repeats: int) -> list[float]:
    """Median seconds of an iteration of each."""
    running = list(running)
    seconds: list[list[float]] = [[] for _ in running]
    for _ in range(repeats):
        for taken, one in zip(seconds, running, strict=True):
            taken.append(seconds_of(one, one.device))
    return [median(taken) for taken in seconds]


@lru_cache(8)
def network(model: str, dtype: str, device: str) -> tuple[DiffusersFlux | DiffusersUNet, Conditioning]:
    """A model of that shape with random weights, and a random prompt."""
    from diffusers import FluxTransformer2DModel, UNet2DConditionModel

    config, text = MODELS[model]
    flow = "num_single_layers" in config
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    made = (FluxTransformer2DModel if flow else UNet2DConditionModel)(**config)
    # Not by diffusers' own cast, which warns of checkpoints that keep parts in float32.
    torch.nn.Module.to(made, device, kind)
    words = torch.randn(1, text, config["joint_attention_dim" if flow else "cross_attention_dim"], device=device, dtype=kind)
    if not flow:
        return DiffusersUNet(made), Conditioning(words)
    return DiffusersFlux(made), Conditioning(words, torch.randn(1, config["pooled_projection_dim"], device=device, dtype=kind))


def write(report: Mapping[str, Any], folder: Path) -> None:
    """The tables and the plot of a report."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.csv").write_text(as_csv(report), encoding="utf-8")
    (folder / "growth.md").write_text(as_markdown(report), encoding="utf-8")
    (folder / "growth.svg").write_text(plot(report["axes"]), encoding="utf-8")


def rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line for each setup, figures as people read them."""
    return [
        {"changed": axis, "to": row["value"], "seconds": row["seconds"], "GFLOP": row["flops"] / 1e9, "MB": row["memory_bytes"] / 1e6,
         "time x": row["ratio"]["seconds"], "FLOP x": row["ratio"]["flops"], "memory x": row["ratio"]["memory_bytes"]}
        for axis, found in report["axes"].items() for row in found
    ]  # fmt: skip


def as_csv(report: Mapping[str, Any]) -> str:
    text, lines = io.StringIO(newline=""), rows(report)
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_markdown(report: Mapping[str, Any]) -> str:
    lines = rows(report)
    cells = [[f"{v:.3g}" if isinstance(v, float) and v < 100 else f"{v:.0f}" if isinstance(v, float) else str(v) for v in line.values()]
             for line in lines]  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(lines[0]), ["---"] * len(lines[0]), *cells]) + "\n"


def _disc(size: int, index: int) -> RegionOperation:
    """The region at one of eight places, two in a row."""
    x, y = (0.15 + 0.5 * (index % 2)) * size, (index // 2 + 0.5) / 4 * size
    rows, columns = np.mgrid[:size, :size] + 0.5
    return RegionOperation((columns - x) ** 2 + (rows - y) ** 2 < (RADIUS * size) ** 2, "relocation", (x + 0.2 * size, y))


MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "flux-256": ({**FLUX, "num_attention_heads": 2}, 256),
    "demo-flux": (demo_flux.CONFIG, 20),
    "sd15-160": ({**SD15, "block_out_channels": tuple(160 * level for level in LEVELS)}, 77),
    "demo-unet": (demo_unet.CONFIG, 20),
}
"""Shapes by name, and the tokens of their prompts."""
