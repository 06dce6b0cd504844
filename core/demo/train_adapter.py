"""Training of demo-flux's subject adapter: the frozen transformer learns, through it, what the picture shows whatever it is told.

Prompts are right, missing or those of another scene, and guidance is anything from 1 to 5, so that without the adapter the velocity
drifts away from the picture. The target is the frozen transformer's own velocity with the right prompt at guidance 1, which is without
noise and takes the drift away, and in part the velocity to the very picture, which the transformer alone can't know.
The subject is the picture or a crop of it, or the same scene with its objects elsewhere (views.py), as it is after a drag.
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
from ..backbones.flux import DiffusersFlux
from ..model.backbone import Conditioning
from .adapter import DemoAdapter
from .plain_attention import PlainAttention
from .text import embed
from .train_flux import latent_pool
from .train_guidance import RANGE
from .training import Ema, Run, cosine
from .views import moved_pool

RIGHT, MISSING = 0.25, 0.2
"""Shares of right and missing prompts; the rest are another scene's."""
PLAIN = 0.4
"""Share of samples at guidance 1."""
PICTURE = 0.2
"""Share of the target that leads to the picture itself."""
NOISIEST = 0.9
"""Times are drawn evenly below it. Inversions end at 0.84; the drift of a wrong prompt is six times larger at 0.8 than at 0.6, and beyond
it would be all that is learned."""
MOVED = 0.4
"""Share of samples whose subject is the scene with its objects elsewhere."""
CROP = (0.6, 1.0)
"""Sides of a crop, as parts of the picture's."""


def train(
    folder: Path,
    flux: Path,
    vae: Path,
    *,
    steps: int = 1500,
    batch: int = 8,
    pool: int = 16000,
    views: int = 4000,
    learning_rate: float = 3e-3,
    minutes: float = float("inf"),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train until `steps`, or stop resumably after `minutes`. Returns the file of the exported weights.

    flux, vae: folders of the trained transformer (diffusers layout) and of its autoencoder.  views: how many of the pool's scenes are
    drawn a second time, their objects moved.
    """
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    started = time.monotonic()
    latents, captions = latent_pool(folder, vae, pool, device, report)
    again = moved_pool(folder, vae, min(views, pool), device, report)
    prompts = embed(captions)
    transformer = FluxTransformer2DModel.from_pretrained(flux, torch_dtype=torch.bfloat16, use_safetensors=True)
    backbone = DiffusersFlux(transformer.to(device))
    adapter = DemoAdapter().to(device)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    run = Run(folder, adapter, optimiser, Ema(adapter, decay=0.995))
    report(f"{sum(p.numel() for p in adapter.parameters()) / 1e6:.2f} M parameters, {len(latents)} scenes, from step {run.step}")
    average, drifts = 0.0, 0.0
    while run.step < steps and time.monotonic() - started < 60 * minutes:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * cosine(run.step, steps, warmup=50)
        generator = torch.Generator().manual_seed(run.step)
        picks = torch.randint(len(latents), (batch,), generator=generator)
        count = round(MOVED * batch)
        picks[:count] %= len(again)
        z0 = latents[picks].float()
        seen = torch.cat([again[picks[:count]].float(), crops(z0[count:], generator)])
        right = Conditioning(prompts.txt[picks], prompts.pooled[picks])
        given = _given(prompts, picks, generator)
        t = NOISIEST * torch.rand(batch, generator=generator)
        guidance = RANGE[0] + (RANGE[1] - RANGE[0]) * torch.rand(batch, generator=generator)
        guidance[torch.rand(batch, generator=generator) < PLAIN] = 1.0
        noise = torch.randn(z0.shape, generator=generator)
        z0, noise, t, guidance, seen = (x.to(device) for x in (z0, noise, t, guidance, seen))
        zt = torch.lerp(z0, noise, t[:, None, None, None])
        with PlainAttention():
            with torch.no_grad():
                steady = backbone.velocity(zt, t, right.to(device))
            live = backbone.with_subjects(Injections([Injection(adapter, adapter.subject(seen))]))
            v = live.velocity(zt, t, given.to(device), guidance=guidance)
            loss = (v - torch.lerp(steady, noise - z0, PICTURE)).square().mean()
            optimiser.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimiser.step()
        run.ema.update(adapter)
        run.step += 1
        drift = (v.detach() - steady).square().mean().item()
        average = loss.item() if average == 0 else 0.95 * average + 0.05 * loss.item()
        drifts = drift if drifts == 0 else 0.95 * drifts + 0.05 * drift
        if run.step % 25 == 0:
            run.log(report, loss=average, drift=drifts)
        if run.step % 100 == 0:
            run.save()
            _export(run, folder)
    run.save()
    return _export(run, folder)


def crops(z: Tensor, generator: torch.Generator) -> Tensor:
    """A random part of each latent [B, C, h, w], stretched to the whole; of every second the whole."""
    h, w = z.shape[-2:]
    made = []
    for i, one in enumerate(z):
        scale = 1.0 if i % 2 else CROP[0] + (CROP[1] - CROP[0]) * float(torch.rand((), generator=generator))
        rows, columns = max(1, round(scale * h)), max(1, round(scale * w))
        top = int(torch.randint(h - rows + 1, (), generator=generator))
        left = int(torch.randint(w - columns + 1, (), generator=generator))
        made.append(F.interpolate(one[None, :, top : top + rows, left : left + columns], size=(h, w), mode="bilinear"))
    return torch.cat(made)


def _given(prompts: Conditioning, picks: Tensor, generator: torch.Generator) -> Conditioning:
    """Right, missing or wrong prompts for the picked scenes: txt [B, L, D], pooled [B, P]."""
    lot = torch.rand(len(picks), generator=generator)
    others = torch.randint(len(prompts.txt), (len(picks),), generator=generator)
    chosen = torch.where(lot < RIGHT + MISSING, picks, others)
    kept = ((lot < RIGHT) | (lot >= RIGHT + MISSING)).float()[:, None]
    return Conditioning(prompts.txt[chosen] * kept[..., None], prompts.pooled[chosen] * kept)


def _export(run: Run, folder: Path) -> Path:
    trained = DemoAdapter()
    trained.load_state_dict({name: value.cpu() for name, value in run.ema.state.items()})
    trained.save(folder / "adapter.safetensors")
    return folder / "adapter.safetensors"
