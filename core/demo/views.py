"""The same scene once more, its objects elsewhere: what a drag does to a picture, for networks that learn to know a subject again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .autoencoder import DemoAutoencoder
from .scenes import UNIT, Scene, reach, render, sample_scene
from .training import to_tensor

TRIES = 8


def moved_pool(folder: Path, vae: Path, count: int, device: str, report: Callable[[str], None]) -> Tensor:
    """Scenes 0 .. count - 1 of `latent_pool`, each object moved and turned: bfloat16 latents [count, 16, 32, 32], kept in `folder`."""
    path = folder / "moved.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if len(saved) == count:
            return saved
    autoencoder = DemoAutoencoder.load(vae).to(device, torch.bfloat16, memory_format=torch.channels_last)
    latents = []
    for start in range(0, count, 500):
        with ProcessPoolExecutor(2) as pool:
            images = np.stack(list(pool.map(_draw, range(start, min(count, start + 500)), chunksize=32)))
        with torch.no_grad():
            for i in range(0, len(images), 50):
                latents.append(autoencoder.encode(to_tensor(images[i : i + 50]).to(device)).to("cpu", torch.bfloat16))
        report(f"{start + len(images)} scenes drawn again, their objects moved")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(torch.cat(latents), path)
    return torch.cat(latents)


def moved(scene: Scene, rng: np.random.Generator) -> Scene:
    """Each object at a place and an angle of its own, in the picture and clear of the others; one without room stays."""
    objects = list(scene.objects)
    for i, obj in enumerate(objects):
        room = reach(obj) + 6
        others = [*objects[:i], *objects[i + 1 :]]
        for _ in range(TRIES):
            x, y = (float(value) for value in rng.uniform(room, UNIT - room, 2))
            if all(np.hypot(x - o.x, y - o.y) > 1.05 * (reach(obj) + reach(o)) for o in others):
                objects[i] = replace(obj, x=x, y=y, angle=obj.angle + float(rng.uniform(-90, 90)))
                break
    return replace(scene, objects=tuple(objects))


def _draw(seed: int) -> np.ndarray:
    scene = moved(sample_scene(np.random.default_rng(seed)), np.random.default_rng([seed, 1]))
    return np.round(render(scene) * 255).astype(np.uint8)
