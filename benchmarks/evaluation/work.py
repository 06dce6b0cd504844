"""One sample by one method: edited and judged. Nothing is written here, so that it may happen on any machine.

A worker holds the models and does one task after another; what a task gives depends on the plan and the task alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from PIL import Image

from ...core.metrics.table import METRICS
from .dataset import Case
from .datasets import open_dataset
from .plan import Plan, seed_of
from .store import to_json


@dataclass(frozen=True)
class Task:
    """metrics: those to take.  edited: the result as PNG where it is there already.  values, errors, remarks: as known
    before."""

    method: str
    sample: str
    metrics: tuple[str, ...]
    edited: bytes | None = None
    values: dict = field(default_factory=dict)
    errors: dict = field(default_factory=dict)
    remarks: dict = field(default_factory=dict)


Files = dict[str, bytes]
"""What a task gives: files of its folder, by name."""


class Worker:
    """Reads the models of a plan when they are needed. prompts: of all tasks to come, encoded before any model is read."""

    def __init__(self, plan: Plan, prompts: Iterable[tuple[str, str]] = ()) -> None:
        torch.set_num_threads(plan.threads)
        self.plan, self.data, self.editors = plan, open_dataset(plan.suite, plan.data), plan.editors()
        self._prompts, self._prepared = tuple(prompts), False
        # A sample's methods follow each other.
        self._case = lru_cache(1)(self.data.read)

    def do(self, task: Task) -> Files:
        """What is wrong with a sample is in its files; what is wrong with a model is no sample's fault, and raises."""
        files, edited = {}, task.edited
        if edited is None:
            if not self._prepared:
                self.editors.prepare(self._prompts)
                self._prepared = True
            self.editors.load(task.method)
            files = self._edited(task)
            edited = files.get("edited.png")
        if edited is not None:
            files["metrics.json"] = self._measured(task, edited)
        return files

    def _edited(self, task: Task) -> Files:
        seed = seed_of(self.plan.seed, task.sample)
        try:
            case = self._case(task.sample)
            made = self.editors.edit(task.method, case, seed)
            if made.picture.size != case.size:
                raise ValueError(f"the result has {made.picture.size} px, the picture {case.size}")
        except Exception as error:
            return failed(self.plan, task, sentence(error))
        buffer = io.BytesIO()
        made.picture.save(buffer, "PNG")
        cost = {"seconds": made.seconds, "nfe_forward": made.nfe_forward, "nfe_backward": made.nfe_backward}
        return {"edited.png": buffer.getvalue(), "cost.json": to_json(cost), "edit.json": to_json({"seed": seed, "error": None})}

    def _measured(self, task: Task, edited: bytes) -> bytes:
        values, errors, remarks = dict(task.values), dict(task.errors), dict(task.remarks)
        try:
            self.plan.backbones.prepare(prompt for prompt, _ in self._prompts)
            judged = self._judged(self._case(task.sample), edited, task.sample)
        except Exception as error:
            errors |= dict.fromkeys(task.metrics, sentence(error))
        else:
            for name in task.metrics:
                errors.pop(name, None)
                try:
                    values[name] = METRICS[name].measure(judged, self.plan.backbones)
                except Exception as error:
                    errors[name] = sentence(error)
            remarks |= judged.remarks
        return _as_file(values, errors, remarks)

    def _judged(self, case: Case, edited: bytes, sample: str):
        with Image.open(io.BytesIO(edited)) as picture:
            return case.judged(picture, seed_of(self.plan.seed, sample, "metrics"))


def failed(plan: Plan, task: Task, error: str) -> Files:
    """The files of an edit that could not be made; of a result that could not be judged, where the edit was there."""
    if task.edited is not None:
        return {"metrics.json": _as_file(task.values, task.errors | dict.fromkeys(task.metrics, error), task.remarks)}
    return {"edit.json": to_json({"seed": seed_of(plan.seed, task.sample), "error": error})}


def _as_file(values: dict, errors: dict, remarks: dict) -> bytes:
    """In the table's order, so that metrics added later make the same file."""
    ordered = {name: {m: told[m] for m in METRICS if m in told} for name, told in (("values", values), ("errors", errors))}
    return to_json(ordered | ({"remarks": dict(sorted(remarks.items()))} if remarks else {}))


def sentence(error: Exception) -> str:
    """What went wrong in one line; the kind of error too where it is not a user's mistake."""
    told = " ".join(str(error).split())
    return told if told and isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {told}".rstrip(": ")
