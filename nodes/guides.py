"""Guidance on a wire: terms that an optimizer adds to its loss, made anew at each time that it drags at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from comfy_api.latest import io
from torch import Tensor

from ..core.model.readout import ReadoutHead
from ..core.optimise.appearance import AppearanceTerm, ReadoutSettings, appearance_term, read_out, readout_of, seen_at
from ..core.optimise.guidance import Term
from ..core.sampling.probes import FlowProbe, NoiseProbe
from .trajectory import Branch

GuidanceType = io.Custom("DRAGFIELD_GUIDANCE")
"""Carries `Guides`."""
ReadoutHeadType = io.Custom("DRAGFIELD_READOUT_HEAD")
"""Carries a core ReadoutHead."""


OF_REGION = 0.1 / 350
"""What a weight given for points counts in a region drag: the published one a tenth of a drag undone where readouts differ altogether."""


class Guide(Protocol):
    """One kind of guidance."""

    def term(
        self, probe: NoiseProbe | FlowProbe, branch: Branch, seen: Tensor, kept: dict[int, list[Tensor]], *, of_region: bool = False
    ) -> Term:
        """The term for a drag that begins at the branch's state.

        seen: the latent that the inversion's last call saw.  kept: of one picture's walk, for what a guide makes once.
        of_region: for a region drag, whose terms are told in units of a drag undone, not for one of points.
        """
        ...


Guides = tuple[Guide, ...]


@dataclass(frozen=True, eq=False)
class ReadoutGuide:
    """Keeps the readout what it was."""

    head: ReadoutHead
    settings: ReadoutSettings

    def term(
        self, probe: NoiseProbe | FlowProbe, branch: Branch, seen: Tensor, kept: dict[int, list[Tensor]], *, of_region: bool = False
    ) -> AppearanceTerm:
        head, settings = self.head.to(probe.device), self.settings
        if of_region:
            settings = replace(settings, weight=OF_REGION * settings.weight, range_factor=False)
        if settings.reference == "fixed":
            # As published: one latent's features, whatever the time.
            if id(self) not in kept:
                kept[id(self)] = seen_at(probe, seen, branch.t)
            wanted = read_out(probe, head, kept[id(self)], branch.t, settings)
        else:
            wanted = readout_of(probe, head, branch.undragged, branch.t, settings)
        return appearance_term(probe, head, branch.z, branch.t, wanted, settings)
