"""How long a call and a drag iteration take, and how long they will take on a larger picture.

A transformer's block does 24 w² operations for each of its N tokens in linear layers and 4 N w in attention (dragflow.md 9.2), so that both
a call and an iteration take a time in proportion to N (6 w + N). A model whose width is not known is taken to be all linear.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model.backbone import token_grid
from ..progress import ALONE, RunContext
from ..sampling.sampler import Sampler

TIMES = 2
"""Timed after one that does not count."""


@dataclass(frozen=True)
class Cost:
    """call, iteration: seconds; iteration None for a model without features.  tokens: of the picture.  text: of the prompt.  width: of a
    token, 0 if unknown.  peak: most bytes that the device held meanwhile, None where it does not count them."""

    call: float
    iteration: float | None
    tokens: int
    text: int
    width: int
    peak: int | None

    def on(self, tokens: int) -> Cost:
        """On a picture of so many tokens, by the number of operations."""

        def work(n: int) -> float:
            return n * (6 * self.width + n) if self.width else n

        more = work(tokens + self.text) / work(self.tokens + self.text)
        iteration = None if self.iteration is None else more * self.iteration
        return Cost(more * self.call, iteration, tokens, self.text, self.width, None)

    def dragfield(self, levels: Sequence[float], start_at: float) -> float:
        """Seconds of an edit by `dragfield` from there, the autoencoder apart. levels: of the inversion's times."""
        return self.call * (len(levels) + sum(level <= start_at for level in levels))

    def dragflow(self, levels: Sequence[float], iterations: int, patch: int) -> float | None:
        """Seconds of an edit by `dragflow`, the autoencoder apart. patch: the reference is read for each cell of a token."""
        return None if self.iteration is None else self.call * (2 * len(levels) + patch**2 - 1) + self.iteration * iterations


def cost(sampler: Sampler, z: Tensor, t: float, taps: Sequence[Any], *, run: RunContext = ALONE) -> Cost:
    """Measured on a latent z [1, C, h, w] at t. taps: () for a model without features."""
    device, backbone = z.device, sampler.backbone

    def call() -> None:
        with torch.no_grad():
            sampler.answer(z, t)

    def iteration() -> None:
        with torch.enable_grad():
            leaf = z.detach().clone().requires_grad_()
            loss = sum(one.float().square().mean() for one in sampler.features(leaf, t, taps))
            if loss.requires_grad:
                torch.autograd.grad(loss, leaf)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    one, other = _seconds(call, device, run), _seconds(iteration, device, run) if taps else None
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    rows, columns = token_grid(z, getattr(backbone, "patch", 1))
    return Cost(one, other, rows * columns, sampler.cond.tokens, getattr(backbone, "width", 0), peak)


def _seconds(work: Callable[[], None], device: torch.device, run: RunContext) -> float:
    taken = []
    for _ in range(1 + TIMES):
        run.check()
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
