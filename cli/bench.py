"""`dragfield bench`: measure. The demo suite knows the truth of every case, the speed suite times a drag iteration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from .console import err, out, progress_bar


def bench(
    suite: Annotated[Literal["demo", "speed"], typer.Option(help="What to measure.")] = "demo",
    cases: Annotated[int, typer.Option(min=1, help="demo: how many fresh cases are drawn.")] = 48,
    seed: Annotated[int, typer.Option(min=0, help="demo: which cases are drawn.")] = 0,
    methods: Annotated[str, typer.Option(help="demo: only these, separated by commas.")] = "",
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the whole report here.")] = None,
) -> None:
    """Measure the methods side by side on drawn cases, or the cost of a drag iteration."""
    if json_path is not None and json_path.is_dir():
        raise ValueError(f"{json_path} is a folder; --json takes the file to write")
    with progress_bar() as progress:
        if suite == "demo":
            from ..benchmarks import demo

            chosen = [name.strip() for name in methods.split(",") if name.strip()] or list(demo.METHODS)
            report = demo.run(cases, seed, chosen, progress=progress)
        else:
            from ..benchmarks import speed

            report = speed.run(progress=progress)
    if suite == "demo":
        out.print(methods_table(report))
    else:
        out.print_json(data=report)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        err.print(f"report in {json_path}", markup=False)


def methods_table(report: dict[str, Any]) -> Table:
    """One row a method, one column a figure; {"mean": .., "p90": ..} becomes two columns."""
    rows = {name: flat(figures) for name, figures in report["methods"].items()}
    table = Table(title=f"{report['cases']} cases, seed {report['seed']}")
    table.add_column("method")
    columns = list(dict.fromkeys(column for figures in rows.values() for column in figures))
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right", min_width=6)
    for name, figures in rows.items():
        table.add_row(name, *(shown(figures.get(column)) for column in columns))
    return table


def flat(figures: dict[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, figure in figures.items():
        if isinstance(figure, dict):
            found.update({f"{name} {part}": value for part, value in figure.items()})
        else:
            found[name] = figure
    return found


def shown(value: float | None) -> str:
    """A figure with as many digits as a table can bear; a figure that was not measured is a dash."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"
