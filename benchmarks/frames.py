"""Suite `frames`: how an animation of a drag flickers, on drawn scenes with the bundled models and on real start frames without one.

Each frame is compared with the one before it, in levels of 255:

- outside: the largest change outside of both frames' masks;
- ground: the mean change where both may differ from the picture but nothing that moves is within NEAR of it in either: nothing happens
  there, so all of it is flicker;
- beside: the mean change within NEAR of what moves, without it: shadows move too, so compare it with the truth's;
- inside: the mean change of what moves, each frame read where the field has it: nothing but the object's own change is left.

Rows: `truth`, the scene drawn anew for every frame; `start`, the picture warped by the field, what `dragfield` starts from; the methods.
`dragflow_apart` makes every frame of `dragflow` by itself. `directdrag` runs on the demo UNet, by points.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np

from ..core.demo.case_points import point_drag_of
from ..core.demo.cases import DemoCase, sample_cases
from ..core.demo.directdrag_settings import DIRECTDRAG
from ..core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW
from ..core.demo.flux import load
from ..core.demo.scenes import render
from ..core.demo.text import embed
from ..core.edits.directdrag import directdrag
from ..core.edits.dragfield import dragfield, open_mask
from ..core.edits.dragflow import dragflow
from ..core.edits.edit import Edit, Frame
from ..core.edits.frames import frames
from ..core.field import DragField
from ..core.field.masks import grow
from ..core.field.warp import sample
from ..core.formats.real_motion import read
from ..core.instruction.operations import Drag, PointOperation
from ..core.picture.compose import picture_of, tensor_of
from ..core.picture.evidence import carry
from .points import load_model

COUNT = 8
"""Frames of each animation."""
NEAR = 0.125
"""How near to what moves ground is judged by itself, as a share of the picture's shorter side."""


@dataclass(frozen=True, eq=False)
class Animation:
    """pictures: [H, W, 3] in [0, 1], from the first frame to the last.  masks: bool [H, W], where each could change.  seconds: in all."""

    pictures: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    seconds: float = 0.0


def drawn(case: DemoCase) -> Animation:
    """The truth of every frame."""
    return Animation([render_at(case, (i + 1) / COUNT) for i in range(COUNT)], _masks(DragField.from_drag(case.drag)))


def start(picture: np.ndarray, field: DragField) -> Animation:
    """The picture warped as far as each frame, what is left of it filled."""
    return Animation([carry(picture, field, progress=(i + 1) / COUNT).image for i in range(COUNT)], _masks(field))


def edited(method: Callable[..., Edit], *what: object, **how: object) -> Animation:
    """An animation by one of the methods."""
    began = time.perf_counter()
    made = list(frames(method, COUNT, *what, **how))[::-1]
    return Animation([picture_of(edit.image) for edit in made], [edit.mask for edit in made], time.perf_counter() - began)


def apart(method: Callable[..., Edit], *what: object, frame: Frame, **how: object) -> Edit:
    """A frame that knows of none beside it."""
    return method(*what, **how, frame=replace(frame, beside=None))


def run(
    cases: int = 4, seed: int = 0, methods: Sequence[str] = (), *, data: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict:  # fmt: skip
    """Animate `cases` drags of `seed`, and of a folder of real pairs each start frame, by region and by point.

    methods: rows by name; none: all of them, of `data` if that is given.
    -> {"suite", "cases", "seed", "frames", "methods": means by row}. Raises ValueError for a row that there is not.
    """
    rows = _real_rows(data) if data is not None else _drawn_rows(cases, seed)
    chosen = list(methods) or list(rows)
    if unknown := [name for name in chosen if name not in rows]:
        raise ValueError(f"row {unknown[0]!r} is unknown: use {', '.join(rows)}")
    found: dict[str, list[dict]] = {name: [] for name in chosen}
    total = sum(len(rows[name]) for name in chosen)
    for name in chosen:
        for make, field in rows[name]:
            if progress is not None:
                progress(sum(map(len, found.values())), total, name)
            found[name].append(flicker(make(), field))
    counted = len(rows[chosen[0]])
    means = {name: summarise(figures) for name, figures in found.items()}
    return {"suite": "frames", "cases": counted, "seed": seed, "frames": COUNT, "methods": means}


def flicker(animation: Animation, field: DragField) -> dict[str, float | None]:
    """The module's measures of one animation, and its seconds; None where there is no such place."""
    count, near = len(animation.pictures), NEAR * min(field.size)
    moved = [field.moved((i + 1) / count).numpy() for i in range(count)]
    found: dict[str, list[float]] = {"outside": [], "ground": [], "beside": [], "inside": []}
    for i in range(1, count):
        change = np.abs(animation.pictures[i] - animation.pictures[i - 1]) * 255
        free, moving = animation.masks[i] | animation.masks[i - 1], moved[i] | moved[i - 1]
        around = grow(moving, near)
        found["outside"].append(float(change[~free].max()) if not free.all() else 0.0)
        for name, where in (("ground", free & ~around), ("beside", free & around & ~moving)):
            if where.any():
                found[name].append(float(change[where].mean()))
        (here, goes), (there, went) = (field.forward((i + k) / count) for k in (1, 0))
        read_at = [sample(tensor_of(p), at)[0] for p, at in ((animation.pictures[i], here), (animation.pictures[i - 1], there))]
        shown = goes & went
        if shown.any():
            found["inside"].append(float((read_at[0] - read_at[1]).abs().mean(0)[shown].mean()) * 255)
    means: dict[str, float | None] = {name: mean(values) if values else None for name, values in found.items()}
    return means | {"outside": max(found["outside"]), "seconds": animation.seconds}


def summarise(rows: Sequence[dict]) -> dict:
    """Means over animations; of what is outside the largest."""
    known = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    return {name: (max if name == "outside" else mean)(values) if values else None for name, values in known.items()}


def render_at(case: DemoCase, progress: float) -> np.ndarray:
    """The scene as it is on the way. float32 [size, size, 3]."""
    before, moved = case.object, case.moved
    if case.task == "rotation":
        away = complex(before.x - case.anchor[0], before.y - case.anchor[1]) * np.exp(1j * np.deg2rad(case.turn * progress))
        x, y = case.anchor[0] + away.real, case.anchor[1] + away.imag
    else:
        x, y = before.x + progress * (moved.x - before.x), before.y + progress * (moved.y - before.y)
    stretch = before.stretch + progress * (moved.stretch - before.stretch)
    there = replace(before, x=float(x), y=float(y), angle=before.angle + case.turn * progress, stretch=float(stretch))
    objects = (*case.scene.objects[: case.index], there, *case.scene.objects[case.index + 1 :])
    return render(replace(case.scene, objects=objects), case.size)


Row = list[tuple[Callable[[], Animation], DragField]]


def _drawn_rows(cases: int, seed: int) -> dict[str, Row]:
    flux, unet = load(), load_model()
    names = ("truth", "start", "dragfield", "dragflow", "dragflow_apart", "directdrag")
    rows: dict[str, Row] = {name: [] for name in names}
    for case in sample_cases(cases, seed):
        image, field, prompt = tensor_of(case.source), DragField.from_drag(case.drag), embed([case.scene.caption])
        what = flux.backbone, flux.autoencoder, image, case.drag, prompt
        by_points = unet.backbone, unet.autoencoder, image, point_drag_of(case), prompt, DIRECTDRAG
        made = (
            partial(drawn, case), partial(start, case.source, field), partial(edited, dragfield, *what, settings=DRAGFIELD),
            partial(edited, dragflow, *what, settings=DRAGFLOW), partial(edited, partial(apart, dragflow), *what, settings=DRAGFLOW),
            partial(edited, directdrag, *by_points, head=unet.head),
        )  # fmt: skip
        for name, make in zip(names, made, strict=True):
            rows[name].append((make, field))
    return rows


def _real_rows(data: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {"start": [], "start_points": []}
    for pair in read(data):
        by_point = Drag(pair.size, points=(PointOperation(pair.handle, pair.target),))
        by_region, by_points = DragField.from_drag(pair.drag()), DragField.from_drag(by_point, picture=pair.before)
        for name, field in (("start", by_region), ("start_points", by_points)):
            rows[name].append((partial(start, pair.before, field), field))
    return rows


def _masks(field: DragField) -> list[np.ndarray]:
    margin = DRAGFIELD.margin * min(field.size)
    return [open_mask(field.between(0, (i + 1) / COUNT), margin) for i in range(COUNT)]

