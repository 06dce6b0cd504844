"""Giving demo-flux's guidance input its meaning, after the plain training: distillation of classifier-free guidance.

For guidance g the target is v0 + g (v1 - v0), the velocities with and without the prompt of the very model that training began with, as
FLUX.1-dev was made; for g = 1 it is that model itself. The whole network has to learn, at about a quarter of the plain training's rate:
with its embedder alone at a high rate, it learns the mean over g and hardly tells one g from another.
Resumable; the same script for CPU and GPU.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..backbone import Conditioning
from ..backbones.flux import DiffusersFlux
from .optimisers import make_optimiser
from .plain_attention import PlainAttention
from .training import Ema, Run, cosine

RANGE = (1.0, 5.0)
PLAIN = 0.25
"""Share of samples at guidance 1."""


def teach_guidance(
    folder: Path,
    model: nn.Module,
    latents: Tensor,
    prompts: Conditioning,
    *,
    steps: int = 1000,
    batch: int = 16,
    learning_rate: float = 1e-3,
    optimiser: str = "muon",
    minutes: float = float("inf"),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> nn.Module:
    """`model` with a guidance input that means something, trained until `steps`, or resumably for `minutes`.

    model: a float32 FluxTransformer2DModel after the plain training; it is left as it is.  latents: [N, 16, 32, 32].  prompts: N of them.
    """
    started = time.monotonic()
    teacher = DiffusersFlux(copy.deepcopy(model).to(device, torch.bfloat16))
    student = copy.deepcopy(model).to(device).requires_grad_(True)
    work = DiffusersFlux(copy.deepcopy(student).to(torch.bfloat16))
    work.model.requires_grad_(True)
    run = Run(folder, student, make_optimiser(optimiser, student, learning_rate), Ema(student, decay=0.99))
    rates = [group["initial_lr"] for group in run.optimiser.param_groups]
    average = 0.0
    while run.step < steps and time.monotonic() - started < 60 * minutes:
        for group, rate in zip(run.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * cosine(run.step, steps, warmup=20)
        generator = torch.Generator().manual_seed(1_000_000 + run.step)
        picks = torch.randint(len(latents), (batch,), generator=generator)
        z0 = latents[picks].float()
        t = torch.sigmoid(1.2 * torch.randn(batch, generator=generator) + 0.2)
        zt = torch.lerp(z0, torch.randn(z0.shape, generator=generator), t[:, None, None, None]).to(device)
        guidance = RANGE[0] + (RANGE[1] - RANGE[0]) * torch.rand(batch, generator=generator)
        guidance[: round(PLAIN * batch)] = 1.0
        t, guidance = t.to(device), guidance.to(device)
        cond = Conditioning(prompts.txt[picks], prompts.pooled[picks]).to(device)
        with torch.no_grad():
            for p, q in zip(work.model.parameters(), student.parameters(), strict=True):
                p.copy_(q)
        with PlainAttention():
            target = guided(teacher, zt, t, cond, guidance)
            loss = (work.velocity(zt, t, cond, guidance=guidance) - target).square().mean()
            loss.backward()
        for p, q in zip(work.model.parameters(), student.parameters(), strict=True):
            q.grad = None if p.grad is None else p.grad.float()
            p.grad = None
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        run.optimiser.step()
        run.ema.update(student)
        run.step += 1
        average = loss.item() if average == 0 else 0.95 * average + 0.05 * loss.item()
        if run.step % 25 == 0:
            run.log(report, loss=average)
        if run.step % 50 == 0:
            run.save()
    run.save()
    student.load_state_dict(run.ema.state)
    return student


@torch.no_grad()
def guided(teacher: DiffusersFlux, z: Tensor, t: Tensor, cond: Conditioning, guidance: Tensor) -> Tensor:
    """v0 + g (v1 - v0) of the teacher, at guidance g [B]."""
    with_text = teacher.velocity(z, t, cond)
    without = teacher.velocity(z, t, Conditioning(torch.zeros_like(cond.txt), torch.zeros_like(cond.pooled)))
    return without + guidance[:, None, None, None] * (with_text - without)
