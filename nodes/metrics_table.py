"""Metrics of edited pictures, each beside its value for the unedited one, in lines of words and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from statistics import fmean

from ..core.metrics.table import Metric, Value, mean_value

Values = dict[str, Value]
"""Of one picture, by metric."""


def lines(taken: Sequence[Metric], edited: Sequence[Values], unedited: Sequence[Values]) -> list[str]:
    """A line for each metric; of a batch the mean first, then each picture under its heading."""
    found = []
    for heading, one, still in _blocks(taken, edited, unedited):
        if len(edited) > 1:
            found.append(f"mean of {len(edited)} pictures" if heading == "mean" else f"picture {heading}")
        found += [_line(metric, one[metric.name], still[metric.name]) for metric in taken]
    return found


def table(taken: Sequence[Metric], edited: Sequence[Values], unedited: Sequence[Values]) -> str:
    """The same as CSV; a value that a metric doesn't have is empty, of several operations it is the mean."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["picture", "metric", "value", "unedited", "unit", "better"])
    for heading, one, still in _blocks(taken, edited, unedited):
        for metric in taken:
            values = ("" if (v := mean_value(values[metric.name])) is None else v for values in (one, still))
            writer.writerow([heading, metric.name, *values, metric.unit, metric.better])
    return text.getvalue()


def means(taken: Sequence[Metric], pictures: Sequence[Values]) -> dict[str, float | None]:
    """Of each metric, the mean over pictures that it says something of; of one picture, its own value."""
    found = {metric.name: [v for one in pictures if (v := mean_value(one[metric.name])) is not None] for metric in taken}
    return {name: fmean(values) if values else None for name, values in found.items()}


def _blocks(taken: Sequence[Metric], edited: Sequence[Values], unedited: Sequence[Values]) -> list[tuple[str, Values, Values]]:
    """What is shown, each with its heading: the mean of a batch, then every picture."""
    each = [(str(i), one, still) for i, (one, still) in enumerate(zip(edited, unedited, strict=True), 1)]
    return [*([("mean", means(taken, edited), means(taken, unedited))] if len(each) > 1 else []), *each]


def _line(metric: Metric, value: Value, still: Value) -> str:
    if mean_value(value) is None:
        return f"{metric.name}: says nothing of this edit"
    each = f"; each operation: {', '.join(f'{v:.4g}' for v in value)}" if isinstance(value, list) and len(value) > 1 else ""
    return f"{metric.name}: {_amount(metric, value)} (unedited {_amount(metric, still)}), {metric.better} is better{each}"


def _amount(metric: Metric, value: Value) -> str:
    one = mean_value(value)
    return "-" if one is None else f"{one:.4g} {metric.unit}".rstrip()
