"""Guidance on a wire: terms that an optimizer adds to its loss, made anew at each time that it drags at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from comfy_api.latest import io
from torch import Tensor

from ..core.appearance import AppearanceTerm, ReadoutSettings, appearance_term, readout_of
from ..core.guidance import Term
from ..core.probes import FlowProbe, NoiseProbe
from ..core.readout import ReadoutHead
from .trajectory import Branch

GuidanceType = io.Custom("DRAGFIELD_GUIDANCE")
"""Carries `Guides`."""
ReadoutHeadType = io.Custom("DRAGFIELD_READOUT_HEAD")
"""Carries a core ReadoutHead."""


class Guide(Protocol):
    """One kind of guidance."""

    def term(self, probe: NoiseProbe | FlowProbe, branch: Branch, seen: Tensor, kept: dict[int, Tensor]) -> Term:
        """The term for a drag that begins at the branch's state.

        seen: the latent that the inversion's last call saw.  kept: of one picture's walk, for what a guide makes once.
        """
        ...


Guides = tuple[Guide, ...]


@dataclass(frozen=True, eq=False)
class ReadoutGuide:
    """Keeps the readout what it was."""

    head: ReadoutHead
    settings: ReadoutSettings

    def term(self, probe: NoiseProbe | FlowProbe, branch: Branch, seen: Tensor, kept: dict[int, Tensor]) -> AppearanceTerm:
        head, settings = self.head.to(probe.device), self.settings
        fixed = settings.reference == "fixed"
        if fixed and id(self) not in kept:
            # As published, whatever the time.
            kept[id(self)] = readout_of(probe, head, seen, branch.t, settings)
        wanted = kept[id(self)] if fixed else readout_of(probe, head, branch.undragged, branch.t, settings)
        return appearance_term(probe, head, branch.z, branch.t, wanted, settings)
