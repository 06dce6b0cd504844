"""Training of demo-flux on latents of procedural scenes: rectified flow with logit-normal times, prompt dropout and a guidance input.

Two phases. First plain flow matching at guidance 1, with the prompt dropped in a tenth of the samples. In the last part of the steps the
guidance input gets its meaning by distillation: for guidance g the target is the classifier-free combination of the moving average's own
velocities, v0 + g (v1 - v0), as FLUX.1-dev was made. Resumable; the same script for CPU and GPU.

The master weights are float32, the pass itself runs on a bfloat16 copy: on a CPU that is nearly twice as fast as autocast.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..backbone import Conditioning
from ..backbones.flux import DiffusersFlux
from .autoencoder import DemoAutoencoder
from .flux import build
from .text import embed
from .training import Ema, Run, cosine, scene_pool, to_tensor

DROPOUT = 0.1
GUIDANCE = (1.0, 5.0)


def train(
    folder: Path,
    vae: Path,
    *,
    steps: int = 12000,
    batch: int = 16,
    pool: int = 16000,
    learning_rate: float = 4e-3,
    distill_last: float = 0.08,
    optimiser: str = "muon",
    minutes: float = float("inf"),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train until `steps`, or stop resumably after `minutes`. Returns the folder of the exported weights (diffusers layout).

    vae: folder of the trained demo autoencoder.  distill_last: the last share of the steps that trains the guidance input.
    """
    torch.manual_seed(0)
    started = time.monotonic()
    latents, captions = latent_pool(folder, vae, pool, device, report)
    prompts = embed(captions)
    model = build().to(device)
    work = DiffusersFlux(copy.deepcopy(model).to(torch.bfloat16))
    work.model.requires_grad_(True)
    teacher = DiffusersFlux(copy.deepcopy(model).to(torch.bfloat16))
    run = Run(folder, model, make_optimiser(optimiser, model, learning_rate), Ema(model))
    base_rates = [group["initial_lr"] for group in run.optimiser.param_groups]
    teacher.model.load_state_dict(run.ema.state)
    report(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(latents)} scenes, from step {run.step}")
    average = 0.0
    while run.step < steps and time.monotonic() - started < 60 * minutes:
        for group, rate in zip(run.optimiser.param_groups, base_rates, strict=True):
            group["lr"] = rate * rate_factor(run.step, steps, distill_last)
        generator = torch.Generator().manual_seed(run.step)
        picks = torch.randint(len(latents), (batch,), generator=generator)
        z0 = latents[picks].float()
        txt, pooled = prompts.txt[picks], prompts.pooled[picks]
        t = torch.sigmoid(1.2 * torch.randn(batch, generator=generator) + 0.2)
        noise = torch.randn(z0.shape, generator=generator)
        distilling = run.step >= round(steps * (1 - distill_last))
        keep = (torch.rand(batch, generator=generator) >= DROPOUT).float()[:, None]
        guidance = torch.ones(batch)
        if distilling:
            guidance = GUIDANCE[0] + (GUIDANCE[1] - GUIDANCE[0]) * torch.rand(batch, generator=generator)
            guidance[: batch // 4] = 1.0
        else:
            txt, pooled = txt * keep[..., None], pooled * keep
        z0, noise, t, txt, pooled, guidance = (x.to(device) for x in (z0, noise, t, txt, pooled, guidance))
        zt = torch.lerp(z0, noise, t[:, None, None, None])
        target = noise - z0

        with torch.no_grad():
            for p, q in zip(work.model.parameters(), model.parameters(), strict=True):
                p.copy_(q)
        with PlainAttention():
            if distilling:
                target = _guided_target(teacher, run.ema, zt, t, txt, pooled, guidance, target)
            v = work.velocity(zt, t, Conditioning(txt, pooled), guidance=guidance)
            loss = (v - target).square().mean()
            loss.backward()
        for p, q in zip(work.model.parameters(), model.parameters(), strict=True):
            q.grad = None if p.grad is None else p.grad.float()
            p.grad = None
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        run.optimiser.step()
        run.ema.update(model)
        run.step += 1
        average = loss.item() if average == 0 else 0.98 * average + 0.02 * loss.item()
        if run.step % 50 == 0:
            run.log(report, loss=average)
        if run.step % 250 == 0:
            run.save()
            export(run, folder)
    run.save()
    export(run, folder)
    return folder / "transformer"


def rate_factor(step: int, steps: int, distill_last: float) -> float:
    """A cosine over the plain phase; then, in the last share of the steps, a second one from three tenths: the tail of the first would teach nothing."""
    plain = round(steps * (1 - distill_last))
    return cosine(step, plain) if step < plain else 0.3 * cosine(step - plain, steps - plain, warmup=0)


def make_optimiser(name: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW for everything, or Muon for the matrices inside the blocks and AdamW, at a third of the rate, for the rest."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "transformer_blocks" in n and ".norm" not in n]
    chosen = {id(p) for p in matrices} if name == "muon" else set()
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=rate / 3 if chosen else rate, betas=(0.9, 0.98), weight_decay=0.01)
    if name == "adamw":
        return _with_initial(adam)
    muon = torch.optim.Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return _with_initial(Both(muon, adam))


class Both(torch.optim.Optimizer):
    """Two optimisers over different parameters, handled as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure=None) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)


def _with_initial(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    return optimiser


def latent_pool(folder: Path, vae: Path, count: int, device: str, report: Callable[[str], None]) -> tuple[Tensor, list[str]]:
    """Scenes 0..count-1 as bfloat16 latents [N, 16, 32, 32] with their captions; kept in `folder` for the next start."""
    path = folder / "latents.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if len(saved["captions"]) == count:
            return saved["latents"], saved["captions"]
    autoencoder = DemoAutoencoder.load(vae).to(device, torch.bfloat16, memory_format=torch.channels_last)
    latents, captions = [], []
    for start in range(0, count, 1000):
        images, words = scene_pool(range(start, min(count, start + 1000)))
        captions += words
        with torch.no_grad():
            for i in range(0, len(images), 50):
                latents.append(autoencoder.encode(to_tensor(images[i : i + 50]).to(device)).to("cpu", torch.bfloat16))
        report(f"{len(captions)} scenes drawn and encoded")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"latents": torch.cat(latents), "captions": captions}, path)
    return torch.cat(latents), captions


@torch.no_grad()
def _guided_target(teacher, ema: Ema, zt, t, txt, pooled, guidance, target) -> Tensor:
    """v0 + g (v1 - v0) with the moving average as teacher, re-read now and then; where g is 1 the plain flow target stays."""
    if ema.updates % 50 == 0:
        teacher.model.load_state_dict(ema.state)
    with_text = teacher.velocity(zt, t, Conditioning(txt, pooled))
    without = teacher.velocity(zt, t, Conditioning(torch.zeros_like(txt), torch.zeros_like(pooled)))
    g = guidance[:, None, None, None]
    return torch.where(g > 1, without + g * (with_text - without), target)


class PlainAttention(TorchFunctionMode):
    """Attention as two matrix products: on a CPU, at 276 tokens, its backward is several times faster than the fused kernel's."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not nn.functional.scaled_dot_product_attention or args[0].is_cuda:
            return func(*args, **(kwargs or {}))
        q, k, v = args
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return scores.softmax(-1) @ v


def export(run: Run, folder: Path) -> None:
    """Write the moving average as diffusers weights in bfloat16 to folder/transformer."""
    model = build()
    model.load_state_dict({k: v.cpu() for k, v in run.ema.state.items()})
    model.to(torch.bfloat16).save_pretrained(folder / "transformer")
