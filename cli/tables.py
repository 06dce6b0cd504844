"""Reports as tables: one row a method or case, one column a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.table import Table


def table(title: str, rows: Iterable[Mapping[str, Any]], only: Iterable[str] = ()) -> Table:
    """`rows` of figures, the first of which names the row. A figure of parts, {"mean": .., "p90": ..}, is as many columns.

    only: these figures and no others, in this order; those that a row does not have are left out.
    """
    flattened = [flat({name: row[name] for name in only if name in row} if only else row) for row in rows]
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    columns = list(dict.fromkeys(column for row in flattened for column in row))
    for i, column in enumerate(columns):
        words = column.replace("_", " ").split()
        # A heading may be broken between its words, never inside one.
        made.add_column(" ".join(words), justify="right" if i else "left", no_wrap=not i, min_width=max(map(len, words)))
    for row in flattened:
        made.add_row(*(shown(row.get(column)) for column in columns))
    return made


def flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """{"a": {"mean": 1}} -> {"a mean": 1}."""
    found: dict[str, Any] = {}
    for name, figure in figures.items():
        if isinstance(figure, Mapping):
            found.update({f"{name} {part}": value for part, value in flat(figure).items()})
        else:
            found[name] = figure
    return found


def shown(value: Any) -> str:
    """A figure with as many digits as a table can bear; what was not measured is a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.3g}" if abs(value) < 0.1 else f"{value:.2f}"
    return str(value)
