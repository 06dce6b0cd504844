"""One way into the library for a picture file, and one way out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, features
from typer.testing import CliRunner

from dragfield.cli.app import app
from dragfield.core.formats.picture_file import decode, save, size_of
from dragfield.core.instruction.guarded_json import InstructionError

WIDTH, HEIGHT = 48, 32
# What a viewer shows of stored pixels, written out: EXIF 2.3, tag 0x0112.
UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1], 8: lambda a: a.transpose(1, 0, 2)[::-1],
}  # fmt: skip
LOSSLESS = {"png": {}, "webp": {"lossless": True}, "tif": {}}


def stored() -> np.ndarray:
    """A picture in which no turn and no mirror image looks like another."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([x * 5, y * 7, (x + y) * 3], -1).astype(np.uint8)
    pixels[4:10, 6:20] = (220, 30, 30)
    return pixels


def oriented(folder: Path, orientation: int, suffix: str, **options) -> Path:
    path = folder / f"{orientation}.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored()).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_picture_is_read_as_a_viewer_shows_it(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = oriented(tmp_path, orientation, suffix, **LOSSLESS[suffix])
    seen = UPRIGHT[orientation](stored())
    assert size_of(path) == (seen.shape[1], seen.shape[0])
    assert np.array_equal(np.asarray(decode(path)), seen)


@pytest.mark.parametrize(
    "suffix, options", [("jpg", {"quality": 100, "subsampling": 0}), ("avif", {"quality": 100, "subsampling": "4:4:4"})]
)
@pytest.mark.parametrize("orientation", (3, 6, 8))
def test_lossy_formats_are_upright_too(tmp_path: Path, orientation: int, suffix: str, options: dict) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    path = oriented(tmp_path, orientation, suffix, **options)
    seen = UPRIGHT[orientation](stored()).astype(float)
    assert np.abs(np.asarray(decode(path), float) - seen).mean() < 2


@pytest.mark.parametrize("suffix", ("png", "tif"))
def test_a_16_bit_grey_keeps_its_greys(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f"g.{suffix}")
    read = np.asarray(decode(tmp_path / f"g.{suffix}"), float)
    assert np.abs(read - values[..., None] / 257).max() <= 0.5


@pytest.mark.parametrize("mode", ("L", "P", "1", "LA", "RGBA", "CMYK"))
def test_other_kinds_of_pixels_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(stored()).convert(mode)
    picture.save(tmp_path / "p.tif" if mode == "CMYK" else tmp_path / "p.png")
    read = decode(next(tmp_path.iterdir()))
    assert read.mode == "RGB"
    assert np.array_equal(np.asarray(read), np.asarray(picture.convert("RGB")))


def test_floating_point_pixels_are_refused_with_the_way_out(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(InstructionError, match="save it with 8 or 16 bits"):
        decode(tmp_path / "f.tif")


@pytest.mark.parametrize("suffix", ("png", "jpg", "webp"))
def test_what_is_written_is_upright_and_keeps_profile_and_exif(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(stored()).save(tmp_path / "in.jpg", exif=exif, icc_profile=profile, quality=95)
    read = decode(tmp_path / "in.jpg")
    exact = save(read, tmp_path / f"out.{suffix}", like=read)
    with Image.open(tmp_path / f"out.{suffix}") as written:
        assert written.info["icc_profile"] == profile
        assert written.getexif().get(0x010F) == "Camera" and 0x0112 not in written.getexif()
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(written).convert("RGB")), np.asarray(read)) == exact
    assert exact == (suffix != "jpg")


def test_a_profile_of_another_kind_of_pixels_is_left_behind(tmp_path: Path) -> None:
    """A profile for four inks in a file of three lights makes viewers show nonsense."""
    Image.fromarray(stored()).convert("CMYK").save(tmp_path / "in.tif", icc_profile=b"of four inks")
    assert "icc_profile" not in decode(tmp_path / "in.tif").info


def test_a_jpeg_is_written_as_well_as_it_can(tmp_path: Path) -> None:
    picture = Image.fromarray(stored())
    assert save(picture, tmp_path / "x.jpg") is False
    with Image.open(tmp_path / "x.jpg") as written:
        off = np.abs(np.asarray(written.convert("RGB"), int) - stored())
    assert off.max() <= 3 and off.mean() < 0.5


def test_a_drag_on_a_turned_photograph_is_made_on_what_is_seen(tmp_path: Path, flux_folder: Path) -> None:
    """Stored lying, seen standing: the drag is of the standing picture, and so is the result."""
    y, x = np.mgrid[:96, :160]
    lying = np.stack([x, y * 2, x + y], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(lying).save(tmp_path / "in.png", exif=exif)
    ring = [[0.1, 0.1], [0.3, 0.1], [0.3, 0.2], [0.1, 0.2]]
    region = {"id": "1", "kind": "region", "task": "relocation", "region": [[ring]], "target": [0.2, 0.35]}
    (tmp_path / "drag.json").write_text(json.dumps({"version": 1, "operations": [region]}))
    answer = CliRunner().invoke(
        app,
        [
            "edit", str(tmp_path / "in.png"), "--instruction", str(tmp_path / "drag.json"), "--model", str(flux_folder), "--longest", "160",
            "--output", str(tmp_path / "out.png"),
        ],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    seen, edited = UPRIGHT[6](lying).astype(int), np.asarray(Image.open(tmp_path / "out.png"), int)
    assert edited.shape == seen.shape == (160, 96, 3)
    changed = np.argwhere(np.abs(edited - seen).max(axis=-1) > 0)
    assert len(changed) and changed[:, 0].max() < 100, "only the upper half, where the drag lies, may have changed"
    assert np.array_equal(edited[100:], seen[100:])
