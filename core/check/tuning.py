"""Which step, taps and time a model's region drags want, tried on drags that the picture itself gives (core/self_drags).

A drag made from the picture has a result that is known, so an edit by `dragflow` can be judged without anybody's eye. Rate, taps, time and
number of iterations are tried one after the other, each starting from the best so far, never a full grid. Each is settled by successive
halving (Jamieson and Talwalkar 2016): all candidates on one drag or two, the better half on twice as many more, and so on. What comes out
best is taken if it surpasses the settings so far by a tenth of a dB and by its standard error over all drags: a few prefer something by
chance.

How far the order of settings on such drags can be trusted is measured by suite `self-drags` (benchmarks/agreement.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

from ..edits.dragflow import DragFlowSettings, dragflow
from ..edits.edit import AnyBackbone, AnyInversion
from ..model.backbone import Autoencoder, Conditioning
from ..picture.compose import picture_of, tensor_of
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings
from ..self_drags import SelfDrag, self_drags
from .sight import Sight
from .walk import walked

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Tried multiples of the preset's steps: the published one is a guess on every model but FLUX.1."""
SKIPPED = (2 / 25, 6 / 25, 10 / 25)
"""Tried shares of the noisiest steps left out, which is how early the drag is."""
SHARES = (0.5, 1.0)
"""Tried multiples of the number of iterations."""
DRAGS = 4
LEAST = 0.1
"""dB below which a gain is not worth a change: on the bundled model one below it on four drags was a loss of 0.2 dB on fresh scenes."""
EXACT = 100.0
"""dB of the very truth."""
FOLLOWS = 0.5
"""dB over a picture left as it is, below which a model does not follow a drag."""
T = TypeVar("T")
Judge = Callable[[T, int], float]
Change = Callable[[DragFlowSettings], DragFlowSettings]


@dataclass(frozen=True)
class Trial(Generic[T]):
    """One candidate. what: that it concerns.  scores: its dB on each drag that it was tried on, in their order."""

    what: str
    name: str
    settings: T
    scores: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Tuned:
    """settings: what was best.  still: mean dB of the pictures left as they are.  before, after: of the settings at the outset and of the
    best, over all drags.  trials: all.  taken: what was changed, in words.
    """

    settings: DragFlowSettings
    still: float
    before: float
    after: float
    trials: tuple[Trial, ...]
    taken: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What was found, a sentence a line."""
        tried = f"{len(self.trials)} settings of dragflow were tried on drags made of this picture"
        if self.after < self.still + FOLLOWS:
            return [
                f"{tried}: {self.after:.1f} dB at best, {self.still:.1f} dB where nothing is done. dragflow can't drag with this model: "
                "use dragfield."
            ]
        if self.after <= self.before:
            return [f"{tried}: none was better than those it has, {self.before:.1f} dB, {self.still:.1f} dB where nothing is done."]
        results = f"{self.before:.1f} dB as it is, {self.after:.1f} dB with {', '.join(self.taken)}"
        return [f"{tried}: {results}; {self.still:.1f} dB where nothing is done."]

    def numbers(self) -> dict[str, Any]:
        """Everything, for JSON."""
        trials = [{"what": one.what, "name": one.name, "db": [round(db, 3) for db in one.scores]} for one in self.trials]
        return {"still_db": self.still, "before_db": self.before, "after_db": self.after, "taken": list(self.taken), "trials": trials}


def halve(what: str, candidates: Mapping[str, T], judge: Judge, drags: int) -> tuple[Trial[T], ...]:
    """The candidates, best first: all are judged on one drag, few on two at once, then the better half on twice as many more, and so on.

    judge: (candidate, number of a drag) -> how good, more is better.
    """
    alive, scores, seen = list(candidates), {name: [] for name in candidates}, 0
    batch = 1 if len(alive) > 3 else 2
    while seen < drags and (len(alive) > 1 or seen == 0):
        batch = min(batch, drags - seen)
        for number in range(seen, seen + batch):
            for name in alive:
                scores[name].append(judge(candidates[name], number))
        seen += batch
        batch *= 2
        # What was judged on the same drags is compared; of equals the one that came first stays.
        alive = sorted(alive, key=lambda name: -mean(scores[name]))[: max(1, len(alive) // 2)]
    order = sorted(candidates, key=lambda name: (-len(scores[name]), -mean(scores[name])))
    return tuple(Trial(what, name, candidates[name], tuple(scores[name])) for name in order)


def tune(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    cond: Conditioning,
    settings: DragFlowSettings,
    *,
    sight: Sight | None = None,
    mask: np.ndarray | None = None,
    drags: int = DRAGS,
    seed: int = 0,
    run: RunContext = ALONE,
) -> Tuned:
    """Find settings of `dragflow` for this model, from `settings` on, on drags made of `image` [1, 3, H, W].

    sight: the best block of it is tried as taps.  mask: bool [H, W] of an object, if one is known.
    Settings that are not better over all drags are not taken.
    """
    made = self_drags(np.round(picture_of(image) * 255).astype(np.uint8), mask, count=drags, seed=seed)
    trying = _Trying(backbone, autoencoder, cond, made, run)
    best, trials, taken = settings, [], []
    for what, candidates in candidates_of(settings, sight):
        current = {name: change(best) for name, change in candidates.items()}
        found = halve(what, current, trying.judge, drags)
        trials += found
        if surpasses([trying.judge(found[0].settings, n) - trying.judge(best, n) for n in range(drags)]):
            best = found[0].settings
            taken.append(f"{what} {found[0].name}")
    before, after = (mean(trying.judge(one, number) for number in range(drags)) for one in (settings, best))
    still = mean(one.psnr(one.picture) for one in made)
    better = after > before
    return Tuned(best if better else settings, still, before, max(before, after), tuple(trials), tuple(taken) if better else ())


def surpasses(gains: Sequence[float]) -> bool:
    """Whether something is better by more than its own standard error and by `LEAST` dB, told from its gain on each of several drags."""
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return mean(gains) > max(error, LEAST)


def candidates_of(settings: DragFlowSettings, sight: Sight | None) -> Iterator[tuple[str, dict[str, Change]]]:
    """What is tried, in order: what it concerns and, by name, how each candidate changes the settings so far."""

    def dragging(**changed: Any) -> Change:
        return lambda own: replace(own, drag=replace(own.drag, **changed))

    drag, inversion = settings.drag, settings.inversion
    yield "rate", {f"x {f:g}": dragging(rate=f * drag.rate, intensify_rate=f * drag.intensify_rate) for f in RATES}
    if sight is not None:
        yield "taps", {"its own": lambda own: own, str(sight.best()[0]): dragging(taps=(sight.best()[0],))}
    skips = dict.fromkeys(round(share * inversion.steps) for share in SKIPPED)
    yield "skip", {str(skip): (lambda own, skip=skip: replace(own, inversion=replace(own.inversion, skip=skip))) for skip in skips}
    phases = {f: (max(1, round(f * drag.transport_steps)), max(1, round(f * drag.intensify_steps))) for f in SHARES}
    yield "iterations", {f"x {f:g}": dragging(transport_steps=a, intensify_steps=b) for f, (a, b) in phases.items()}


class _Trying:
    """Edits of self-made drags, each inversion made once."""

    def __init__(
        self, backbone: AnyBackbone, autoencoder: Autoencoder, cond: Conditioning, drags: Sequence[SelfDrag], run: RunContext
    ) -> None:
        self.backbone, self.autoencoder, self.cond, self.drags, self.run = backbone, autoencoder, cond, drags, run
        self._inversions: dict[tuple[int, InversionSettings], AnyInversion] = {}
        self._scores: dict[tuple[int, DragFlowSettings], float] = {}
        self._done = 0

    def judge(self, settings: DragFlowSettings, number: int) -> float:
        """dB to the truth of drag `number` where picture and truth may differ."""
        key = number, settings
        if key not in self._scores:
            self.run.check()
            self._scores[key] = self._tried(self.drags[number], settings, number)
            self._done += 1
        return self._scores[key]

    def _tried(self, one: SelfDrag, settings: DragFlowSettings, number: int) -> float:
        image = tensor_of(one.picture.astype(np.float32) / 255).to(self.backbone.device)
        key = number, settings.inversion
        if key not in self._inversions:
            # One drag's pictures come one after the other: more would be held for nothing.
            self._inversions = {k: v for k, v in self._inversions.items() if k[0] == number}
            self._inversions[key] = walked(self.backbone, self.autoencoder, image, self.cond, settings.inversion, self.run)
        inversion = self._inversions[key]
        settings = replace(settings, inversion=inversion.settings, paste_back=False)
        quiet = RunContext(should_stop=self.run.should_stop)
        edit = dragflow(self.backbone, self.autoencoder, image, one.asked, self.cond, settings=settings, inversion=inversion, run=quiet)
        self.run.tell("check", self._done + 1, 0, edit.z)
        return min(EXACT, one.psnr(np.round(picture_of(edit.image) * 255).astype(np.uint8)))
