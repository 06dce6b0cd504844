"""What each method is run with, by its preset, on the bundled models or on others: the same for the command line and the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..edits.directdrag import PUBLISHED as PUBLISHED_DIRECTDRAG
from ..edits.directdrag import DirectDragSettings, FlowPointSettings, directdrag
from ..edits.dragfield import DragFieldSettings, dragfield
from ..edits.dragflow import PUBLISHED as PUBLISHED_DRAGFLOW
from ..edits.dragflow import DragFlowSettings, dragflow
from ..edits.edit import Edit
from ..edits.presets import Preset
from .directdrag_settings import DIRECTDRAG, DIRECTDRAG_FLOW
from .dragflow_settings import DRAGFIELD, DRAGFLOW

_METHODS = {
    "dragfield": (dragfield, None, DRAGFIELD, DragFieldSettings()),
    "dragflow": (dragflow, PUBLISHED_DRAGFLOW, DRAGFLOW, DragFlowSettings()),
    "directdrag": (directdrag, PUBLISHED_DIRECTDRAG, DIRECTDRAG, DirectDragSettings()),
    "directdrag_flow": (directdrag, None, DIRECTDRAG_FLOW, FlowPointSettings()),
}
"""The engine of a method; its settings as published, ours on the bundled models, ours on others."""


def method_settings(method: str, preset: Preset, *, bundled: bool) -> tuple[Callable[..., Edit], Any]:
    """The engine of a method and its settings. A method that nobody published has its own alone, whatever the preset."""
    run, published, on_bundled, on_others = _METHODS[method]
    if preset == "published" and published is not None:
        return run, published
    return run, on_bundled if bundled else on_others
