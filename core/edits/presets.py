"""The names of presets: what was published, what we tuned, and who chooses when nobody does.

`published` is what produced a paper's results, equal to its published code step by step. `tuned` is ours. `auto` leaves the choice to the
model: the bundled models, on which ours was tuned, take `tuned`; every other model takes `published`, since no other evidence exists.
"""

from __future__ import annotations

from typing import Literal, get_args

Preset = Literal["published", "tuned"]
PresetChoice = Literal["published", "tuned", "auto"]

CHOICES: tuple[str, ...] = get_args(PresetChoice)
"""All that a user may ask for, in the order to offer it."""
FORMER: dict[str, Preset] = {"reference": "published", "principled": "tuned"}
"""What the presets were called before, in workflows that were saved then."""


def preset_named(name: str, *, bundled: bool) -> Preset:
    """The preset that `name` stands for on a model that is bundled or not. Raises ValueError for an unknown name."""
    name = FORMER.get(name, name)
    if name == "auto":
        return "tuned" if bundled else "published"
    if name not in get_args(Preset):
        raise ValueError(f"there is no preset {name!r}: use one of {', '.join(CHOICES)}")
    return name
