"""How a point drag descends: windows, steps, the mask, and when it ends. See point_drag.py for what they mean together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..choices import check_choices
from .tracking import Outside, Reading


@dataclass(frozen=True)
class PointDragSettings:
    """How a point drag descends. The defaults are the preset `tuned`; `PUBLISHED` is what the published code did.

    rounds, steps_per_round: tracking rounds, and gradient steps in each (DirectDrag: 10 and 3).
    radius, search: half side of the supervised and of the searched window, in grid cells (4 and 12).
    longest_step: how far a window is supervised beyond its handle, in cells (4).  arrive_within: of its target, in
        cells (2); None: handles at their targets are supervised there until the rounds are over.
    arrival: a handle has arrived at a distance of "at_most" arrive_within, or only "below" it (published): on whole cells the two differ.
    rate_mode, rate: "adam" (published: 0.02) or "normalised", see above.  betas: Adam's.
    mask_weight: of the mask term (0.1 in the published tables, 0.2 in the published interface).
    mask_on: "next" holds the latent after the denoising step (published), "latent" the latent itself, which saves the network's end.
        "step" has no mask term: it scales every step by M, so that what is closed stays exactly and no weight is to be chosen.
    terms_on: "step" adds readout guidance and other terms to the loss of every gradient step (published). "round" adds them to the first of
        each round, with as many times their weight as the round has steps; the others need the network only as far as the drag's own taps.
    track_on: "fresh" tracks with the features after the last step of a round, which the next round needs anyway; "stale" with those
        before it (published).
    turned: compare with windows turned as the handles near each other turn (published: as they were).
    reading: how windows are read, see `tracking.window`; "two_step" is the published one.
    loss_threshold: ends a round early when the motion loss is at or below it (published 0).
    outside: places off the grid are no candidates when handles are looked for ("excluded"), or cells without any feature, which may win
        ("zeros", published).
    patience: gives up after so many rounds in a row in which no handle moved; None: never.
    patience_at: when that is asked. "round": after every round; "timestep": when a drag begins at a new time, and only if the count is
        patience exactly (published: 5 in its tables, 10 in its interface).
    taps: None for the backbone's own.  guidance: the distilled scale, flow models only.
    """

    rounds: int = 10
    steps_per_round: int = 3
    radius: int = 4
    search: int = 12
    longest_step: float = 4.0
    arrive_within: float | None = 2.0
    arrival: Literal["at_most", "below"] = "at_most"
    rate_mode: Literal["adam", "normalised"] = "adam"
    rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.999)
    mask_weight: float = 0.1
    mask_on: Literal["next", "latent", "step"] = "next"
    terms_on: Literal["step", "round"] = "step"
    track_on: Literal["fresh", "stale"] = "fresh"
    reading: Reading = "direct"
    turned: bool = False
    loss_threshold: float = 0.0
    outside: Outside = "excluded"
    patience: int | None = 5
    patience_at: Literal["round", "timestep"] = "round"
    taps: tuple[Any, ...] | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if min(self.rounds, self.steps_per_round) < 1 or min(self.radius, self.search) < 0:
            raise ValueError(
                f"{self.rounds} rounds of {self.steps_per_round} steps with windows of radius {self.radius} and {self.search} "
                "make no drag: use at least 1 round of 1 step and radii of 0 or more (published: 10, 3, 4, 12)"
            )
        if not (self.rate > 0 and self.longest_step > 0 and (self.arrive_within or 0) >= 0 and self.mask_weight >= 0):
            raise ValueError(
                f"rate {self.rate}, longest_step {self.longest_step}, arrive_within {self.arrive_within}, mask_weight {self.mask_weight}: "
                "the first two must be positive, the others 0 or more"
            )
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"a patience of {self.patience} rounds gives up before it began: use 1 or more, or None")
        check_choices(self)

    def arrived(self, distance: float) -> bool:
        """Whether a handle that is `distance` cells from its target has arrived there."""
        if self.arrive_within is None:
            return False
        return distance < self.arrive_within or (self.arrival == "at_most" and distance == self.arrive_within)


PRINCIPLED = PointDragSettings()
PUBLISHED = PointDragSettings(track_on="stale", reading="two_step", arrival="below", outside="zeros", patience_at="timestep")
