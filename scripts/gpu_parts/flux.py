"""FLUX.1-dev's size with random weights, on core's own backbone: a drag iteration, whole edits, and where the time goes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from dragfield.benchmarks import speed
from dragfield.benchmarks.cost import peak_memory, seconds_of, take
from dragfield.core.backbones.model_folder import DiffusersAutoencoder
from dragfield.core.edits.dragfield import DragFieldSettings, dragfield
from dragfield.core.edits.dragflow import PUBLISHED, DragFlowSettings, dragflow
from dragfield.core.optimise.region_drag import RegionDragSettings

from . import Row
from .scale import Scale, described, product_rate

GIB = 2**30
TOP = 12


def iteration(scale: Scale, device: torch.device) -> Iterator[Row]:
    """Published and ours in turns, and ours with blocks computed again; against what the card gives to a matrix product."""
    rate = product_rate(device, scale.dtype, scale.product)
    yield {**described(device), "product_tflops": rate / 1e12, "dtype": str(scale.dtype)}
    for side in scale.sides:
        case = make(scale, side, device)
        found = speed.measure(case, scale.repeats)
        again = copy.copy(case.backbone)
        again.checkpoint_blocks = True
        leaner = replace(case, backbone=again)
        steps = leaner.ours()
        next(steps)
        yield {
            "side": side, "published_s": found["seconds"]["published"], "ours_s": found["seconds"]["ours"],
            "time_ratio": found["time_ratio"], "ours_of_product_rate": found["flops"]["ours"] / found["seconds"]["ours"] / rate,
            "flops_over_minimum": found["flops_over_minimum"],
            "published_gib": found["memory_bytes"]["published"] / GIB, "ours_gib": found["memory_bytes"]["ours"] / GIB,
            "checkpointed_s": min(seconds_of(lambda steps=steps: next(steps), device) for _ in range(scale.repeats)),
            "checkpointed_gib": peak_memory(lambda leaner=leaner: take(leaner.ours(), 2), device) / GIB,
        }  # fmt: skip
        steps.close()
        del case, leaner, again, steps


def edits(scale: Scale, device: torch.device) -> Iterator[Row]:
    """Whole edits, autoencoder included: the first one of a size (it warms up), then a timed one."""
    from diffusers import AutoencoderKL

    yield described(device)
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    with torch.device(device):
        vae = AutoencoderKL(
            **scale.vae, latent_channels=16, down_block_types=down, up_block_types=up, scaling_factor=0.3611, shift_factor=0.1159
        )
    autoencoder, model = DiffusersAutoencoder(vae), None
    for side in scale.sides:
        case = make(scale, side, device) if model is None else sized(model, side)
        model = case
        image = picture(side).to(device)
        methods: dict[str, tuple[Callable, object]] = {
            "dragfield": (dragfield, DragFieldSettings()),
            "dragflow": (dragflow, DragFlowSettings()),
            "dragflow, published settings": (dragflow, PUBLISHED),
        }
        if not scale.whole:
            few = RegionDragSettings(transport_steps=1, intensify_steps=1)
            methods = {"dragfield": methods["dragfield"], "dragflow": (dragflow, DragFlowSettings(drag=few))}
        for name, (method, settings) in methods.items():
            if side == max(scale.sides) and settings is PUBLISHED:
                continue

            def edited(method=method, settings=settings, case=case, image=image):
                return method(case.backbone, autoencoder, image, case.drag, case.cond, settings=settings)

            warm = method is dragfield and edited()
            del warm
            held: list = []
            began = time.perf_counter()
            peak = peak_memory(lambda held=held, edited=edited: held.append(edited()), device)
            yield {
                "side": side, "method": name, "seconds": time.perf_counter() - began, "beyond_the_model_gib": peak / GIB,
                "passes_forward": held[0].nfe_forward, "passes_backward": held[0].nfe_backward,
            }  # fmt: skip


def profiled(scale: Scale, device: torch.device) -> Iterator[Row]:
    """The kernels of our iteration that take most of its time, at the largest side."""
    from torch.profiler import ProfilerActivity, profile

    yield described(device)
    case = make(scale, max(scale.sides), device)
    steps = case.ours()
    take_some(steps, 2)
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=kinds) as seen:
        seconds = seconds_of(lambda: take_some(steps, 3), device)
    steps.close()
    spent = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda event: getattr(event, spent), reverse=True)
    if device.type == "cuda":
        # Operations repeat the time of their kernels: what runs on the card itself has no time of a processor.
        events = [event for event in events if event.self_cpu_time_total == 0]
    total = sum(getattr(event, spent) for event in events) or 1
    yield {"what": "three iterations", "seconds": seconds, "busy": total / 1e6 / seconds}
    for event in events[:TOP]:
        yield {"what": event.key[:110], "share": getattr(event, spent) / total, "calls": event.count}


def take_some(steps: Iterator, count: int) -> None:
    for _ in range(count):
        next(steps)


def make(scale: Scale, side: int, device: torch.device) -> speed.Case:
    return speed.make_case("flux", scale.flux, scale.text, side, device, scale.dtype)


def sized(case: speed.Case, side: int) -> speed.Case:
    """The same model at another size."""
    return speed.case_of(case.name, case.backbone, case.cond, side)


def picture(side: int) -> torch.Tensor:
    """Something with structure. -> [1, 3, side, side] in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([0.5 + 0.4 * np.sin(20 * x * y + k) for k in range(3)])
    waves[:, (x - 0.35) ** 2 + (y - 0.5) ** 2 < 0.05 / np.pi] = 0.9
    return torch.from_numpy(waves.astype(np.float32))[None]
