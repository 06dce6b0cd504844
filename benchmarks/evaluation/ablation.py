"""An ablation: rows of methods and variants, each metric's mean beside its difference from a base on the same samples.

    OUT/ablation.csv    a row for each method: of each metric the mean, the difference, its standard error, pairs, samples left out, and
                        which way it is beyond two errors
    OUT/ablation.md     the same to be read

A difference is the mean over the samples that both have, each sample's operations averaged first, and its error that of these differences.
A sample without a value in one of the two is left out and counted; one of which the metric says nothing in both is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...core.demo.adapter import STRENGTH
from ...core.metrics.table import METRICS
from .store import Row, write
from .summary import Mean, csv_of, mean_of, of_method, paired, plain, value_of
from .variants import Variant

PAPERS = ("if_bg", "if_s2t", "if_s2s", "md1", "md2", "if", "clip", "md")
"""Metrics in the order of DragFlow's tables, then DirectDrag's; others follow as they are listed."""
BASE = "base"
PARTS = ("difference", "error", "pairs", "left out", "beyond")

_BARE = {"soft_mask": None, "warp": None, "readout": None}
SETS: dict[str, tuple[Variant, ...]] = {
    "dragflow": (
        Variant("dragflow-points", "directdrag_flow", settings=_BARE | {"hold_background": False, "paste_back": False}),
        Variant("dragflow-region", "dragflow", settings={"hard_mask": False, "paste_back": False}),
        Variant("dragflow-background", "dragflow", settings={"paste_back": False}),
        Variant("dragflow-adapter", "dragflow", settings={"paste_back": False}, adapter=STRENGTH),
    ),
    "directdrag": (
        Variant("directdrag-baseline", "directdrag", settings=_BARE | {"paste_back": False}),
        Variant("directdrag-soft_mask", "directdrag", settings={"warp": None, "readout": None, "paste_back": False}),
        Variant("directdrag-readout", "directdrag", settings={"warp": None, "paste_back": False}),
        Variant("directdrag-warp", "directdrag", settings={"paste_back": False}),
    ),
}  # fmt: skip
"""The papers' ablations, each row adding a part to the one before. Nothing is pasted back: a pasted background would look kept.

dragflow: points alone, region supervision, the background held by the gradient mask, the subject adapter, which is there for the bundled
model alone (its points are dragged as ours are: of the published baseline only the numbers are known here). directdrag: Table 3 without
GoodDrag's row.
"""


def paper_rows(name: str | None, *, bundled: bool) -> tuple[Variant, ...]:
    """The rows of a paper's ablation that can be made on the bundled model, or on another; none for None."""
    return tuple(variant for variant in SETS.get(name or "", ()) if bundled or variant.adapter is None)


@dataclass(frozen=True)
class Step:
    """One method in one metric beside the base. mean: over all its samples.  difference: over pairs, None for the base and where there is
    no pair.  left_out: samples that one of the two lacks."""

    mean: Mean | None
    difference: Mean | None = None
    left_out: int = 0
    better: Literal["higher", "lower"] = "higher"

    @property
    def beyond(self) -> Literal["", "better", "worse"]:
        """Which way it differs by more than two standard errors; "" where it does not, or one pair tells nothing."""
        change = self.difference
        if change is None or change.error is None or abs(change.value) <= 2 * change.error:
            return ""
        return "better" if (change.value > 0) == (self.better == "higher") else "worse"


@dataclass(frozen=True)
class Ablation:
    """steps: by method and metric, in the order of rows and columns."""

    base: str
    steps: dict[str, dict[str, Step]]


def ablation(rows: Sequence[Row], methods: Sequence[str], metrics: Sequence[str], base: str) -> Ablation:
    """What each method changes beside `base`, one of them. Metrics that no row has a value of are left out."""
    judged = [m for m in in_order(metrics) if mean_of(rows, m) is not None]
    others = of_method(rows, base)
    steps = {method: {m: _step(of_method(rows, method), others, m, method == base) for m in judged} for method in methods}
    return Ablation(base, steps)


def in_order(metrics: Sequence[str]) -> tuple[str, ...]:
    """Metrics as the papers order them."""
    return tuple(m for m in (*PAPERS, *(m for m in METRICS if m not in PAPERS)) if m in metrics)


def write_ablation(out: Path, found: Ablation | None) -> None:
    """Write both tables anew; without an ablation, those of an earlier run are taken away, since they may tell of fewer samples."""
    if found is None:
        for name in ("ablation.csv", "ablation.md"):
            (out / name).unlink(missing_ok=True)
        return
    write(out / "ablation.csv", csv_of(_lines(found)))
    write(out / "ablation.md", _markdown(found).encode())


def in_words(step: Step) -> str:
    """A cell: 0.925 (+0.168 ± 0.011, n 5, 1 left out) *"""
    if step.mean is None:
        return "-"
    mean, change = _short(step.mean.value), step.difference
    if change is None:
        return f"{mean} (no pair, {step.left_out} left out)" if step.left_out else mean
    error = "" if change.error is None else f" ± {_short(change.error)}"
    left = f", {step.left_out} left out" if step.left_out else ""
    return f"{mean} ({'+' if change.value > 0 else ''}{_short(change.value)}{error}, n {change.count}{left}){' *' if step.beyond else ''}"


def row_name(found: Ablation, method: str) -> str:
    return f"{method} ({BASE})" if method == found.base else method


def _step(rows: Sequence[Row], others: Sequence[Row], metric: str, is_base: bool) -> Step:
    mean, better = mean_of(rows, metric), METRICS[metric].better
    if is_base:
        return Step(mean, better=better)
    mine, theirs = ({row.sample: row for row in some} for some in (rows, others))
    left_out = sum(_left_out(mine.get(name), theirs.get(name), metric) for name in mine | theirs)
    return Step(mean, paired(rows, others, metric), left_out, better)


def _left_out(row: Row | None, other: Row | None, metric: str) -> bool:
    """Whether a sample is no pair, though it should be: the metric has nothing to say of it in one of the two alone, or it failed."""
    if row is None or other is None or any({"edit", metric} & one.errors.keys() for one in (row, other)):
        return True
    return (value_of(row, metric) is None) != (value_of(other, metric) is None)


def _lines(found: Ablation) -> list[list]:
    metrics = list(found.steps[found.base])
    lines: list[list] = [["method", *(f"{m}{part}" for m in metrics for part in ("", *(f" {p}" for p in PARTS)))]]
    for method, steps in found.steps.items():
        cells: list = []
        for step in steps.values():
            change = step.difference
            cells.append("" if step.mean is None else plain(step.mean.value))
            if method == found.base:
                cells += [BASE, *[""] * (len(PARTS) - 1)]
            else:
                told = ("", "", 0) if change is None else (plain(change.value), plain(change.error), change.count)
                cells += [*told, step.left_out, step.beyond]
        lines.append([method, *cells])
    return lines


def _markdown(found: Ablation) -> str:
    metrics = found.steps[found.base]
    heads = ["method", *(f"{m} {'↑' if step.better == 'higher' else '↓'}" for m, step in metrics.items())]
    lines = [heads, ["---"] * len(heads)]
    lines += [[row_name(found, method), *(in_words(step) for step in steps.values())] for method, steps in found.steps.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{legend(found)}\n"


def legend(found: Ablation) -> str:
    """What a cell says, in words."""
    return (
        f"Mean over a row's samples; in brackets the mean difference to the base ({found.base}) over the n samples that both have, ± its "
        "standard error; * beyond two standard errors."
    )


def _short(value: float) -> str:
    size = abs(value)
    return "0" if value == 0 else f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 1 else f"{value:.4f}"
