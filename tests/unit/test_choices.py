"""Words that a setting may be are read from its type."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from typing import Literal, get_args

import pytest

import dragfield.core
from dragfield.core.choices import _choices, check_choice, check_choices


@dataclass(frozen=True)
class Settings:
    colour: Literal["red", "green"] = "red"
    shape: Literal["star"] | None = None
    free: str | Literal["x"] = "y"
    count: int = 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": "blue"}, "colour = 'blue' is unknown: use 'red' or 'green'"),
        ({"colour": None}, "colour = None is unknown"),
        ({"shape": "moon"}, "shape = 'moon' is unknown: use 'star' or None"),
    ],
)
def test_another_word_is_refused_by_the_name_of_its_field(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_choices(Settings(**change))
    assert str(refused.value).startswith(sentence)


def test_what_is_no_list_of_words_is_not_judged() -> None:
    check_choices(Settings("green", "star", "anything", "many"))  # type: ignore[arg-type]
    check_choice("colour", "red", Literal["red"])


def settings_of_core() -> list[type]:
    found = set()
    for module in pkgutil.walk_packages(dragfield.core.__path__, "dragfield.core."):
        for kind in vars(importlib.import_module(module.name)).values():
            settings = dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind.__name__.endswith("Settings")
            if settings and not inspect.isabstract(kind):
                found.add(kind)
    return sorted(found, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", settings_of_core(), ids=lambda kind: kind.__name__)
def test_every_settings_class_refuses_words_that_its_types_do_not_know(kind: type) -> None:
    for name, words in _choices(kind).items():
        assert getattr(kind(), name) in words
        with pytest.raises(ValueError, match="is unknown"):
            kind(**{name: "no such word"})


def test_literals_are_where_the_words_stand() -> None:
    from dragfield.core.field.drag_field import Deformation, FieldSettings

    assert _choices(FieldSettings)["deformation"] == get_args(Deformation)
