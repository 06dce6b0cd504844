"""`dragfield edit --batch`: a folder of instructions, each beside its picture, edited as the evaluation edits a data set.

The same folder of results, the same engines: stopped at any time the same command goes on, and what fails is in results.csv.
"""

from __future__ import annotations

from pathlib import Path

from .bench_sets import engine_of, told
from .console import err, out

LOOKED_AT = ("max_background", "arrival")
"""What of a result is measured beside: whether the background stayed, and whether the drag arrived."""


def edit_batch(
    batch: Path, output: Path, method: str, model: Path | None, seed: int, longest: int | None, device: str, dtype: str,
    spread: tuple | None,
) -> None:  # fmt: skip
    """Raises ValueError for a folder without instructions, before a model is read. spread: see `engine_of`."""
    from ..benchmarks.evaluation.plan import Plan
    from ..benchmarks.evaluation.run import run

    run_by, where = engine_of(spread, device)
    plan = Plan.make(
        suite="folder", data=batch, methods=(method,), metrics=LOOKED_AT, model="demo" if model is None else str(model), seed=seed,
        longest=longest, device=where, dtype=dtype,
    )  # fmt: skip
    with told() as progress:
        outcome = run(plan, output, engine=run_by, progress=progress)
    failed = [row for row in outcome.rows if "edit" in row.errors]
    for row in failed[:5]:
        err.print(f"{row.sample}: {row.errors['edit']}", markup=False)
    out.print(f"{len(outcome.rows) - len(failed)} of {len(outcome.rows)} edits in {output / 'samples' / method}", markup=False)
    out.print(f"to be looked at: {output / 'report.html'}", markup=False)
