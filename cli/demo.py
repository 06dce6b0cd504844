"""`dragfield demo`: a few drags by the bundled model, as pictures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import out, progress_bar
from .tables import table

SHOWN = ("edit", "centroid_error_px", "rotation_error_deg", "psnr_truth_mask_db", "background_max_abs", "source_left", "seconds")


def demo(
    output: Annotated[Path, typer.Option(help="Folder for demo.png, the single pictures and report.json.")] = Path(
        "output/demo"
    ),
    cases: Annotated[int, typer.Option(min=1, help="How many drags; 4 have every task in them.")] = 4,
    seed: Annotated[int | None, typer.Option(min=0, help="Which scenes are drawn; without it, the usual ones.")] = None,
) -> None:
    """Drag a few drawn scenes with the bundled model and show what came out."""
    from ..core.demo import showcase

    with progress_bar() as progress:
        report = showcase.run(output, progress, cases=cases, seed=showcase.SEED if seed is None else seed)
    out.print(table(f"{cases} drags in {report['seconds']:.0f} s", showcase.rows(report), SHOWN))
    out.print(f"Look at {output / 'demo.png'}; the single pictures and report.json lie beside it.", markup=False)
