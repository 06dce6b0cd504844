"""Drags on figures whose truth is known: a limb turned at its joint, a head on its neck, a part drawn out, the whole figure moved.

The region is the part that a user would draw, with all that hangs on it; the anchor of a turn is the joint; the truth keeps the joint
closed. A figure that is moved farther away becomes smaller, which no shift of pixels does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from ..field.masks import resample
from ..instruction.operations import Drag, RegionOperation, Task
from .figures import UNIT, Figure, FigureScene, part_mask, perspective, render_figure, sample_figure_scene

CYCLE: tuple[Task, ...] = ("rotation", "relocation", "rotation", "deformation")
TURNED = ("arm", "forearm", "head", "neck", "tail", "leg")
DRAWN_OUT = ("neck", "leg", "forearm", "tail")
CELLS = 32
"""Side of the bundled models' grid at their own size. A thin limb can fall between its cells, where no method could drag it."""


@dataclass(frozen=True, eq=False)
class FigureCase:
    """One drag of a part, with what hangs on it. Of the same shape as `DemoCase`: pictures are float32 [size, size, 3] in [0, 1].

    part: index of the part, -1 for the whole figure.  moved: the figure after the drag.
    """

    scene: FigureScene
    part: int
    moved: Figure
    task: Task
    size: int = 256

    @cached_property
    def source(self) -> np.ndarray:
        return render_figure(self.scene, self.size)

    @cached_property
    def truth(self) -> np.ndarray:
        return self.truth_with()

    @cached_property
    def plate(self) -> np.ndarray:
        """The scene without what is dragged; of the whole figure, the empty ground."""
        if self.part < 0:
            # Of a figure that is not there nothing is drawn, and nothing casts a shadow.
            return render_figure(replace(self.scene, figure=replace(self.scene.figure, x=-1e4), shadow="none"), self.size)
        return render_figure(self.scene, self.size, self.parts)

    @property
    def parts(self) -> frozenset[int]:
        """Indices of the part that is dragged and of what hangs on it."""
        return frozenset(range(len(self.scene.figure.parts))) if self.part < 0 else self.scene.figure.under(self.part)

    @cached_property
    def region(self) -> np.ndarray:
        """What a user would paint, two pixels generous. bool [size, size]."""
        return self._painted(self.scene.figure)

    @cached_property
    def landed(self) -> np.ndarray:
        """Where that belongs after the drag. bool [size, size]."""
        return self._painted(self.moved)

    @cached_property
    def drag(self) -> Drag:
        """The drag a user would make, in pixels of the picture."""
        ys, xs = np.nonzero(self.region)
        middle = np.array([xs.mean() + 0.5, ys.mean() + 0.5])
        scale, anchor = self.size / UNIT, None
        if self.task == "rotation":
            joint = self.scene.figure.placed()[self.part][0] * scale
            anchor, a = (float(joint[0]), float(joint[1])), np.deg2rad(self.turn)
            turned = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ (middle - joint)
            target = joint + turned
        else:
            target = middle + scale * np.array(self.shift)
        operation = RegionOperation(self.region, self.task, (float(target[0]), float(target[1])), anchor)
        return Drag((self.size, self.size), (operation,), background_prompt=self.scene.caption)

    @property
    def turn(self) -> float:
        """Rotation in degrees, positive clockwise on the screen."""
        return self.moved.parts[self.part].angle - self.scene.figure.parts[self.part].angle

    @property
    def shift(self) -> tuple[float, float]:
        """How far the region moves, in scene units (relocation and deformation)."""
        if self.task == "deformation":
            before, after = (figure.placed()[self.part][1] for figure in (self.scene.figure, self.moved))
            return float(after[0] - before[0]), float(after[1] - before[1])
        return self.moved.x - self.scene.figure.x, self.moved.y - self.scene.figure.y

    def truth_with(self, extra_turn: float = 0.0) -> np.ndarray:
        """The truth, turned `extra_turn` degrees further about the joint."""
        moved = self.moved
        if extra_turn:
            moved = moved.with_part(self.part, angle=moved.parts[self.part].angle + extra_turn)
        return render_figure(replace(self.scene, figure=moved), self.size)

    def _painted(self, figure: Figure) -> np.ndarray:
        """What is seen of the dragged parts, two pixels generous; of a part that is drawn out, its outer half."""
        seen = part_mask(replace(self.scene, figure=figure), self.parts, self.size)
        if self.task == "deformation":
            # The inner half gives.
            joint, end, _ = figure.placed()[self.part]
            direction = (end - joint) / max(float(np.hypot(*(end - joint))), 1e-6)
            y, x = (np.mgrid[: self.size, : self.size] + 0.5) * UNIT / self.size
            half = 0.5 * self.scene.figure.scale * self.scene.figure.parts[self.part].length
            seen &= (x - end[0]) * direction[0] + (y - end[1]) * direction[1] > -half
        return cv2.dilate(seen.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)


def sample_figure_cases(count: int, seed: int, size: int = 256) -> Iterator[FigureCase]:
    """`count` fresh cases, tasks in the order of CYCLE. The same seed gives the same cases."""
    for i in range(count):
        yield sample_figure_case(np.random.default_rng([seed, i]), CYCLE[i % len(CYCLE)], size)


def sample_figure_case(rng: np.random.Generator, task: Task, size: int = 256) -> FigureCase:
    """Draw scenes until one of them allows a drag of this task whose region is seen, before and after."""
    while True:
        scene = sample_figure_scene(rng)
        part, moved = _propose(rng, scene, task)
        case = FigureCase(scene, part, moved, task, size)
        least = 0.0012 * size * size
        if not (_inside(moved) and _inside(scene.figure) and case.region.sum() > least and case.landed.sum() > 0.7 * case.region.sum()):
            continue
        if (resample(case.region, (CELLS, CELLS)) > 0.5).any():
            return case


def _propose(rng: np.random.Generator, scene: FigureScene, task: Task) -> tuple[int, Figure]:
    figure = scene.figure
    if task == "relocation":
        # Across the ground, and a little nearer or farther, as large as it is there.
        rise = float(rng.uniform(-16, 16))
        legs = max(part.length for part in figure.parts if part.name.startswith("leg"))
        feet = figure.y + figure.scale * legs
        scale = perspective(feet + rise, scene.horizon)
        x = figure.x + float(rng.uniform(30, 80) * rng.choice([-1, 1]))
        return -1, replace(figure, x=x, y=feet + rise - scale * legs, scale=scale)
    names = TURNED if task == "rotation" else DRAWN_OUT
    index = int(rng.choice([i for i, part in enumerate(figure.parts) if part.name in names]))
    part = figure.parts[index]
    if task == "rotation":
        return index, figure.with_part(index, angle=part.angle + float(rng.uniform(25, 60) * rng.choice([-1, 1])))
    return index, figure.with_part(index, length=part.length * float(rng.uniform(1.4, 1.9)))


def _inside(figure: Figure) -> bool:
    ends = np.array([point for joint, end, _ in figure.placed() for point in (joint, end)])
    return bool((ends > 12).all() and (ends < UNIT - 8).all()) and figure.scale > 0.3
