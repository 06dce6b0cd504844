"""DragBench-DR's regions: the map that made the pairs is found again, and what is no such file is refused in a sentence."""

from __future__ import annotations

import math
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dragfield.core.formats import dragbench_regions
from dragfield.core.instruction import InstructionError
from dragfield.core.instruction.operations import RegionOperation
from dragfield.core.metrics.judged import Operation

SIZE = (160, 120)
MASK = np.ones(SIZE[::-1], np.uint8)
BOX = (30, 40, 60, 64)
"""x0, y0, x1, y1 px of the region that most tests move."""


def pixels(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    rows, columns = np.mgrid[y0:y1, x0:x1]
    return np.stack((columns.ravel(), rows.ravel()), 1)


def matrix(angle: float = 0.0, scale: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    turn = math.radians(angle)
    return np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) * scale


def moved(source: np.ndarray, about: tuple[float, float], shift: tuple[float, float] = (0.0, 0.0), **how: Any) -> np.ndarray:
    """Whole pixels, as such a file has them."""
    return np.rint((source - np.array(about)) @ matrix(**how).T + about + shift).astype(int)


def alternating(*pairs: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return [tuple(int(v) for v in pixel) for source, target in pairs for pair in zip(source, target, strict=True) for pixel in pair]


def written(folder: Path, points: Any, protocol: int = 4, **more: Any) -> Path:
    Image.new("RGB", SIZE).save(folder / "original_image.png")
    told = {"prompt": "a fox", "points": points, "mask": MASK, **more}
    (folder / "meta_data_region.pkl").write_bytes(pickle.dumps(told, protocol))
    return folder


def read(folder: Path, points: Any, **more: Any) -> tuple[RegionOperation, ...]:
    return dragbench_regions.read(written(folder, points, **more)).sample.drag().regions


def carried(region: RegionOperation, places: np.ndarray) -> np.ndarray:
    """Where the operation sends pixels, by the motion that judges know."""
    from dragfield.core.field.geometry import centroid

    motion = Operation.of_region(region, centroid(region.mask)).motion.forward(1.0, SIZE)
    return (places + 0.5) @ motion[:, :2].T + motion[:, 2] - 0.5


@pytest.mark.parametrize(
    ("about", "how", "task"),
    [
        ((0, 0), {"shift": (25, 7)}, "relocation"),
        ((20, 90), {"angle": 20}, "rotation"),
        ((80, 30), {"angle": -40}, "rotation"),
        ((44.5, 51.5), {"angle": 90, "shift": (30, 4)}, "rotation"),
        ((44.5, 51.5), {"angle": 30}, "relocation"),
        ((44.5, 51.5), {"scale": (1.5, 1.0), "shift": (20, 0)}, "relocation"),
        ((44.5, 51.5), {"scale": (-1.0, 1.0), "shift": (40, 0)}, "relocation"),
        ((44.5, 51.5), {"scale": (0.5, 0.5), "angle": 25, "shift": (50, 10)}, "rotation"),
        ((44.5, 51.5), {"scale": (2.0, 2.0), "shift": (30, 5)}, "relocation"),
    ],
)
def test_the_map_that_made_the_pairs_is_found_again(tmp_path: Path, about: tuple, how: dict, task: str) -> None:
    source = pixels(*BOX)
    target = moved(source, about, **how)
    (region,) = read(tmp_path, alternating((source, target)))
    assert region.task == task and np.array_equal(np.argwhere(region.mask)[:, ::-1], source)
    # Pairs are whole pixels, half a pixel off at most in each direction.
    assert np.abs(carried(region, source) - target).max() <= 0.9
    if how.keys() == {"shift"}:
        assert (region.scale, region.angle, region.anchor) == ((1, 1), 0, None)
    if "scale" in how:
        assert region.scale == pytest.approx(how["scale"], rel=0.03)
    if task == "rotation" and "scale" not in how and "shift" not in how:
        assert region.anchor == pytest.approx(np.array(about) + 0.5, abs=2)


def test_a_region_listed_by_its_target_alone_has_no_gaps(tmp_path: Path) -> None:
    """Where a region shrinks to half, every second of its pixels goes nowhere."""
    source = pixels(*BOX)[(pixels(*BOX) % 2 == 0).all(1)]
    (region,) = read(tmp_path, alternating((source, moved(source, (44, 51), scale=(0.5, 0.5), shift=(40, 0)))))
    assert np.array_equal(np.argwhere(region.mask)[:, ::-1], pixels(30, 40, 59, 63)) and region.scale == pytest.approx((0.5, 0.5), rel=0.05)


def test_patches_are_regions_in_the_files_order_with_the_pixels_that_they_land_on(tmp_path: Path) -> None:
    low, high = pixels(20, 80, 50, 100), pixels(90, 10, 120, 40)
    speck = pixels(5, 5, 7, 7)
    points = alternating((low, low + (40, 3)), (high, high - (30, -5)), (speck, speck))
    found = dragbench_regions.read(written(tmp_path, points))
    first, second = found.sample.drag().regions
    assert first.mask[90, 30] and second.mask[20, 100] and len(found.landed) == 2
    for landed, target in zip(found.landed, (low + (40, 3), high - (30, -5)), strict=True):
        assert np.array_equal(np.argwhere(landed)[:, ::-1], target)


def test_what_no_turn_and_scaling_explain_is_a_deformation(tmp_path: Path) -> None:
    source = pixels(*BOX)
    bent = source + np.stack((np.rint(0.08 * (source[:, 1] - 40) ** 2), np.zeros(len(source))), 1).astype(int)
    (region,) = read(tmp_path, alternating((source, bent)))
    assert region.task == "deformation" and region.target == pytest.approx(tuple(bent.mean(0) + 0.5), abs=0.01)


def test_a_line_of_pixels_moves_without_a_turn_that_it_does_not_tell(tmp_path: Path) -> None:
    line = pixels(30, 40, 60, 41)
    (region,) = read(tmp_path, alternating((line, line + (10, 20))))
    assert (region.task, region.scale, region.angle) == ("relocation", (1, 1), 0)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["tuples", "lists", "array", "numpy numbers"])
def test_pairs_may_be_tuples_lists_arrays_or_numpys_numbers(tmp_path: Path, protocol: int, kind: str) -> None:
    source = pixels(*BOX)
    points: Any = alternating((source, source + (20, 5)))
    points = {"tuples": points, "lists": [list(p) for p in points], "array": np.array(points),
              "numpy numbers": [(np.int64(x), np.int64(y)) for x, y in points]}[kind]  # fmt: skip
    (region,) = read(tmp_path, points, protocol=protocol)
    assert region.target == pytest.approx((65, 57))


SQUARE = alternating((pixels(*BOX), pixels(*BOX) + (20, 5)))


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"points": []}, r"points of meta_data_region.pkl is \[\]; write source and target pixels \[x, y\] in turn"),
        ({"points": SQUARE[:-1]}, "an even number of them"),
        ({"points": [(1, 2, 3)] * 4}, "write source and target pixels"),
        ({"points": [(1, 2), (3,)]}, "write source and target pixels"),
        ({"points": {"a": 1}}, "is an object; write source"),
        ({"points": None}, "is null; write source"),
        ({"points": [*SQUARE, (160, 3), (4, 5)]}, r"pixel 1441 of points of .* is \(160, 3\); it must be inside the picture of 160 x 120"),
        ({"points": [*SQUARE, (float("nan"), 3), (4, 5)]}, r"is \(nan, 3\); it must be inside"),
        ({"points": SQUARE[:4]}, "start in no patch of 16 pixels or more"),
        ({"mask": np.ones((3, 4))}, r"mask of meta_data_region.pkl has the shape \(3, 4\); its picture needs \(120, 160\)"),
        ({"prompt": 7}, "prompt of meta_data_region.pkl is 7"),
    ],
)
def test_what_is_no_such_file_is_one_sentence(tmp_path: Path, told: dict, sentence: str) -> None:
    with pytest.raises(InstructionError, match=sentence) as refused:
        dragbench_regions.read(written(tmp_path, **{"points": SQUARE, **told}))
    assert "\n" not in str(refused.value)


class Call:
    def __reduce__(self) -> tuple:
        return os.system, ("exit 1",)


def deep(levels: int, between: bytes = b"") -> bytes:
    """A dict whose key is that many tuples within each other; hashing it would exhaust the stack."""
    return pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + (pickle.TUPLE1 + between) * levels + pickle.NONE + pickle.SETITEM + pickle.STOP


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (pickle.dumps({"points": SQUARE, "mask": Call()}), "calls (posix|nt).system; only plain data"),
        (pickle.dumps(SQUARE)[:-400], "is a damaged pickle"),
        (deep(200_000), "larger or deeper than a drag"),
        # What is done to a tuple on its way leaves it as deep as it was.
        (deep(200_000, b"q\x00h\x000"), "larger or deeper than a drag"),
        (deep(200_000, pickle.EMPTY_DICT + pickle.BUILD), "larger or deeper than a drag"),
        (deep(200_000, b"q\x000h\x00"), "larger or deeper than a drag"),
        (pickle.TUPLE2 + pickle.STOP, "is a damaged pickle"),
        (pickle.MARK + pickle.TUPLE1 + pickle.STOP, "is a damaged pickle"),
        (b"h\x07.", "is a damaged pickle"),
    ],
)
def test_hostile_pickles_are_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    written(tmp_path, SQUARE)
    (tmp_path / "meta_data_region.pkl").write_bytes(data)
    with pytest.raises(InstructionError, match=sentence):
        dragbench_regions.read(tmp_path)


def test_a_region_of_half_a_picture_is_read_in_seconds(tmp_path: Path) -> None:
    source = pixels(0, 0, 100, 120)
    start = time.perf_counter()
    (region,) = read(tmp_path, alternating((source, source + (50, 0))))
    assert time.perf_counter() - start < 5 and region.target == pytest.approx((100, 60), abs=0.01)
