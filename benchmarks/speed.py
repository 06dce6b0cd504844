"""Suite `speed`: what one drag iteration costs, done the published way and done ours, side by side in one run.

Two shapes of model: the demo model's, and FLUX.1-dev's proportions (19 double and 38 single blocks, heads of 128, 256 text
tokens) at a fraction of its width; weights are random, which time does not mind. The two ways take turns, so that whatever
else the machine does hits both; times are medians. Both keep the keys and values of the non-ridge blocks.

`time_ratio` and `memory_ratio` are published over ours: above 1 is better. The report's own `time_ratio` is the lowest
among the FLUX-proportioned cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.backbones.flux import DiffusersFlux
from ..core.demo.flux import CONFIG as DEMO
from ..core.field import DragField
from ..core.field.masks import adaptive_gradient_mask, to_latent
from ..core.instruction.operations import Drag, RegionOperation
from ..core.model.attention import KVBank
from ..core.model.backbone import Conditioning
from ..core.model.blocks import choose_blocks
from ..core.optimise.region_drag import DragState, RegionDragSettings, region_drag
from ..core.sampling.sampler import FlowSampler
from .cost import count_flops, minimum_flops, peak_memory, seconds_of, take
from .published import PublishedDrag

FLUX = {
    "patch_size": 1, "in_channels": 64, "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128,
    "num_attention_heads": 24, "joint_attention_dim": 4096, "pooled_projection_dim": 768, "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}  # fmt: skip
TIME = 0.856


@dataclass(frozen=True, eq=False)
class Case:
    """One model at one picture size (a square's side, px) with one drag, ready for both ways."""

    name: str
    size: int
    backbone: DiffusersFlux
    z: Tensor
    cond: Conditioning
    bank: KVBank
    drag: Drag
    movable: Tensor

    def ours(self) -> Iterator[DragState]:
        """Our iterations, endlessly enough."""
        settings = RegionDragSettings(transport_steps=1000)
        sampler = FlowSampler(self.backbone, self.cond, settings.guidance, self.bank.hold())
        return region_drag(sampler, self.z, TIME, DragField.from_drag(self.drag), self.movable, settings)

    def published(self) -> Published:
        return Published(self)


class Published:
    """Published iterations, as an iterator that can be closed."""

    def __init__(self, case: Case) -> None:
        (region,) = case.drag.regions
        rows, columns = np.nonzero(region.mask)
        shift = (region.target[0] - columns.mean() - 0.5, region.target[1] - rows.mean() - 0.5)
        mask, entry = torch.from_numpy(region.mask), case.bank.entries[-1]
        self.drag = PublishedDrag(case.backbone, case.z, TIME, case.cond, mask, shift, case.movable, entry)
        self.z, self.step = case.z, 0

    def __next__(self) -> Tensor:
        self.step += 1
        self.z, _ = self.drag.iterate(self.z, self.step / 1000)
        return self.z

    def close(self) -> None:
        self.drag.close()


def run(
    sizes: Sequence[int] = (256, 512),
    widths: Sequence[int] = (384,),
    *,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
    repeats: int = 5,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Measure the demo model and FLUX proportions of each width, at each size.

    sizes: sides of square pictures, px, multiples of 16.  widths: multiples of 128 (FLUX.1-dev: 3072).
    repeats: timed iterations a way.  progress(done, total, what) is told before each case.
    -> {"suite", "device", "threads", "torch", "dtype", "time_ratio", "cases": [...]}, see `measure`.
    """
    if bad := [s for s in sizes if s < 64 or s % 16]:
        raise ValueError(f"size {bad[0]} does not fit: use multiples of 16 px, at least 64")
    if bad := [w for w in widths if w < 128 or w % 128]:
        raise ValueError(f"width {bad[0]} does not fit heads of 128: use multiples of 128")
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    models = [("demo", DEMO, 20)] + [
        (f"flux-{width}", {**FLUX, "num_attention_heads": width // 128}, 256) for width in widths
    ]
    cases: list[dict[str, Any]] = []
    for name, config, text in models:
        for size in sizes:
            if progress is not None:
                progress(len(cases), len(models) * len(sizes), f"{name} at {size} px")
            cases.append(measure(make_case(name, config, text, size, where, dtype), repeats))
    ratios = [case["time_ratio"] for case in cases if case["model"] != "demo"] or [case["time_ratio"] for case in cases]
    return {
        "suite": "speed",
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "repeats": repeats,
        "time_ratio": min(ratios),
        "cases": cases,
    }


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Seconds, peak bytes (over a reference pass and two iterations) and FLOPs of one iteration, both ways."""
    device = case.z.device
    memory = {
        "published": peak_memory(lambda: take(case.published(), 2), device),
        "ours": peak_memory(lambda: take(case.ours(), 2), device),
    }
    published, ours = case.published(), case.ours()
    next(published)
    next(ours)
    flops = {"published": count_flops(lambda: next(published)), "ours": count_flops(lambda: next(ours))}
    seconds: dict[str, list[float]] = {"published": [], "ours": []}
    for _ in range(repeats):
        seconds["published"].append(seconds_of(lambda: next(published), device))
        seconds["ours"].append(seconds_of(lambda: next(ours), device))
    published.close()
    ours.close()
    times = {method: median(taken) for method, taken in seconds.items()}
    backbone, tokens = case.backbone, case.z.shape[-1] * case.z.shape[-2] // 4
    injected = sum(kind == "double" for kind, _ in case.bank.blocks)
    least = minimum_flops(
        backbone.width, tokens, case.cond.txt.shape[1], backbone.double_blocks, injected, backbone.latent_channels
    )
    return {
        "model": case.name,
        "size": case.size,
        "image_tokens": tokens,
        "text_tokens": case.cond.txt.shape[1],
        "seconds": times,
        "time_ratio": times["published"] / times["ours"],
        "memory_bytes": memory,
        "memory_ratio": memory["published"] / memory["ours"],
        "flops": flops,
        "flops_ratio": flops["published"] / flops["ours"],
        "flops_minimum": least,
        "flops_over_minimum": flops["ours"] / least,
    }


def make_case(name: str, config: dict[str, Any], text: int, size: int, device: torch.device, dtype: torch.dtype) -> Case:
    """A model of that shape with random weights, and a disc of 5 % of the picture to be moved by a quarter of its side."""
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        # Made where it shall be, in its own dtype: twelve thousand million numbers take minutes elsewhere.
        with device:
            model = FluxTransformer2DModel(**config)
    finally:
        torch.set_default_dtype(before)
    cond = Conditioning(
        torch.randn(1, text, config["joint_attention_dim"], device=device, dtype=dtype),
        torch.randn(1, config["pooled_projection_dim"], device=device, dtype=dtype),
    )
    return case_of(name, DiffusersFlux(model), cond, size)


def case_of(name: str, backbone: DiffusersFlux, cond: Conditioning, size: int) -> Case:
    """A case of a model that is there."""
    device = backbone.device
    z = torch.randn(1, backbone.latent_channels, size // 8, size // 8, device=device)
    bank = KVBank(choose_blocks("non_ridge", backbone.double_blocks, backbone.single_blocks), text_in_single=True)
    with torch.no_grad():
        backbone.velocity(z, TIME, cond, kv=bank.capture())
    y, x = np.mgrid[:size, :size] + 0.5
    disc = (x - 0.35 * size) ** 2 + (y - 0.5 * size) ** 2 < 0.05 / np.pi * size**2
    drag = Drag((size, size), (RegionOperation(disc, "relocation", (0.6 * size, 0.5 * size)),))
    movable = to_latent(adaptive_gradient_mask(drag), (size // 8, size // 8)).to(device)
    return Case(name, size, backbone, z, cond, bank, drag, movable)
