"""Whether an inversion comes back to its picture when it is sampled again, at which number of steps, under which guidance.

What the autoencoder loses is lost to every edit alike, so the inversion is judged against the picture as the autoencoder gives it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edits.denoise import undragged_path
from ..edits.edit import AnyBackbone, check_picture
from ..edits.state import DenoiseSettings, begin
from ..model.backbone import Autoencoder, Conditioning
from ..picture.compose import picture_of
from ..picture.likeness import psnr
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings
from ..sampling.sampler import sampler_of
from .walk import walked


@dataclass(frozen=True)
class RoundTrip:
    """steps: of the whole schedule.  skip: noisiest ones left out.  guidance: while sampling back; the way there goes without.
    attention: whether sampling was given the keys and values that the inversion saw.  psnr: dB, 100 for the very same.
    """

    steps: int
    skip: int
    guidance: float
    attention: bool
    psnr: float


@torch.no_grad()
def autoencoder_psnr(autoencoder: Autoencoder, image: Tensor) -> float:
    """dB of what the autoencoder gives back of `image` [1, 3, H, W]: no edit comes nearer without pasting pixels back."""
    check_picture(image, autoencoder.factor)
    return psnr(picture_of(autoencoder.decode(autoencoder.encode(image)).clamp(0, 1)), picture_of(image))


@torch.no_grad()
def round_trips(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    cond: Conditioning,
    *,
    steps: Sequence[int] = (8, 15, 25),
    skipped: float = 6 / 25,
    guidances: Sequence[float] = (1.0, 3.5),
    remembers: bool = True,
    run: RunContext = ALONE,
) -> list[RoundTrip]:
    """Invert `image` [1, 3, H, W] in each number of steps and sample it again under each guidance, without and with K/V injection.

    skipped: which part of the steps is left out (published: 6 of 25).  guidances: the first alone for a model that takes none.
    remembers: whether the model's keys and values can be had; an inversion of a UNet has none in any case.
    """
    check_picture(image, autoencoder.factor)
    takes = getattr(backbone, "guidance_distilled", False)
    wanted = picture_of(autoencoder.decode(autoencoder.encode(image)).clamp(0, 1))
    found = []
    for done, count in enumerate(steps):
        run.check()
        settings = InversionSettings(count, round(skipped * count), kv_blocks="auto" if remembers else "none")
        inversion = walked(backbone, autoencoder, image, cond, settings)
        for guidance in guidances if takes else guidances[:1]:
            for attention in (False, True) if inversion.bank.blocks else (False,):
                how = DenoiseSettings(guidance=guidance, attention="matched" if attention else None)
                state = undragged_path(sampler_of(backbone, cond, guidance=guidance), begin(inversion), how, run)
                came_back = picture_of(autoencoder.decode(state.inversion.path[-1]).clamp(0, 1))
                found.append(RoundTrip(count, settings.skip, guidance, attention, psnr(came_back, wanted)))
        run.tell("check", done + 1, len(steps), inversion.z)
    return found
