"""What the presets are on a node: the widget, what it stands for on the MODEL at hand, and which settings that means.

`published` is what produced a paper's results, `tuned` is ours, and `auto` takes `published` on every model but those that ours was tuned
on: the bundled ones and, for region drags, those that have a profile (host/profiles.py), by which `tuned` goes then. What a node shows
while it runs says which one it took, and in what it cannot follow it.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..core.demo.directdrag_settings import DIRECTDRAG, DIRECTDRAG_FLOW
from ..core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW
from ..core.edits.directdrag import PUBLISHED as PUBLISHED_POINTS
from ..core.edits.directdrag import DirectDragSettings, FlowPointSettings, PointEditSettings
from ..core.edits.dragfield import DragFieldSettings
from ..core.edits.dragflow import PUBLISHED, DragFlowSettings
from ..core.edits.presets import CHOICES, FORMER, Preset, PresetChoice, preset_named
from .host.bundled import is_bundled
from .host.node_text import show_text
from .host.profiles import profile_of

CARRY = "carry"
"""What `tuned` was called on the bundled models for points; saved graphs that say it take those settings on any model."""
OWN = -1
"""What a number's widget shows for «as the preset has it»."""
OWN_CHOICE = "preset"
"""The same in a list."""


def preset_input(tooltip: str, *, optional: bool = True, **more: Any) -> io.Combo.Input:
    """The preset, 'auto' unless another is chosen. optional: as a node gets it that had none; one that had keeps its place."""
    start = (
        "'published': what produced the paper's results. 'tuned': ours. 'auto': ours on the bundled models, published on every other one. "
    )
    return io.Combo.Input("preset", options=list(CHOICES), default="auto", optional=optional, tooltip=start + tooltip, **more)


def preset_problem(preset: str | None, *more: str) -> str | None:
    """What is wrong with a preset, for `validate_inputs`; None: nothing, or it is linked. more: names that this node alone knows."""
    known = (*CHOICES, *FORMER, *more)
    if preset is None or preset in known:
        return None
    return f"there is no preset {preset!r}: use one of {', '.join(CHOICES)}"


def dragflow_preset(preset: PresetChoice | str, model: Any, *, flow: bool) -> Preset:
    """The preset of a region drag. flow: whether the MODEL is one of a flow, for which alone DragFlow was published."""
    if not flow:
        if FORMER.get(preset, preset) == "published":
            raise ValueError("the preset 'published' is what was published for FLUX: use 'tuned' or 'auto' with Stable Diffusion")
        return "tuned"
    return preset_named(preset, bundled=is_bundled(model) or profile_of(model) is not None)


def dragflow_settings(preset: Preset, model: Any) -> DragFlowSettings:
    """What that preset is on this MODEL."""
    if preset == "published":
        return PUBLISHED
    profile = profile_of(model)
    return own_dragflow(model) if profile is None else profile.applied(own_dragflow(model))


def own_dragflow(model: Any) -> DragFlowSettings:
    """What `tuned` is on this MODEL without a profile."""
    return DRAGFLOW if is_bundled(model) else DragFlowSettings()


def profile_in_words(preset: Preset, model: Any) -> str:
    """What a node says beside `tuned` where a profile is at work; "" elsewhere."""
    profile = profile_of(model) if preset == "tuned" else None
    return "" if profile is None else f"this model's profile: {profile.in_words()}"


def dragfield_settings(model: Any) -> DragFieldSettings:
    """What `dragfield` is given on this MODEL."""
    return DRAGFIELD if is_bundled(model) else DragFieldSettings()


def points_preset(preset: str, model: Any, *, flow: bool) -> tuple[Preset, PointEditSettings]:
    """The preset of a point drag and its settings. flow: whether the MODEL is one of a flow, for which no point drag was published."""
    if flow and FORMER.get(preset, preset) == "published":
        raise ValueError("the preset 'published' is what was published for Stable Diffusion: use 'tuned' or 'auto' with FLUX")
    ours = (FlowPointSettings(), DIRECTDRAG_FLOW) if flow else (DirectDragSettings(), DIRECTDRAG)
    if preset == CARRY:
        return "tuned", ours[1]
    chosen = "tuned" if flow else preset_named(preset, bundled=is_bundled(model))
    return chosen, PUBLISHED_POINTS if chosen == "published" else ours[is_bundled(model)]


def tell_preset(node: type[io.ComfyNode], preset: Preset, *but: str) -> None:
    """Show on the node which preset is at work, and what of it this node does otherwise."""
    show_text(f"preset: {preset}" + "".join(f"; {one}" for one in but if one), getattr(node.hidden, "unique_id", None))
