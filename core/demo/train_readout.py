"""Training of the demo models' readout heads: triplets from drawn scenes or from a folder of frames, negatives by the model itself.

The heads are small, 96 channels wide and 0.3 MB in float16: the models they read are, too.

How they are trained differs from what was published for Stable Diffusion, for reasons that were seen in training:

- negatives go farther towards noise, 0.7 and 0.85 instead of 0.5. Half way these models draw nearly the same picture again, less different
  from it than one in which an object has moved, and a head then learns to see nothing: both distances shrink towards 0;
- triplets are read at levels up to 0.6 only, where drags happen. Above, nothing tells one picture from another;
- each triplet is read at three levels: drawing one takes longer than reading it;
- the rate is higher, and falls to zero over the second half.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from ..sampling.sampler import FlowSampler, NoiseSampler
from ..training.frames import frame_pairs
from ..training.readout_training import Pair, ReadoutTrainingSettings, new_head, ranking, train_readout
from . import flux, unet
from .pairs import scene_pairs
from .text import embed

FILE = "readout.safetensors"
"""Where a demo model's head lies, beside its weights."""
PROJECTION, GROUPS = 96, 8

SETTINGS = {
    "unet": ReadoutTrainingSettings(steps=600, rate=2e-3, strength=0.7, level=(0.02, 0.6), looks=3, cooling=0.5),
    "flux": ReadoutTrainingSettings(steps=600, rate=2e-3, strength=0.85, level=(0.02, 0.6), looks=3, cooling=0.5),
}
"""What the bundled heads were trained with."""
UNSEEN = 9000
"""Seed of the scenes that a trained head is tried on."""


def train(
    folder: Path,
    *,
    model: Literal["unet", "flux"] = "unet",
    weights: Path | None = None,
    frames: Path | None = None,
    steps: int = 600,
    minutes: float = float("inf"),
    learning_rate: float | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train a head for the demo UNet or the demo FLUX and write it to folder/readout.safetensors. Returns that file.

    weights: folder of the model; None: the bundled one.  frames: a folder of videos or frames to learn from; None: drawn scenes.
    learning_rate: None: as in SETTINGS.
    Stops after `minutes`; what has been learnt by then is written. At the end it says how many unseen triplets the head ranks rightly.
    """
    if model == "unet":
        loaded = unet.load(weights or unet.WEIGHTS, device)
        probe = NoiseSampler(loaded.backbone, embed([""]))
    else:
        loaded = flux.load(weights or flux.WEIGHTS, device)
        probe = FlowSampler(loaded.backbone, embed([""]))
    head = new_head(probe, projection=PROJECTION, groups=GROUPS, named=f"demo-{model}")
    settings = replace(SETTINGS[model], steps=steps, rate=learning_rate or SETTINGS[model].rate)

    def pairs(seed: int) -> Iterator[Pair]:
        return frame_pairs(frames, size=256, seed=seed) if frames is not None else scene_pairs(seed=seed)

    report(f"{sum(p.numel() for p in head.parameters()) / 1e6:.2f} M parameters")
    stop, average = time.monotonic() + 60 * minutes, torch.zeros(3)
    for state in train_readout(probe, loaded.autoencoder, head, pairs(0), settings, should_stop=lambda: time.monotonic() > stop):
        now = torch.stack((state.loss, state.positive, state.negative)).cpu()
        average = now if state.step == 1 else 0.95 * average + 0.05 * now
        if state.step % 50 == 0:
            loss, near, far = (round(float(v), 4) for v in average)
            report(f"step {state.step}  seconds {state.seconds:.0f}  loss {loss}  positive {near}  negative {far}")
    path = head.save(folder / FILE, torch.float16)
    tried = replace(settings, seed=UNSEEN, looks=1)
    share, distances = ranking(probe, loaded.autoencoder, head, pairs(UNSEEN), 40, tried)
    near, far = (round(float(v), 4) for v in distances.mean(dim=0))
    report(f"unseen triplets: {share:.1%} of 40 ranked rightly  positive {near}  negative {far}")
    return path
