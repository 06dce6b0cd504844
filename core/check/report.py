"""All that is checked of a model with a picture, and what it says, in sentences and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..edits.edit import AnyBackbone
from ..model.backbone import Autoencoder, Conditioning
from ..progress import ALONE, RunContext
from ..sampling.sampler import sampler_of
from .round_trip import RoundTrip, autoencoder_psnr, round_trips
from .sight import Sight, where_it_sees, window_of

QUICK, THOROUGH = (25,), (8, 15, 25)
"""Steps of the inversions that are tried."""


@dataclass(frozen=True, eq=False)
class Check:
    """size: (width, height) of the picture looked at, px.  vae_db: what the autoencoder gives back.  trips: what came back.
    sight: None for a model whose blocks are not known.  taps: those that drags read by default.
    """

    size: tuple[int, int]
    vae_db: float
    trips: tuple[RoundTrip, ...]
    sight: Sight | None
    taps: tuple[Any, ...]

    def lines(self) -> list[str]:
        """What was found, a sentence a line."""
        lines = [f"The VAE gives the picture back at {self.vae_db:.1f} dB; only what is pasted back is nearer."]
        for trip in self.trips:
            how = f"guidance {trip.guidance:g}" + (", keys and values injected" if trip.attention else "")
            closes = "closes" if trip.psnr >= self.vae_db else "loses more than the VAE does"
            lines.append(f"Inverted in {trip.steps} steps less {trip.skip}, and back under {how}: {trip.psnr:.1f} dB, {closes}.")
        if max(trip.psnr for trip in self.trips) < self.vae_db:
            lines.append("No way back closes: use more steps, or skip more of them; what the mask leaves open will not be the picture's.")
        return lines + self._sight_lines()

    def _sight_lines(self) -> list[str]:
        if self.sight is None:
            return ["Its blocks are not known here, so dragflow and directdrag can't run; dragfield needs none of them."]
        own, (tap, level), chance = self.sight.of(self.taps), self.sight.best(), self.sight.chance
        column = int(own.argmax())
        lines = [
            f"Of the places of a shifted picture, its own taps ({', '.join(map(str, self.taps))}) find {own[column]:.0%} again at noise "
            f"level {self.sight.levels[column]:.2f}, the best block ({tap}) {self.sight.found.max():.0%} at {level:.2f}; by chance it "
            f"would be {chance:.0%}."
        ]
        if own.max() < 2 * chance:
            lines.append("Its own taps see next to nothing of this picture: try another with more in it, or use dragfield.")
        return lines

    def numbers(self) -> dict[str, Any]:
        """Everything, for JSON."""
        sight = self.sight and {
            "taps": [str(tap) for tap in self.sight.taps], "own_taps": [str(tap) for tap in self.taps],
            "levels": [round(x, 4) for x in self.sight.levels], "found": np.round(self.sight.found, 4).tolist(),
            "off_tokens": np.round(self.sight.off, 4).tolist(), "chance": self.sight.chance,
        }  # fmt: skip
        return {"size": list(self.size), "vae_db": self.vae_db, "round_trips": [asdict(trip) for trip in self.trips], "sight": sight}


def check(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    cond: Conditioning,
    *,
    steps: Sequence[int] = QUICK,
    guidance: float = 3.5,
    sees: bool = True,
    remembers: bool = True,
    run: RunContext = ALONE,
) -> Check:
    """Check a model with `image` [1, 3, H, W].

    guidance: of the edits that are planned.  sees, remembers: whether the model gives features, and keys and values.
    """
    if sees:
        window_of(backbone, autoencoder, image)  # refuses before anything is computed
    vae_db = autoencoder_psnr(autoencoder, image)
    guidances = tuple(dict.fromkeys((1.0, guidance)))
    trips = round_trips(backbone, autoencoder, image, cond, steps=steps, guidances=guidances, remembers=remembers, run=run)
    sight = where_it_sees(backbone, autoencoder, image, cond, run=run) if sees else None
    taps = tuple(sampler_of(backbone, cond).drag_taps) if sees else ()
    return Check((image.shape[-1], image.shape[-2]), vae_db, tuple(trips), sight, taps)
