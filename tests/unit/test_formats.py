"""Data set folders and point lists: what is written is read back, real samples load, hostile files are refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dragfield.core import formats
from dragfield.core.formats import drag100, dragbench, points_json, red_bench
from dragfield.core.formats.plain_pickle import load_plain
from dragfield.core.instruction import DragInstruction, DrawnPoints, DrawnRegion, InstructionError
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation

DATA = Path(os.environ.get("DRAGFIELD_DATA") or Path(__file__).parents[3] / "shared" / "data")
SIZE = (60, 40)

# Cut shape (h, w), centroid, target and anchor in whole cut pixels, region pixels there: DragFlow demos, facts 5.1.
GOLDEN = {
    "cartoon": ("rotation", (216, 216), (67, 150), (87, 146), (85, 186), 1995),
    "cat": ("rotation", (296, 264), (178, 148), (162, 138), (149, 174), 2627),
    "human": ("rotation", (224, 248), (94, 54), (98, 78), (51, 74), 1558),
    "train": ("deformation", (256, 256), (161, 190), (196, 210), None, 673),
    "view": ("relocation", (256, 256), (165, 108), (165, 148), None, 7414),
}


def picture(size: tuple[int, int] = SIZE) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


REGIONS = (
    RegionOperation(block(5, 5, 15, 20), "relocation", (30.5, 12.5)),
    RegionOperation(block(25, 20, 40, 30), "rotation", (50.5, 10.5), (20.5, 35.5)),
    RegionOperation(block(45, 30, 55, 38), "deformation", (50.5, 25.5)),
)
POINTS = (PointOperation((7.5, 8.5), (20.5, 9.5)), PointOperation((0.5, 0.5), (59.5, 39.5)))


def same(one: Drag, other: Drag) -> None:
    assert one.size == other.size
    assert (one.background_prompt, one.editing_prompt) == (other.background_prompt, other.editing_prompt)
    for a, b in zip(one.regions, other.regions, strict=True):
        assert a.task == b.task and np.array_equal(a.mask, b.mask)
        assert a.target == pytest.approx(b.target, abs=1e-6)
        assert a.anchor == (None if b.anchor is None else pytest.approx(b.anchor, abs=1e-6))
    for a, b in zip(one.points, other.points, strict=True):
        assert a.handle == pytest.approx(b.handle, abs=1e-6) and a.target == pytest.approx(b.target, abs=1e-6)
    assert (one.editable is None) == (other.editable is None)
    assert one.editable is None or np.array_equal(one.editable, other.editable)


def test_red_bench_is_read_as_it_was_written(tmp_path: Path) -> None:
    drag = Drag(SIZE, REGIONS, POINTS, "a \u676f on a table", "it moves")
    red_bench.write(tmp_path / "a1", picture(), drag)
    sample = red_bench.read(tmp_path / "a1", use="both")
    same(sample.drag(), drag)
    assert sample.name == "a1" and sample.size == SIZE
    assert np.array_equal(np.asarray(sample.image()), np.asarray(picture()))
    assert formats.read(tmp_path / "a1").drag().points == ()
    assert red_bench.read(tmp_path / "a1", use="points").drag().regions == ()
    data = json.loads((tmp_path / "a1" / "instruction.json").read_text("utf-8"))
    first = {"task": "transformation", "centroids": [[10, 12], [30, 12]], "anchors": None}
    assert data["region_operations"]["0"] == first
    assert data["region_operations"]["1"]["anchors"] == [20, 35]


def test_red_bench_fills_holes_and_ignores_specks_and_keys_of_others(tmp_path: Path) -> None:
    red_bench.write(tmp_path, picture(), Drag(SIZE, REGIONS[:1]))
    marks = REGIONS[0].mask.copy()
    marks[10:12, 8:10] = False
    marks[39, 59] = True
    Image.fromarray(marks.astype(np.uint8) * 255).save(tmp_path / "operation.png")
    data = json.loads((tmp_path / "instruction.json").read_text())
    (tmp_path / "instruction.json").write_text(json.dumps(data | {"annotator": 7}))
    same(red_bench.read(tmp_path).drag(), Drag(SIZE, REGIONS[:1]))


def test_red_bench_matches_a_crescent_by_its_centroid(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :60]
    crescent = (np.hypot(x - 30, y - 20) < 15) & (np.hypot(x - 40, y - 20) > 15)
    red_bench.write(tmp_path, picture(), Drag(SIZE, (RegionOperation(crescent, "relocation", (40.5, 20.5)),)))
    column, row = json.loads((tmp_path / "instruction.json").read_text())["region_operations"]["0"]["centroids"][0]
    found = red_bench.read(tmp_path).drag().regions[0].mask
    assert np.array_equal(found, crescent) and abs(column - x[crescent].mean()) <= 1 and abs(row - 20) <= 1


@pytest.mark.parametrize(("regions", "expected"), [
    ((RegionOperation(block(0, 0, 9, 9), "pin"),), "is a pin, which ReD Bench cannot hold"),
    ((RegionOperation(block(0, 0, 9, 9) & ~block(3, 3, 6, 6), "relocation", (9.0, 9.0)),), "one blob without holes"),
    ((RegionOperation(block(0, 0, 9, 9) | block(20, 20, 30, 30), "relocation", (9.0, 9.0)),), "is not one blob"),
    ((RegionOperation(block(0, 0, 9, 9), "relocation", (9.0, 9.0)),
      RegionOperation(block(9, 9, 20, 20), "relocation", (9.0, 9.0), name="b")), r"operation 2 \('b'\) touches"),
])
def test_red_bench_refuses_to_write_what_it_cannot_hold(tmp_path: Path, regions: tuple, expected: str) -> None:
    with pytest.raises(InstructionError, match=expected):
        red_bench.write(tmp_path / "x", picture(), Drag(SIZE, regions))
    assert not (tmp_path / "x").exists()


def test_points_alone_go_through_drag100_and_dragbench(tmp_path: Path) -> None:
    drag = Drag(SIZE, points=POINTS, editable=block(2, 2, 50, 30) & ~block(10, 10, 12, 12))
    drag100.write(tmp_path / "car_1", picture(), drag)
    same(formats.read(tmp_path / "car_1").drag(), drag)
    prompted = Drag(SIZE, points=POINTS, background_prompt="a car", editable=drag.editable)
    dragbench.write(tmp_path / "land", picture(), prompted)
    same(formats.read(tmp_path / "land").drag(), prompted)
    assert json.loads((tmp_path / "land" / "drag_instruction.json").read_text())["points"][:2] == [[7, 8], [20, 9]]


def test_a_picture_file_is_copied_unchanged(tmp_path: Path) -> None:
    picture().save(tmp_path / "mine.png")
    dragbench.write(tmp_path / "out", tmp_path / "mine.png", Drag(SIZE, points=POINTS))
    assert (tmp_path / "out" / "original_image.png").read_bytes() == (tmp_path / "mine.png").read_bytes()
    with pytest.raises(InstructionError, match="the picture is 60 x 40 but the drag 61 x 40"):
        dragbench.write(tmp_path / "other", tmp_path / "mine.png", Drag((61, 40), points=POINTS))


def test_point_formats_refuse_regions(tmp_path: Path) -> None:
    for module in (drag100, dragbench):
        with pytest.raises(InstructionError, match="this drag has 1 regions and 2 points"):
            module.write(tmp_path / "x", picture(), Drag(SIZE, REGIONS[:1], POINTS))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["u1", "?", "<i8", ">f4"])
def test_dragbench_pickles_are_read_without_numpys_own_code(tmp_path: Path, protocol: int, kind: str) -> None:
    mask = np.asfortranarray(block(3, 4, 30, 20).astype(kind))
    points = [(np.int64(7), 8), [20, np.float32(9)]]
    picture().save(tmp_path / "original_image.png")
    meta = {"prompt": "a cup", "points": points, "mask": mask, "extra": b"\x00"}
    (tmp_path / "meta_data.pkl").write_bytes(pickle.dumps(meta, protocol))
    drag = formats.read(tmp_path).drag()
    assert np.array_equal(drag.editable, block(3, 4, 30, 20)) and drag.background_prompt == "a cup"
    assert drag.points[0].handle == pytest.approx((7.5, 8.5)) and drag.points[0].target == pytest.approx((20.5, 9.5))


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def nested(depth: int) -> tuple:
    value: tuple = ()
    for _ in range(depth):
        value = (value,)
    return value


def deep_key(depth: int) -> bytes:
    return pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + pickle.TUPLE1 * depth + pickle.NONE + pickle.SETITEM + pickle.STOP


@pytest.mark.parametrize(("data", "expected"), [
    (pickle.dumps(Call(os.system, "exit 1")), r"calls (posix|nt)\.system; only plain data"),
    (pickle.dumps(Call(eval, "1")), "calls builtins.eval"),
    (pickle.dumps(Call(np.load, "x.npy")), "only plain data and arrays are read"),
    (pickle.dumps(Call(np.zeros, 10**12)), "only plain data and arrays are read"),
    (pickle.dumps(np.array([Call(os.system, "exit 1")], dtype=object)), r"calls (posix|nt)\.system"),
    (pickle.dumps(np.array([{}], dtype=object)), "an array that is not of numbers"),
    (pickle.dumps(Path("x")), "only plain data"),
    (pickle.dumps({1, 2}), "uses the pickle operation EMPTY_SET"),
    (b"\x80\x02r\xff\xff\xff\xff.", "damaged pickle|larger or deeper"),
    (b"\x80\x02]r\xff\xff\xff\x7f.", "larger or deeper than a drag"),
    (b"\x80\x05\x96\xff\xff\xff\xff\x0f\x00\x00\x00.", "damaged pickle"),
    (deep_key(1_000_000), "larger or deeper than a drag"),
    (pickle.dumps(nested(50)), "nests containers more than 6 deep"),
    (b"", "damaged pickle"),
    (b"cposix\nsystem\n(S'exit 1'\ntR.", "calls posix.system"),
    (b"\x80\x02]q\x00h\x00a.", "nests containers"),
])
def test_hostile_pickles_are_refused(data: bytes, expected: str) -> None:
    with pytest.raises(InstructionError, match=expected):
        load_plain(data, "meta_data.pkl")


def test_a_small_pickle_of_a_million_million_items_is_read_once_each() -> None:
    start = time.perf_counter()
    load_plain(pickle.dumps([[[[[list(range(100))] * 100] * 100] * 100] * 100]), "meta_data.pkl")
    assert time.perf_counter() - start < 1


def test_an_array_larger_than_its_bytes_or_than_any_picture_is_refused() -> None:
    whole = pickle.dumps(np.zeros((70, 70), np.uint8), protocol=2)
    with pytest.raises(InstructionError, match="damaged pickle"):
        load_plain(whole.replace(b"KFKF", b"KGKG"), "meta_data.pkl")
    million = b"J" + (1_000_000).to_bytes(4, "little")
    with pytest.raises(InstructionError, match="an array of shape"):
        load_plain(whole.replace(b"KFKF", million * 2), "meta_data.pkl")


def test_point_json_round_trips() -> None:
    pairs = (((0.25, 0.5), (0.75, 1.0)), ((0.1, 0.2), (0.3, 0.4)))
    instruction = DragInstruction((DrawnPoints(pairs),), size=(640, 480))
    handles, targets = points_json.write(instruction, (640, 480))
    assert json.loads(handles) == [{"x": 160.0, "y": 240.0}, {"x": 64.0, "y": 96.0}]
    assert points_json.read(handles, targets, (640, 480)) == instruction


def test_point_json_takes_tracks_from_end_to_end_and_extra_keys() -> None:
    tracks = [[{"x": 0, "y": 0, "id": 3}, {"x": 30, "y": 10}, {"x": 60, "y": 40}]]
    drag = points_json.read(json.dumps(tracks), None, SIZE).rasterise(*SIZE)
    assert drag.points[0].handle == (0.0, 0.0) and drag.points[0].target == pytest.approx((60, 40), rel=1e-5)


# What KJNodes' editors and ComfyUI's nodes write of one drag, (15, 10) to (45, 30) on a picture of SIZE, and what users paste.
ONE = [[15, 10], [45, 30]]
LAYOUTS = {
    "Points Editor, twice": ('[{"x": 15, "y": 10}]', '[{"x": 45, "y": 30}]'),
    "Points Editor, normalised": (json.dumps([{"x": 15 / 60, "y": 10 / 40}]), json.dumps([{"x": 45 / 60, "y": 30 / 40}])),
    "Points Editor's store": ('{"positive": [{"x": 15, "y": 10}], "negative": [{"x": 45, "y": 30}]}', None),
    "one spline": ('[{"x": 15, "y": 10}, {"x": 20, "y": 38}, {"x": 45, "y": 30}]', None),
    "splines": ('[[{"x": 15, "y": 10}, {"x": 20, "y": 38}, {"x": 45, "y": 30}]]', None),
    "a spline by control points": ('[[{"x": 15, "y": 10, "h1x": 3.5}, {"x": 45, "y": 30, "h2x": 50}]]', None),
    "Spline Editor's store": ('[{"points": [{"x": 15, "y": 10}, {"x": 45, "y": 30}], "color": "#fff", "name": "Spline 1"}]', None),
    "older splines and Interpolate Coords": ("[{'x': 15, 'y': 10}, {'x': 45, 'y': 30}]", None),
    "fractions of tracks": ("[[{'x': 0.25, 'y': 0.25}, {'x': 0.75, 'y': 0.75}]]", None),
    "pairs of numbers": ("[[15, 10]]", "[[45, 30]]"),
    "a track of pairs": ("[[15, 10], [30, 35], [45, 30]]", None),
    "tracks of pairs": ("[[[15, 10], [30, 35], [45, 30]]]", None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_editors_is_the_same_drag(layout: str) -> None:
    drag = points_json.read(*LAYOUTS[layout], SIZE).rasterise(*SIZE)
    assert np.allclose([(p.handle, p.target) for p in drag.points], [ONE])


def test_a_single_point_beside_splines_stays_where_it_is() -> None:
    drag = points_json.read('[[{"x": 15, "y": 10}, {"x": 45, "y": 30}], [{"x": 50, "y": 5}]]', None, SIZE).rasterise(*SIZE)
    assert np.allclose([(p.handle, p.target) for p in drag.points], [ONE, [[50, 5], [50, 5]]])


def test_points_of_a_canvas_of_another_size_land_at_the_same_place_of_the_picture() -> None:
    drag = points_json.read('[{"x": 150, "y": 100}, {"x": 450, "y": 300}]', None, SIZE, canvas=(600, 400)).rasterise(*SIZE)
    assert np.allclose([(p.handle, p.target) for p in drag.points], [ONE])
    with pytest.raises(InstructionError, match="x of handle 1 is 150; it must be from 0 to 60, inside the picture of 60 x 40, or give"):
        points_json.read('[{"x": 150, "y": 100}, {"x": 450, "y": 300}]', None, SIZE)
    with pytest.raises(InstructionError, match="x of target 1 is 450; it must be from 0 to 400, inside the canvas of 400 x 400"):
        points_json.read('[{"x": 150, "y": 100}, {"x": 450, "y": 300}]', None, SIZE, canvas=(400, 400))


def test_frames_of_places_are_a_drag_from_the_first_to_the_last() -> None:
    path = np.linspace([[150, 100], [10, 20]], [[450, 300], [10, 20]], 9)
    drag = points_json.read_tracks(path, SIZE, canvas=(600, 400)).rasterise(*SIZE)
    assert np.allclose([(p.handle, p.target) for p in drag.points], [ONE, [[1, 2], [1, 2]]])
    for wrong in (path[:1], path[0], np.zeros((3, 2, 3)), np.zeros((3, 0, 2))):
        with pytest.raises(InstructionError, match="the tracks have the shape"):
            points_json.read_tracks(wrong, SIZE)
    with pytest.raises(InstructionError, match="x of target 1 is nan"):
        points_json.read_tracks([[[1, 1]], [[np.nan, 1]]], SIZE)


@pytest.mark.parametrize(("handles", "targets"), [
    ('[{"x": 0, "y": 0}]', '[{"x": 1, "y": 1}]'),
    ('[{"x": 0.2, "y": 0.5}, {"x": 0.6, "y": 0.5}]', None),
    ('[{"x": 0, "y": 1}, {"x": 1, "y": 1}]', None),
])
def test_numbers_that_fit_pixels_and_fractions_are_asked_about(handles: str, targets: str | None) -> None:
    with pytest.raises(InstructionError, match="are they fractions of the picture, or pixels in its corner") as refused:
        points_json.read(handles, targets, SIZE)
    assert ("normalized_str" in str(refused.value)) == (targets is None)
    pixels, fractions = (points_json.read(handles, targets, SIZE, units=units) for units in ("pixels", "fractions"))
    place = [instruction.rasterise(*SIZE).points[-1].target for instruction in (pixels, fractions)]
    assert np.allclose(np.array(place[0]) * SIZE, place[1], rtol=1e-4)


def test_the_corner_of_a_picture_is_pixels_beside_others_and_fractions_beside_pixels_are_refused() -> None:
    assert points_json.read('[{"x": 0, "y": 1}]', '[{"x": 30, "y": 1}]', SIZE).operations[0].pairs == (((0, 1 / 40), (0.5, 1 / 40)),)
    with pytest.raises(InstructionError, match="all numbers of the handles are at most 1, like fractions .* of the targets are not"):
        points_json.read('[{"x": 0.5, "y": 0.5}]', '[{"x": 30, "y": 1}]', SIZE)
    with pytest.raises(InstructionError, match="x of target 1 is 30; it must be from 0 to 1, in fractions of the picture"):
        points_json.read('[{"x": 0.5, "y": 0.5}]', '[{"x": 30, "y": 1}]', SIZE, units="fractions")
    with pytest.raises(InstructionError, match="units is 'percent'; use one of auto, pixels, fractions"):
        points_json.read('[{"x": 5, "y": 5}]', '[{"x": 30, "y": 1}]', SIZE, units="percent")


@pytest.mark.parametrize(("handles", "targets", "expected"), [
    ('[{"x": 1, "y": 1}]', "[]", "targets is a list of 0|targets is \\[\\]"),
    ('[{"x": 1, "y": 1}]', '[{"x": 1, "y": 1}, {"x": 1, "y": 1}]', "1 handles and 2 targets"),
    ('{"positive": [[1, 1]], "negative": []}', None, "negative points is a list of 0|negative points is \\[\\]"),
    ('{"positive": [[1, 1]]}', None, "negative points is null"),
    ('[{"x": 1}]', '[{"x": 1, "y": 1}]', "handle 1 lacks x or y"),
    ('[{"x": 61, "y": 1}]', '[{"x": 1, "y": 1}]', "x of handle 1 is 61; it must be from 0 to 60"),
    ('[{"x": true, "y": 1}]', '[{"x": 1, "y": 1}]', "x of handle 1 is true, not a number"),
    ('[["9", 1]]', "[[5, 5]]", "x of handle 1 is '9', not a number"),
    ('[{"x": NaN, "y": 1}]', '[{"x": 1, "y": 1}]', "handles holds NaN"),
    ('[{"x": 9, "y": 1}]', None, "track 1 is one point"),
    ('[[{"x": 1, "y": 1}]]', None, "track 1 is one point"),
    ("[[]]", None, "track 1 is"),
    ('[{"points": []}]', None, "track 1 is"),
    ('[[{"x": 9, "y": 9}, {"x": 1, "y": 1}], 7]', None, "track 2 is 7"),
    ('{"x": 1, "y": 1}', None, "tracks is an object"),
    ("", "", "handles is empty text"),
])
def test_sloppy_point_json_is_refused(handles: str, targets: str | None, expected: str) -> None:
    with pytest.raises(InstructionError, match=expected):
        points_json.read(handles, targets, SIZE)


def write_red(folder: Path, **changes: Any) -> None:
    """A sound ReD Bench sample whose first operation is changed."""
    red_bench.write(folder, picture(), Drag(SIZE, REGIONS))
    data = json.loads((folder / "instruction.json").read_text())
    data["region_operations"]["0"] |= changes
    (folder / "instruction.json").write_text(json.dumps(data))


@pytest.mark.parametrize(("changes", "expected"), [
    ({"task": "relocation"}, "task of region operation 0 is 'relocation'; use one of transformation"),
    ({"task": "rotation"}, "region operation 0: rotation has no anchor"),
    ({"centroids": [[10, 12]]}, "centroids of region operation 0 is"),
    ({"centroids": [[10, 12], [60, 12]]}, "x of the target of region operation 0 is 60; it must be from 0 to 59"),
    ({"centroids": [[10, 12], [True, 12]]}, "x of the target of region operation 0 is true"),
    ({"centroids": [[22, 12], [30, 12]]}, r"starts at \(22, 12\), in none of the 3 blobs"),
    ({"centroids": [[30, 25], [30, 12]]}, "operation 1 starts in the same blob as region operation 0"),
])
def test_a_sloppy_red_bench_sample_is_refused(tmp_path: Path, changes: dict, expected: str) -> None:
    write_red(tmp_path, **changes)
    with pytest.raises(InstructionError, match=expected):
        red_bench.read(tmp_path)


def test_missing_damaged_and_mismatched_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InstructionError, match="is not a sample folder; it needs one of instruction.json"):
        formats.read(tmp_path)
    write_red(tmp_path)
    Image.new("L", (61, 40)).save(tmp_path / "operation.png")
    with pytest.raises(InstructionError, match="operation.png is 61 x 40 but its picture 60 x 40"):
        red_bench.read(tmp_path)
    (tmp_path / "operation.png").unlink()
    with pytest.raises(InstructionError, match="No such file or directory"):
        red_bench.read(tmp_path)
    write_red(tmp_path)
    whole = (tmp_path / "operation.png").read_bytes()
    (tmp_path / "operation.png").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(InstructionError, match="operation.png is damaged|cannot be read as a picture"):
        red_bench.read(tmp_path)
    (tmp_path / "original_image.png").write_bytes(b"GIF89a")
    with pytest.raises(InstructionError, match="cannot be read as a picture"):
        red_bench.read(tmp_path)


@pytest.mark.parametrize("side", [10_000, 40_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_gigantic_picture_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    write_red(tmp_path)
    small = io.BytesIO()
    Image.new("1", (1, 1)).save(small, "PNG")
    # The header alone says how large a PNG is; its checksum follows.
    head = b"IHDR" + side.to_bytes(4, "big") * 2 + small.getvalue()[24:29]
    (tmp_path / "original_image.png").write_bytes(
        small.getvalue()[:12] + head + zlib.crc32(head).to_bytes(4, "big") + small.getvalue()[33:])
    with pytest.raises(InstructionError, match="megapixels; at most 67|far larger than any|it must be from 1 to 16384"):
        red_bench.read(tmp_path)


def test_odd_and_endless_point_lists_are_refused(tmp_path: Path) -> None:
    drag100.write(tmp_path, picture(), Drag(SIZE, points=POINTS))
    for points, expected in (([[1, 1]], "an even number of points"), ([[1, 1], [1]], "point 2 of points of"),
                             ([[1, 1]] * 4000, "4,000 points; at most 2,048"), ({}, "is an object")):
        (tmp_path / "points.json").write_text(json.dumps({"points": points}))
        with pytest.raises(InstructionError, match=expected):
            drag100.read(tmp_path)


def folders(pattern: str) -> list[Path]:
    return sorted(p for p in DATA.glob(pattern) if p.is_dir())


real = pytest.mark.skipif(not DATA.is_dir(), reason="no real samples: set DRAGFIELD_DATA to a folder of them")


@real
def test_every_real_sample_loads_and_travels_as_json() -> None:
    found = folders("red_demo/*") + folders("drag100/*") + folders("dragbench/*/*")
    assert found
    for folder in found:
        sample = formats.read(folder)
        drag = sample.drag()
        assert len(drag.regions) == ("red_demo" in folder.parts) and bool(drag.points) != bool(drag.regions)
        again = DragInstruction.from_json(sample.instruction.to_json()).rasterise(*sample.size)
        same(again, drag)
        for point in drag.points:
            assert (np.array(point.handle) % 1).round(6).tolist() == [0.5, 0.5]


@real
@pytest.mark.parametrize("name", GOLDEN)
def test_red_demo_geometry_at_cut_resolution_is_the_published_one(name: str) -> None:
    if not (DATA / "red_demo" / name).is_dir():
        pytest.skip(f"no red_demo/{name} in the data folder")
    task, cut, centroid, target, anchor, pixels = GOLDEN[name]
    drag = red_bench.read(DATA / "red_demo" / name).drag()
    [region] = drag.regions
    soft = torch.nn.functional.interpolate(torch.from_numpy(region.mask)[None, None].float(), size=cut, mode="bilinear")
    rows, columns = torch.nonzero(soft[0, 0] > 0.5, as_tuple=True)
    assert region.task == task and len(rows) == pixels
    assert (round(columns.float().mean().item()), round(rows.float().mean().item())) == centroid

    def index(point: tuple | None) -> tuple | None:
        # The published table scales pixel indices, without the half pixel of our convention.
        return point and tuple(round((p - 0.5) * c / s) for p, c, s in zip(point, cut[::-1], drag.size, strict=True))

    assert index(region.target) == target and index(region.anchor) == anchor


@real
def test_red_demo_is_written_back_as_it_was(tmp_path: Path) -> None:
    for folder in folders("red_demo/*"):
        sample = red_bench.read(folder, use="both")
        red_bench.write(tmp_path / folder.name, sample.picture, sample.drag())
        files = (folder / "instruction.json", tmp_path / folder.name / "instruction.json")
        before, after = (json.loads(file.read_text("utf-8")) for file in files)
        start = before["region_operations"]["0"]["centroids"].pop(0)
        ours = after["region_operations"]["0"]["centroids"].pop(0)
        assert np.abs(np.subtract(start, ours)).max() <= 1
        assert before == after


def test_an_instruction_survives_the_folder_it_is_written_to(tmp_path: Path) -> None:
    drawn = DragInstruction((DrawnRegion("relocation", ((((0.1, 0.1), (0.5, 0.2), (0.3, 0.8)),),), (0.7, 0.5)),),
                            editing_prompt="right")
    drag = drawn.rasterise(*SIZE)
    red_bench.write(tmp_path, picture(), drag)
    again = red_bench.read(tmp_path).drag()
    assert np.array_equal(again.regions[0].mask, drag.regions[0].mask)
    assert np.abs(np.subtract(again.regions[0].target, drag.regions[0].target)).max() <= 0.5
