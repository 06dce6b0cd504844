"""`dragfield bench` on data sets: every sample edited by every method and judged, to be stopped and taken up again at any time."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .console import Report, choose_device, err, out, progress_bar
from .tables import table

SETS = ("redbench", "dragbench", "dragbench-dr", "drag100", "real-motion", "folder")
FLOORS = "no_edit,pixel_warp"
QUIET = 30.0
"""Seconds between two lines of progress where there is no terminal."""


@dataclass(frozen=True)
class Rows:
    """What is run and compared, as it was asked for: methods and variants by name, a file of variants, a paper's ablation, the base."""

    methods: str = ""
    variants: Path | None = None
    ablation: str | None = None
    base: str | None = None


def evaluate(
    suite: str, data: Path | None, folder: Path | None, rows: Rows, metrics: str, networks: dict, model: str | None, readout: Path | None,
    seed: int, limit: int | None, longest: int | None, device: str, dtype: str, retry: bool, compare: Path | None, spread: tuple | None,
) -> None:
    """Raises ValueError for what is missing or wrong, before a model is read."""
    if data is None:
        raise ValueError(f"suite {suite} needs its samples: give their folder by --data")
    if folder is None:
        raise ValueError(f"suite {suite} keeps every result: give a folder for them by --out")

    from ..benchmarks.evaluation.plan import Plan
    from ..benchmarks.evaluation.run import run
    from ..core.demo.unet import WEIGHTS
    from ..core.metrics.backbones import Backbones

    engine, where = engine_of(spread, device)
    if networks["dift"] is not None:
        networks["dift"] = WEIGHTS if networks["dift"] == "demo" else Path(networks["dift"])
    plan = Plan.make(
        suite=suite, data=data, **chosen(rows, model, readout), metrics=listed(metrics), model=model or "demo", readout=readout, seed=seed,
        limit=limit, longest=longest, device=where, dtype=dtype, backbones=Backbones(**networks, device=where),
    )  # fmt: skip
    with told() as progress:
        outcome = run(plan, folder, engine=engine, retry=retry, compare=compare, progress=progress)
    show(outcome)
    out.print(f"results in {folder}, to be looked at: {folder / 'report.html'}", markup=False)


def judged_by(model: str | None, url: str | None, votes: int, temperature: float, device: str):
    """The judge of a run, None where none is named. Raises: ValueError for an address that is none."""
    if model is None:
        return None
    from ..core.intent.chat import OLLAMA
    from ..core.metrics.judge import Judge

    if url is None and Path(model).is_dir():
        return Judge("", model, votes, temperature, device=device)
    return Judge(url or os.environ.get("DRAGFIELD_API_URL", "").strip() or OLLAMA, model, votes, temperature)


def chosen(rows: Rows, model: str | None, readout: Path | None) -> dict:
    """The methods, variants and base of a plan. Without --methods: the floors, and all variants where there are some."""
    from ..benchmarks.evaluation.ablation import paper_rows
    from ..benchmarks.evaluation.editors import BUNDLED
    from ..benchmarks.evaluation.variants import read_variants

    bundled = model in (None, BUNDLED)
    if rows.ablation == "directdrag" and not bundled and readout is None:
        raise ValueError(f"--ablation directdrag has rows with readout guidance, for which {model} has no head: give one by --readout")
    variants = (() if rows.variants is None else read_variants(rows.variants)) + paper_rows(rows.ablation, bundled=bundled)
    all_of_them = ",".join(variant.name for variant in variants) or "dragfield"
    methods = listed(rows.methods or f"{FLOORS},{all_of_them}")
    base = rows.base
    if base is None and variants:
        base = next((name for name in methods if name not in listed(FLOORS)), methods[0])
    return {"methods": methods, "variants": variants, "base": base}


def engine_of(spread: tuple[int, float | None, str | None] | None, device: str):
    """The engine, and the device of its models. spread: workers, GPUs of each and address of a Ray cluster; None: this process.

    A cluster's workers may have cards that this machine lacks, so that GPUs are asked of Ray, not looked for here.
    """
    from ..benchmarks.evaluation.ray_engine import Cluster
    from ..benchmarks.evaluation.run import local

    if spread is None:
        return local, choose_device(device)
    workers, gpus, address = spread
    gpus = float(device.startswith("cuda")) if gpus is None else gpus
    return Cluster(workers, gpus, address), "cuda" if gpus else "cpu"


def listed(words: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))


def show(outcome) -> None:
    """The means of a run as a table, and what failed."""
    from ..benchmarks.evaluation.ablation import in_words, legend, row_name
    from ..benchmarks.evaluation.summary import mean_of, of_method, told

    plan, rows = outcome.plan, []
    judged = [metric for metric in plan.metrics if mean_of(outcome.rows, metric) is not None]
    for method in plan.methods:
        means = {metric: mean_of(of_method(outcome.rows, method), metric) for metric in judged}
        rows.append({"method": method, **{metric: None if mean is None else mean.value for metric, mean in means.items()}})
    samples = len({row.sample for row in outcome.rows})
    out.print(table(f"{plan.suite}: {samples} samples, seed {plan.seed}, model {plan.model}; means", rows))
    if outcome.ablation is not None:
        found = outcome.ablation
        cells = {method: {metric: in_words(step) for metric, step in steps.items()} for method, steps in found.steps.items()}
        out.print(table("ablation", ({"method": row_name(found, method), **of} for method, of in cells.items())))
        out.print(legend(found), markup=False)
    failed = [row for row in outcome.rows if row.errors]
    for row in failed[:5]:
        err.print(f"{row.method} on {row.sample}: {told(row)}", markup=False)
    if failed:
        err.print(f"{len(failed)} of {len(outcome.rows)} rows have an error, see results.csv; --retry does them again", markup=False)


@contextmanager
def told():
    """A progress bar on a terminal, now and then a line in a log."""
    if err.is_terminal:
        with progress_bar() as report:
            yield report
        return
    last = -QUIET

    def line(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= QUIET:
            last = time.monotonic()
            err.print(f"{done} of {total}: {what}", markup=False)

    report: Report = line
    yield report
