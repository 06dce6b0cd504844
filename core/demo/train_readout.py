"""Training of the demo models' readout heads: triplets from drawn scenes or from a folder of frames, negatives by the model itself.

The heads are small, 96 channels wide and 0.3 MB in float16: the models they read are, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from ..frames import frame_pairs, scene_pairs
from ..probes import FlowProbe, NoiseProbe
from ..readout_training import ReadoutTrainingSettings, new_head, train_readout
from . import flux, unet
from .text import embed

FILE = "readout.safetensors"
"""Where a demo model's head lies, beside its weights."""
PROJECTION, GROUPS = 96, 8


def train(
    folder: Path,
    *,
    model: Literal["unet", "flux"] = "unet",
    weights: Path | None = None,
    frames: Path | None = None,
    steps: int = 1000,
    minutes: float = float("inf"),
    learning_rate: float = 1e-3,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train a head for the demo UNet or the demo FLUX and write it to folder/readout.safetensors. Returns that file.

    weights: folder of the model; None: the bundled one.  frames: a folder of videos or frames to learn from; None: drawn scenes.
    Stops after `minutes`; what has been learnt by then is written.
    """
    if model == "unet":
        loaded = unet.load(weights or unet.WEIGHTS, device)
        probe = NoiseProbe(loaded.backbone, embed([""]))
    else:
        loaded = flux.load(weights or flux.WEIGHTS, device)
        probe = FlowProbe(loaded.backbone, embed([""]))
    head = new_head(probe, projection=PROJECTION, groups=GROUPS, named=f"demo-{model}")
    settings = ReadoutTrainingSettings(steps=steps, rate=learning_rate)
    pairs = frame_pairs(frames, size=256) if frames is not None else scene_pairs()
    report(f"{sum(p.numel() for p in head.parameters()) / 1e6:.2f} M parameters")
    stop, average = time.monotonic() + 60 * minutes, torch.zeros(3)
    for state in train_readout(probe, loaded.autoencoder, head, pairs, settings, should_stop=lambda: time.monotonic() > stop):
        now = torch.stack((state.loss, state.positive, state.negative)).cpu()
        average = now if state.step == 1 else 0.95 * average + 0.05 * now
        if state.step % 50 == 0:
            loss, near, far = (round(float(v), 4) for v in average)
            report(f"step {state.step}  seconds {state.seconds:.0f}  loss {loss}  positive {near}  negative {far}")
    return head.save(folder / FILE, torch.float16)
