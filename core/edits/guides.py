"""What else shall hold while something is dragged: guides make a term for the optimiser's loss anew at each time that is dragged at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..model.readout import ReadoutHead
from ..optimise.appearance import ReadoutSettings, appearance_term, read_out, readout_of, seen_at
from ..optimise.guidance import Term
from ..sampling.sampler import Sampler
from .state import State

OF_REGION = 0.1 / 350
"""What a weight given for points counts in a region drag: the published one a tenth of a drag undone where readouts differ altogether."""


class Guide(Protocol):
    """One kind of guidance."""

    def term(self, sampler: Sampler, state: State, known: dict[Any, Any], *, of_region: bool = False) -> tuple[Term, int]:
        """The term for a drag that begins at `state`, and the network passes it took.

        known: what was found out before on this walk, to be added to.  of_region: for a region drag, whose terms are told in units of a
        drag undone, not for one of points.
        """
        ...


@dataclass(frozen=True, eq=False)
class ReadoutGuide:
    """Keeps the readout what it was (DirectDrag section 8)."""

    head: ReadoutHead
    settings: ReadoutSettings = ReadoutSettings()

    def term(self, sampler: Sampler, state: State, known: dict[Any, Any], *, of_region: bool = False) -> tuple[Term, int]:
        head, settings, passes = self.head.to(sampler.device), self.settings, 1
        if of_region:
            settings = replace(settings, weight=OF_REGION * settings.weight, range_factor=False)
        if settings.reference == "fixed":
            # As published: what the inversion's last call saw, whatever the time.
            passes = 0 if id(self) in known else 1
            if passes:
                known[id(self)] = seen_at(sampler, known.get("first path", state.inversion.path)[1], state.t)
            wanted = read_out(sampler, head, known[id(self)], state.t, settings)
        else:
            wanted = readout_of(sampler, head, state.undragged, state.t, settings)
        return appearance_term(sampler, head, state.z, state.t, wanted, settings), passes


def guides_of(head: ReadoutHead | None, settings: ReadoutSettings | None) -> tuple[Guide, ...]:
    """The readout's guide, if there is a head and settings that make it count."""
    return () if head is None or settings is None or settings.weight == 0 else (ReadoutGuide(head, settings),)
