"""The whole check: what was measured, in sentences and as numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..edits.dragfield import DragFieldSettings
from ..edits.edit import AnyBackbone
from ..model.backbone import Autoencoder, Conditioning
from ..optimise.region_drag import RegionDragSettings
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings
from ..sampling.sampler import is_flow, sampler_of
from .attention import Injected, where_it_holds
from .cost import Cost, cost
from .round_trip import RoundTrip, autoencoder_psnr, round_trips
from .sight import Sight, where_it_sees, window_of
from .sound import broken_times, slope_ratio
from .walk import walked

QUICK, THOROUGH = (25,), (8, 15, 25)
"""Steps of the inversions that are tried."""
SIDES = (512, 768, 1024)
"""Of square pictures, px, for which the time of an edit is foretold."""
SLOPE = 0.2
"""How far the slope of a loss may be from what its gradient says."""
MIB = 2**20


@dataclass(frozen=True, eq=False)
class Check:
    """size: (width, height) of the picture looked at, px.  vae_db: what the autoencoder gives back.  trips: what came back.
    broken: times at which the model's answer is not finite.  levels: of noise, at the inversion's times.
    sight, slope: None for a model whose blocks are not known.  taps: those that drags read by default.
    cost: of a call and an iteration; larger: the same, measured once on a picture of half as many tokens again, None: not.
    injected: what keys and values of which blocks hold; empty: not looked at.  cell: px on a token's side.  patch: latent cells on it.
    guidance: under which `injected` was sampled.
    """

    size: tuple[int, int]
    vae_db: float
    trips: tuple[RoundTrip, ...]
    broken: tuple[float, ...]
    levels: tuple[float, ...]
    sight: Sight | None
    slope: float | None
    taps: tuple[Any, ...]
    cost: Cost
    larger: Cost | None
    injected: tuple[Injected, ...]
    cell: int
    patch: int
    guidance: float

    def lines(self) -> list[str]:
        """What was found, a sentence a line."""
        lines = self._sound_lines()
        lines.append(f"The VAE gives the picture back at {self.vae_db:.1f} dB; only what is pasted back is nearer.")
        for trip in self.trips:
            how = f"guidance {trip.guidance:g}" + (", keys and values injected" if trip.attention else "")
            closes = "closes" if trip.psnr >= self.vae_db else "loses more than the VAE does"
            lines.append(f"Inverted in {trip.steps} steps less {trip.skip}, and back under {how}: {trip.psnr:.1f} dB, {closes}.")
        if not max(trip.psnr for trip in self.trips) >= self.vae_db:
            lines.append("No way back closes: use more steps, or skip more of them; what the mask leaves open will not be the picture's.")
        return lines + self._injected_lines() + self._sight_lines() + self._cost_lines()

    def _sound_lines(self) -> list[str]:
        if self.broken:
            return [
                f"Its answer is not finite at {len(self.broken)} of {len(self.levels) - 1} times ({self.broken[0]:g} among them): nothing "
                "made of it can be right; load the model in bfloat16 or float32."
            ]
        lines = [f"Its answer is finite at all {len(self.levels) - 1} times."]
        if self.slope is not None and abs(self.slope - 1) <= SLOPE:
            lines.append(f"The gradient is the slope of a loss on its features to {abs(self.slope - 1):.1%}.")
        elif self.slope == 0:
            lines.append("Its features don't depend on the latent, so that nothing can be dragged by them: use dragfield.")
        elif self.slope is not None:
            lines.append(
                f"The gradient is not the slope of a loss on its features: that rises {self.slope:.2f} times as steeply. dragflow and "
                "directdrag can't be relied on; use dragfield, or load the model in another precision."
            )
        return lines

    def _injected_lines(self) -> list[str]:
        if not self.injected:
            return []
        named = {one.name: one for one in self.injected}
        none, default, everything = (named[name] for name in ("none", "default", "all"))
        best = max((one for one in self.injected if one.name not in ("none", "default", "all")), key=lambda one: one.psnr)
        return [
            f"Back under guidance {self.guidance:g} in few steps: {none.psnr:.1f} dB without keys and values; {default.psnr:.1f} dB with "
            f"those of the default's blocks ({default.nbytes / MIB:.0f} MB), {best.psnr:.1f} dB with {best.name} alone "
            f"({best.nbytes / MIB:.0f} MB), {everything.psnr:.1f} dB with all ({everything.nbytes / MIB:.0f} MB)."
        ]

    def _sight_lines(self) -> list[str]:
        if self.sight is None:
            return ["Its blocks are not known here, so dragflow and directdrag can't run; dragfield needs none of them."]
        own, (tap, level), chance = self.sight.of(self.taps), self.sight.best(), self.sight.chance
        column = int(own.argmax())
        lines = [
            f"Of the places of a picture that is shifted or turned, its own taps ({', '.join(map(str, self.taps))}) find "
            f"{own[column]:.0%} again at noise level {self.sight.levels[column]:.2f}, the best block ({tap}) {self.sight.both.max():.0%} "
            f"at {level:.2f}; by chance it would be {chance:.0%}."
        ]
        if own.max() < 2 * chance:
            lines.append("Its own taps see next to nothing of this picture: try another with more in it, or use dragfield.")
        return lines

    def _cost_lines(self) -> list[str]:
        each = "" if self.cost.iteration is None else f" and a drag iteration {self.cost.iteration:.2g} s"
        held = "" if self.cost.peak is None else f"; at most {self.cost.peak / 1024**3:.1f} GB of the device were held"
        lines = [f"Here, at {self.size[0]} x {self.size[1]} px, a call takes {self.cost.call:.2g} s{each}{held}."]
        lines.append("An edit then takes, without the VAE, about " + "; ".join(map(self._foretold, SIDES)) + ".")
        if self.larger is not None:
            foretold, took = self.cost.on(self.larger.tokens), self.larger
            what = "a call" if took.iteration is None else "an iteration"
            pair = (foretold.call, took.call) if took.iteration is None else (foretold.iteration, took.iteration)
            lines.append(f"Checked at {took.tokens} tokens: {what} was foretold at {pair[0]:.2g} s and took {pair[1]:.2g} s.")
        return lines

    def _foretold(self, side: int) -> str:
        seconds = self.edit_seconds(side)
        return f"{side} px: " + ", ".join(f"{name} {taken:.0f} s" for name, taken in seconds.items() if taken is not None)

    def edit_seconds(self, side: int) -> dict[str, float | None]:
        """Seconds of an edit of a square picture of `side` px by each method, the autoencoder apart, as the operations foretell it."""
        there, drag = self.cost.on((side // self.cell) ** 2), RegionDragSettings()
        return {
            "dragfield": there.dragfield(self.levels, DragFieldSettings().start_at),
            "dragflow": there.dragflow(self.levels, drag.transport_steps + drag.intensify_steps, self.patch),
        }

    def numbers(self) -> dict[str, Any]:
        """Everything, for JSON."""
        sight = self.sight and {
            "taps": [str(tap) for tap in self.sight.taps], "own_taps": [str(tap) for tap in self.taps],
            "levels": [round(x, 4) for x in self.sight.levels], "found": np.round(self.sight.found, 4).tolist(),
            "turned": np.round(self.sight.turned, 4).tolist(), "off_tokens": np.round(self.sight.off, 4).tolist(),
            "chance": self.sight.chance,
        }  # fmt: skip
        return {
            "size": list(self.size), "vae_db": self.vae_db, "round_trips": [asdict(trip) for trip in self.trips],
            "broken_times": list(self.broken), "slope_ratio": self.slope, "sight": sight, "cost": asdict(self.cost),
            "larger": self.larger and asdict(self.larger), "edit_seconds": {str(side): self.edit_seconds(side) for side in SIDES},
            "injected": [{"name": one.name, "psnr": one.psnr, "bytes": one.nbytes} for one in self.injected],
        }  # fmt: skip


def check(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    cond: Conditioning,
    *,
    thorough: bool = False,
    guidance: float = 3.5,
    sees: bool = True,
    remembers: bool = True,
    run: RunContext = ALONE,
) -> Check:
    """Check a model with `image` [1, 3, H, W].

    thorough: fewer steps are tried too, keys and values block by block, and the time on a larger picture.
    guidance: of the edits that are planned.  sees, remembers: whether the model gives features, and keys and values.
    """
    if sees:
        window_of(backbone, autoencoder, image)  # refuses before anything is computed
    vae_db = autoencoder_psnr(autoencoder, image)
    sampler = sampler_of(backbone, cond)
    taps = tuple(sampler.drag_taps) if sees else ()
    inversion = walked(backbone, autoencoder, image, cond, InversionSettings(kv_blocks="none"), run)
    broken = broken_times(sampler, inversion, run=run)
    slope = slope_ratio(sampler, inversion, taps, run=run) if sees and not broken else None
    z, t = inversion.path[0], inversion.times[0]
    taken, larger = cost(sampler, z, t, taps, run=run), None
    if thorough:
        rows = z.shape[-2] // 4 * 6  # half as many again, whole tokens
        larger = cost(sampler, torch.cat([z, z], dim=-2)[..., :rows, :], t, taps, run=run)
    guidances = tuple(dict.fromkeys((1.0, guidance)))
    trips = round_trips(
        backbone, autoencoder, image, cond, steps=THOROUGH if thorough else QUICK, guidances=guidances, remembers=remembers, run=run
    )
    injected = where_it_holds(backbone, autoencoder, image, cond, guidance=guidance, run=run) if thorough and remembers else ()
    sight = where_it_sees(backbone, autoencoder, image, cond, run=run) if sees else None
    patch = getattr(backbone, "patch", 1) if is_flow(backbone) else 1
    return Check(
        (image.shape[-1], image.shape[-2]), vae_db, tuple(trips), broken, tuple(inversion.level(i) for i in range(len(inversion.times))),
        sight, slope, taps, taken, larger, injected, autoencoder.factor * patch, patch, guidance,
    )  # fmt: skip
