"""Training of the demo autoencoder on random crops of procedural scenes (resumable; the same script for CPU and GPU)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import autocast

from .autoencoder import AutoencoderConfig, DemoAutoencoder
from .training import Ema, Run, cosine, psnr, scene_pool, to_tensor

HELD_OUT = range(10_000_000, 10_000_064)
"""Scene seeds that no training uses."""


def train(
    folder: Path,
    *,
    config: AutoencoderConfig | None = None,
    steps: int = 6000,
    batch: int = 16,
    crop: int = 128,
    pool: int = 4000,
    learning_rate: float = 1.5e-3,
    latent_noise: float = 0.2,
    minutes: float = float("inf"),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train until `steps`, or stop resumably after `minutes`. Returns the folder of the exported weights.

    latent_noise: standard deviation of the noise added to unit-variance latents. Raising it smooths the latent space and costs dB.
    """
    torch.manual_seed(0)
    model = DemoAutoencoder(config).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-3)
    run = Run(folder, model, optimiser, Ema(model))
    started = time.monotonic()
    images, _ = scene_pool(range(pool))
    held_out = to_tensor(scene_pool(HELD_OUT)[0])
    report(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(images)} scenes, from step {run.step}")
    while run.step < steps and time.monotonic() - started < 60 * minutes:
        factor = cosine(run.step, steps)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * factor
        torch.manual_seed(run.step)  # the latent noise; a resumed training draws the same
        generator = torch.Generator().manual_seed(run.step)
        x = _crops(images, batch, crop, generator).to(device, memory_format=torch.channels_last)
        with autocast(torch.device(device).type, torch.bfloat16):
            y, _ = model(x, latent_noise)
        error = y.float() - x
        loss = error.square().mean() + 0.02 * error.abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
        run.ema.update(model)
        run.step += 1
        if run.step % 250 == 0 or run.step == steps:
            run.save()
            run.log(report, loss=loss.item(), psnr=evaluate(export(run, folder, model.config), held_out))
    run.save()
    export(run, folder, model.config)
    return folder / "weights"


def export(run: Run, folder: Path, config: AutoencoderConfig) -> DemoAutoencoder:
    """Write the moving average as float16 weights and give back the model read from them: what is measured is what is shipped."""
    model = DemoAutoencoder(config)
    model.load_state_dict({k: v.cpu() for k, v in run.ema.state.items()})
    model.save(folder / "weights")
    return DemoAutoencoder.load(folder / "weights")


@torch.no_grad()
def evaluate(model: DemoAutoencoder, images: torch.Tensor) -> float:
    """Mean PSNR in dB over pictures [N, 3, H, W]."""
    return sum(psnr(model.decode(model.encode(x[None])), x[None]) for x in images) / len(images)


def _crops(images, batch: int, crop: int, generator: torch.Generator) -> torch.Tensor:
    n, height, width, _ = images.shape
    picks = torch.randint(n, (batch,), generator=generator).tolist()
    ys = torch.randint(height - crop + 1, (batch,), generator=generator).tolist()
    xs = torch.randint(width - crop + 1, (batch,), generator=generator).tolist()
    return torch.cat([to_tensor(images[i : i + 1, y : y + crop, x : x + crop]) for i, y, x in zip(picks, ys, xs, strict=True)])
