"""What to change after a verdict of Drag Report: settings that nodes in the graph have and that can still be moved that way, no others.

The nodes are found in the prompt, upstream of the edited picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..core.picture.arrival import Arrival

Prompt = dict[str, dict[str, Any]]
Setting = tuple[str, str, Callable[[Any], bool], str]
"""A node's type, its input, whether its value leaves room, and what to do with it."""

BUNDLED = {"DragfieldLoadDemoModel", "DragfieldLoadDemoUNet"}
NOTE = "The bundled model knows drawn scenes only: what it makes of photographs says nothing about the method."

EDIT, REGION, POINT, DENOISE = "DragfieldEdit", "DragfieldRegionOptimizer", "DragfieldPointOptimizer", "DragfieldMaskedDenoise"


def _below(limit: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and value < limit


def _above(limit: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and value > limit


def _not(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value not in values


STRONGER: list[Setting] = [
    (EDIT, "method", _not("dragfield", "directdrag"), "method 'dragfield'"),
    (EDIT, "iterations", _below(1000), "more iterations"),
    (REGION, "transport", _below(1000), "more transport iterations"),
    (POINT, "rounds", _below(1000), "more rounds"),
    (DENOISE, "attention", _not("own"), "attention 'own'"),
]
CLOSER: list[Setting] = [
    (EDIT, "iterations", _below(1000), "more iterations"),
    (REGION, "intensify", _below(1000), "more intensify iterations"),
    (POINT, "rounds", _below(1000), "more rounds"),
]
GENTLER: list[Setting] = [
    (EDIT, "guidance", _above(0), "a lower guidance"),
    (REGION, "guidance", _above(0), "a lower guidance of the Region Optimizer"),
    (DENOISE, "guidance", _above(0), "a lower guidance of Masked Denoise"),
    (REGION, "hold_attention", _not(True), "hold_attention on"),
    (REGION, "rate", _above(1), "a lower rate"),
    (POINT, "rate", _above(1), "a lower rate"),
    (EDIT, "edit_prompt", _not(None), "a prompt that says what it is"),
    (EDIT, "skip", _below(1000), "a larger skip, which stays nearer to the picture"),
]
WIDER: list[Setting] = [
    (REGION, "renew_vacated", _not("on"), "renew_vacated on"),
    (EDIT, "method", _not("dragfield", "directdrag"), "method 'dragfield'"),
    (EDIT, "margin", _below(0.5), "a larger margin"),
    ("DragfieldGradientMask", "margin", _below(0.5), "a larger margin of the mask"),
]
NARROWER: list[Setting] = [
    (EDIT, "margin", _above(0), "a smaller margin"),
    ("DragfieldGradientMask", "margin", _above(0), "a smaller margin of the mask"),
]
FRESHER: list[Setting] = [
    (EDIT, "warp", _below(1), "a larger warp"),
    (EDIT, "margin", _below(0.5), "a larger margin"),
    ("DragfieldGradientMask", "margin", _below(0.5), "a larger margin of the mask"),
    ("DragfieldLatentWarp", "start_at", _below(1), "a later start_at"),
    (EDIT, "seed", _not(None), "another seed"),
]
WHAT: dict[str, tuple[str, list[Setting]]] = {
    "still": ("nothing has moved", STRONGER),
    "on the way": ("it stopped on the way", STRONGER),
    "near": ("it is near, but not exactly there", CLOSER),
    "wrong place": ("what looks most like it is somewhere else", [*WIDER[2:], *STRONGER]),
    "lost": ("nothing like it is found along its way", GENTLER),
    "smashed": ("it is there, but looks different", GENTLER),
    "unknown": ("it looks like the ground at its target, so nothing can be told", []),
    "arrived": ("", []),
}
MOST = 3
"""How many hints are given to try."""


def upstream(prompt: Prompt | None, node: str | None, name: str) -> list[dict[str, Any]]:
    """The nodes that an input of a node comes of, nearest first, each with "class_type" and "inputs"."""
    found: dict[str, dict[str, Any]] = {}
    start = (prompt or {}).get(str(node), {}).get("inputs", {}).get(name)
    waiting = [start]
    while waiting:
        link = waiting.pop(0)
        if not (isinstance(link, list) and len(link) == 2) or str(link[0]) in found or str(link[0]) not in (prompt or {}):
            continue
        found[str(link[0])] = prompt[str(link[0])]
        waiting.extend(prompt[str(link[0])].get("inputs", {}).values())
    return list(found.values())


def advice(one: Arrival, nodes: list[dict[str, Any]]) -> str:
    """What is wrong, and what to try; "" where nothing is. Without a node of ours that has a setting for it, only what is wrong."""
    said, settings = WHAT[one.verdict]
    if one.covered:
        return "a pin hides it where it goes, so nothing can be told"
    if one.stayed and one.verdict not in ("still", "on the way", "unknown"):
        said, settings = ("; ".join(filter(None, (said, "a copy stayed at the old place"))), [*settings, *WIDER])
    elif one.erased and one.verdict == "arrived":
        said, settings = "the original, which was to stay, is no longer as it was (a pin on it holds it)", NARROWER
    elif one.smeared and one.verdict == "arrived":
        said, settings = "the ground it left is smeared", FRESHER
    tries = list(dict.fromkeys(_tries(settings, nodes)))[:MOST]
    return f"{said}: try {_either(tries)}" if tries else said


def _tries(settings: list[Setting], nodes: list[dict[str, Any]]) -> Iterator[str]:
    for kind, name, room, words in settings:
        for node in nodes:
            value = node.get("inputs", {}).get(name)
            # A linked one is not this node's to change.
            if node.get("class_type") == kind and name in node.get("inputs", {}) and not isinstance(value, list) and room(value):
                yield words


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
