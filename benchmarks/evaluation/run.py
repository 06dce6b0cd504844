"""A plan carried out: what is missing is found, done by an engine, and written sample by sample.

An engine takes tasks and gives their files, in any order, on any machines; only this process writes. Stopped at any point, the same call
goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.metrics.table import METRICS
from .ablation import Ablation, ablation, write_ablation
from .datasets import open_dataset
from .plan import Plan
from .report import compared, write_report
from .store import Row, Store
from .summary import write_tables
from .work import Files, Task, Worker

Engine = Callable[[Plan, Iterable[Task], Sequence[tuple[str, str]]], Iterator[tuple[Task, Files]]]
"""(plan, tasks, prompts of the tasks) -> each task with its files, as soon as it is done."""


def local(plan: Plan, tasks: Iterable[Task], prompts: Sequence[tuple[str, str]]) -> Iterator[tuple[Task, Files]]:
    """One after another in this process."""
    worker = Worker(plan, prompts)
    for task in tasks:
        yield task, worker.do(task)


@dataclass(frozen=True)
class Outcome:
    """plan: with all metrics that are known.  rows: of every method and sample wanted, those of earlier runs too.  done: how many this run
    did.  unreadable: what is wrong with samples that can't be read.  ablation: where the plan has a base."""

    plan: Plan
    rows: tuple[Row, ...]
    done: int
    unreadable: dict[str, str]
    ablation: Ablation | None = None


def run(
    plan: Plan, out: Path, *, engine: Engine = local, retry: bool = False, compare: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Outcome:  # fmt: skip
    """Edit and judge what is missing in `out`, and write its tables and its page.

    retry: do again what has failed.  compare: folder of another run, for the page.  progress(done, total, what): before the first and after
    every task; `what` ends with the time left.
    Raises: ValueError for a folder of another plan, for a data set none of whose samples can be read and for a method that fits none of
    them. A sample that fails is a row with an error.
    """
    store = Store(out, plan)
    compared(compare, plan)
    names = plan.names()
    with store.alone():
        pending = [
            (method, name) for name in names for method in plan.methods if _wanted(store.row(method, name), plan, retry) is not None
        ]
        prompts, unreadable = _checked(plan, list(dict.fromkeys(name for _, name in pending)), len(names))
        store.begin()
        tasks = (_task(store, plan, method, name, retry) for method, name in pending)
        began, done = time.monotonic(), 0
        tell = progress or (lambda *_: None)
        tell(0, len(pending), "reading the model")
        for task, files in engine(plan, tasks, prompts):
            store.write(task.method, task.sample, files)
            done += 1
            left = (time.monotonic() - began) / done * (len(pending) - done)
            tell(done, len(pending), f"{task.method} {task.sample}, {shown_time(left)} left")
        rows = tuple(row for name in names for method in plan.methods if (row := store.row(method, name)) is not None)
        # What earlier runs measured is shown too.
        shown = replace(plan, metrics=tuple(m for m in METRICS if m in plan.metrics or any(m in row.values for row in rows)))
        write_tables(out, plan.suite, plan.methods, shown.metrics, rows)
        steps = None if plan.base is None else ablation(rows, plan.methods, shown.metrics, plan.base)
        write_ablation(out, steps)
        write_report(out, shown, rows, compare, steps)
    return Outcome(shown, rows, done, unreadable, steps)


def shown_time(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 3 h 05 min."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _wanted(row: Row | None, plan: Plan, retry: bool) -> tuple[str, ...] | None:
    """The metrics that a row lacks; None where there is nothing to do, all metrics where the edit is to be made."""
    if row is None or (retry and "edit" in row.errors):
        return plan.metrics
    if "edit" in row.errors:
        return None
    known = set(row.values) | (set() if retry else set(row.errors))
    return tuple(name for name in plan.metrics if name not in known) or None


def _task(store: Store, plan: Plan, method: str, name: str, retry: bool) -> Task:
    row = store.row(method, name)
    metrics = _wanted(row, plan, retry) or ()
    edited = None if row is None else store.edited(method, name)
    if edited is None:
        return Task(method, name, metrics)
    return Task(method, name, metrics, edited, dict(row.values), dict(row.errors), dict(row.remarks))


def _checked(plan: Plan, names: list[str], count: int) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Read every sample to come once. -> their prompts, and what is wrong with those that can't be read."""
    data, editors = open_dataset(plan.suite, plan.data), plan.editors()
    prompts: dict[tuple[str, str], None] = {}
    unreadable: dict[str, str] = {}
    unfit = {method: 0 for method in plan.methods}
    reason: dict[str, str] = {}
    for name in names:
        try:
            case = data.read(name)
        except ValueError as error:
            unreadable[name] = str(error)
            continue
        prompts[case.prompts] = None
        for method in plan.methods:
            try:
                editors.told(method, case)
            except ValueError as error:
                unfit[method] += 1
                reason[method] = str(error)
    if names and len(unreadable) == count:
        raise ValueError(f"no sample of {plan.data} can be read; the first: {next(iter(unreadable.values()))}")
    for method, times in unfit.items():
        if times and times + len(unreadable) == count:
            raise ValueError(f"{plan.data} holds no drag for {method}: {reason[method]}")
    return list(prompts), unreadable
