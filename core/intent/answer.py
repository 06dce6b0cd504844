"""What a language model may answer about a drag, and how a candidate is filled into it.

A model's text is material from a stranger: it is measured, read as JSON and taken apart field by field. What can be mended is
mended (a fence around the JSON, words before it, tasks in capitals, a candidate too many), a candidate that can't be done is
left out, and an answer without any candidate left is refused in one sentence.

Convention: points are normalised (x, y) as in `instruction.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, get_args

from ..instruction import DragInstruction, DrawnRegion
from ..instruction.guarded_json import InstructionError, load_json, show
from ..instruction.operations import Point, Task

CANDIDATES = 10
"""How many a model is asked for (DragFlow D.3)."""
MAX_ANSWER = 100_000
"""Characters of an answer that are looked at."""
MAX_TEXT = 1_000
"""Characters of one prompt; longer ones are cut at a word."""
TASKS = tuple(task for task in get_args(Task) if task != "pin")


class AnswerError(ValueError):
    """A model's answer cannot be used; one sentence says why."""


@dataclass(frozen=True)
class Candidate:
    """One reading of the drag.

    editing_prompt: what changes, a sentence; may be empty.  tasks: one for every moving region, in the drag's order.
    anchors: what a rotation turns about, one for every moving region; None where it isn't needed, or is drawn already.
    """

    editing_prompt: str
    tasks: tuple[Task, ...]
    anchors: tuple[Point | None, ...] = ()


@dataclass(frozen=True)
class Intent:
    """What the picture shows, and one or more readings of the drag, the likeliest first."""

    background_prompt: str
    candidates: tuple[Candidate, ...]

    def fill(self, instruction: DragInstruction, choice: int = 0) -> DragInstruction:
        """The drag with the tasks and prompts of candidate `choice` (from 0). What an empty prompt would replace is kept.

        Raises: ValueError if there is no such candidate, or if the drag isn't the one that was asked about.
        """
        if not 0 <= choice < len(self.candidates):
            raise ValueError(f"there is no candidate {choice + 1}: choose one from 1 to {len(self.candidates)}")
        chosen = self.candidates[choice]
        filled = with_tasks(instruction, chosen)
        return replace(
            filled,
            background_prompt=self.background_prompt or instruction.background_prompt,
            editing_prompt=chosen.editing_prompt or instruction.editing_prompt,
        )

    def to_json(self) -> str:
        """As text that `read_intent` reads again."""
        candidates = [
            {"editing_prompt": c.editing_prompt, "regions": [_region_json(t, a) for t, a in zip(c.tasks, _anchors(c), strict=True)]}
            for c in self.candidates
        ]
        return json.dumps({"background_prompt": self.background_prompt, "candidates": candidates}, ensure_ascii=False)


def moving(instruction: DragInstruction) -> list[DrawnRegion]:
    """The visible regions that move, in order: what tasks are asked for."""
    return [o for o in instruction.operations if isinstance(o, DrawnRegion) and o.visible and o.task != "pin"]


def with_tasks(instruction: DragInstruction, candidate: Candidate) -> DragInstruction:
    """The drag with the candidate's tasks. An anchor that is drawn stays for a rotation; other tasks have none. A region that scales, turns
    on its way or is a copy keeps its own task: what it does is drawn.

    Raises: ValueError when the number of regions differs; InstructionError when a rotation has no anchor at all.
    """
    regions = moving(instruction)
    if len(regions) != len(candidate.tasks):
        raise ValueError(f"the candidate is about {len(candidate.tasks)} regions, the drag has {len(regions)}: ask again")
    chosen = iter(zip(candidate.tasks, _anchors(candidate), strict=True))
    operations = []
    for operation in instruction.operations:
        if any(operation is region for region in regions):
            task, anchor = next(chosen)
            if not operation.plain:
                task = operation.task
            drawn = operation.anchor if operation.task == task or task == "rotation" else None
            operation = replace(operation, task=task, anchor=drawn or (anchor if task == "rotation" else None))
        operations.append(operation)
    return replace(instruction, operations=tuple(operations))


def read_intent(text: str, instruction: DragInstruction) -> Intent:
    """A model's answer about `instruction`, mended where that is safe.

    Raises: AnswerError when there is no JSON object in it, or no candidate that can be done.
    """
    data = json_object(text)
    listed = data.get("candidates")
    if not isinstance(listed, list):
        raise AnswerError(f"the answer's candidates are {show(listed)}, not a list")
    candidates: list[Candidate] = []
    refused = ""
    for entry in listed[: 4 * CANDIDATES]:
        try:
            candidate = _candidate(entry, instruction)
        except (AnswerError, InstructionError, ValueError) as error:
            refused = refused or str(error)
            continue
        if candidate not in candidates:
            candidates.append(candidate)
    if not candidates:
        raise AnswerError(f"the answer has no candidate that can be done ({refused or 'the list is empty'})")
    return Intent(one_line(data.get("background_prompt", "")), tuple(candidates[:CANDIDATES]))


def schema(regions: int) -> dict[str, Any]:
    """The JSON schema of an answer about that many moving regions; strict, as OpenAI-compatible servers want it."""
    region = {
        "type": "object",
        "properties": {
            "task": {"type": "string", "enum": list(TASKS)},
            "anchor": {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]},
        },
        "required": ["task", "anchor"],
        "additionalProperties": False,
    }
    candidate = {
        "type": "object",
        "properties": {"editing_prompt": {"type": "string"}, "regions": {"type": "array", "items": region}},
        "required": ["editing_prompt", "regions"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "background_prompt": {"type": "string"},
            "candidates": {"type": "array", "items": candidate, "description": f"{CANDIDATES} candidates, {regions} regions each"},
        },
        "required": ["background_prompt", "candidates"],
        "additionalProperties": False,
    }


def json_object(text: str) -> dict[str, Any]:
    """The outermost JSON object in a text that may have words or a fence around it."""
    if not isinstance(text, str) or not text.strip():
        raise AnswerError("the answer is empty")
    text = text[:MAX_ANSWER]
    first, last = text.find("{"), text.rfind("}")
    if first < 0 or last < first:
        raise AnswerError(f"the answer {show(text.strip())} holds no JSON object")
    try:
        data = load_json(text[first : last + 1], "the answer")
    except InstructionError as error:
        raise AnswerError(str(error)) from None
    return data


def _candidate(entry: Any, instruction: DragInstruction) -> Candidate:
    if not isinstance(entry, dict):
        raise AnswerError(f"a candidate is {show(entry)}, not an object")
    regions = moving(instruction)
    regional = entry.get("regions")
    if regional is None and "task" in entry:
        regional = [entry]  # A model that was asked about one region likes to leave the list out.
    if not isinstance(regional, list) or len(regional) < len(regions):
        raise AnswerError(f"a candidate says {show(regional)} about {len(regions)} regions")
    tasks, anchors = [], []
    for one in regional[: len(regions)]:
        task = one.get("task") if isinstance(one, dict) else one
        task = task.strip().lower() if isinstance(task, str) else task
        if not isinstance(task, str) or task not in TASKS:
            raise AnswerError(f"a task is {show(task)}, not one of {', '.join(TASKS)}")
        tasks.append(task)
        anchors.append(_anchor(one.get("anchor")) if isinstance(one, dict) and task == "rotation" else None)
    candidate = Candidate(one_line(entry.get("editing_prompt", "")), tuple(tasks), tuple(anchors))
    filled = with_tasks(instruction, candidate)
    if filled.size is not None:
        filled.validate()
    return candidate


def _anchor(value: Any) -> Point | None:
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(v, int | float) for v in value):
        return None
    return float(value[0]), float(value[1])


def one_line(value: Any) -> str:
    """One line of plain words, cut at a word where it is too long."""
    if not isinstance(value, str):
        return ""
    words = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return words if len(words) <= MAX_TEXT else words[:MAX_TEXT].rsplit(" ", 1)[0]


def _anchors(candidate: Candidate) -> tuple[Point | None, ...]:
    return candidate.anchors or (None,) * len(candidate.tasks)


def _region_json(task: Task, anchor: Point | None) -> dict[str, Any]:
    return {"task": task, "anchor": None if anchor is None else list(anchor)}
