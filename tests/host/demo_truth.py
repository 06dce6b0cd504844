"""What the drag of a demo workflow truly leads to, and how far the workflow's picture is from that.

The picture of a demo workflow is drawn by Load Demo Scene, so its outcome can be drawn too. Where the drag is the scene's own, the scene
knows it. Where it is one that somebody drew on the scene, each object under a region is put where the region goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from dragfield.core.demo.case_points import point_drag_of
from dragfield.core.demo.cases import DemoCase
from dragfield.core.demo.measure import Measured, measure
from dragfield.core.demo.scenes import UNIT, Scene, object_mask
from dragfield.core.instruction import DragInstruction
from dragfield.core.instruction.operations import RegionOperation
from dragfield.nodes.host.drawn_scene import drawn_case

METHODS = {
    "DragfieldRegionOptimizer": "dragflow", "DragfieldPointOptimizer": "directdrag", "DragfieldLatentWarp": "latent warp",
    "DragfieldWarmStart": "dragfield",
}  # fmt: skip
"""What a graph of parts does, by the node that moves something."""


@dataclass(frozen=True, eq=False)
class Expected:
    """The truth of what one Drag Report is about.

    method: "dragfield", "dragflow", "directdrag" or "latent warp".  saved: id of the node that saves the picture.
    cases: one for each object that the drag speaks of, pinned ones too; in each of them all others are already where they belong.
    """

    method: str
    saved: str
    cases: tuple[DemoCase, ...]

    def measured(self, picture: np.ndarray) -> Iterator[tuple[DemoCase, Measured]]:
        """picture: float [H, W, 3] in [0, 1].  Looks at the whole of it, but for where the other objects of the drag stand or stood."""
        for case in self.cases:
            looked_at = np.ones(picture.shape[:2], bool)
            for other in self.cases:
                if other is not case:
                    looked_at &= ~_grown(other.region | other.landed)
            yield case, measure(case, picture, looked_at | case.region | case.landed)


def expected(prompt: dict[str, Any]) -> Iterator[Expected]:
    """The truth of every report of a prompt."""
    for node in prompt.values():
        if node["class_type"] != "DragfieldReport":
            continue
        picture = node["inputs"]["after"]
        saved = next(i for i, n in prompt.items() if n["class_type"] == "SaveImage" and n["inputs"]["images"] == picture)
        yield Expected(_method(prompt, picture), saved, tuple(_cases(prompt, node["inputs"]["drag"])))


def _cases(prompt: dict[str, Any], link: list[Any]) -> Iterator[DemoCase]:
    given = next(n["inputs"] for n in prompt.values() if n["class_type"] == "DragfieldLoadDemoScene")
    own = drawn_case(given["seed"], given["task"], given["size"], given.get("world", "scenes"))
    node = prompt[link[0]]
    while isinstance(node["inputs"].get("drag"), list):
        node = prompt[node["inputs"]["drag"][0]]
    if node["class_type"] == "DragfieldLoadDemoScene":
        yield own
        return
    text = next(value for value in node["inputs"].values() if isinstance(value, str))
    if text in (DragInstruction.from_drag(drag).to_json() for drag in (own.drag, point_drag_of(own))):
        yield own
        return
    drawn = DragInstruction.from_json(text).rasterise(own.size, own.size)
    if drawn.points or any(region.task not in ("relocation", "pin") for region in drawn.regions):
        raise NotImplementedError("of drawn drags, only relocations and pins are rendered")
    before = after = own.scene
    moved = [_object_under(own.scene, region, own.size) for region in drawn.regions]
    for index, region in zip(moved, drawn.regions, strict=True):
        x, y = _shift(region)
        obj = before.objects[index]
        after = after.with_object(index, x=obj.x + x * UNIT / own.size, y=obj.y + y * UNIT / own.size)
    for index in moved:
        start = replace(after, objects=(*after.objects[:index], before.objects[index], *after.objects[index + 1 :]))
        yield DemoCase(start, index, after.objects[index], "relocation", None, own.size)


def _object_under(scene: Scene, region: RegionOperation, size: int) -> int:
    """Index of the one object that the region holds nine tenths of."""
    seen = [object_mask(scene, i, size) for i in range(len(scene.objects))]
    (index,) = (i for i, mask in enumerate(seen) if (mask & region.mask).sum() > 0.9 * mask.sum())
    return index


def _shift(region: RegionOperation) -> tuple[float, float]:
    """How far a region goes, px."""
    if region.task == "pin":
        return (0.0, 0.0)
    ys, xs = np.nonzero(region.mask)
    return (region.target[0] - xs.mean() - 0.5, region.target[1] - ys.mean() - 0.5)


def _method(prompt: dict[str, Any], link: list[Any]) -> str:
    """What moved the picture, found by walking back from it."""
    behind, seen = [link[0]], set()
    while behind:
        node = prompt[behind.pop(0)]
        if node["class_type"] == "DragfieldEdit":
            return node["inputs"]["method"]
        if node["class_type"] in METHODS:
            return METHODS[node["class_type"]]
        links = {value[0] for value in node["inputs"].values() if isinstance(value, list)} - seen
        seen |= links
        behind += sorted(links)
    raise ValueError("nothing in the graph moves the picture")


def _grown(mask: np.ndarray, pixels: int = 16) -> np.ndarray:
    """Wide enough to hold an object's shadow."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)).astype(bool)
