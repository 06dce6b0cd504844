"""Drag Report: did it arrive, how far off is it, and what to change."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..core.arrival import Arrival, arrivals
from ..core.instruction import DragInstruction, DrawnPoints, DrawnRegion
from ..core.likeness import psnr
from ..core.preview import overlay
from . import wire
from .types import CATEGORY, drag_input


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
                io.Image.Input("after", tooltip="The edited picture. Of a batch, the first is judged."),
                drag_input(),
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
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, drag: str | None = None) -> bool | str:
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, before: torch.Tensor, after: torch.Tensor, drag: str, mask: torch.Tensor | None = None, truth: torch.Tensor | None = None
    ) -> io.NodeOutput:
        size = wire.image_size(before)
        for name, image in (("edited", after), ("true", truth)):
            if image is not None and wire.image_size(image) != size:
                found = wire.image_size(image)
                raise ValueError(
                    f"the {name} picture is {found[0]} x {found[1]} px but the one before {size[0]} x {size[1]}: make them the same size"
                )
        asked = wire.read_drag(drag, size)
        old, new = wire.array_of(before[0]), wire.array_of(after[0])
        found = arrivals(old, new, asked)
        area = None if mask is None else wire.bool_mask(mask, size, above=0.0)
        numbers: dict = {"operations": [{**asdict(one), "arrived": one.arrived, "advice": one.advice} for one in found]}
        if area is not None and not area.all():
            numbers["background_max_difference"] = float(np.abs(new - old)[~area].max())
        if truth is not None:
            real = wire.array_of(truth[0])
            where = np.ones(old.shape[:2], dtype=bool) if area is None else area
            numbers |= {"truth_db": psnr(new[where], real[where]), "unedited_truth_db": psnr(old[where], real[where])}
        text = "\n".join(_lines(found, numbers))
        picture = wire.image_of(np.concatenate([overlay(old, asked), overlay(new, asked)], axis=1))
        shown = ui.PreviewImage(picture, cls=cls).as_dict() | ui.PreviewText(text).as_dict()
        shown["dragfield"] = [_for_canvas(drag, found) | {"after": ui.PreviewImage(after[:1, ..., :3], cls=cls).as_dict()["images"][0]}]
        arrived, off = all(one.arrived for one in found), max(one.off for one in found)
        return io.NodeOutput(text, picture, arrived, off, json.dumps(numbers), ui=shown)


def _for_canvas(drag: str, found: list[Arrival]) -> dict[str, Any]:
    """What the Drag Canvas marks on the picture: the drag it is about, and each arrival with the id of its operation."""
    shown = [operation for operation in DragInstruction.from_json(drag).operations if operation.visible]
    ids = [operation.id for operation in shown if isinstance(operation, DrawnRegion) and operation.task != "pin"]
    ids += [operation.id for operation in shown if isinstance(operation, DrawnPoints) for _ in operation.pairs]
    told = [{"id": name, "arrived": one.arrived, "off": one.off, "advice": one.advice} for name, one in zip(ids, found, strict=True)]
    return {"drag": drag, "operations": told}


def _lines(found: list[Arrival], numbers: dict) -> list[str]:
    lines = []
    for one in found:
        verdict = "arrived" if one.arrived else "did not arrive"
        lines.append(f"{one.name}: {verdict}, {one.off:.0f} px off after a way of {one.way:.0f} px ({one.reached:.0%} of it)")
        if one.likeness is not None:
            lines[-1] += f", {one.likeness:.0%} alike"
        if one.advice:
            lines[-1] += f". {one.advice[0].upper()}{one.advice[1:]}."
    if "background_max_difference" in numbers:
        worst = numbers["background_max_difference"]
        lines.append("background: untouched" if worst == 0 else f"background: differs by up to {worst * 255:.1f} of 255, use Paste Back")
    if "truth_db" in numbers:
        lines.append(f"likeness to the truth: {numbers['truth_db']:.1f} dB (unedited {numbers['unedited_truth_db']:.1f} dB)")
    return lines
