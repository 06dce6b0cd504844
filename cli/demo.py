"""`dragfield demo`: a few drags by the bundled model, as pictures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import out, progress_bar


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the pictures and report.json.")] = Path("output/demo"),
) -> None:
    """Drag a few drawn scenes with the bundled model and show what came out."""
    from ..core.demo import showcase

    with progress_bar() as progress:
        report = showcase.run(output, progress)
    out.print(report, markup=False)
    out.print(f"look at {output / 'demo.png'}", markup=False)
