"""What the nodes share in their schemas: the category, the socket type of a trajectory, inputs that occur again and again."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..core.field.drag_field import Deformation

CATEGORY = "dragfield"
DEFORMATIONS = get_args(Deformation)

TrajectoryType = io.Custom("DRAGFIELD_TRAJECTORY")
"""Carries a `trajectory.Trajectory`."""


FieldType = io.Custom("DRAGFIELD_FIELD")
"""Carries a core DrawnField."""


BoxType, ElementsType = io.Custom("BOUNDING_BOX"), io.Custom("ARRAY")
"""What Create Bounding Boxes and SAM 3 hand on: boxes in pixels, and elements with boxes from 0 to 1000."""


def drag_input(optional: bool = False) -> io.String.Input:
    """A drag as text, always linked: it is drawn in a Drag Canvas, or made by another node."""
    return io.String.Input(
        "drag", force_input=True, optional=optional, tooltip="What goes where: from Drag Canvas, Drag From Masks or Drag From Points."
    )


def drag_or_field_input() -> io.MultiType.Input:
    """A drag as text or as a field, always linked."""
    return io.MultiType.Input(
        "drag", [io.String, FieldType],
        tooltip="What goes where: from Drag Canvas, Drag From Masks or Drag From Points, or a field from Drag to Field.",
    )


def deformation_input(*before: str) -> io.Combo.Input:
    """before: choices that this node has besides, the first of them its default."""
    return io.Combo.Input(
        "deformation",
        options=[*before, *DEFORMATIONS],
        advanced=True,
        tooltip="How a deformed region moves: 'stretch' keeps it connected with what it is pulled from, 'rigid' moves it alone (DragFlow). "
        "A field that is connected has been made already.",
    )


def guidance_input(default: float | None = None) -> io.Float.Input:
    """default: None where it is the method's own."""
    own = "the method's own" if default is None else f"{default:g}"
    return io.Float.Input(
        "guidance",
        default=0.0,
        min=0.0,
        max=100.0,
        step=0.1,
        tooltip=f"Distilled guidance. 0 takes what a FluxGuidance node wrote into the prompt, or {own} where there is none.",
    )


def negative_inputs(*, optional: bool = False) -> list[io.Input]:
    """For models without distilled guidance, which need a second pass with a negative prompt.

    optional: as a node gets them that had none, so that graphs saved before still run.
    """
    return [
        io.Conditioning.Input(
            "negative",
            optional=True,
            tooltip="For models without distilled guidance (Qwen-Image, Chroma, Stable Diffusion, LongCat-Image): what the picture is not.",
        ),
        io.Float.Input(
            "cfg", default=1.0, min=0.0, max=30.0, step=0.1, optional=optional, advanced=True,
            tooltip="Weight against the negative prompt. 1 leaves it out.",
        ),  # fmt: skip
    ]
