"""A drag as an animation: pictures along its way, from one inversion, that hang together.

    for edit in frames(dragfield, 16, backbone, autoencoder, image, drag, source):       # the last one first
        ...

The last frame is made first: it is the edit alone, bit for bit. What keeps the others from flickering differs by method, as measured in
docs/performance.md:

- `dragfield` starts each frame from the picture's own pixels, where the field has them at that progress, with the same noise and the same
  ground behind: frames need not know of each other;
- `dragflow` goes on from the frame beside, back along the way: an object that has formed stays what it is, for few iterations more;
- `directdrag` drags each frame by itself, in the mask of the whole drag: a latent that was dragged before leaves copies of the object.

Outside of its mask every frame is the picture bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..progress import ALONE, RunContext
from .edit import AnyInversion, Edit, Frame

MOST = 1024
"""Frames of one drag."""


def frames(
    method: Callable[..., Edit], count: int, *what: Any, inversion: AnyInversion | None = None, run: RunContext = ALONE, **how: Any
) -> Iterator[Edit]:
    """`count` edits by `method` (`dragfield`, `dragflow` or `directdrag`) at all of the way, (count - 1)/count of it, ... 1/count.

    what, how: the method's arguments.  inversion: of the picture, from an earlier edit; None: it is inverted once.
    Raises ValueError for a count outside of 1 to `MOST`, Interrupted when the run shall end.
    """
    if not 1 <= count <= MOST:
        raise ValueError(f"{count} frames are no animation of a drag: use 1, the edit alone, to {MOST}")
    edit = None
    for number in range(count, 0, -1):
        edit = method(*what, **how, inversion=inversion, frame=Frame(number / count, edit), run=run.part(count - number, count))
        inversion = edit.inversion
        yield edit
