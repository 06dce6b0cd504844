"""What the nodes share in their schemas: the category, the socket type of a trajectory, inputs that occur again and again."""

from __future__ import annotations

from comfy_api.latest import io

CATEGORY = "dragfield"

TrajectoryType = io.Custom("DRAGFIELD_TRAJECTORY")
"""Carries a `trajectory.Trajectory`."""


def drag_input(optional: bool = False) -> io.String.Input:
    """A drag, always linked: it is drawn in a Drag Canvas, or made by another node."""
    return io.String.Input(
        "drag", force_input=True, optional=optional, tooltip="What goes where: from Drag Canvas, Drag From Masks or Drag From Points."
    )


def deformation_input(default: str) -> io.Combo.Input:
    return io.Combo.Input(
        "deformation",
        options=["stretch", "rigid"],
        default=default,
        advanced=True,
        tooltip="How a deformed region moves: 'stretch' keeps it connected with what it is pulled from, 'rigid' moves it alone (DragFlow).",
    )


def guidance_input(default: float) -> io.Float.Input:
    return io.Float.Input(
        "guidance",
        default=0.0,
        min=0.0,
        max=100.0,
        step=0.1,
        tooltip=f"Distilled guidance. 0 takes what a FluxGuidance node wrote into the prompt, or {default:g} where there is none.",
    )


def negative_inputs() -> list[io.Input]:
    """For models without distilled guidance, which need a second pass with a negative prompt."""
    return [
        io.Conditioning.Input(
            "negative",
            optional=True,
            tooltip="For models without distilled guidance (Stable Diffusion, Chroma, LongCat-Image): what the picture is not.",
        ),
        io.Float.Input(
            "cfg", default=1.0, min=0.0, max=30.0, step=0.1, advanced=True, tooltip="Weight against the negative prompt. 1 leaves it out."
        ),
    ]
