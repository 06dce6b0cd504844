"""Variants of a method: a name, the method, what of its settings differs, and whether a subject adapter is at work.

    {"short": {"method": "dragflow", "settings": {"drag.transport_steps": 10}},
     "no_kv": {"method": "dragflow", "preset": "published", "settings": {"inversion.kv_blocks": "none"}},
     "held":  {"method": "dragflow", "adapter": 1.0}}

A setting is named as the field of the method's settings (`DragFlowSettings`, ...), that of a part with a dot; null is None. What is left
out is as the preset has it. adapter is the strength of the bundled model's subject adapter, with the picture as its own subject. A name is
a row of every table and a folder of results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ...core.edits.presets import PresetChoice
from ...core.formats.sample import read_bytes
from ...core.instruction.guarded_json import load_json, show

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.+-]{0,62}[A-Za-z0-9_+-])?")
MOST = 5.0
"""Of an adapter's strength; 1 is as it was trained."""
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", NoneType: "null"}


@dataclass(frozen=True)
class Variant:
    """settings: what differs from the preset, by name.  adapter: its strength while inverting, dragging and denoising; None: none."""

    name: str
    method: str
    preset: PresetChoice = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    adapter: float | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"a variant can't be named {show(self.name)}: use 1 to 64 letters, digits, _ . + or -, with a letter or digit first and no "
                "dot last"
            )
        if self.adapter is not None and not 0 < self.adapter <= MOST:
            raise ValueError(f"variant {self.name}: an adapter at strength {self.adapter:g}; use a number above 0, at most {MOST:g}")

    def told(self) -> dict[str, Any]:
        """All that decides what it makes, as it stands in JSON."""
        told = {"method": self.method, "preset": self.preset, "settings": dict(sorted(self.settings.items()))}
        return told if self.adapter is None else told | {"adapter": self.adapter}


def read_variants(path: Path) -> tuple[Variant, ...]:
    """The variants of a file, in its order. Raises: ValueError for a file that holds none, or a variant without a method."""
    told = load_json(read_bytes(path), f"--variants {path}")
    if not isinstance(told, dict) or not told:
        raise ValueError(f"--variants {path} holds no variants: give an object such as {{\"short\": {{\"method\": \"dragflow\", ...}}}}")
    return tuple(_variant(name, one) for name, one in told.items())


def _variant(name: str, told: Any) -> Variant:
    if not isinstance(told, dict) or not isinstance(told.get("method"), str):
        raise ValueError(f"variant {name} names no method: give an object with \"method\" and \"settings\"")
    for key in told:
        if key not in ("method", "preset", "settings", "adapter"):
            raise ValueError(f"variant {name} has {show(key)}, which is unknown: use method, preset, settings or adapter")
    preset, settings = told.get("preset", "auto"), told.get("settings", {})
    if not isinstance(preset, str) or not isinstance(settings, dict):
        raise ValueError(f"variant {name}: preset is a word and settings an object, got {show(preset)} and {show(settings)}")
    adapter = told.get("adapter")
    if isinstance(adapter, bool) or not isinstance(adapter, int | float | None):
        raise ValueError(f"variant {name}: adapter is {show(adapter)}; give its strength, a number such as 1.0, or leave it out")
    return Variant(name, told["method"], preset, settings, adapter)


def with_settings(settings: Any, changes: Mapping[str, Any], within: str = "") -> Any:
    """A settings dataclass with some of its fields changed, by name. within: what a sentence puts before a name.

    Raises: ValueError for a name that is unknown, and for a value of another type or one that the dataclass refuses.
    """
    hints, known = get_type_hints(type(settings)), [one.name for one in fields(settings)]
    values: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        head, dot, rest = name.partition(".")
        if head not in known:
            raise ValueError(f"setting {within}{head} is unknown: use one of {', '.join(known)}")
        if dot:
            parts.setdefault(head, {})[rest] = value
        else:
            values[head] = _value(within + head, value, hints[head])
    for head, told in parts.items():
        now = getattr(settings, head)
        kinds = [type(now)] if is_dataclass(now) else [kind for kind in _kinds(hints[head]) if is_dataclass(kind)]
        if not kinds:
            raise ValueError(f"setting {within}{head} has no parts, so that {within}{head}.{next(iter(told))} is unknown")
        if head in values:
            raise ValueError(f"setting {within}{head} is given whole and in parts: leave one of them out")
        values[head] = with_settings(now if is_dataclass(now) else kinds[0](), told, f"{within}{head}.")
    return replace(settings, **values)


def _value(name: str, value: Any, hint: Any) -> Any:
    """The value as a field of that type holds it. Words of a Literal are the dataclass's own to check."""
    kinds = _kinds(hint)
    for kind in kinds:
        origin, args = get_origin(kind), get_args(kind)
        if kind in (bool, int, str, NoneType) and type(value) is kind:
            return value
        if kind is float and type(value) in (int, float) and isfinite(value):
            return float(value)
        if origin is Literal and isinstance(value, str):
            return value
        if origin is tuple and Ellipsis not in args and isinstance(value, list) and len(value) == len(args):
            return tuple(_value(name, one, arg) for one, arg in zip(value, args, strict=True))
    wholes = [kind for kind in kinds if is_dataclass(kind)]
    allowed = [words for kind in kinds if (words := _in_words(kind))]
    if wholes:
        allowed.append(f"its parts, such as {name}.{fields(wholes[0])[0].name}")
    if not allowed:
        raise ValueError(f"setting {name} can't be told in JSON: leave it out")
    raise ValueError(f"setting {name} is {show(value)}: give {' or '.join(allowed)}")


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(show, get_args(kind)))
    if get_origin(kind) is tuple and Ellipsis not in get_args(kind):
        return f"a list of {len(get_args(kind))} numbers"
    return WORDS.get(kind, "")
