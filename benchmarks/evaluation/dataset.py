"""The contract of a data set: names of samples in its own order, and a `Case` for each name.

A case tells one drag in up to two ways, by regions and by points, since some data sets do and methods want the one or the other. What a
data set lacks is made as published: a mask where the picture may change, and the masks of moved regions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...core.formats.picture_file import decode
from ...core.instruction import DragInstruction
from ...core.instruction.guarded_json import InstructionError
from ...core.instruction.operations import Drag
from ...core.metrics.judged import Judged, Operation


@dataclass(frozen=True, eq=False)
class Case:
    """One sample. `size` is (width, height) px of the picture.

    regions, points: the drag told so; None where the data set does not. At least one is there.
    operations: what is judged.  mask: bool [H, W], where the picture may change.  mask_given: whether the data set has it, or it was made
    by `adaptive_gradient_mask`.  truth: the picture's file after the drag, where it is known.
    """

    name: str
    picture: Path
    size: tuple[int, int]
    regions: DragInstruction | None
    points: DragInstruction | None
    operations: tuple[Operation, ...]
    mask: np.ndarray
    mask_given: bool
    truth: Path | None = None

    @property
    def instruction(self) -> DragInstruction:
        """The drag by regions where there are some, else by points."""
        return self.points if self.regions is None else self.regions

    @property
    def prompts(self) -> tuple[str, str]:
        """What the picture shows, and what the edit adds to it."""
        return self.instruction.background_prompt, self.instruction.editing_prompt

    def drag(self) -> Drag:
        return self.instruction.rasterise(*self.size)

    def judged(self, after: Image.Image, seed: int) -> Judged:
        """An edit of this case, to be judged. Raises: ValueError for a result of another size."""
        before = np.asarray(decode(self.picture), np.float32) / 255
        truth = None if self.truth is None else np.asarray(decode(self.truth), np.float32) / 255
        result = np.asarray(after.convert("RGB"), np.float32) / 255
        return Judged(before, result, self.mask, self.operations, self.drag(), truth, self.prompts[0], seed)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in a folder. names: its samples, in its order, each a name that can be a file's.  read: the case of a name."""

    suite: str
    folder: Path
    names: tuple[str, ...]
    _read: Callable[[str], Case]

    def read(self, name: str) -> Case:
        """Raises: InstructionError for a sample that is missing, damaged, hostile or contradictory, naming it."""
        try:
            return self._read(name)
        except ValueError as error:
            raise InstructionError(f"{name}: {error}") from None

    def check(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Read every sample once. -> what is wrong with those that can't be read, a sentence each."""
        wrong = {}
        for name in self.names if names is None else names:
            try:
                self.read(name)
            except InstructionError as error:
                wrong[name] = str(error)
        return wrong
