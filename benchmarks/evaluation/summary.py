"""What rows come to: means with their errors, differences of methods sample by sample, and the tables on disk.

    OUT/results.csv             a row for each method and sample
    OUT/means.csv               a row for each method: mean, standard error and count of each metric
    OUT/published/METHOD.csv    ReD Bench's own layout, where its five metrics were taken

Means are over samples, but of pooled metrics over all operations of all samples, as they were published.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ...core.metrics.table import METRICS, mean_value
from .store import Row, write

RED_BENCH = {"if_bg": ("IF_bg  ⬆️", 3, 3), "if_s2t": ("IF_s2t ⬆️", 3, 3), "if_s2s": ("IF_s2s ⬇️", 3, 3), "md1": ("MD_1   ⬇️", 3, 2),
             "md2": ("MD_2   ⬇️", 3, 2)}  # fmt: skip
"""Heading, decimals of a sample (as its metrics are rounded), decimals of the mean: the released evaluation's file, arrows included."""


@dataclass(frozen=True)
class Mean:
    """error: standard error of the mean, None of one value.  count: of samples, of operations for a pooled metric."""

    value: float
    error: float | None
    count: int


def value_of(row: Row, metric: str) -> float | None:
    """One number for a sample: the mean of its operations where a metric judges each."""
    return mean_value(row.values.get(metric))


def mean_of(rows: Sequence[Row], metric: str) -> Mean | None:
    """None where no row has the metric."""
    values: list[float] = []
    for row in rows:
        value = row.values.get(metric)
        if isinstance(value, list) and METRICS[metric].pooled:
            values += value
        elif (one := value_of(row, metric)) is not None:
            values.append(one)
    return _mean(values)


def paired(rows: Sequence[Row], others: Sequence[Row], metric: str) -> Mean | None:
    """`rows` less `others` on the samples that both have, whatever their methods. The error is that of the differences."""
    theirs = {row.sample: value_of(row, metric) for row in others}
    both = [(value_of(row, metric), theirs.get(row.sample)) for row in rows]
    return _mean([mine - other for mine, other in both if mine is not None and other is not None])


def of_method(rows: Sequence[Row], method: str) -> list[Row]:
    return [row for row in rows if row.method == method]


def write_tables(out: Path, suite: str, methods: Sequence[str], metrics: Sequence[str], rows: Sequence[Row]) -> None:
    """Write the CSV files anew."""
    header = ["method", "sample", *metrics, "error"]
    lines = [[row.method, row.sample, *(plain(value_of(row, m)) for m in metrics), told(row)] for row in rows]
    write(out / "results.csv", csv_of([header, *lines]))
    header = ["method", "samples", "failed", *(f"{m}{part}" for m in metrics for part in ("", " error", " count"))]
    lines = []
    for method in methods:
        mine = of_method(rows, method)
        means = [mean_of(mine, m) for m in metrics]
        figures = [v for mean in means for v in (("", "", 0) if mean is None else (plain(mean.value), plain(mean.error), mean.count))]
        lines.append([method, len(mine), sum("edit" in row.errors for row in mine), *figures])
    write(out / "means.csv", csv_of([header, *lines]))
    if suite == "redbench" and set(RED_BENCH) <= set(metrics):
        (out / "published").mkdir(exist_ok=True)
        for method in methods:
            write(out / "published" / f"{method}.csv", csv_of(as_published([r for r in of_method(rows, method) if "edit" not in r.errors])))


def as_published(rows: Sequence[Row]) -> list[list[Any]]:
    """The released evaluation's table: values rounded, the means of the rounded values below.

    Its file is appended to, so that a second evaluation counts samples twice; here each is there once.
    """
    lines = []
    for row in rows:
        values = [value_of(row, m) for m in RED_BENCH]
        lines.append([row.sample, "-", *("" if v is None else round(v, RED_BENCH[m][1]) for m, v in zip(RED_BENCH, values, strict=True))])
    means: list[Any] = ["MEAN", "-"]
    for i, (_, _, decimals) in enumerate(RED_BENCH.values()):
        column = [line[2 + i] for line in lines if line[2 + i] != ""]
        means.append(round(fmean(column), decimals) if column else "")
    return [["image_name", "notes", *(heading for heading, _, _ in RED_BENCH.values())], *lines, means]


def told(row: Row) -> str:
    """All that went wrong with a row, in one line."""
    return "; ".join(f"{name}: {error}" for name, error in row.errors.items())


def _mean(values: Sequence[float]) -> Mean | None:
    if not values:
        return None
    return Mean(fmean(values), stdev(values) / len(values) ** 0.5 if len(values) > 1 else None, len(values))


def plain(value: float | None) -> str:
    return "" if value is None else repr(round(value, 6))


def csv_of(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
