"""Words that a setting may be: they stand once, in its type, and whatever else is refused in one sentence."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin, get_type_hints


def check_choices(settings: Any) -> None:
    """Raises ValueError for a field of a dataclass whose type is a Literal (or that and None) and whose value is none of its words."""
    for name, words in _choices(type(settings)).items():
        check_choice(name, getattr(settings, name), words)


def check_choice(name: str, value: Any, words: Any) -> None:
    """The same for one value. words: a Literal, or its words."""
    allowed = _words(words) if get_origin(words) is not None else tuple(words)
    if value not in allowed:
        raise ValueError(f"{name} = {value!r} is unknown: use {' or '.join(map(repr, allowed))}")


@lru_cache
def _choices(kind: type) -> dict[str, tuple[Any, ...]]:
    hints = get_type_hints(kind)
    return {field.name: words for field in fields(kind) if (words := _words(hints[field.name]))}


def _words(hint: Any) -> tuple[Any, ...]:
    """The words of a Literal, with None where it is one of several types; none for any other type."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = get_args(hint)
    literal = [part for part in parts if get_origin(part) is Literal]
    if not literal or any(part is not type(None) and get_origin(part) is not Literal for part in parts):
        return ()
    return tuple(word for part in literal for word in get_args(part)) + ((None,) if type(None) in parts else ())
