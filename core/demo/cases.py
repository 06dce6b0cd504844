"""Drags on demo scenes whose truth is known: the question (a picture and a drag) and the answer (the picture as it should become).

Three tasks. A relocated object is carried 30 to 90 px; a rotated one turns by 25 to 75 degrees about an anchor near its centre; a deformed
one is pulled at one end, which moves rigidly while the stem behind it is lengthened. Everything is drawn again for the truth: shadow,
shading, what stands in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from ..instruction.operations import Drag, RegionOperation, Task
from .scenes import STRETCH_FROM, UNIT, Scene, SceneObject, object_mask, reach, render, sample_scene

CYCLE: tuple[Task, ...] = ("relocation", "rotation", "relocation", "deformation")
"""Tasks in the proportion 2:1:1."""


@dataclass(frozen=True, eq=False)
class DemoCase:
    """One drag of object `index`. Pictures are float32 [size, size, 3] in [0, 1]."""

    scene: Scene
    index: int
    moved: SceneObject
    """The object as it is after the drag."""
    task: Task
    anchor: tuple[float, float] | None = None
    """Rotation's anchor in scene units."""
    size: int = 256

    @cached_property
    def source(self) -> np.ndarray:
        return render(self.scene, self.size)

    @cached_property
    def truth(self) -> np.ndarray:
        return self.truth_with()

    @cached_property
    def plate(self) -> np.ndarray:
        """The scene without the object: what is left when it is gone."""
        return render(self.scene.without_object(self.index), self.size)

    @cached_property
    def region(self) -> np.ndarray:
        """What a user would paint: the visible object, two pixels generous; for a deformation its rigid end. bool [size, size]."""
        return self._dilated(self._part(self.scene))

    @cached_property
    def landed(self) -> np.ndarray:
        """Where the region belongs after the drag. bool [size, size]."""
        return self._dilated(self._part(self._after))

    @cached_property
    def drag(self) -> Drag:
        """The drag a user would make, in pixels of the picture."""
        ys, xs = np.nonzero(self.region)
        centroid = np.array([xs.mean() + 0.5, ys.mean() + 0.5])
        scale = self.size / UNIT
        anchor = None
        if self.task == "rotation":
            anchor = (self.anchor[0] * scale, self.anchor[1] * scale)
            target = np.array(anchor) + _turn(centroid - anchor, self.turn)
        else:
            target = centroid + scale * np.array(self.shift)
        operation = RegionOperation(self.region, self.task, (float(target[0]), float(target[1])), anchor)
        return Drag((self.size, self.size), (operation,), background_prompt=self.scene.caption)

    @property
    def object(self) -> SceneObject:
        return self.scene.objects[self.index]

    @property
    def turn(self) -> float:
        """Rotation in degrees, positive clockwise on the screen."""
        return self.moved.angle - self.object.angle

    @property
    def shift(self) -> tuple[float, float]:
        """How far the region moves, in scene units (relocation and deformation)."""
        if self.task == "deformation":
            a = np.deg2rad(self.object.angle)
            return (float(np.cos(a) * self.moved.stretch), float(np.sin(a) * self.moved.stretch))
        return (self.moved.x - self.object.x, self.moved.y - self.object.y)

    def truth_with(self, extra_turn: float = 0.0) -> np.ndarray:
        """The truth, turned `extra_turn` degrees further about the anchor: what a rotation is measured against."""
        moved = self.moved
        if extra_turn:
            x, y = np.array(self.anchor) + _turn(np.array([moved.x, moved.y]) - self.anchor, extra_turn)
            moved = replace(moved, x=float(x), y=float(y), angle=moved.angle + extra_turn)
        return render(self._with(moved), self.size)

    @property
    def _after(self) -> Scene:
        return self._with(self.moved)

    def _with(self, obj: SceneObject) -> Scene:
        objects = (*self.scene.objects[: self.index], obj, *self.scene.objects[self.index + 1 :])
        return replace(self.scene, objects=objects)

    def _part(self, scene: Scene) -> np.ndarray:
        mask = object_mask(scene, self.index, self.size)
        if self.task != "deformation":
            return mask
        obj, a = scene.objects[self.index], np.deg2rad(scene.objects[self.index].angle)
        axis = (np.arange(self.size) + 0.5) * UNIT / self.size
        along = np.cos(a) * (axis[None, :] - obj.x) + np.sin(a) * (axis[:, None] - obj.y)
        return mask & (along > STRETCH_FROM * obj.radius + obj.stretch)

    def _dilated(self, mask: np.ndarray) -> np.ndarray:
        return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)


def sample_cases(count: int, seed: int, size: int = 256) -> Iterator[DemoCase]:
    """`count` fresh cases, tasks in the order of CYCLE. The same seed gives the same cases."""
    for i in range(count):
        yield sample_case(np.random.default_rng([seed, i]), CYCLE[i % len(CYCLE)], size)


def sample_case(rng: np.random.Generator, task: Task, size: int = 256) -> DemoCase:
    """Draw scenes until one of them allows a drag of this task: inside the picture, free of other objects, hardly occluded."""
    while True:
        scene = sample_scene(rng, objects=int(rng.integers(1, 4)))
        for index, obj in enumerate(scene.objects):
            moved, anchor = _propose(rng, task, obj)
            if obj.stretch or not _fits(scene, index, moved):
                continue
            case = DemoCase(scene, index, moved, task, anchor, size)
            whole = object_mask(replace(scene, posts=()), index, size).sum()
            if object_mask(scene, index, size).sum() > 0.85 * whole and case.region.sum() > 0.002 * size * size:
                return case


def _propose(rng: np.random.Generator, task: Task, obj: SceneObject) -> tuple[SceneObject, tuple[float, float] | None]:
    if task == "relocation":
        a, distance = rng.uniform(0, 2 * np.pi), rng.uniform(30, 90)
        return replace(obj, x=obj.x + float(distance * np.cos(a)), y=obj.y + float(distance * np.sin(a))), None
    if task == "deformation":
        return replace(obj, stretch=float(rng.uniform(0.8, 1.4)) * obj.radius), None
    a, arm = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.6) * obj.radius
    turn = float(rng.uniform(25, 75) * rng.choice([-1, 1]))
    anchor = np.array([obj.x + arm * np.cos(a), obj.y + arm * np.sin(a)])
    x, y = anchor + _turn(np.array([obj.x, obj.y]) - anchor, turn)
    return replace(obj, x=float(x), y=float(y), angle=obj.angle + turn), (float(anchor[0]), float(anchor[1]))


def _fits(scene: Scene, index: int, moved: SceneObject) -> bool:
    if moved.shape == "circle" and moved.pattern in ("plain", "dotted") and moved.angle != scene.objects[index].angle:
        return False  # turning it cannot be seen
    room = reach(moved) + 4
    if not (room < moved.x < UNIT - room and room < moved.y < UNIT - room):
        return False
    others = (obj for i, obj in enumerate(scene.objects) if i != index)
    return all(np.hypot(moved.x - o.x, moved.y - o.y) > reach(moved) + reach(o) for o in others)


def _turn(vector: np.ndarray, degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return np.array([np.cos(a) * vector[0] - np.sin(a) * vector[1], np.sin(a) * vector[0] + np.cos(a) * vector[1]])
