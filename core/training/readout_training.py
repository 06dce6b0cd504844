"""Training of a readout head by triplets: an object elsewhere shall read alike, the same layout redrawn shall not (DirectDrag section 8.4).

    loss = max(0, margin - (D(anchor, negative) - D(anchor, positive)))          D: mean over cells of 1 - cos

Anchor and positive are two frames of one video (frames.py) or of one drawn scene; the negative is the anchor taken half way to noise and
drawn again by the model itself (SDEdit): the same layout, another look. All three are mixed with noise of one random level and read by the
frozen model once; only the head learns. Unlike the published training the head is told the very level that the model works at, as it will
be when it guides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.backbone import Autoencoder
from ..model.readout import ReadoutConfig, ReadoutHead
from ..optimise.adam import Adam
from ..optimise.appearance import readout_distance
from ..sampling.ddim import PICTURE, ddim
from ..sampling.ddim_inversion import noise_of
from ..sampling.inversion import velocity_of
from ..sampling.sampler import FlowSampler, NoiseSampler
from ..sampling.solvers import fireflow

Pair = tuple[Tensor, Tensor]
"""Two pictures [1, 3, H, W] in [0, 1] of the same object."""


@dataclass(frozen=True)
class ReadoutTrainingSettings:
    """How a head is trained. steps, rate, margin: published 1000, 1e-4, 0.5.

    strength: how far the negative goes towards noise, in (0, 1] (0.5).  redraw_steps: of its way back.  level: between which shares of
        the way to noise the three are mixed.  seed: of levels, noise and the head's first weights.
    looks: at how many levels a triplet is read in its step (published 1): it takes longer to draw than to read.
    cooling: over which share of the steps, the last ones, the rate falls evenly to zero (published 0).
    """

    steps: int = 1000
    rate: float = 1e-4
    margin: float = 0.5
    strength: float = 0.5
    redraw_steps: int = 10
    level: tuple[float, float] = (0.02, 0.98)
    seed: int = 0
    looks: int = 1
    cooling: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0 or not 0 < self.strength <= 1 or self.redraw_steps < 1 or self.margin <= 0:
            raise ValueError(
                f"{self.steps} steps at rate {self.rate}, margin {self.margin}, strength {self.strength} in {self.redraw_steps} redrawing "
                "steps teach nothing: all must be positive, and strength at most 1 (published: 1000, 1e-4, 0.5, 0.5)"
            )
        if not 0 <= self.level[0] < self.level[1] <= 1:
            raise ValueError(f"levels from {self.level[0]} to {self.level[1]} are no range: use two rising numbers in [0, 1]")
        if self.looks < 1 or not 0 <= self.cooling <= 1:
            raise ValueError(f"{self.looks} looks and a cooling of {self.cooling}: use 1 look or more, and a share in [0, 1]")

    def rate_at(self, step: int) -> float:
        """The rate of step 1 to `steps`."""
        left = (self.steps + 1 - step) / (self.steps * self.cooling) if self.cooling else 1.0
        return self.rate * min(1.0, left)


@dataclass(frozen=True, eq=False)
class TrainingState:
    """After `step` steps: the loss of the last, its two distances [], and how long it all took."""

    step: int
    loss: Tensor
    positive: Tensor
    negative: Tensor
    seconds: float


def new_head(probe: NoiseSampler | FlowSampler, projection: int = 384, groups: int = 32, *, named: str = "", seed: int = 0) -> ReadoutHead:
    """An untrained head for a model's readout taps. projection, groups: see `ReadoutConfig`."""
    if isinstance(probe, NoiseSampler):
        dims = tuple(probe.backbone.channels(tap) for tap in probe.readout_taps)
    else:
        dims = (probe.backbone.width,) * len(probe.readout_taps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ReadoutHead(ReadoutConfig(dims, projection, probe.embedding_dim, groups, named)).to(probe.device)


def train_readout(
    probe: NoiseSampler | FlowSampler,
    autoencoder: Autoencoder,
    head: ReadoutHead,
    pairs: Iterator[Pair],
    settings: ReadoutTrainingSettings = ReadoutTrainingSettings(),
    *,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[TrainingState]:
    """Train `head` in place; yields after every step. The model's weights stay as they are, and so does the head's mode.

    pairs: endless enough for settings.steps, from frames.py or of one's own.  should_stop: asked before every step.
    """
    began = time.monotonic()
    generator = torch.Generator().manual_seed(settings.seed)
    parameters = list(head.requires_grad_(True).parameters())
    optimisers = [Adam(settings.rate) for _ in parameters]  # published: AdamW without weight decay, which is Adam
    for step in range(1, settings.steps + 1):
        if should_stop is not None and should_stop():
            break
        three = _triplet(probe, autoencoder, next(pairs), settings, generator)
        positive, negative, loss, slopes = 0.0, 0.0, 0.0, None
        for _ in range(settings.looks):
            features, embedding = _look(probe, three, head, settings, generator)
            with torch.enable_grad():
                near, far = _distances(head, features, embedding)
                hinge = (settings.margin - (far - near)).clamp_min(0) / settings.looks
                found = torch.autograd.grad(hinge, parameters)
            slopes = found if slopes is None else [a + b for a, b in zip(slopes, found, strict=True)]
            positive, negative, loss = (
                total + part.detach() for total, part in
                ((positive, near / settings.looks), (negative, far / settings.looks), (loss, hinge))
            )  # fmt: skip
        with torch.no_grad():
            for parameter, optimiser, slope in zip(parameters, optimisers, slopes, strict=True):
                optimiser.rate = settings.rate_at(step)
                parameter -= optimiser.step(slope)
        yield TrainingState(step, loss, positive, negative, time.monotonic() - began)
    head.requires_grad_(False)


@torch.no_grad()
def ranking(
    probe: NoiseSampler | FlowSampler,
    autoencoder: Autoencoder,
    head: ReadoutHead,
    pairs: Iterator[Pair],
    triplets: int = 40,
    settings: ReadoutTrainingSettings = ReadoutTrainingSettings(),
) -> tuple[float, Tensor]:
    """How well a head tells redrawn from moved: share of triplets whose negative is farther than their positive (0.5: by chance).

    pairs: that it has not seen, with other noise, of another settings.seed.  -> that share, and both distances of every look,
    [triplets * settings.looks, 2], the positive first.
    """
    generator, found = torch.Generator().manual_seed(settings.seed), []
    for _ in range(triplets):
        three = _triplet(probe, autoencoder, next(pairs), settings, generator)
        found += [torch.stack(_distances(head, *_look(probe, three, head, settings, generator))) for _ in range(settings.looks)]
    distances = torch.stack(found).cpu()
    return float((distances[:, 1] > distances[:, 0]).float().mean()), distances


@torch.no_grad()
def redraw(probe: NoiseSampler | FlowSampler, z0: Tensor, noise: Tensor, strength: float = 0.5, steps: int = 10) -> Tensor:
    """SDEdit: the latent z0 [1, C, h, w] taken `strength` of the way to noise, and back by the model in `steps` steps."""
    if isinstance(probe, FlowSampler):
        times = tuple(strength * (1 - i / steps) for i in range(steps + 1))
        *_, last = fireflow(velocity_of(probe.backbone, probe.cond, probe.guidance, None), probe.noised(z0, times[0], noise), times)
        return last.z
    schedule = probe.backbone.schedule
    # Evenly from just there: the leading spacing of `ddim_times` would begin up to a whole step nearer to the picture.
    times = (*dict.fromkeys(max(0, round(strength * len(schedule) * (1 - i / steps)) - 1) for i in range(steps)), PICTURE)
    *_, last = ddim(noise_of(probe.backbone, probe.cond, None), schedule, probe.noised(z0, times[0], noise), times)
    return last.z


@torch.no_grad()
def _triplet(
    probe: NoiseSampler | FlowSampler, autoencoder: Autoencoder, pair: Pair, settings: ReadoutTrainingSettings, generator: torch.Generator
) -> Tensor:
    """Latents [3, C, h, w] of anchor, positive and negative."""
    anchor, positive = (autoencoder.encode(picture.to(probe.device)) for picture in pair)
    negative = redraw(probe, anchor, _noise(anchor, generator), settings.strength, settings.redraw_steps)
    return torch.cat((anchor, positive, negative))


@torch.no_grad()
def _look(
    probe: NoiseSampler | FlowSampler, three: Tensor, head: ReadoutHead, settings: ReadoutTrainingSettings, generator
) -> tuple[list[Tensor], Tensor | None]:
    """Features of a triplet at one random level, and what the head is told of it."""
    low, high = settings.level
    share = low + (high - low) * float(torch.rand((), generator=generator))
    t = share if probe.flow else min(int(share * len(probe.backbone.schedule)), len(probe.backbone.schedule) - 1)
    features = probe.features(probe.noised(three, t, _noise(three, generator)), t, probe.readout_taps)
    return features, probe.embedding(t) if head.config.embedding else None


def _distances(head: ReadoutHead, features: list[Tensor], embedding: Tensor | None) -> tuple[Tensor, Tensor]:
    """From the anchor to the positive and to the negative, each []."""
    anchor, near, far = head(features, embedding).chunk(3)
    return readout_distance(anchor, near).mean(), readout_distance(anchor, far).mean()


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like)
