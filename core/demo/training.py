"""What both demo trainings share: a pool of rendered scenes, an exponential moving average, resumable checkpoints and a log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .scenes import render, sample_scene


def scene_pool(seeds: Iterable[int], size: int = 256, workers: int = 2) -> tuple[np.ndarray, list[str]]:
    """Render one scene a seed: uint8 [N, size, size, 3] and the captions."""
    seeds = list(seeds)
    with ProcessPoolExecutor(workers) as pool:
        drawn = list(pool.map(_draw, seeds, [size] * len(seeds), chunksize=64))
    return np.stack([image for image, _ in drawn]), [caption for _, caption in drawn]


def _draw(seed: int, size: int) -> tuple[np.ndarray, str]:
    scene = sample_scene(np.random.default_rng(seed))
    return np.round(render(scene, size) * 255).astype(np.uint8), scene.caption


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def cosine(step: int, steps: int, warmup: int = 100, floor: float = 0.02) -> float:
    """Learning rate factor in (0, 1]: linear warmup, then a half cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


class Ema:
    """Exponential moving average of a module's parameters (buffers are copied). Short runs use a shorter memory."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.decay, self.updates = decay, 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


@torch.no_grad()
def follow(copy: nn.Module, master: nn.Module) -> None:
    """Give a copy in another dtype its master's weights."""
    for p, q in zip(copy.parameters(), master.parameters(), strict=True):
        p.copy_(q)


class Run:
    """A resumable training: `folder` holds checkpoint.pt (model, EMA, optimiser, step) and log.jsonl."""

    def __init__(self, folder: Path, module: nn.Module, optimiser: torch.optim.Optimizer, ema: Ema) -> None:
        self.folder, self.module, self.optimiser, self.ema = folder, module, optimiser, ema
        self.step, self.seconds = 0, 0.0
        self._mark = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "checkpoint.pt"
        if path.exists():
            saved = torch.load(path, map_location="cpu", weights_only=True)
            module.load_state_dict(saved["model"])
            optimiser.load_state_dict(saved["optimiser"])
            ema.state, ema.updates = saved["ema"], saved["updates"]
            self.step, self.seconds = saved["step"], saved["seconds"]

    def save(self) -> None:
        self._tick()
        saved = {
            "model": self.module.state_dict(), "optimiser": self.optimiser.state_dict(), "ema": self.ema.state,
            "updates": self.ema.updates, "step": self.step, "seconds": self.seconds,
        }  # fmt: skip
        part = self.folder / "checkpoint.part"
        torch.save(saved, part)
        part.replace(self.folder / "checkpoint.pt")

    def learn(self, copy: nn.Module) -> None:
        """A step by the gradients of `copy`, the bfloat16 model that the pass ran on, which are taken from it."""
        for p, q in zip(copy.parameters(), self.module.parameters(), strict=True):
            q.grad, p.grad = None if p.grad is None else p.grad.float(), None
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimiser.step()
        self.ema.update(self.module)
        self.step += 1

    def log(self, report: Callable[[str], None], **values: float) -> None:
        self._tick()
        row = {"step": self.step, "seconds": round(self.seconds, 1), **{k: round(float(v), 5) for k, v in values.items()}}
        with (self.folder / "log.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        report("  ".join(f"{k} {v}" for k, v in row.items()))

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._mark
        self._mark = now


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal to noise ratio in dB of images in [0, 1], over all of the batch."""
    return float(-10 * torch.log10(torch.mean((a - b) ** 2)))
