"""The data sets that can be evaluated, each read by the loader of its format (core/formats).

| suite | folder | judged |
|---|---|---|
| redbench | ReD Bench: a folder for each sample | regions; `mask.png` and `temp/mask_*__K.png` are taken where they are, else made |
| dragbench | DragBench: CATEGORY/SAMPLE, by JSON or the published pickle | points |
| dragbench-dr | DragBench-DR: the same with its regions' pickle beside | regions where that pickle is, else points |
| drag100 | Drag100: a folder for each sample | points |
| real-motion | pairs of real frames | the object's region; the second frame is the truth |
| folder | NAME.json beside NAME.png (or .jpg, .jpeg, .webp) | what the instruction says |

How DragFlow made regions, tasks and prompts of DragBench-DR was never released, so its numbers on it can't be had from the files; ours are
made by `core/formats/dragbench_regions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...core.field.geometry import centroid
from ...core.formats import drag100, dragbench, dragbench_regions, real_motion, red_bench
from ...core.formats.picture_file import size_of
from ...core.formats.sample import Sample, read_bytes, read_mask
from ...core.instruction import DragInstruction
from ...core.metrics.judged import Operation, made_mask, operations_of
from .dataset import Case, Dataset

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SUITES = ("redbench", "dragbench", "dragbench-dr", "drag100", "real-motion", "folder")
BETWEEN = "__"
"""Between a category and a sample in a name that has to be a file's."""


def open_dataset(suite: str, folder: Path) -> Dataset:
    """The data set of a folder. Only names are looked at; `Dataset.check` reads the samples.

    Raises: ValueError for an unknown suite and for a folder that holds no sample of it.
    """
    if suite not in SUITES:
        raise ValueError(f"suite {suite!r} is unknown: use one of {', '.join(SUITES)}")
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the one that holds the samples of {suite}")
    find, read, sign = _READERS[suite]
    found = find(folder)
    if not found:
        raise ValueError(f"{folder} holds no sample of {suite}: none of {sign} is there; is it the folder above, or one below?")
    return Dataset(suite, folder, tuple(found), lambda name: replace(read(found[name]), name=name))


def _with_file(folder: Path, *files: str) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.iterdir()) if any((path / file).is_file() for file in files)}


def _red_names(folder: Path) -> dict[str, Path]:
    """In the published order: a letter and a number, by the number; then any others, which the published evaluation skips."""
    found = _with_file(folder, "instruction.json")
    numbered = {name: int(match[1]) for name in found if (match := re.fullmatch(r"[A-Za-z](\d{1,9})", name))}
    return {name: found[name] for name in (*sorted(numbered, key=numbered.__getitem__), *(n for n in found if n not in numbered))}


def _red_case(folder: Path) -> Case:
    regions, points = red_bench.read(folder), red_bench.read(folder, use="points")
    size = regions.size
    drag = regions.drag()
    starts = red_bench.annotated_starts(folder)
    sources, moved = (_numbered(folder / "temp", kind, size, len(drag.regions)) for kind in ("orig", "proc"))
    operations = tuple(
        Operation.of_region(region if source is None else replace(region, mask=source), start, landed)
        for region, start, source, landed in zip(drag.regions, starts, sources, moved, strict=True)
    )
    mask = folder / "mask.png"
    given = read_mask(mask, size) if mask.is_file() else None
    by_points = points.instruction if points.instruction.operations else None
    by_regions = regions.instruction if drag.regions else None
    if by_regions is None and by_points is None:
        raise ValueError("instruction.json asks for no operation at all; give region_operations or point_operations")
    if by_regions is None:
        operations = operations_of(points.drag())
    drag = drag if drag.regions else points.drag()
    return Case(folder.name, regions.picture, size, by_regions, by_points, operations, *made_mask(drag, given))


def _numbered(folder: Path, kind: str, size: tuple[int, int], count: int) -> list[np.ndarray | None]:
    """The first `count` of temp/mask_KIND__K.png by K, as the published evaluation takes them; None for each where there are fewer."""
    files = sorted(folder.glob(f"mask_{kind}__*.png"), key=lambda path: (len(path.stem), path.stem)) if folder.is_dir() else []
    return [read_mask(path, size) for path in files[:count]] if len(files) >= count else [None] * count


def _points_case(sample: Sample) -> Case:
    """A sample of points with the data set's own mask; an instruction of our own may hold regions too."""
    drag = sample.drag()
    operations = operations_of(drag)
    if not operations:
        raise ValueError("the drag moves nothing; give it a region or a point that goes somewhere")
    by_regions = any(operation.motion is not None for operation in operations)
    told = (sample.instruction, None) if by_regions else (None, sample.instruction)
    return Case(sample.name, sample.picture, sample.size, *told, operations, *made_mask(drag, drag.editable))


def _bench_names(folder: Path) -> dict[str, Path]:
    """CATEGORY__SAMPLE; samples that lie in the folder itself keep their names."""
    files = ("drag_instruction.json", "meta_data.pkl")
    found = _with_file(folder, *files)
    for category in sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in found):
        found |= {f"{category.name}{BETWEEN}{name}": path for name, path in _with_file(category, *files).items()}
    return found


def _regions_case(folder: Path) -> Case:
    """By regions for methods that take them and for the judges, by the sparse points for the others."""
    by_points = dragbench.read(folder)
    if not (folder / dragbench_regions.FILE).is_file():
        return _points_case(by_points)
    found = dragbench_regions.read(folder)
    sample, drag = found.sample, found.sample.drag()
    operations = tuple(
        Operation.of_region(region, centroid(region.mask), landed) for region, landed in zip(drag.regions, found.landed, strict=True)
    )
    mask = made_mask(drag, drag.editable)
    return Case(sample.name, sample.picture, sample.size, sample.instruction, by_points.instruction, operations, *mask)


def _folder_names(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.json")) if _picture_of(path) is not None}


def _picture_of(instruction: Path) -> Path | None:
    return next((path for suffix in PICTURES if (path := instruction.with_suffix(suffix)).is_file()), None)


def _folder_case(instruction: Path) -> Case:
    picture = _picture_of(instruction)
    if picture is None:
        raise ValueError(f"there is no picture beside {instruction.name}; put one of the same name there")
    return _points_case(Sample(picture.stem, picture, size_of(picture), DragInstruction.from_json(read_bytes(instruction))))


def _motion_case(folder: Path) -> Case:
    pair = real_motion.read_pair(folder)
    drag = pair.drag()
    told = DragInstruction.from_drag(drag)
    before, after = (real_motion.picture_of(folder, name) for name in ("before", "after"))
    operations = (Operation.of_region(drag.regions[0], pair.handle, pair.object_after),)
    return Case(folder.name, before, pair.size, told, None, operations, *made_mask(drag, None), truth=after)


Found = dict[str, Path]
_READERS: dict[str, tuple[Callable[[Path], Found], Callable[[Path], Case], str]] = {
    "redbench": (_red_names, _red_case, "SAMPLE/instruction.json"),
    "dragbench": (_bench_names, lambda p: _points_case(dragbench.read(p)), "CATEGORY/SAMPLE/drag_instruction.json or meta_data.pkl"),
    "dragbench-dr": (_bench_names, _regions_case, "CATEGORY/SAMPLE/meta_data.pkl"),
    "drag100": (lambda p: _with_file(p, "points.json"), lambda p: _points_case(drag100.read(p)), "SAMPLE/points.json"),
    "real-motion": (lambda p: _with_file(p, "pair.json"), _motion_case, "PAIR/pair.json"),
    "folder": (_folder_names, _folder_case, "NAME.json with its picture beside it"),
}
