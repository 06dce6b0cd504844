"""Data sets as the evaluation reads them: their own order and masks, what is missing made as published, damage told in a sentence."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dragfield.benchmarks.evaluation.dataset import Case
from dragfield.benchmarks.evaluation.datasets import SUITES, open_dataset
from dragfield.core.field.masks import adaptive_gradient_mask
from dragfield.core.formats import drag100, dragbench, red_bench
from dragfield.core.instruction import DragInstruction
from dragfield.core.instruction.guarded_json import InstructionError
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation

DATA = Path(os.environ.get("DRAGFIELD_DATA") or Path(__file__).parents[3] / "shared" / "data")
SIZE = (64, 48)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


REGION = RegionOperation(block(8, 8, 20, 20), "relocation", (40.5, 14.5))
POINTS = (PointOperation((10.5, 11.5), (30.5, 11.5)), PointOperation((40.5, 30.5), (40.5, 20.5)))


def red_sample(folder: Path) -> Path:
    red_bench.write(folder, picture(), Drag(SIZE, (REGION,), POINTS, "a square", "moved"))
    return folder


def test_red_bench_comes_in_the_published_order_by_regions_and_by_points(tmp_path: Path) -> None:
    for name in ("b10", "a9", "extra", "c2"):
        red_sample(tmp_path / name)
    data = open_dataset("redbench", tmp_path)
    assert data.names == ("c2", "a9", "b10", "extra")
    case = data.read("a9")
    assert (case.name, case.size, case.prompts) == ("a9", SIZE, ("a square", "moved"))
    assert len(case.drag().regions) == 1 and len(case.points.rasterise(*SIZE).points) == 2
    (operation,) = case.operations
    # A data set's points are pixel indices: 13.5 of the blob's middle is annotated as pixel 14.
    assert operation.start == (14.5, 14.5) and operation.target == (40.5, 14.5)
    assert np.array_equal(operation.source, REGION.mask)


def test_masks_of_red_bench_are_taken_where_they_are_and_else_made_as_published(tmp_path: Path) -> None:
    data = open_dataset("redbench", red_sample(tmp_path / "a1").parent)
    made = data.read("a1")
    assert not made.mask_given and np.array_equal(made.mask, adaptive_gradient_mask(made.drag()))
    # The centroid 13.5 is truncated to 13: the published moved mask is shifted by (27, 1), half a pixel more than asked.
    assert np.array_equal(made.operations[0].moved, block(35, 9, 47, 21))
    (tmp_path / "a1" / "temp").mkdir()
    for name, mask in {"mask.png": block(0, 0, 60, 40), "temp/mask_orig__0.png": block(8, 8, 19, 19),
                       "temp/mask_proc__0.png": block(36, 9, 47, 20), "temp/mask_proc__1.png": block(0, 0, 2, 2)}.items():  # fmt: skip
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "a1" / name)
    given = data.read("a1")
    assert given.mask_given and np.array_equal(given.mask, block(0, 0, 60, 40))
    assert np.array_equal(given.operations[0].source, block(8, 8, 19, 19))
    assert np.array_equal(given.operations[0].moved, block(36, 9, 47, 20))


def test_dragbench_is_read_by_categories_from_json_and_from_pickles(tmp_path: Path) -> None:
    drag = Drag(SIZE, (), POINTS, "a square", editable=block(4, 4, 60, 40))
    dragbench.write(tmp_path / "animals" / "one", picture(), drag)
    pickled = tmp_path / "art" / "one"
    pickled.mkdir(parents=True)
    picture().save(pickled / "original_image.png")
    told = {"prompt": "a square", "points": [(10, 11), (30, 11), (40, 30), (40, 20)], "mask": drag.editable.astype(np.uint8)}
    (pickled / "meta_data.pkl").write_bytes(pickle.dumps(told))
    for suite in ("dragbench", "dragbench-dr"):
        data = open_dataset(suite, tmp_path)
        assert data.names == ("animals__one", "art__one") and data.check() == {}
        first, second = (data.read(name) for name in data.names)
        assert first.mask_given and np.array_equal(first.mask, second.mask) and np.array_equal(first.mask, drag.editable)
        assert [(o.start, o.target) for o in second.operations] == [(p.handle, p.target) for p in POINTS]
        assert second.regions is None and second.prompts == ("a square", "")


def test_regions_of_dragbench_dr_are_dragged_and_judged_where_they_are_and_its_points_kept_for_methods_of_points(tmp_path: Path) -> None:
    folder = tmp_path / "animals" / "one"
    folder.mkdir(parents=True)
    picture().save(folder / "original_image.png")
    told = {"prompt": "a square", "points": [(10, 11), (30, 13)], "mask": block(4, 4, 60, 40).astype(np.uint8)}
    (folder / "meta_data.pkl").write_bytes(pickle.dumps(told))
    dense = [pixel for y in range(8, 20) for x in range(8, 22) for pixel in ((x, y), (x + 20, y + 2))]
    (folder / "meta_data_region.pkl").write_bytes(pickle.dumps(told | {"points": dense}))
    case = open_dataset("dragbench-dr", tmp_path).read("animals__one")
    (operation,) = case.operations
    assert operation.start == (15, 14) and operation.target == pytest.approx((35, 16)) and operation.motion.shift == pytest.approx((20, 2))
    assert np.array_equal(operation.source, block(8, 8, 22, 20)) and np.array_equal(operation.moved, block(28, 10, 42, 22))
    assert case.mask_given and case.prompts == ("a square", "") and len(case.drag().regions) == 1
    assert case.points.rasterise(*SIZE).points[0].handle == (10.5, 11.5)
    # The same folder as DragBench is of points alone.
    assert open_dataset("dragbench", tmp_path).read("animals__one").regions is None
    (folder / "meta_data_region.pkl").write_bytes(b"")
    assert "meta_data_region.pkl is a damaged pickle" in open_dataset("dragbench-dr", tmp_path).check()["animals__one"]


def test_what_only_moves_pixels_moves_those_of_dragbench_dr_where_its_pairs_say(tmp_path: Path) -> None:
    from dragfield.benchmarks.evaluation.editors import Editors

    folder = tmp_path / "one"
    folder.mkdir()
    picture().save(folder / "original_image.png")
    pairs = [pixel for y in range(8, 20) for x in range(8, 22) for pixel in ((x, y), (x + 20, y + 2))]
    for name, points in (("meta_data.pkl", pairs[:2]), ("meta_data_region.pkl", pairs)):
        (folder / name).write_bytes(pickle.dumps({"prompt": "", "points": points, "mask": np.ones(SIZE[::-1])}))
    case = open_dataset("dragbench-dr", tmp_path).read("one")
    before, after = np.asarray(picture()), np.asarray(Editors(("pixel_warp",)).edit("pixel_warp", case, 0).picture)
    assert np.array_equal(after[11:21, 29:41], before[9:19, 9:21])


def test_drag100_without_a_mask_gets_the_adaptive_one(tmp_path: Path) -> None:
    drag100.write(tmp_path / "car_1", picture(), Drag(SIZE, (), POINTS))
    (tmp_path / "car_1" / "mask.png").unlink()
    case = open_dataset("drag100", tmp_path).read("car_1")
    assert not case.mask_given and np.array_equal(case.mask, adaptive_gradient_mask(case.drag()))


def test_a_folder_of_instructions_finds_its_pictures(tmp_path: Path) -> None:
    told = DragInstruction.from_drag(Drag(SIZE, (REGION,), POINTS[1:], "a square"))
    for name in ("one", "two", "alone"):
        (tmp_path / f"{name}.json").write_text(told.to_json())
    picture().save(tmp_path / "one.png")
    picture().save(tmp_path / "two.webp", lossless=True)
    data = open_dataset("folder", tmp_path)
    assert data.names == ("one", "two")
    case = data.read("two")
    assert [operation.source is None for operation in case.operations] == [False, True] and case.points is None


def test_a_broken_sample_is_told_and_the_others_stay(tmp_path: Path) -> None:
    for name in ("a1", "a2", "a3"):
        red_sample(tmp_path / name)
    (tmp_path / "a2" / "instruction.json").write_text("{")
    (tmp_path / "a3" / "operation.png").unlink()
    data = open_dataset("redbench", tmp_path)
    wrong = data.check()
    assert list(wrong) == ["a2", "a3"] and wrong["a2"].startswith("a2: ") and "operation.png" in wrong["a3"]
    assert data.check(["a1"]) == {}


@pytest.mark.parametrize("suite", SUITES)
def test_a_folder_without_samples_is_refused(tmp_path: Path, suite: str) -> None:
    with pytest.raises(ValueError, match=f"no sample of {suite}"):
        open_dataset(suite, tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        open_dataset(suite, tmp_path / "nowhere")


def test_no_damage_gets_past_the_loaders_but_as_a_sentence(tmp_path: Path) -> None:
    """1,000 samples with bytes changed, cut off or files exchanged: each is read or refused in one sentence."""
    rng = random.Random(0)
    red_sample(tmp_path / "red" / "a1")
    drag100.write(tmp_path / "100" / "a", picture(), Drag(SIZE, (), POINTS))
    dragbench.write(tmp_path / "bench" / "animals" / "a", picture(), Drag(SIZE, (), POINTS, editable=block(0, 0, 50, 40)))
    pickled = tmp_path / "dr" / "animals" / "a"
    pickled.mkdir(parents=True)
    picture().save(pickled / "original_image.png")
    told = {"prompt": "x", "points": [[10, 11], [30, 11]], "mask": np.ones(SIZE[::-1], np.uint8)}
    (pickled / "meta_data.pkl").write_bytes(pickle.dumps(told))
    rows, columns = np.mgrid[8:20, 8:20].reshape(2, -1)
    dense = [(int(x) + step, int(y)) for x, y in zip(columns, rows, strict=True) for step in (0, 20)]
    (pickled / "meta_data_region.pkl").write_bytes(pickle.dumps(told | {"points": dense}))
    places = (("redbench", "red"), ("drag100", "100"), ("dragbench", "bench"), ("dragbench-dr", "dr"))
    refused = 0
    for _ in range(1000):
        suite, place = places[rng.randrange(len(places))]
        files = [path for path in (tmp_path / place).rglob("*") if path.is_file()]
        file = rng.choice(files)
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, rng, rng.choice(files)))
        try:
            assert isinstance(open_dataset(suite, tmp_path / place).read(open_dataset(suite, tmp_path / place).names[0]), Case)
        except InstructionError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 500
        file.write_bytes(whole)
    assert refused > 300


def damaged(whole: bytes, rng: random.Random, other: Path) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return whole[: rng.randrange(len(whole))]
    if kind == 1:
        return other.read_bytes()
    changed = bytearray(whole)
    for _ in range(rng.choice((1, 8, 64))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def test_no_pickle_runs_code(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    folder = tmp_path / "data" / "animals" / "one"
    folder.mkdir(parents=True)
    picture().save(folder / "original_image.png")
    buffer = io.BytesIO()
    pickle.dump({"prompt": "x", "points": [[1, 2], [3, 4]], "mask": Hostile()}, buffer)
    (folder / "meta_data.pkl").write_bytes(buffer.getvalue())
    data = open_dataset("dragbench-dr", tmp_path / "data")
    assert list(data.check()) == ["animals__one"] and not (tmp_path / "written").exists()


@pytest.mark.skipif(not DATA.is_dir(), reason="no real samples: DRAGFIELD_DATA points nowhere")
@pytest.mark.parametrize(
    ("suite", "folder", "count"), [("redbench", "red_demo", 5), ("dragbench", "dragbench", 10), ("drag100", "drag100", 10),
                                   ("real-motion", "real_motion", 2)],
)  # fmt: skip
def test_real_samples_are_read(suite: str, folder: str, count: int) -> None:
    data = open_dataset(suite, DATA / folder)
    assert len(data.names) >= count and data.check() == {}
    for name in data.names[:count]:
        case = data.read(name)
        assert case.operations and case.mask.any() and case.mask.shape == case.size[::-1]
        assert case.mask_given == (suite in ("dragbench", "drag100"))


@pytest.mark.skipif(not (DATA / "red_demo").is_dir(), reason="no ReD Bench samples: DRAGFIELD_DATA points nowhere")
def test_made_masks_cover_what_is_published_of_the_demos() -> None:
    """The share of the picture that the published mask covers (facts 5.1), on each of the five demos."""
    shares = {"cartoon": 0.0926, "cat": 0.06678, "human": 0.11273, "train": 0.02877, "view": 0.21225}
    data = open_dataset("redbench", DATA / "red_demo")
    assert {name: round(float(data.read(name).mask.mean()), 5) for name in data.names} == pytest.approx(shares, abs=1e-4)


def test_instructions_are_written_as_json(tmp_path: Path) -> None:
    """A file beside a picture that is no instruction is told by its name."""
    picture().save(tmp_path / "one.png")
    (tmp_path / "one.json").write_text(json.dumps({"version": 1, "operations": []}))
    assert "moves nothing" in open_dataset("folder", tmp_path).check()["one"]
