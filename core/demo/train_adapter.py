"""Training of demo-flux's subject adapter: the frozen transformer learns, through it, what the picture shows whatever it is told.

Prompts are right, missing or those of another scene, and guidance is anything from 1 to 5, so that without the adapter the velocity
drifts away from the picture; the target is the picture's own velocity. The subject is a crop of the picture, another part each time.
Resumable; the same script for CPU and GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..adapters.contract import Injection, Injections
from ..backbone import Conditioning
from ..backbones.flux import DiffusersFlux
from .adapter import DemoAdapter
from .plain_attention import PlainAttention
from .text import embed
from .train_flux import latent_pool
from .train_guidance import RANGE
from .training import Ema, Run, cosine

RIGHT, MISSING = 0.4, 0.3
"""Shares of right and missing prompts; the rest are another scene's."""
CROP = (0.6, 1.0)
"""Sides of a crop, as parts of the picture's."""


def train(
    folder: Path,
    flux: Path,
    vae: Path,
    *,
    steps: int = 1500,
    batch: int = 16,
    pool: int = 16000,
    learning_rate: float = 2e-3,
    minutes: float = float("inf"),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train until `steps`, or stop resumably after `minutes`. Returns the file of the exported weights.

    flux, vae: folders of the trained transformer (diffusers layout) and of its autoencoder.
    """
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    started = time.monotonic()
    latents, captions = latent_pool(folder, vae, pool, device, report)
    prompts = embed(captions)
    transformer = FluxTransformer2DModel.from_pretrained(flux, torch_dtype=torch.bfloat16, use_safetensors=True)
    backbone = DiffusersFlux(transformer.to(device))
    adapter = DemoAdapter().to(device)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    run = Run(folder, adapter, optimiser, Ema(adapter))
    report(f"{sum(p.numel() for p in adapter.parameters()) / 1e6:.2f} M parameters, {len(latents)} scenes, from step {run.step}")
    average = 0.0
    while run.step < steps and time.monotonic() - started < 60 * minutes:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * cosine(run.step, steps)
        generator = torch.Generator().manual_seed(run.step)
        picks = torch.randint(len(latents), (batch,), generator=generator)
        z0 = latents[picks].float()
        cond = Conditioning(*(x.to(device) for x in _told(prompts, picks, generator)))
        t = torch.sigmoid(1.2 * torch.randn(batch, generator=generator) + 0.2)
        guidance = RANGE[0] + (RANGE[1] - RANGE[0]) * torch.rand(batch, generator=generator)
        noise = torch.randn(z0.shape, generator=generator)
        seen = crops(z0, generator)
        z0, noise, t, guidance, seen = (x.to(device) for x in (z0, noise, t, guidance, seen))
        with PlainAttention():
            live = backbone.with_subjects(Injections([Injection(adapter, adapter.subject(seen))]))
            v = live.velocity(torch.lerp(z0, noise, t[:, None, None, None]), t, cond, guidance=guidance)
            loss = (v - (noise - z0)).square().mean()
            optimiser.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimiser.step()
        run.ema.update(adapter)
        run.step += 1
        average = loss.item() if average == 0 else 0.98 * average + 0.02 * loss.item()
        if run.step % 50 == 0:
            run.log(report, loss=average)
        if run.step % 250 == 0:
            run.save()
    run.save()
    trained = DemoAdapter()
    trained.load_state_dict({name: value.cpu() for name, value in run.ema.state.items()})
    trained.save(folder / "adapter.safetensors")
    return folder / "adapter.safetensors"


def crops(z: Tensor, generator: torch.Generator) -> Tensor:
    """A random part of each latent [B, C, h, w], stretched to the whole."""
    h, w = z.shape[-2:]
    made = []
    for one in z:
        scale = CROP[0] + (CROP[1] - CROP[0]) * float(torch.rand((), generator=generator))
        rows, columns = max(1, round(scale * h)), max(1, round(scale * w))
        top = int(torch.randint(h - rows + 1, (), generator=generator))
        left = int(torch.randint(w - columns + 1, (), generator=generator))
        made.append(F.interpolate(one[None, :, top : top + rows, left : left + columns], size=(h, w), mode="bilinear"))
    return torch.cat(made)


def _told(prompts: Conditioning, picks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Right, missing or wrong prompts for the picked scenes: txt [B, L, D], pooled [B, P]."""
    lot = torch.rand(len(picks), generator=generator)
    others = torch.randint(len(prompts.txt), (len(picks),), generator=generator)
    chosen = torch.where(lot < RIGHT + MISSING, picks, others)
    kept = ((lot < RIGHT) | (lot >= RIGHT + MISSING)).float()[:, None]
    return prompts.txt[chosen] * kept[..., None], prompts.pooled[chosen] * kept
