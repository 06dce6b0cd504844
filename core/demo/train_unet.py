"""Training of demo-unet on latents of procedural scenes: noise prediction on Stable Diffusion's own schedule, with prompt dropout.

As in train_flux.py the master weights are float32 and the pass itself runs on a bfloat16 copy. Matrices and convolution kernels, these
as matrices of one row an output channel, are stepped by Muon, everything else by AdamW. Resumable; the same script for CPU and GPU.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..model.noise_schedule import scaled_linear
from .optimisers import Both
from .plain_attention import PlainAttention
from .text import embed
from .train_flux import DROPOUT, latent_pool
from .training import Ema, Run, cosine, follow
from .unet import build


def train(
    folder: Path,
    vae: Path,
    *,
    steps: int = 12000,
    batch: int = 16,
    pool: int = 12000,
    learning_rate: float = 4e-3,
    optimiser: str = "muon",
    minutes: float = float("inf"),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train until `steps`, or stop resumably after `minutes`. Returns the folder of the exported weights (diffusers layout).

    vae: folder of the trained 4-channel demo autoencoder.
    """
    torch.manual_seed(0)
    started = time.monotonic()
    latents, captions = latent_pool(folder, vae, pool, device, report)
    prompts = embed(captions).txt
    schedule = scaled_linear()
    model = build().to(device)
    work = copy.deepcopy(model).to(torch.bfloat16)
    flat = Flat(model)
    run = Run(folder, model, make_optimiser(optimiser, flat, learning_rate), Ema(model))
    rates = [group["lr"] for group in make_optimiser(optimiser, flat, learning_rate).param_groups]
    report(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(latents)} scenes, from step {run.step}")
    average = 0.0
    while run.step < steps and time.monotonic() - started < 60 * minutes:
        for group, rate in zip(run.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * cosine(run.step, steps)
        generator = torch.Generator().manual_seed(run.step)
        picks = torch.randint(len(latents), (batch,), generator=generator)
        z0 = latents[picks].float()
        noise = torch.randn(z0.shape, generator=generator)
        t = torch.randint(len(schedule), (batch,), generator=generator)
        keep = torch.rand(batch, generator=generator) >= DROPOUT
        txt = prompts[picks] * keep[:, None, None]
        kept = schedule.of(t, z0)
        zt = kept.sqrt() * z0 + (1 - kept).sqrt() * noise
        zt, noise, t, txt = (x.to(device) for x in (zt, noise, t, txt))

        follow(work, model)
        with PlainAttention():
            eps = work(zt.to(torch.bfloat16), t, txt.to(torch.bfloat16), return_dict=False)[0]
            loss = (eps.float() - noise).square().mean()
            loss.backward()
        flat.take_gradients(work)
        nn.utils.clip_grad_norm_(flat.parameters(), 1.0)
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
    return folder / "unet"


class Flat:
    """A model's parameters as the optimiser sees them: convolution kernels as matrices, in the very same memory."""

    def __init__(self, model: nn.Module) -> None:
        self.named = {name: nn.Parameter(p.detach().flatten(1) if p.ndim == 4 else p.detach()) for name, p in model.named_parameters()}

    def parameters(self) -> list[nn.Parameter]:
        return list(self.named.values())

    def take_gradients(self, work: nn.Module) -> None:
        """Move the gradients of a copy of the model over, in float32."""
        for q, p in zip(self.named.values(), work.parameters(), strict=True):
            q.grad = None if p.grad is None else p.grad.float().reshape(q.shape)
            p.grad = None


def make_optimiser(name: str, flat: Flat, rate: float) -> torch.optim.Optimizer:
    """AdamW for everything, or Muon for what is a matrix inside the network and AdamW, at a third of the rate, for the rest."""
    outside = ("conv_in", "conv_out", "time_embedding")
    matrices = [p for key, p in flat.named.items() if p.ndim == 2 and not key.startswith(outside)] if name == "muon" else []
    chosen = {id(p) for p in matrices}
    rest = [p for p in flat.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=rate / 3 if chosen else rate, betas=(0.9, 0.98), weight_decay=0.01)
    if not chosen:
        return adam
    return Both(torch.optim.Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"), adam)


def export(run: Run, folder: Path) -> None:
    """Write the moving average as diffusers weights in float16 to folder/unet."""
    model = build()
    model.load_state_dict({k: v.cpu() for k, v in run.ema.state.items()})
    model.to(torch.float16).save_pretrained(folder / "unet")
