"""The `dragfield` command: which commands there are."""

from __future__ import annotations

from typing import Annotated

import typer

from . import bench, check, demo, edit, train
from .console import OneSentence

app = typer.Typer(
    cls=OneSentence,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Drag-based image editing: draw a region, say where it goes, and the model moves it.",
)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Options that stand before the command; `OneSentence` reads them."""


app.command()(demo.demo)
app.command()(edit.edit)
app.command()(check.check)
app.command()(bench.bench)
app.add_typer(train.app, name="train")
