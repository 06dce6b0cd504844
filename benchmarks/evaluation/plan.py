"""What a run is: the data set, methods, metrics and settings, as one value that is kept beside its results.

A run is taken up again by the same plan. What decides the value of a sample must then be the same; methods, metrics and samples may be
added.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ...core.metrics.backbones import Backbones
from ...core.metrics.table import chosen
from .datasets import open_dataset
from .editors import Editors
from .variants import Variant

DECIDING = {"suite": "--suite", "model": "--model", "seed": "--seed", "longest": "--longest", "dtype": "--dtype",
            "readout": "--readout"}  # fmt: skip
"""What decides the value of a sample, and the option that says it."""


@dataclass(frozen=True)
class Plan:
    """See `dragfield bench --help`.

    methods: the rows, in order, by names of methods or of variants.  base: that which an ablation table compares the others with; None:
    no such table.  threads: of torch on a CPU, since sums in another order end in other bits.
    """

    suite: str
    data: Path
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    model: str = "demo"
    seed: int = 0
    limit: int | None = None
    longest: int | None = None
    device: str = "cpu"
    dtype: str = "auto"
    threads: int = field(default_factory=torch.get_num_threads)
    backbones: Backbones = Backbones()
    variants: tuple[Variant, ...] = ()
    readout: Path | None = None
    base: str | None = None

    @classmethod
    def make(cls, *, metrics: tuple[str, ...] = (), backbones: Backbones | None = None, **told) -> Plan:
        """A plan whose methods, model, metrics and data set are there. Raises: ValueError, before anything heavy starts."""
        backbones = backbones or Backbones()
        backbones.check()
        plan = cls(metrics=chosen(metrics, backbones), backbones=backbones, **told)
        open_dataset(plan.suite, plan.data)
        plan.editors()
        if plan.base is not None and plan.base not in plan.methods:
            raise ValueError(f"--ablate {plan.base} is none of the rows: use one of {', '.join(plan.methods)}")
        return plan

    def editors(self) -> Editors:
        return Editors(
            self.methods, self.model, variants=self.variants, readout=self.readout, device=self.device, dtype=self.dtype,
            longest=self.longest,
        )  # fmt: skip

    def names(self) -> tuple[str, ...]:
        """The samples that are wanted."""
        return open_dataset(self.suite, self.data).names[: self.limit]

    def deciding(self) -> dict:
        """What has to be the same for a run to be taken up again."""
        networks = self.backbones.names()
        if "lpips" in networks:
            networks.setdefault("lpips_heads", "of an installed library")
        told = {name: getattr(self, name) for name in DECIDING}
        told["readout"] = None if self.readout is None else str(self.readout)
        variants = {variant.name: variant.told() for variant in self.variants if variant.name in self.methods}
        return told | {"backbones": networks, "variants": variants}


def seed_of(seed: int, *words: str) -> int:
    """A seed for one sample, from its name: no value depends on the order of samples or on what else is run. -> in [0, 2^31)."""
    told = "\n".join((str(seed), *words)).encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:4], "big") >> 1
