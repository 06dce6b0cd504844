"""Drag Report: did it arrive, how far off is it, and what to change."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from ..core.picture.arrival import Arrival, arrivals
from ..core.picture.drawn_field import DrawnField
from ..core.picture.likeness import psnr
from ..core.picture.preview import overlay
from . import wire
from .report_advice import BUNDLED, NOTE, advice, upstream
from .types import CATEGORY, drag_or_field_input


class DragReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldReport",
            display_name="Drag Report",
            category=CATEGORY,
            description="Looks in the edited picture for what should have moved, and says for every operation whether it arrived, "
            "how far off it is, and what to change.",
            search_aliases=["did it arrive", "measure drag", "compare edit", "drag metrics"],
            inputs=[
                io.Image.Input("before", tooltip="The picture before the edit."),
                io.Image.Input("after", tooltip="The edited picture, or a batch of them: each is judged."),
                drag_or_field_input(),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the picture was allowed to change; outside, it is checked that it didn't."
                ),
                io.Image.Input("truth", optional=True, tooltip="The picture as it should be, where that is known (Load Demo Scene)."),
            ],
            outputs=[
                io.String.Output("text", tooltip="The report in words."),
                io.Image.Output("picture", tooltip="Before and after, with the drag drawn on both."),
                io.Boolean.Output("arrived", tooltip="Whether all of it arrived."),
                io.Float.Output("off", tooltip="How far the worst operation is from its target, in pixels."),
                io.String.Output("numbers", tooltip="Everything as JSON."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, drag: str | DrawnField | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, before: torch.Tensor, after: torch.Tensor, drag: str | DrawnField, mask: torch.Tensor | None = None,
        truth: torch.Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        size = wire.image_size(before)
        count = wire.count_of(before, edited=after, true=truth)
        asked = wire.read_field(drag, size).drag
        area = None if mask is None else wire.bool_mask(mask, size, above=0.0)
        nodes = upstream(cls.hidden.prompt, cls.hidden.unique_id, "after") if cls.hidden else []
        judged: list[tuple[list[Arrival], dict]] = []
        drawn = []
        for i in range(count):
            old, new = (wire.array_at(image, i) for image in (before, after))
            found = arrivals(old, new, asked)
            numbers = {"operations": [_numbers(one) | {"advice": advice(one, nodes)} for one in found]}
            if area is not None and not area.all():
                numbers["background_max_difference"] = float(np.abs(new - old)[~area].max())
            if truth is not None:
                real = wire.array_at(truth, i)
                where = np.ones(old.shape[:2], dtype=bool) if area is None else area
                numbers |= {"truth_db": psnr(new[where], real[where]), "unedited_truth_db": psnr(old[where], real[where])}
            judged.append((found, numbers))
            drawn.append(wire.image_of(np.concatenate([overlay(old, asked), overlay(new, asked)], axis=1)))
        lines = []
        for i, (found, numbers) in enumerate(judged):
            lines += [f"picture {i + 1}"] * (len(judged) > 1) + _lines(found, numbers)
        if any(node.get("class_type") in BUNDLED for node in nodes):
            lines.append(NOTE)
        text = "\n".join(lines)
        picture = torch.cat(drawn)
        every = [one for found, _ in judged for one in found]
        of_each = zip(*(found for found, _ in judged), strict=True)
        worst = [max(ones, key=lambda one: (not one.arrived, not one.good, one.off)) for ones in of_each]
        shown = ui.PreviewImage(picture, cls=cls).as_dict() | ui.PreviewText(text).as_dict()
        text_of = drag.text if isinstance(drag, DrawnField) else drag
        marks = _for_canvas(text_of, worst, [advice(one, nodes) for one in worst]) if text_of else {}
        shown["dragfield"] = [marks | {"after": ui.PreviewImage(after[:1, ..., :3], cls=cls).as_dict()["images"][0]}]
        arrived, off = all(one.arrived or one.covered for one in every), max(one.off for one in every)
        numbers = judged[0][1] | ({"pictures": [numbers for _, numbers in judged]} if len(judged) > 1 else {})
        return io.NodeOutput(text, picture, arrived, off, json.dumps(numbers), ui=shown)


def _numbers(one: Arrival) -> dict[str, Any]:
    # A distance is called "way" in reports that people have saved.
    numbers = {"way" if name == "distance" else name: value for name, value in asdict(one).items()}
    return {**numbers, "arrived": one.arrived, "verdict": one.verdict, "smeared": one.smeared, "good": one.good}


def _for_canvas(drag: str, found: list[Arrival], advised: list[str]) -> dict[str, Any]:
    """What the Drag Canvas marks on the picture: the drag it is about, and each arrival with its operation's id; of a batch, the worst."""
    shown = [operation for operation in DragInstruction.from_json(drag).operations if operation.visible]
    ids = [operation.id for operation in shown if isinstance(operation, DrawnRegion) and operation.task != "pin"]
    ids += [operation.id for operation in shown if isinstance(operation, DrawnPoints) for _ in operation.pairs]
    marks = [
        {"id": name, "arrived": one.good, "off": one.off, "verdict": one.verdict, "advice": words}
        for name, one, words in zip(ids, found, advised, strict=True)
    ]
    return {"drag": drag, "operations": marks}


def _lines(found: list[Arrival], numbers: dict) -> list[str]:
    lines = []
    for one, number in zip(found, numbers["operations"], strict=True):
        if one.verdict == "unknown":
            lines.append(f"{one.name}: can't be told")
        else:
            verdict = "arrived" if one.arrived else "did not arrive"
            lines.append(f"{one.name}: {verdict}, {one.off:.0f} px off after a way of {one.distance:.0f} px")
            if one.verdict in ("near", "on the way", "still", "arrived"):
                lines[-1] += f" ({one.reached:.0%} of it)"
            if one.likeness is not None:
                lines[-1] += f", {one.likeness:.0%} alike"
        if words := number["advice"]:
            lines[-1] += f". {words[0].upper()}{words[1:]}."
    if "background_max_difference" in numbers:
        worst = numbers["background_max_difference"]
        lines.append("background: untouched" if worst == 0 else f"background: differs by up to {worst * 255:.1f} of 255, use Paste Back")
    if "truth_db" in numbers:
        lines.append(f"likeness to the truth: {numbers['truth_db']:.1f} dB (unedited {numbers['unedited_truth_db']:.1f} dB)")
    return lines
