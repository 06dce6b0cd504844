"""Shared test vectors of the drag canvas: what core answers, as JSON that the JavaScript side is tested against.

    python tests/web/make_vectors.py

writes tests/web/vectors/. `test_javascript.py` checks that the files are what core answers today.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dragfield.core.edits.dragfield import open_mask
from dragfield.core.edits.point_edit import points_of
from dragfield.core.field import DragField
from dragfield.core.field.carried import object_moves
from dragfield.core.field.geometry import centroid
from dragfield.core.field.joined import joined
from dragfield.core.field.masks import adaptive_gradient_mask
from dragfield.core.field.moves import motion_of
from dragfield.core.field.selection import select_cells
from dragfield.core.instruction import DragInstruction, InstructionError
from dragfield.core.instruction.operations import PointOperation
from dragfield.core.instruction.outline import fill
from dragfield.core.optimise.handles import STRIDE
from dragfield.core.optimise.soft_mask import SIGMA_SHARE, SoftMaskSettings, point_masks
from dragfield.core.picture.evidence import carry
from dragfield.core.picture.ground_fill import fill_ground

VECTORS = Path(__file__).parent / "vectors"

SQUARE = [[[[0.2, 0.3], [0.4, 0.3], [0.4, 0.6], [0.2, 0.6]]]]
RING = [[[[0.1, 0.1], [0.9, 0.15], [0.85, 0.9], [0.12, 0.8]], [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]]]]
LEAF = [[[[0.3, 0.25], [0.47, 0.21], [0.62, 0.33], [0.58, 0.52], [0.41, 0.55], [0.28, 0.43]]]]
TWO = [[[[0.1, 0.1], [0.3, 0.12], [0.2, 0.35]]], [[[0.6, 0.55], [0.8, 0.5], [0.9, 0.7], [0.7, 0.8]]]]
STAR = [[[[0.5, 0.05], [0.62, 0.95], [0.05, 0.35], [0.95, 0.4], [0.33, 0.9]]]]
BORDER = [[[[0, 0.5], [0.25, 0.45], [0.3, 1], [0, 1]]]]
NEAR = [[[[0.5, 0.4], [0.6, 0.4], [0.6, 0.6], [0.5, 0.6]]]]
BELOW = [[[[0.52, 0.55], [0.62, 0.6], [0.58, 0.75], [0.45, 0.72]]]]
"""What lies partly over NEAR."""
OUTLINES = {"square": SQUARE, "ring": RING, "leaf": LEAF, "two": TWO, "star": STAR, "border": BORDER}
SIZES = [(64, 48), (37, 53), (128, 96)]


def region(outline: Any, task: str, target: Any = None, **more: Any) -> dict[str, Any]:
    return {"kind": "region", "task": task, "region": outline, **({"target": target} if target else {}), **more}


def drag(*operations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": 1, "operations": list(operations), **more}


def version_2(*operations: dict[str, Any]) -> dict[str, Any]:
    return drag(*operations) | {"version": 2}


def selecting(outline: Any, *pairs: Any) -> dict[str, Any]:
    return {"kind": "points", "pairs": list(pairs), "selected": outline}


POINTS = {"kind": "points", "pairs": [[[0.25, 0.4], [0.4, 0.42]], [[0.7, 0.7], [0.72, 0.5]]]}
IN_FRONT = region([[[[0.68, 0.2], [0.74, 0.2], [0.74, 0.9], [0.68, 0.9]]]], "pin", front=True)
COVERING = region([[[[0.4, 0.1], [0.47, 0.1], [0.47, 0.7], [0.4, 0.7]]]], "pin", front=True)
SELECTED = selecting(LEAF, [[0.4, 0.4], [0.55, 0.5]])
AWAY = [[0.9, 0.9], [0.8, 0.8]]
BENT = selecting(
    [[[[0.16, 0.43], [0.76, 0.43], [0.76, 0.57], [0.16, 0.57]]]],
    *([[0.2, 0.5], [0.2, 0.5]], [[0.45, 0.5], [0.45, 0.5]], [[0.7, 0.5], [0.62, 0.7]]),
)
"""An arm that two pins hold."""
SOFT = {
    "a way": [[[0.3, 0.4], [0.6, 0.55]]],
    "a way to the border": [[[0.9, 0.8], [0.99, 0.3]]],
    "ways": [[[0.2, 0.3], [0.25, 0.32]], [[0.7, 0.7], [0.7, 0.4]]],
}
DRAGS = {
    "relocation": drag(region(LEAF, "relocation", [0.7, 0.62])),
    "over the border": drag(region(LEAF, "relocation", [0.98, 0.9])),
    "with what goes along": drag(region(NEAR, "relocation", [0.75, 0.3], along=BELOW)),
    "rotation": drag(region(LEAF, "rotation", [0.62, 0.2], anchor=[0.4, 0.7])),
    "turned with what goes along": drag(region(NEAR, "rotation", [0.7, 0.45], anchor=[0.55, 0.7], along=BELOW)),
    "half a turn": drag(region(SQUARE, "rotation", [0.6, 0.7], anchor=[0.45, 0.55])),
    "deformation": drag(region(NEAR, "deformation", [0.8, 0.5])),
    "deformation with what goes along": drag(region(NEAR, "deformation", [0.72, 0.55], along=BELOW)),
    "deformation up and left": drag(region(LEAF, "deformation", [0.31, 0.2])),
    "an end that stays": drag(region(NEAR, "deformation", [0.7, 0.55], anchor=[0.2, 0.45])),
    "pressed against its end": drag(region(NEAR, "deformation", [0.65, 0.5], anchor=[0.95, 0.5])),
    "points": drag(POINTS),
    "points with what is selected": version_2(SELECTED),
    "an arm bent about its pins": version_2(BENT),
    "pieces that go apart": version_2(selecting(TWO, [[0.2, 0.2], [0.35, 0.25]], [[0.75, 0.6], [0.7, 0.75]])),
    "two pieces with one handle": version_2(selecting(TWO, [[0.2, 0.2], [0.31, 0.26]])),
    "a piece that only stays": version_2(selecting(TWO, [[0.2, 0.2], [0.35, 0.25]], [[0.75, 0.6], [0.75, 0.6]])),
    "selected under a region": version_2(region(SQUARE, "relocation", [0.55, 0.6]), SELECTED),
    "selected where it is editable": version_2(SELECTED) | {"editable": [[[[0.2, 0.1], [0.6, 0.1], [0.6, 0.9], [0.2, 0.9]]]]},
    "points in an area": drag(POINTS, editable=[[[[0.1, 0.2], [0.85, 0.2], [0.85, 0.9], [0.1, 0.9]]]]),
    "all at once": drag(
        region(SQUARE, "relocation", [0.2, 0.7]),
        region(NEAR, "deformation", [0.75, 0.45]),
        region([[[[0.6, 0.7], [0.8, 0.7], [0.8, 0.8], [0.6, 0.8]]]], "rotation", [0.75, 0.9], anchor=[0.55, 0.75]),
        region([[[[0.05, 0.05], [0.3, 0.05], [0.3, 0.2], [0.05, 0.2]]]], "pin"),
    ),
    "a pin in the way": drag(region(LEAF, "relocation", [0.7, 0.62]), region([[[[0.6, 0.5], [0.9, 0.5], [0.9, 0.7], [0.6, 0.7]]]], "pin")),
    "scaled": version_2(region(LEAF, "relocation", [0.6, 0.55], scale=[1.4, 1.4])),
    "scaled, mirrored and turned on its way": version_2(region(LEAF, "relocation", [0.65, 0.55], scale=[-0.6, 1.2], angle=-35)),
    "shrunk": version_2(region(LEAF, "relocation", [0.7, 0.62], scale=[0.4, 0.55])),
    "a scaled rotation": version_2(region(SQUARE, "rotation", [0.6, 0.7], anchor=[0.45, 0.55], scale=[1.5, -1])),
    "a copy": version_2(region(SQUARE, "relocation", [0.6, 0.62], scale=[1.1, 0.8], angle=20, copy=True)),
    "a copy of what moves": version_2(
        region(SQUARE, "relocation", [0.7, 0.3]), region(SQUARE, "relocation", [0.4, 0.7], angle=30, copy=True)
    ),
    "behind a pin in front": version_2(region(LEAF, "relocation", [0.7, 0.62]), IN_FRONT),
    "out from behind a pin": version_2(region(LEAF, "relocation", [0.68, 0.7], along=BELOW), COVERING),
    "a copy out from behind a pin": version_2(region(LEAF, "relocation", [0.72, 0.62], copy=True), COVERING),
    "selected, out from behind a pin": version_2(selecting(LEAF, [[0.4, 0.4], [0.6, 0.6]]), COVERING),
    "a deformation behind a pin": version_2(region(NEAR, "deformation", [0.8, 0.5]), IN_FRONT),
    "a hidden one": drag(region(LEAF, "relocation", [0.7, 0.62]), region(BORDER, "relocation", [0.5, 0.8], visible=False)),
    "editable": drag(region(LEAF, "relocation", [0.7, 0.62]), editable=[[[[0.2, 0.1], [0.75, 0.1], [0.75, 0.9], [0.2, 0.9]]]]),
}
WITHHELD = {
    "partly pinned": drag(region(LEAF, "relocation", [0.7, 0.72]), region([[[[0.5, 0.3], [0.9, 0.3], [0.9, 0.45], [0.5, 0.45]]]], "pin")),
    "points beside what moves": drag(region(NEAR, "relocation", [0.2, 0.8]), POINTS),
}
"""Of what lies there not everything is carried."""

CORNER = [[[[0.2, 0.3], [0.6, 0.3], [0.4, 0.6]]]]
WHOLE = {
    "version": 2, "size": [64, 48], "prompts": {"background": "a", "editing": "b"}, "editable": CORNER,
    "operations": [
        {"id": "a", "name": "cup", "kind": "region", "task": "relocation", "target": [0.5, 0.5], "region": CORNER, "along": CORNER,
         "scale": [-1.5, 0.5], "angle": -20, "copy": True},
        {"kind": "region", "task": "rotation", "target": [0.9, 0.7], "anchor": [1.7, -0.9], "region": CORNER, "visible": True,
         "scale": [1, 2]},
        {"kind": "region", "task": "deformation", "target": [0.9, 0.7], "anchor": None, "region": CORNER},
        {"kind": "region", "task": "pin", "region": CORNER, "_why": {"a": 1}, "front": True},
        {"kind": "points", "pairs": [[[0.2, 0.7], [0.3, 0.6]]], "visible": False, "selected": CORNER},
    ],
}  # fmt: skip
"""Every key and every kind."""

TEXTS = {
    "empty drag": '{"version":1,"operations":[]}',
    "only a version": '{"version":1}',
    "a mark of byte order": '\ufeff{"version":1}',
    "remarks": '{"version":1,"_by":"me","operations":[{"kind":"points","pairs":[[[0,0],[1,1]]],"_colour":3}]}',
    "nulls": '{"version":1,"size":null,"operations":null,"prompts":null,"editable":null}',
    "prompts": '{"version":1,"prompts":{"background":"a cup","editing":"\\u00e9"}}',
    "a closed ring": json.dumps(drag(region([[[[0.2, 0.3], [0.4, 0.3], [0.4, 0.6], [0.2, 0.3]]]], "pin"))),
    "pins and points": json.dumps(drag(region(RING, "pin", name="rock", id="7"), POINTS, size=[1024, 768])),
    "no text": "",
    "not JSON": "{",
    "trailing comma": '{"version":1,}',
    "single quotes": "{'version':1}",
    "a list": "[1]",
    "no version": '{"operations":[]}',
    "version 2": '{"version":2}',
    "version 3": '{"version":3}',
    "scaled": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], scale=[-1.5, 0.25]))),
    "turned on its way": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], angle=-12.5))),
    "a copy": json.dumps(version_2(region(SQUARE, "rotation", [0.5, 0.5], anchor=[0.1, 0.5], copy=True))),
    "scaled, in version 1": json.dumps(drag(region(SQUARE, "relocation", [0.5, 0.5], scale=[2, 2]))),
    "scaled by nothing, in version 1": json.dumps(drag(region(SQUARE, "relocation", [0.5, 0.5], scale=[1, 1.0], angle=0, copy=False))),
    "a pin scaled by nothing": json.dumps(version_2(region(SQUARE, "pin", scale=[1, 1], angle=-0.0, copy=None))),
    "a copied pin": json.dumps(version_2(region(SQUARE, "pin", copy=True))),
    "a scaled deformation": json.dumps(version_2(region(SQUARE, "deformation", [0.5, 0.5], scale=[2, 1]))),
    "a rotation by an angle": json.dumps(version_2(region(SQUARE, "rotation", [0.5, 0.5], anchor=[0.1, 0.5], angle=5))),
    "scaled to nothing": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], scale=[0.05, 1]))),
    "scaled without bounds": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], scale=[1, -10.5]))),
    "one factor": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], scale=2))),
    "turned too far": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], angle=181))),
    "a copy by number": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], copy=1))),
    "points with what is selected": json.dumps(version_2(SELECTED)),
    "points with what is selected, in version 1": json.dumps(drag(SELECTED)),
    "points with nothing selected": json.dumps(drag({**POINTS, "selected": None})),
    "points with an empty selection": json.dumps(version_2({**POINTS, "selected": []})),
    "a region with what is selected": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], selected=SQUARE))),
    "a pin in front": json.dumps(version_2(region(SQUARE, "pin", front=True))),
    "a pin in front, in version 1": json.dumps(drag(region(SQUARE, "pin", front=True))),
    "a pin not in front, in version 1": json.dumps(drag(region(SQUARE, "pin", front=False))),
    "a moved region in front": json.dumps(version_2(region(SQUARE, "relocation", [0.5, 0.5], front=True))),
    "in front by number": json.dumps(version_2(region(SQUARE, "pin", front=1))),
    "points in front": json.dumps(version_2({**POINTS, "front": True})),
    "scaled points": json.dumps(version_2({**POINTS, "scale": [2, 2]})),
    "version as text": '{"version":"1"}',
    "version true": '{"version":true}',
    "unknown key": '{"version":1,"operation":[]}',
    "two of a key": '{"version":1,"version":1}',
    "NaN": '{"version":1,"operations":[{"kind":"points","pairs":[[[NaN,0],[1,1]]]}]}',
    "infinity": '{"version":1,"operations":[{"kind":"points","pairs":[[[1e999,0],[1,1]]]}]}',
    "a long integer": '{"version":1,"size":[1,' + "1" * 40 + "]}",
    "deep": "[" * 50 + "]" * 50,
    "an end that stays": json.dumps(drag(region(SQUARE, "deformation", [0.5, 0.5], anchor=[0.1, 0.5]))),
    "a deep remark": '{"version":1,"_x":' + "[" * 9 + "]" * 9 + "}",
    "a too deep remark": '{"version":1,"_x":' + "[" * 10 + "]" * 10 + "}",
    "half a pair": '{"version":1,"prompts":{"editing":"\\ud800"}}',
    "off the picture": json.dumps(drag(region(SQUARE, "relocation", [1.2, 0.5]))),
    "no target": json.dumps(drag(region(SQUARE, "relocation"))),
    "a pin with a target": json.dumps(drag(region(SQUARE, "pin", [0.5, 0.5]))),
    "no anchor": json.dumps(drag(region(SQUARE, "rotation", [0.5, 0.5]))),
    "anchor without rotation": json.dumps(drag(region(SQUARE, "relocation", [0.5, 0.5], anchor=[0.5, 0.5]))),
    "anchor outside": json.dumps(drag(region(SQUARE, "rotation", [0.5, 0.5], anchor=[-0.9, 1.9]))),
    "anchor too far": json.dumps(drag(region(SQUARE, "rotation", [0.5, 0.5], anchor=[-1.1, 0.5]))),
    "two corners": json.dumps(drag(region([[[[0.1, 0.1], [0.2, 0.2]]]], "pin"))),
    "two corners, closed": json.dumps(drag(region([[[[0.1, 0.1], [0.2, 0.2], [0.1, 0.1]]]], "pin"))),
    "an unwrapped ring": json.dumps(drag(region([[0.1, 0.1], [0.2, 0.2], [0.3, 0.1]], "pin"))),
    "no polygons": json.dumps(drag(region([], "pin"))),
    "an unknown task": json.dumps(drag(region(SQUARE, "scale", [0.5, 0.5]))),
    "an unknown kind": '{"version":1,"operations":[{"kind":"line"}]}',
    "visible as a number": '{"version":1,"operations":[{"kind":"points","pairs":[[[0,0],[1,1]]],"visible":1}]}',
    "no pairs": '{"version":1,"operations":[{"kind":"points","pairs":[]}]}',
    "one id twice": json.dumps(drag({**POINTS, "id": "a"}, {**POINTS, "id": "a"})),
    "a size of 0": '{"version":1,"size":[0,10]}',
    "a huge size": '{"version":1,"size":[16000,16000]}',
    "half a pixel": '{"version":1,"size":[10.5,10]}',
    "65 operations": json.dumps(drag(*[POINTS] * 65)),
    "1,025 pairs": json.dumps(drag({"kind": "points", "pairs": [[[0, 0], [1, 1]]] * 1025})),
    "501 sides": json.dumps(drag(region([[[[0, 0], [1, 0], [1, 1], [0, 1]] * 126]], "pin"))),
    "a long name": json.dumps(drag({**POINTS, "name": "x" * 201})),
    "a name of pairs": json.dumps(drag({**POINTS, "name": "\U0001f600" * 200})),
    "a number for a name": json.dumps(drag({**POINTS, "name": 3})),
    "an operation of null": '{"version":1,"operations":[null]}',
}

MOVED = region(SQUARE, "relocation", [0.7, 0.5])


def box(x0: float, y0: float, x1: float, y1: float) -> list[Any]:
    return [[[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]]]


REFUSED_BY_PICTURE = {
    "fine": drag(MOVED),
    "too small": drag(region([[[[0.5, 0.5], [0.51, 0.5], [0.51, 0.51]]]], "relocation", [0.7, 0.5])),
    "overlap": drag(MOVED, region(box(0.3, 0.3, 0.5, 0.6), "deformation", [0.7, 0.7])),
    "a copy of what moves": version_2(MOVED, {**MOVED, "target": [0.2, 0.8], "copy": True}, {**MOVED, "target": [0.8, 0.2], "copy": True}),
    "a copy from under a pin": version_2({**MOVED, "copy": True}, region(box(0.1, 0.2, 0.5, 0.7), "pin")),
    "shrunk to nothing": version_2(region(box(0.5, 0.5, 0.53, 0.53), "relocation", [0.7, 0.5], scale=[0.3, 0.3])),
    "touching": drag(MOVED, region(box(0.4, 0.3, 0.5, 0.6), "relocation", [0.7, 0.7])),
    "hidden overlap": drag(MOVED, region(SQUARE, "relocation", [0.7, 0.7], visible=False)),
    "under a pin": drag(MOVED, region(box(0.1, 0.2, 0.5, 0.7), "pin")),
    "partly under a pin": drag(MOVED, region(box(0.1, 0.2, 0.3, 0.7), "pin")),
    "anchor on centroid": drag(region(SQUARE, "rotation", [0.7, 0.5], anchor=[0.3, 0.45])),
    "target on anchor": drag(region(SQUARE, "rotation", [0.3, 0.6], anchor=[0.3, 0.6])),
    "turned away": drag(region(SQUARE, "rotation", [0.95, 0.02], anchor=[0.9, 0.05])),
    "two targets": drag({"kind": "points", "pairs": [[[0.5, 0.5], [0.6, 0.5]], [[0.5, 0.5], [0.6, 0.6]]]}),
    "one target twice": drag({"kind": "points", "pairs": [[[0.5, 0.5], [0.6, 0.5]], [[0.5, 0.5], [0.6, 0.5]]]}),
    "handles within a pixel": drag({"kind": "points", "pairs": [[[0.5, 0.5], [0.6, 0.5]], [[0.507, 0.5], [0.5, 0.8]]]}),
    "handles within a pixel, of two operations": drag(
        {"kind": "points", "pairs": [[[0.5, 0.5], [0.6, 0.5]]]}, {"kind": "points", "pairs": [[[0.5, 0.51], [0.5, 0.8]]]}
    ),
    "handles two pixels apart": drag({"kind": "points", "pairs": [[[0.5, 0.5], [0.6, 0.5]], [[0.516, 0.5], [0.5, 0.8]]]}),
    "neighbours that go together": drag({"kind": "points", "pairs": [[[0.5, 0.5], [0.6, 0.5]], [[0.507, 0.5], [0.607, 0.5]]]}),
    "a hidden one within a pixel": drag(
        {"kind": "points", "pairs": [[[0.5, 0.5], [0.6, 0.5]]]}, {"kind": "points", "pairs": [[[0.5, 0.51], [0.5, 0.8]]], "visible": False}
    ),
    "no handle in what is selected": version_2(selecting(LEAF, AWAY)),
    "a handle beside what is selected, another in it": version_2(selecting(LEAF, AWAY, [[0.4, 0.4], [0.5, 0.4]])),
    "only a pin in what is selected": version_2(selecting(LEAF, [[0.4, 0.4], [0.4, 0.4]], AWAY)),
    "pins beside what is selected": version_2(selecting(LEAF, [[0.9, 0.9], [0.9, 0.9]])),
    "too little selected": version_2(selecting(box(0.5, 0.5, 0.51, 0.51), AWAY)),
    "nowhere editable": drag(MOVED, editable=[[[[0.1, 0.1], [0.11, 0.1], [0.11, 0.11]]]]),
}


CARRIED = {
    "one": [[[11.0, 11.0], [18.0, 12.0]]],
    "two of one object": [[[11.0, 10.0], [16.0, 10.0]], [[11.0, 18.0], [14.0, 19.0]]],
    "one that stays": [[[11.0, 10.0], [15.0, 10.0]], [[11.0, 18.0], [11.0, 18.0]]],
    "two objects": [[[11.0, 11.0], [8.0, 11.0]], [[29.0, 11.0], [33.0, 11.0]]],
}
"""Pairs of points, px of the picture that `figure` draws."""


def picture(size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] uint8 that both sides can make: waves, so that half a pixel off is seen."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    waves = [128 + 100 * np.sin(x / 5), 128 + 100 * np.cos(y / 7), 128 + 60 * np.sin((x + y) / 9)]
    return np.floor(np.stack(waves, axis=-1)).astype(np.uint8)


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a mask, row by row, beginning with how many cells are outside."""
    flat = mask.ravel().astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate(([0], flat, [1 - flat[-1]]))))
    return np.diff(np.concatenate(([0], changes))).tolist()


def fills() -> list[dict[str, Any]]:
    found = []
    for name, outline in OUTLINES.items():
        for size in SIZES:
            mask = fill(DragInstruction.from_json(drag(region(outline, "pin"))).operations[0].region, size)[0]
            found.append({"name": name, "outline": outline, "size": size, "runs": runs(mask), "centroid": centroid(mask)})
    return found


def motions() -> list[dict[str, Any]]:
    found = []
    for name, data in DRAGS.items():
        for size in SIZES[::2]:
            instruction = DragInstruction.from_json(data)
            for index, operation in enumerate(instruction.rasterise(*size).regions):
                if operation.task == "pin":
                    continue
                motion = motion_of(operation)
                steps = [{"progress": w, "forward": motion.forward(w, size).ravel().tolist(),
                          "backward": motion.backward(w, size).ravel().tolist()} for w in (0.5, 1.0)]
                found.append({"name": name, "drag": data, "operation": index, "size": size,
                              "angle": motion.angle, "shift": motion.shift, "steps": steps})
    return found


def masks() -> list[dict[str, Any]]:
    return [{"name": name, "drag": data, "size": size, "margin": margin,
             "runs": runs(adaptive_gradient_mask(DragInstruction.from_json(data).rasterise(*size), margin=margin * min(size)))}
            for name, data in DRAGS.items() for size in SIZES[::2] for margin in (0.0, 0.08)]


def arounds() -> list[dict[str, Any]]:
    found = []
    for name, data in DRAGS.items():
        for size in SIZES[::2]:
            field = DragField.from_drag(DragInstruction.from_json(data).rasterise(*size))
            found += [{"name": name, "drag": data, "size": size, "margin": margin, "runs": runs(open_mask(field, margin * min(size)))}
                      for margin in (0.0, 0.08)]
    return found


def softs() -> list[dict[str, Any]]:
    """Of points alone, the way of one and the ways of several."""
    found = []
    for name, pairs in SOFT.items():
        data = {"version": 1, "operations": [{"kind": "points", "pairs": pairs}]}
        for size in ((96, 80), (131, 64)):
            drag = DragInstruction.from_json(data).rasterise(*size)
            for width in (SIGMA_SHARE, 0.05):
                open_ = point_masks(drag, points_of(drag), size[::-1], SoftMaskSettings(sigma=width * min(size) / STRIDE))[1]
                found.append({"name": name, "drag": data, "size": size, "width": width, "runs": runs(open_)})
    return found


def previews() -> list[dict[str, Any]]:
    """What `dragfield` starts from, where that is not the picture as it was."""
    found, size = [], (72, 60)
    start = picture(size)
    for name, data in {**DRAGS, **WITHHELD}.items():
        field = DragField.from_drag(DragInstruction.from_json(data).rasterise(*size))
        for progress in (0.5, 1.0):
            evidence = carry(start / 255, field, progress=progress)
            moved = field.layout(progress).moved.numpy()
            changed = evidence.changed | moved
            values = np.rint(evidence.image[changed] * 255).astype(int)
            found.append({"name": name, "drag": data, "size": size, "progress": progress, "moved": runs(moved),
                          "changed": runs(changed), "values": values.ravel().tolist()})
    return found


def figure(size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] uint8 that both sides can make: two figures of two colours each on waves."""
    result = np.floor(picture(size) / 4).astype(np.uint8) + 90
    for x, colours in ((8, ((230, 225, 240), (30, 35, 90))), (26, ((200, 60, 50), (60, 30, 20)))):
        for i, colour in enumerate(colours):
            result[8 + 6 * i : 14 + 6 * i, x : x + 6] = colour
    return result


def selections() -> list[dict[str, Any]]:
    """What points belong to and take along, in the cells of a small picture."""
    found, size = [], (36, 27)
    small = figure(size).astype(np.float64) / 255
    for name, pairs in CARRIED.items():
        points = [PointOperation(tuple(h), tuple(t)) for h, t in pairs]
        seeds = np.array([h for h, t in pairs if h != t])
        soft = select_cells(small, seeds)
        moves = object_moves(figure(size), size, points, 4.0)
        source, shown, _ = moves._laid(1.0, size)
        found.append({"name": name, "size": size, "pairs": pairs, "soft": np.round(soft, 4).ravel().tolist(),
                      "joined": np.round(joined(small, soft, seeds, 9.0), 4).ravel().tolist(),
                      "bodies": len(moves.bodies), "shown": runs(shown.numpy()), "source": np.round(source.numpy(), 2).ravel().tolist()})
    return found


def texts() -> list[dict[str, Any]]:
    found = []
    for name, text in TEXTS.items():
        try:
            again = json.loads(DragInstruction.from_json(text).to_json())
        except InstructionError:
            again = None
        found.append({"name": name, "text": text, "drag": again})
    return found


def mutants(count: int = 160) -> list[dict[str, Any]]:
    """A sound drag with one place of it taken away, replaced or added to, at random but always the same; and whether core reads it."""
    rng = random.Random(0)
    leaves: list[Any] = [
        None, True, -1, 0, 1, 2, 0.5, 1.5, 65, "pin", "rotation", "region", "", [], {}, [0.5, 0.5], [1.5, 0.5], [-2, 0.5], CORNER,
        [0.1, [2]],
    ]  # fmt: skip
    found = []
    for number in range(count):
        made = json.loads(json.dumps(WHOLE))
        *keys, last = rng.choice(_places(made))
        at = made
        for key in keys:
            at = at[key]
        do = rng.choice(("remove", "replace", "replace", "add"))
        if do == "remove":
            del at[last]
        elif do == "replace":
            at[last] = rng.choice(leaves)
        elif isinstance(at, dict):
            keys = ("target", "anchor", "along", "selected", "scale", "angle", "copy", "front", "tasks", "_x", "id", "size")
            at[rng.choice(keys)] = rng.choice(leaves)
        else:
            at.insert(last, rng.choice(leaves))
        text = json.dumps(made)
        try:
            DragInstruction.from_json(text)
        except InstructionError:
            found.append({"name": str(number), "text": text, "read": False})
        else:
            found.append({"name": str(number), "text": text, "read": True})
    return found


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += _places(inner, (*path, key))
    return found


def pictures() -> list[dict[str, Any]]:
    found = []
    for name, data in REFUSED_BY_PICTURE.items():
        try:
            DragInstruction.from_json(data).rasterise(128, 96)
            refused = False
        except InstructionError:
            refused = True
        found.append({"name": name, "drag": data, "size": [128, 96], "refused": refused})
    return found


def tiles(size: tuple[int, int]) -> np.ndarray:
    """A ground that repeats with some grain, in whole numbers, which the other side makes by the same rule. uint8 [H, W, 3]."""
    y, x = np.mgrid[: size[1], : size[0]]
    base = 60 + 50 * ((x // 6 + y // 5) % 3) + (x * 31 + y * 17) % 13
    return np.stack([base, base + x // 2, base + y // 3], -1).clip(0, 255).astype(np.uint8)


def grounds() -> list[dict[str, Any]]:
    found = []
    for name, size, outline in (
        ("a disc", (96, 72), [[[[0.4, 0.35], [0.6, 0.3], [0.65, 0.55], [0.45, 0.6]]]]),
        ("two holes", (120, 80), [[[[0.1, 0.2], [0.3, 0.2], [0.3, 0.6], [0.1, 0.6]]], [[[0.6, 0.3], [0.8, 0.3], [0.7, 0.7]]]]),
        ("at the edge", (90, 90), [[[[0.0, 0.4], [0.2, 0.4], [0.2, 0.7], [0.0, 0.7]]]]),
        ("larger than what is left", (60, 60), [[[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]]]),
    ):
        hole = fill(DragInstruction.from_json(drag(region(outline, "pin"))).operations[0].region, size)[0]
        filled = fill_ground(tiles(size), hole, ~hole)
        found.append({"name": name, "size": size, "runs": runs(hole), "filled": filled[hole].ravel().tolist()})
    return found


def vectors() -> dict[str, list[dict[str, Any]]]:
    """The content of each file."""
    made = {
        "fill": fills(), "motion": motions(), "gradient_mask": masks(), "around_mask": arounds(), "soft_mask": softs(),
        "preview": previews(), "selection": selections(), "texts": texts(), "mutants": mutants(), "pictures": pictures(),
        "ground": grounds(),
    }  # fmt: skip
    return json.loads(json.dumps(made))


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    for name, cases in vectors().items():
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        (VECTORS / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        sys.stdout.write(f"{name}: {len(cases)}\n")


if __name__ == "__main__":
    main()
