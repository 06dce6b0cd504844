"""Terms that an optimiser adds to its loss. A term is any callable (features, z) -> loss [] or [B]; several are summed.

`features` are the maps at the optimiser's own taps, z the latent that it moves. A term that needs other places of the network names them in
an attribute `taps`: a point drag then reads them in the same pass and hands them to this term alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Term = Callable[[Sequence[Tensor], Tensor], Tensor]


class TapPlan:
    """Which taps to read in one pass so that the optimiser and each term get theirs.

    own: the optimiser's taps.  all: those and the terms', each once.
    """

    def __init__(self, own: Sequence[Any], terms: Sequence[Term]) -> None:
        self.own = tuple(own)
        self.terms = tuple(terms)
        wanted = [getattr(term, "taps", None) or self.own for term in self.terms]
        self.all = tuple(dict.fromkeys((*self.own, *(tap for taps in wanted for tap in taps))))
        place = {tap: i for i, tap in enumerate(self.all)}
        self._own = [place[tap] for tap in self.own]
        self._wanted = [[place[tap] for tap in taps] for taps in wanted]

    def split(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The optimiser's maps out of those at `all`."""
        return [features[i] for i in self._own]

    def total(self, features: Sequence[Tensor], z: Tensor) -> Tensor:
        """Sum of all terms on the maps at `all`, per sample: [] or [B]."""
        total = torch.zeros((), device=z.device)
        for term, places in zip(self.terms, self._wanted, strict=True):
            total = total + term([features[i] for i in places], z)
        return total
