"""Keys and values kept over a trajectory: inversion, drag and denoising come by the same times, and pay for each of them once.

They are large (FLUX.1 with InstantCharacter: 1,024 tokens in 57 blocks, 0.7 GB in bfloat16 for each time), so as many are kept as there is
room for, and of the tokens that they are made from, far smaller, more (instant_character.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

from torch import Tensor

Tensors = TypeVar("Tensors", bound=dict[tuple[str, int], tuple[Tensor, Tensor]])
Room = int | Callable[[], int]

ROOM = 1 << 30
"""Bytes kept where nobody says otherwise."""


class Kept:
    """Keys and values by whatever tells them apart; beyond the room, those go first that were used the longest ago.

    A trajectory is walked back the way it was come, so those are the ones that are needed last.

    room: bytes, or what tells them when something new is made.  least: how many stay whatever the room is: what one call needs.
    """

    def __init__(self, room: Room, least: int) -> None:
        self._room, self._least = room, least
        self._made: dict[Hashable, Tensors] = {}
        # A model on several devices asks from a thread each.
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], Tensors]) -> Tensors:
        """What was made for the key, or is made now."""
        with self._lock:
            # Put in again: the dict's order is that of use.
            found = self._made.pop(key, None)
            if found is None:
                found = make()
            self._made[key] = found
            self._shrink()
            return found

    def leave(self, device_type: str) -> None:
        """Let go of what isn't on such a device."""
        with self._lock:
            self._made = {key: made for key, made in self._made.items() if all(x.device.type == device_type for x in _tensors(made))}

    def bytes(self) -> int:
        return sum(x.nbytes for made in self._made.values() for x in _tensors(made))

    def _shrink(self) -> None:
        if len(self._made) <= self._least:
            return
        room = self._room() if callable(self._room) else self._room
        total = self.bytes()
        for key in list(self._made)[: -self._least]:
            if total <= room:
                return
            total -= sum(x.nbytes for x in _tensors(self._made.pop(key)))


def _tensors(made: Tensors) -> list[Tensor]:
    return [x for pair in made.values() for x in pair]
