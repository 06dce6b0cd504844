"""A run as one static page: means, differences sample by sample, every sample beside its drag, worst first, a slider between before and
after.

    OUT/report.html            opens from disk, asks nothing of any network
    OUT/report/SAMPLE.jpg      the picture before;  SAMPLE_drag.jpg: the same with the drag drawn on it

Another run of the same data set can be set beside it: its methods become columns of their own, and each is subtracted from its namesake.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...core.formats.picture_file import decode
from ...core.metrics.table import METRICS
from ...core.picture.preview import overlay
from .ablation import Ablation, row_name
from .dataset import Dataset
from .datasets import open_dataset
from .plan import Plan
from .store import Row, rows_in, write
from .summary import Mean, mean_of, of_method, paired, told, value_of

PAGE = Path(__file__).with_name("report_page.html")
FIRST = ("md1", "md", "md2", "arrival")
"""By which samples are ordered when the page opens: the first that was taken."""
SIDE = 1024
"""Longest side of the pictures that are written for the page, px."""


def write_report(out: Path, plan: Plan, rows: Sequence[Row], other: Path | None = None, ablation: Ablation | None = None) -> Path:
    """Write the page of a run. other: folder of another run of the same suite.  ablation: shown as a table of its own. -> the page's file.

    Raises: ValueError for a folder without a run, or one of another suite.
    """
    others = compared(other, plan)
    samples = list(dict.fromkeys(row.sample for row in rows))
    columns = {method: _column(out, out, of_method(rows, method), plan.metrics) for method in plan.methods}
    beside = {f"{method} ({other.name})": method for method in dict.fromkeys(row.method for row in others)} if other else {}
    for name, method in beside.items():
        columns[name] = _column(out, other, [row for row in of_method(others, method) if row.sample in samples], plan.metrics)
    differences = [_difference(plan.metrics, of_method(rows, m), m, of_method(rows, plan.methods[0]), plan.methods[0])
                   for m in plan.methods[1:]]  # fmt: skip
    differences += [_difference(plan.metrics, of_method(rows, m), m, of_method(others, m), name)
                    for name, m in beside.items() if m in plan.methods]  # fmt: skip
    judged = [m for m in plan.metrics if any(m in column["means"] for column in columns.values())]
    data = {
        "title": f"{plan.suite}: {', '.join(plan.methods)}",
        "about": f"{len(samples)} samples, model {plan.model}, seed {plan.seed}" + (f"; beside the run in {other.name}" if other else ""),
        "metrics": {m: {"better": METRICS[m].better} for m in judged},
        "first": next((m for m in FIRST if m in judged), judged[0] if judged else None),
        "chosen": plan.methods[-1],
        "samples": samples,
        "columns": columns,
        "differences": differences,
        "ablation": None if ablation is None else _ablation(ablation),
        "pictures": _pictures(out, open_dataset(plan.suite, plan.data), samples),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    write(out / "report.html", PAGE.read_text(encoding="utf-8").replace("@DATA@", text).encode())
    return out / "report.html"


def compared(other: Path | None, plan: Plan) -> list[Row]:
    """The rows of a run that is to stand beside one of `plan`. Raises: ValueError where it can't."""
    if other is None:
        return []
    known = other / "run.json"
    if not known.is_file():
        raise ValueError(f"--compare {other} holds no run; give the --out folder of one")
    suite = json.loads(known.read_text(encoding="utf-8")).get("suite")
    if suite != plan.suite:
        raise ValueError(f"--compare {other} holds a run of {suite}, this is one of {plan.suite}: only runs of one suite can be compared")
    return rows_in(other)


def _column(out: Path, folder: Path, rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Any]:
    means = {m: _mean(mean) for m in metrics if (mean := mean_of(rows, m)) is not None}
    return {"count": len(rows), "failed": sum("edit" in row.errors for row in rows), "means": means,
            "rows": {row.sample: _cell(out, folder, row, metrics) for row in rows}}  # fmt: skip


def _cell(out: Path, folder: Path, row: Row, metrics: Sequence[str]) -> dict[str, Any]:
    picture = None
    if "edit" not in row.errors:
        picture = Path(os.path.relpath(folder / "samples" / row.method / row.sample / "edited.png", out)).as_posix()
    return {"values": {m: value_of(row, m) for m in metrics}, "error": told(row), "seconds": row.seconds, "picture": picture,
            "words": [vote["words"] for vote in row.remarks.get("judge", {}).get("votes", ())]}  # fmt: skip


def _difference(metrics: Sequence[str], rows: Sequence[Row], name: str, others: Sequence[Row], less: str) -> dict[str, Any]:
    means = {m: _mean(mean) for m in metrics if (mean := paired(rows, others, m)) is not None}
    return {"of": name, "less": less, "means": means}


def _ablation(found: Ablation) -> dict[str, Any]:
    def cell(step) -> dict[str, Any]:
        change = step.difference
        return {"mean": None if step.mean is None else step.mean.value, "difference": None if change is None else _mean(change),
                "pairs": 0 if change is None else change.count, "left": step.left_out, "beyond": step.beyond}  # fmt: skip

    rows = {row_name(found, method): {m: cell(step) for m, step in steps.items()} for method, steps in found.steps.items()}
    return {"base": found.base, "metrics": list(found.steps[found.base]), "rows": rows}


def _mean(mean: Mean) -> dict[str, float | None]:
    return {"value": mean.value, "error": mean.error}


def _pictures(out: Path, data: Dataset, samples: Sequence[str]) -> dict[str, dict[str, str]]:
    """Write what is not there yet; samples that can't be read have none."""
    found = {}
    (out / "report").mkdir(exist_ok=True)
    for name in samples:
        files = {"before": f"report/{name}.jpg", "drag": f"report/{name}_drag.jpg"}
        if not all((out / file).is_file() for file in files.values()):
            try:
                case = data.read(name)
                picture = decode(case.picture)
                drawn = Image.fromarray(overlay(np.array(picture), case.drag()))
            except ValueError:
                continue
            write(out / files["before"], _jpeg(picture))
            write(out / files["drag"], _jpeg(drawn))
        found[name] = files
    return found


def _jpeg(picture: Image.Image) -> bytes:
    picture = picture.copy()
    picture.thumbnail((SIDE, SIDE))
    picture.info = {}
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
