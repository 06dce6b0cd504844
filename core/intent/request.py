"""What a language model is shown and asked: the picture, the picture with the drag drawn on it, and a request for JSON (DragFlow D.3).

Convention: pictures are uint8 [H, W, 3] RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..instruction import DragInstruction
from .answer import CANDIDATES, TASKS, moving, schema
from .marks import marked
from .question import shrunk


@dataclass(frozen=True, eq=False)
class Request:
    """picture, marked: uint8 [h, w, 3], the picture plain and with the drag on it.  text: what is asked.  schema: of the answer."""

    picture: np.ndarray
    marked: np.ndarray
    text: str
    schema: dict[str, Any]


def make_request(picture: np.ndarray, instruction: DragInstruction) -> Request:
    """The request for `picture` uint8 [H, W, 3] and the drag on it.

    Raises: InstructionError for a drag that doesn't fit the picture; ValueError when no region of it moves.
    """
    regions = moving(instruction)
    if not regions:
        raise ValueError("no region of the drag moves, so there is no intent to ask for: draw a region and its target")
    small = shrunk(picture)
    drag = instruction.rasterise(small.shape[1], small.shape[0])
    return Request(small, marked(small, drag), _text(instruction), schema(len(regions)))


def _text(instruction: DragInstruction) -> str:
    lines = []
    for number, region in enumerate(moving(instruction), 1):
        named = f' called "{region.name}"' if region.name else ""
        anchor = f", anchor drawn at ({region.anchor[0]:.3f}, {region.anchor[1]:.3f})" if region.anchor else ""
        x, y = region.target
        lines.append(f"- region {number}{named}: dragged to the point ({x:.3f}, {y:.3f}){anchor}")
    count = len(lines)
    example = ", ".join('{"task": "relocation", "anchor": null}' for _ in range(count))
    return "\n".join(
        [
            "Somebody edits a picture by dragging parts of it. The first image is the picture. The second one shows what was drawn on it: "
            "blue outlines the part that was taken, green where it would land, and an arrow leads from one to the other.",
            "Positions are fractions of the picture: (0, 0) is its top left corner, (1, 1) its bottom right one.",
            *lines,
            "",
            f"Say what the person most likely wants. Give {CANDIDATES} different readings, the likeliest first. Each has a sentence that "
            f"describes the edited picture's change, and for every region, in the order above ({count} in all), one task:",
            "- relocation: the whole thing moves to another place and keeps its shape;",
            "- rotation: the thing or limb turns about a joint or its middle; give that point as anchor [x, y];",
            "- deformation: an edge or end of something is pulled, so that it grows, shrinks or bends, while the rest stays.",
            "Look at what the blue outline holds: a whole thing speaks for relocation, a limb with a joint for rotation, "
            "the border of something larger for deformation.",
            "Also describe the picture as it is now, in one sentence without any mention of the editing, as background_prompt.",
            "",
            "Answer with JSON only, in this form:",
            '{"background_prompt": "a dog sits on a lawn", "candidates": [{"editing_prompt": "the dog sits further left", '
            f'"regions": [{example}]}}]}}',
            f"Tasks are {', '.join(TASKS)}; anchor is null unless the task is rotation.",
        ]
    )
