"""Training of demo-flux on latents of procedural scenes: rectified flow with logit-normal times and prompt dropout.

Two phases. First plain flow matching at guidance 1, with the prompt dropped in a tenth of the samples; then the guidance input gets its
meaning (train_guidance.py). Resumable; the same script for CPU and GPU.

The master weights are float32, the pass itself runs on a bfloat16 copy: on a CPU that is nearly twice as fast as autocast.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..backbones.flux import DiffusersFlux
from ..model.backbone import Conditioning
from .autoencoder import DemoAutoencoder
from .flux import build
from .optimisers import make_optimiser
from .plain_attention import PlainAttention
from .text import embed
from .train_guidance import teach_guidance
from .training import Ema, Run, cosine, follow, scene_pool, to_tensor

DROPOUT = 0.1


def train(
    folder: Path,
    vae: Path,
    *,
    steps: int = 12000,
    batch: int = 16,
    pool: int = 16000,
    learning_rate: float = 4e-3,
    guidance_steps: int = 1000,
    optimiser: str = "muon",
    minutes: float = float("inf"),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train until `steps`, or stop resumably after `minutes`. Returns the folder of the exported weights (diffusers layout).

    vae: folder of the trained demo autoencoder.  guidance_steps: of the second phase, after `steps` of the first.
    """
    torch.manual_seed(0)
    started = time.monotonic()
    latents, captions = latent_pool(folder, vae, pool, device, report)
    prompts = embed(captions)
    model = build().to(device)
    work = DiffusersFlux(copy.deepcopy(model).to(torch.bfloat16))
    work.model.requires_grad_(True)
    run = Run(folder, model, make_optimiser(optimiser, model, learning_rate), Ema(model))
    base_rates = [group["initial_lr"] for group in run.optimiser.param_groups]
    report(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(latents)} scenes, from step {run.step}")
    average = 0.0
    while run.step < steps and time.monotonic() - started < 60 * minutes:
        for group, rate in zip(run.optimiser.param_groups, base_rates, strict=True):
            group["lr"] = rate * cosine(run.step, steps)
        generator = torch.Generator().manual_seed(run.step)
        picks = torch.randint(len(latents), (batch,), generator=generator)
        z0 = latents[picks].float()
        t = torch.sigmoid(1.2 * torch.randn(batch, generator=generator) + 0.2)
        noise = torch.randn(z0.shape, generator=generator)
        keep = (torch.rand(batch, generator=generator) >= DROPOUT).float()[:, None]
        txt, pooled = prompts.txt[picks] * keep[..., None], prompts.pooled[picks] * keep
        z0, noise, t, txt, pooled = (x.to(device) for x in (z0, noise, t, txt, pooled))
        zt = torch.lerp(z0, noise, t[:, None, None, None])
        target = noise - z0

        follow(work.model, model)
        with PlainAttention():
            v = work.velocity(zt, t, Conditioning(txt, pooled))
            loss = (v - target).square().mean()
            loss.backward()
        run.learn(work.model)
        average = loss.item() if average == 0 else 0.98 * average + 0.02 * loss.item()
        if run.step % 50 == 0:
            run.log(report, loss=average)
        if run.step % 250 == 0:
            run.save()
            export(run.ema.state, folder)
    run.save()
    trained = export(run.ema.state, folder)
    left = minutes - (time.monotonic() - started) / 60
    if run.step >= steps and guidance_steps and left > 0:
        guided = teach_guidance(
            folder / "guidance", trained.float(), latents, prompts, steps=guidance_steps, batch=batch, optimiser=optimiser, minutes=left,
            device=device, report=report,
        )  # fmt: skip
        export(guided.state_dict(), folder)
    return folder / "transformer"


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


def export(state: Mapping[str, Tensor], folder: Path) -> nn.Module:
    """Write weights as diffusers does, in bfloat16, to folder/transformer. Returns the model with them."""
    model = build()
    model.load_state_dict({k: v.cpu() for k, v in state.items()})
    model.to(torch.bfloat16).save_pretrained(folder / "transformer")
    return model
