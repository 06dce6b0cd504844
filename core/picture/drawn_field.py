"""A drag on its picture, as a field that can be handed around: the recipe, so that a part of the picture can have it too.

Convention: as DragField; pictures are float32 [H, W, 3] in [0, 1], masks bool [H, W].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from ..field import DragField, FieldSettings
from ..field.partway import partway
from ..instruction.operations import Drag
from .window import Window, crop_drag


@dataclass(frozen=True, eq=False)
class DrawnField:
    """A drag and how it becomes a field.

    picture: what the drag is drawn on; None: points take along what is close to them.  selected: what points take along, as the user says;
    None: looked for on the picture.  made: a field from elsewhere, in place of the drag's own; the drag then says where that moves objects,
    for what reads regions, points and prompts.  text: the instruction that the drag was, as JSON; "" for none.
    Raises ValueError for a picture, a selection or a field of another size than the drag's.
    """

    drag: Drag
    settings: FieldSettings = FieldSettings()
    picture: np.ndarray | None = None
    selected: np.ndarray | None = None
    made: DragField | None = None
    text: str = ""

    def __post_init__(self) -> None:
        sizes = {"the picture": self.picture, "the selection": self.selected}
        found = {name: (known.shape[1], known.shape[0]) for name, known in sizes.items() if known is not None}
        if self.made is not None:
            found["the field"] = self.made.size
        for name, size in found.items():
            if size != self.drag.size:
                raise ValueError(
                    f"{name} has {size[0]} x {size[1]} px but the drag is for {self.drag.size[0]} x {self.drag.size[1]}: make both for "
                    "one picture"
                )

    @cached_property
    def field(self) -> DragField:
        """The field itself, made when it is first asked for."""
        if self.made is not None:
            return self.made
        return DragField.from_drag(self.drag, self.settings, picture=self.picture, selected=self.selected)

    def until(self, progress: float) -> DrawnField:
        """The same, done as far as `progress` in (0, 1] says."""
        if progress == 1:
            return self
        return replace(self, drag=partway(self.drag, progress), made=self.field.between(0, progress), text="")

    def cropped(self, window: Window) -> DrawnField:
        """The same on the part of the picture that a window shows. Raises ValueError for a part of a field from elsewhere."""
        if (window.width, window.height) == window.work == self.drag.size:
            return self
        if self.made is not None:
            raise ValueError(
                f"a field from elsewhere moves its picture of {self.drag.size[0]} x {self.drag.size[1]} px as a whole, and this edit would "
                f"work on {window.work[0]} x {window.work[1]} px of it: raise work_size, or scale the picture before (multiples of 16)"
            )

        def cut(known: np.ndarray | None, how: int) -> np.ndarray | None:
            if known is None:
                return None
            part = np.ascontiguousarray(known[window.rows, window.columns])
            return cv2.resize(part.astype(np.float32), window.work, interpolation=how) if window.scaled else part

        picture, selected = cut(self.picture, cv2.INTER_AREA), cut(self.selected, cv2.INTER_NEAREST)
        selected = None if selected is None else selected > 0.5
        return replace(self, drag=crop_drag(self.drag, window), picture=picture, selected=selected)
