"""What the commands share: the terminal, a progress bar, the device, and mistakes told in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

out = Console(highlight=False)
if not out.is_terminal:
    out.width = 160  # In a file or a log, a table is better wide than cut.
err = Console(stderr=True, highlight=False, soft_wrap=True)

Report = Callable[[int, int, str], None]
"""Told (steps done, steps in all, what is being done)."""


class OneSentence(typer.core.TyperGroup):
    """A command group that ends a user's mistake (ValueError, OSError) with one sentence and exit code 2.

    Anything else is a fault of ours and keeps its traceback, as does everything under --debug.
    """

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            err.print(f"dragfield: {sentence(error)}", markup=False)
            raise typer.Exit(2) from error


def sentence(error: Exception) -> str:
    """The one line a user gets to read."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def progress_bar() -> Iterator[Report]:
    """A bar on the terminal, on stderr so that stdout can be piped; nothing where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(done: int, total: int, what: str = "") -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield report


def choose_device(name: str) -> str:
    """`auto` made into the best device there is; any other refused unless it is there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise ValueError(f"--device {name} is not there; use cpu, auto, or a device that torch sees") from None
    return name
