"""Metrics of edited pictures, each beside its value for the unedited one, as aligned text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from statistics import fmean

from ..core.metrics.table import Metric, Value, mean_value

Values = dict[str, Value]
"""Of one picture, by metric."""
ROW = "{:<17} {:>9} {:>9}  {:<6}  {:<6}"


def lines(taken: Sequence[Metric], edited: Sequence[Values], unedited: Sequence[Values]) -> list[str]:
    """A row for each metric below the head of the columns; of a batch the mean first, then each picture under its heading.

    "-" stands where a metric says nothing of an edit.
    """
    found = [ROW.format("metric", "value", "unedited", "unit", "better")]
    for heading, one, still in _blocks(taken, edited, unedited):
        if len(edited) > 1:
            found.append(f"mean of {len(edited)} pictures" if heading == "mean" else f"picture {heading}")
        found += [_row(metric, one[metric.name], still[metric.name]) for metric in taken]
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


def _row(metric: Metric, value: Value, still: Value) -> str:
    each = f"  operations: {', '.join(map(_short, value))}" if isinstance(value, list) and len(value) > 1 else ""
    return ROW.format(metric.name, _short(value), _short(still), metric.unit, metric.better) + each


def _short(value: Value) -> str:
    one = mean_value(value)
    return "-" if one is None else f"{one:.4g}"
