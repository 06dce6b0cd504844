"""What travels on ComfyUI's wires, and what core takes: pictures, masks and drags, one picture at a time.

Convention: an IMAGE is [B, H, W, C] in [0, 1], a MASK [B, H, W] or [H, W] in [0, 1]; core takes [1, 3, H, W] and bool [H, W]. Sizes are
(width, height) px.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..core.field import FieldSettings
from ..core.instruction import DragInstruction, InstructionError
from ..core.instruction.operations import Drag
from ..core.picture.drawn_field import DrawnField

Size = tuple[int, int]

SHAPE = 0.02
"""By which part the ratio of two pictures' sides may differ for them to show the same."""


def image_size(image: Tensor) -> Size:
    return (image.shape[2], image.shape[1])


def count_of(before: Tensor, **others: Tensor | None) -> int:
    """How many pictures are judged, of IMAGEs that belong together: each has one picture, which counts for all, or that many.

    others: by their names in a sentence; None for one that is not connected.  Raises ValueError for other sizes and other numbers.
    """
    size, images = image_size(before), {name: image for name, image in others.items() if image is not None}
    for name, image in images.items():
        if (found := image_size(image)) != size:
            raise ValueError(
                f"the {name} picture is {found[0]} x {found[1]} px but the one before {size[0]} x {size[1]}: make them the same size"
            )
    counts = sorted({len(image) for image in (before, *images.values())} - {1})
    if len(counts) > 1:
        raise ValueError(f"batches of {' and '.join(map(str, counts))} pictures do not belong together: give one, or as many of each")
    return counts[0] if counts else 1


def array_at(image: Tensor, i: int) -> np.ndarray:
    """Picture i of a batch, or the only one that there is, as `array_of`."""
    return array_of(image[i if len(image) > 1 else 0])


def pictures(image: Tensor) -> Iterator[Tensor]:
    """The pictures of an IMAGE one by one, float32 [1, 3, H, W]; alpha is dropped. What arrived is not written to."""
    for one in image:
        yield one[..., :3].movedim(-1, 0)[None].float().contiguous()


def image_of(picture: Tensor | np.ndarray) -> Tensor:
    """[1, 3, H, W], or numpy float [H, W, 3], as an IMAGE of one."""
    if isinstance(picture, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32))[None]
    return picture.detach().movedim(1, -1).float().cpu().contiguous()


def array_of(image: Tensor) -> np.ndarray:
    """One picture [H, W, C] of an IMAGE as numpy float32 [H, W, 3]."""
    return np.ascontiguousarray(image[..., :3].detach().float().cpu().numpy())


def bool_mask(mask: Tensor, size: Size, what: str = "the mask", above: float = 0.5) -> np.ndarray:
    """A MASK of one, or all of several joined, as bool [H, W]; ValueError if it has another size than the picture.

    above: what counts as inside; 0 takes in all of a faded edge.
    """
    joined = mask.detach().float().cpu().reshape(-1, *mask.shape[-2:]).amax(0)
    found = (joined.shape[1], joined.shape[0])
    if found != size:
        raise ValueError(
            f"{what} is {found[0]} x {found[1]} px but the picture is {size[0]} x {size[1]}: make both the same size (Resize Image/Mask)"
        )
    return (joined > above).numpy()


def scaled_mask(mask: Tensor, size: Size, what: str = "the mask") -> np.ndarray:
    """As `bool_mask`, but a mask of the picture's shape is scaled to its size. ValueError if it has another shape."""
    found = (mask.shape[-1], mask.shape[-2])
    if found == size:
        return bool_mask(mask, size, what)
    # A side may be rounded to a whole pixel, or cut to a multiple of 16, on the way.
    if abs(found[0] * size[1] - found[1] * size[0]) > SHAPE * found[0] * size[1]:
        raise ValueError(
            f"{what} is {found[0]} x {found[1]} px but the picture is {size[0]} x {size[1]}, which is another shape: "
            "select on the picture itself, or crop both alike"
        )
    joined = mask.detach().float().cpu().reshape(1, -1, *mask.shape[-2:]).amax(1, keepdim=True)
    shrinks = found[0] > size[0]
    scaled = interpolate(joined, size[::-1], mode="bilinear", align_corners=False, antialias=shrinks)
    return bool_mask(scaled, size, what)


def mask_of(cells: np.ndarray) -> Tensor:
    """bool or float [H, W] as a MASK of one."""
    return torch.from_numpy(np.ascontiguousarray(cells, dtype=np.float32))[None]


def read_drag(drag: str, size: Size) -> Drag:
    """The drag on a picture of `size`. Raises InstructionError, also for one that moves nothing."""
    instruction = DragInstruction.from_json(drag)
    if not instruction.moves:
        raise InstructionError("the drag moves nothing; draw a region or a point in the Drag Canvas and give it a target")
    return instruction.rasterise(*size)


def read_field(drag: str | DrawnField, size: Size, settings: FieldSettings | None = None, picture: Tensor | None = None) -> DrawnField:
    """A drag on a picture of `size` as a field, from text, or as it came.

    settings, picture: for text alone; None for the defaults; one picture [H, W, C] of an IMAGE, on which points find what they belong to.
    Raises ValueError for a field of another size, InstructionError as `read_drag`.
    """
    if not isinstance(drag, DrawnField):
        asked = read_drag(drag, size)
        seen = None if picture is None or not asked.points else array_of(picture)
        return DrawnField(asked, settings or FieldSettings(), seen, text=drag)
    if drag.drag.size != size:
        raise ValueError(
            f"the field was made for a picture of {drag.drag.size[0]} x {drag.drag.size[1]} px, this one has {size[0]} x {size[1]}: make "
            "it for this picture (Drag to Field)"
        )
    return drag


def drag_problem(drag: str | DrawnField | None) -> bool | str:
    """For `validate_inputs`: True, or the sentence that says what is wrong. None is a link, whose text isn't known yet."""
    if drag is None or isinstance(drag, DrawnField):
        return True
    try:
        DragInstruction.from_json(drag)
    except InstructionError as error:
        return str(error)
    return True
