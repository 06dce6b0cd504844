"""What a check found to suit a model, as a file: for the model it was found on, and nobody else's.

    {"version": 1, "name": "FLUX", "model": "…", "rate": 0.3, "intensify_rate": 0.2, "taps": ["DOUBLE-3-2"], "transport_steps": 30,
     "intensify_steps": 40, "skip": 10, "gain_db": 1.4}

`model` is a fingerprint of the network's class, its parameters' names and shapes and some of its numbers, so that the same weights in
another file have the same and a file says nothing of where it came from. Rates are parts of the latent's root mean square (region_drag.py).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from ..edits.dragflow import DragFlowSettings
from ..instruction.guarded_json import InstructionError, load_json, show
from ..model.taps import Tap, parse_tap
from ..model.unet_taps import UNetTap, parse_unet_tap

VERSION = 1
LOOKED_AT, NUMBERS = 8, 64
"""Parameters of which numbers count for the fingerprint, evenly through the network, and how many of each."""
LONGEST = 100_000


@dataclass(frozen=True)
class Profile:
    """name: what people call the model.  model: its fingerprint.  rate to intensify_steps: as in `RegionDragSettings`, normalised; taps
    None for the model's own.  skip: of 25 steps.  gain_db: by how much this was better than the preset on self-made drags.
    """

    name: str
    model: str
    rate: float
    intensify_rate: float
    transport_steps: int
    intensify_steps: int
    skip: int
    taps: tuple[Tap, ...] | tuple[UNetTap, ...] | None = None
    gain_db: float = 0.0

    @staticmethod
    def of(name: str, model: str, settings: DragFlowSettings, gain_db: float) -> Profile:
        """What of these settings depends on the model."""
        drag, inversion = settings.drag, settings.inversion
        skip = round(inversion.skip / inversion.steps * 25)
        return Profile(
            name, model, drag.rate, drag.intensify_rate, drag.transport_steps, drag.intensify_steps, skip, drag.taps, round(gain_db, 2)
        )

    def applied(self, settings: DragFlowSettings) -> DragFlowSettings:
        """The settings with what the profile knows; the time of the drag is the inversion's to say."""
        drag = replace(
            settings.drag, rate_mode="normalised", rate=self.rate, intensify_rate=self.intensify_rate, taps=self.taps,
            transport_steps=self.transport_steps, intensify_steps=self.intensify_steps,
        )  # fmt: skip
        return replace(settings, drag=drag)

    def in_words(self) -> str:
        """In a few words."""
        where = "its own taps" if self.taps is None else ", ".join(map(str, self.taps))
        return (
            f"rate {self.rate:.3g} and {self.intensify_rate:.3g}, {self.transport_steps} and {self.intensify_steps} iterations, {where}, "
            f"skip {self.skip} of 25"
        )

    def write(self, path: Path) -> None:
        """Save it; folders that are missing are made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        taps = None if self.taps is None else [str(tap) for tap in self.taps]
        path.write_text(json.dumps({"version": VERSION, **asdict(self), "taps": taps}, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def read(path: Path) -> Profile:
        """Raises ValueError, one sentence, for what is no profile; FileNotFoundError for no file."""
        try:
            return _read(load_json(path.read_bytes()[: LONGEST + 1], path.name))
        except InstructionError as error:
            raise ValueError(f"{path.name} is no profile of a model: {error}") from None


def fingerprint(kind: str, parameters: Iterable[tuple[str, Tensor]]) -> str:
    """Hexadecimal. kind: the network's class.  parameters: names and tensors, in the network's order; numbers are read as float32."""
    listed = list(parameters)
    digest = hashlib.sha256(kind.encode())
    for name, one in listed:
        digest.update(f"{name} {list(one.shape)};".encode())
    for i in sorted({round(k * (len(listed) - 1) / max(1, LOOKED_AT - 1)) for k in range(LOOKED_AT)} if listed else ()):
        numbers = listed[i][1].detach().reshape(-1)[:NUMBERS].float().cpu()
        digest.update(numbers.contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def _read(data: object) -> Profile:
    if not isinstance(data, dict) or data.get("version") != VERSION:
        found = data.get("version") if isinstance(data, dict) else data
        raise InstructionError(f"its version is {show(found)}; this pack reads version {VERSION}: run Model Check again")
    known = {key: value for key, value in data.items() if key != "version"}
    wanted = set(Profile.__dataclass_fields__)
    if odd := sorted(set(known) ^ wanted):
        raise InstructionError(f"{odd[0]} is {'unknown' if odd[0] in known else 'missing'}: run Model Check again")
    for key in ("rate", "intensify_rate"):
        _number(known[key], key, 1e-6, 10.0)
    for key, most in (("transport_steps", 1000), ("intensify_steps", 1000), ("skip", 24)):
        _number(known[key], key, 0, most, whole=True)
    _number(known["gain_db"], "gain_db", -100, 100)
    if known["transport_steps"] + known["intensify_steps"] < 1:
        raise InstructionError("it has no iterations, which move nothing: run Model Check again")
    for key in ("name", "model"):
        if not isinstance(known[key], str) or len(known[key]) > 200:
            raise InstructionError(f"{key} is {show(known[key])}; it is a short text")
    taps = known["taps"]
    if taps is not None:
        if not isinstance(taps, list) or not taps or not all(isinstance(tap, str) for tap in taps):
            raise InstructionError(f"taps is {show(taps)}; it is null or a list of names such as DOUBLE-17-0")
        try:
            taps = tuple(parse_tap(tap) if "-" in tap and tap[0].isupper() else parse_unet_tap(tap) for tap in taps)
        except ValueError as error:
            raise InstructionError(str(error)) from None
    return Profile(**{**known, "taps": taps})


def _number(value: object, key: str, least: float, most: float, *, whole: bool = False) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or not least <= value <= most:
        raise InstructionError(f"{key} is {show(value)}; it is {'a whole number' if whole else 'a number'} from {least:g} to {most:g}")
