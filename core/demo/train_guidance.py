"""Giving demo-flux's guidance input its meaning, after the plain training: distillation of classifier-free guidance.

For guidance g the target is v0 + g (v1 - v0), the velocities with and without the prompt of the very model that training began with, as
FLUX.1-dev was made; for g = 1 it is that model itself. Two things matter beside the target:

- Plain training leaves the guidance embedder a wild function of g (its fastest sinusoids turn hundreds of times from g = 1 to 5), and
  a network on top of it learns the mean over g. So it is first set to a smooth curve that starts where guidance 1 was.
- v1 - v0 is about ten times larger at t = 0.97 than at 0.3. Each sample is weighed by the size of its own target.

Resumable; the same script for CPU and GPU.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..backbones.flux import DiffusersFlux
from ..model.backbone import Conditioning
from .optimisers import make_optimiser
from .plain_attention import PlainAttention
from .training import Ema, Run, cosine, follow

RANGE = (1.0, 5.0)
PLAIN = 0.25
"""Share of samples at guidance 1."""
REACH = 1.0
"""Norm of the embedding's way from one end of `RANGE` to the other: enough to be read, too little to upset the network at the start."""
FLOOR = 0.01
"""Mean square of a target below which samples are not weighed up any further; a velocity's is about 2."""


def teach_guidance(
    folder: Path,
    model: nn.Module,
    latents: Tensor,
    prompts: Conditioning,
    *,
    steps: int = 1000,
    batch: int = 16,
    learning_rate: float = 7e-4,
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
    smooth_embedder(student)
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
        follow(work.model, student)
        with PlainAttention():
            plain, target = guided(teacher, zt, t, cond, guidance)
            size = (target - plain).square().mean(dim=(1, 2, 3))
            missed = (work.velocity(zt, t, cond, guidance=guidance) - target).square().mean(dim=(1, 2, 3))
            loss = (missed / (size + FLOOR)).mean()
            loss.backward()
        run.learn(work.model)
        average = loss.item() if average == 0 else 0.95 * average + 0.05 * loss.item()
        if run.step % 25 == 0:
            run.log(report, loss=average)
        if run.step % 50 == 0:
            run.save()
    run.save()
    student.load_state_dict(run.ema.state)
    return student.requires_grad_(False)


@torch.no_grad()
def guided(teacher: DiffusersFlux, z: Tensor, t: Tensor, cond: Conditioning, guidance: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's velocity with its prompt, and v0 + g (v1 - v0), at guidance g [B]."""
    with_text = teacher.velocity(z, t, cond)
    without = teacher.velocity(z, t, Conditioning(torch.zeros_like(cond.txt), torch.zeros_like(cond.pooled)))
    return with_text, without + guidance[:, None, None, None] * (with_text - without)


@torch.no_grad()
def smooth_embedder(model: nn.Module) -> None:
    """Set the guidance embedder to e(1) + REACH (s a + s^2 b) / sqrt(2), s from 0 to 1 over `RANGE`, a and b random directions, length 1.

    Only sinusoids that turn by less than half a radian from one guidance to the next whole one are read; e(1) is what it was.
    """
    embed = model.time_text_embed
    generator = torch.Generator().manual_seed(0)
    first, second = embed.guidance_embedder.linear_1, embed.guidance_embedder.linear_2
    g = torch.linspace(*RANGE, 65)
    at_one = embed.guidance_embedder(embed.time_proj(1000 * g[:1]))
    waves = embed.time_proj(1000 * g)
    slow = (embed.time_proj(1000 * (g + 1)) - waves).abs().amax(0) < 0.5
    first.weight.copy_(torch.randn(first.weight.shape, generator=generator) * slow)
    first.bias.copy_(torch.randn(first.bias.shape, generator=generator))
    s = ((g - RANGE[0]) / (RANGE[1] - RANGE[0]))[:, None]
    directions = nn.functional.normalize(torch.randn(2, second.out_features, generator=generator), dim=1)
    curve = at_one + REACH * (s * directions[:1] + s**2 * directions[1:]) / 2**0.5
    hidden = torch.cat((nn.functional.silu(first(waves)), torch.ones_like(s)), 1)
    ridge = 1e-3 * torch.eye(hidden.shape[1])
    weights = torch.linalg.solve(hidden.T @ hidden + ridge, hidden.T @ (curve - at_one))
    second.weight.copy_(weights[:-1].T)
    second.bias.zero_()
    second.bias.copy_((at_one - embed.guidance_embedder(waves[:1]))[0])
