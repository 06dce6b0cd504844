"""A few-step student of demo-flux, so that what becomes of drags on distilled models (schnell, Turbo, Lightning) can be measured.

It walks from noise to the picture in `steps` Euler steps at uniform times, as FLUX.1-schnell does, with the guidance of its teacher burnt
in. Trained by distillation of the mean velocity (the target of progressive distillation, Salimans & Ho 2022, on a flow and in one go):
from a noisy picture at one of its own times, the straight line to where the teacher's ODE arrives at the next. No discriminator, so that
it is a plain few-step model: good enough to ask what inversion and drags make of one, not to draw with.

Its weights are not bundled. Resumable; the same script for CPU and GPU.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..backbones.flux import DiffusersFlux
from ..model.backbone import Conditioning
from ..sampling.schedules import flux_schedule
from .flux import load
from .optimisers import make_optimiser
from .plain_attention import PlainAttention
from .text import embed
from .train_flux import export, latent_pool
from .training import Ema, Run, cosine, follow


def train(
    folder: Path,
    teacher: Path,
    *,
    student_steps: int = 4,
    guidance: float = 3.5,
    teacher_steps: int = 2,
    steps: int = 500,
    batch: int = 16,
    pool: int = 4000,
    learning_rate: float = 4e-4,
    optimiser: str = "muon",
    minutes: float = float("inf"),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train until `steps`, or stop resumably after `minutes`. Returns the folder of the exported weights (diffusers layout).

    teacher: folder of a demo-flux, the bundled one or a trained one.  student_steps: at which the student shall walk.  guidance: the
    teacher's.  teacher_steps: midpoint steps of the teacher (two passes each) for one of the student.
    """
    torch.manual_seed(0)
    started = time.monotonic()
    bundle = load(teacher)
    latents, captions = latent_pool(folder, teacher / "vae", pool, device, report)
    prompts = embed(captions)
    times = torch.tensor(flux_schedule(latents.shape[-1] * latents.shape[-2] // 4, student_steps, shifted=False))
    student = copy.deepcopy(bundle.backbone.model).to(device).requires_grad_(True)
    master = DiffusersFlux(bundle.backbone.model.to(device, torch.bfloat16).requires_grad_(False))
    work = DiffusersFlux(copy.deepcopy(student).to(torch.bfloat16))
    work.model.requires_grad_(True)
    run = Run(folder, student, make_optimiser(optimiser, student, learning_rate), Ema(student, decay=0.99))
    rates = [group["initial_lr"] for group in run.optimiser.param_groups]
    average = 0.0
    while run.step < steps and time.monotonic() - started < 60 * minutes:
        for group, rate in zip(run.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * cosine(run.step, steps, warmup=20)
        generator = torch.Generator().manual_seed(2_000_000 + run.step)
        picks = torch.randint(len(latents), (batch,), generator=generator)
        step = torch.arange(batch) % student_steps
        here, there = times[step], times[step + 1]
        z0 = latents[picks].float()
        zt = torch.lerp(z0, torch.randn(z0.shape, generator=generator), here[:, None, None, None]).to(device)
        here, there = here.to(device), there.to(device)
        cond = Conditioning(prompts.txt[picks], prompts.pooled[picks]).to(device)
        scale = torch.full((batch,), guidance, device=device)
        follow(work.model, student)
        with PlainAttention():
            target = mean_velocity(master, zt, here, there, cond, scale, teacher_steps)
            loss = (work.velocity(zt, here, cond, guidance=scale) - target).square().mean()
            loss.backward()
        run.learn(work.model)
        average = loss.item() if average == 0 else 0.95 * average + 0.05 * loss.item()
        if run.step % 25 == 0:
            run.log(report, loss=average)
        if run.step % 50 == 0:
            run.save()
    run.save()
    export(run.ema.state, folder)
    bundle.autoencoder.save(folder / "vae")
    return folder


@torch.no_grad()
def mean_velocity(
    teacher: DiffusersFlux, z: Tensor, here: Tensor, there: Tensor, cond: Conditioning, guidance: Tensor, steps: int
) -> Tensor:
    """(z - z') / (here - there), z' where the teacher's ODE takes z from time here [B] to there [B], by the midpoint rule in `steps`."""
    at, length = z, (here - there) / steps
    wide = length[:, None, None, None]
    for i in range(steps):
        t = here - i * length
        half = at - 0.5 * wide * teacher.velocity(at, t, cond, guidance=guidance)
        at = at - wide * teacher.velocity(half, t - 0.5 * length, cond, guidance=guidance)
    return (z - at) / (steps * wide)
