"""What core reads of a file is what ComfyUI's LoadImage hands on, and what the canvas is sent."""

from __future__ import annotations

import io
from pathlib import Path

import folder_paths
import numpy as np
import pytest
from PIL import Image

import nodes
from dragfield.core.formats.picture_file import decode
from dragfield.nodes.host.loaded_picture import loaded_png


def stored() -> np.ndarray:
    y, x = np.mgrid[:46, :70]
    return np.stack([x * 3, y * 5, (x + y) * 2], -1).clip(0, 255).astype(np.uint8)


@pytest.fixture
def inputs(tmp_path: Path):
    before = folder_paths.get_input_directory()
    folder_paths.set_input_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_input_directory(before)


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def write(folder: Path, name: str) -> str:
    """A file of the kind that its name tells. -> the name."""
    picture = Image.fromarray(stored())
    kind, suffix = name.split(".")
    if kind.startswith("turned"):
        picture.save(folder / name, exif=exif(int(kind[-1])), **({"lossless": True} if suffix == "webp" else {}))
    elif kind == "grey16":
        Image.fromarray(stored()[..., 0].astype(np.uint16) * 257 + 40).save(folder / name)
    elif kind == "quantised":
        picture.quantize(16).save(folder / name)
    elif kind == "seethrough":
        picture.putalpha(Image.fromarray(stored()[..., 0]))
        picture.save(folder / name)
    else:
        picture.convert({"grey": "L", "inks": "CMYK"}.get(kind, "RGB")).save(folder / name)
    return name


NAMES = (
    "plain.png", "plain.tif", "plain.bmp", "grey.png", "grey16.png", "grey16.tif", "quantised.png", "seethrough.png", "inks.tif",
    *(f"turned{o}.{suffix}" for o in (1, 3, 6, 8) for suffix in ("png", "webp", "tif")),
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_core_and_loadimage_read_the_same_picture(inputs: Path, name: str) -> None:
    """To one level of 255; inks to two, which the two turn into light by formulas that round differently."""
    write(inputs, name)
    theirs = nodes.LoadImage().load_image(name)[0][0].numpy() * 255
    ours = np.asarray(decode(inputs / name), float)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= (2 if name.startswith("inks") else 1.01)


@pytest.mark.parametrize("name", (*NAMES, "turned2.png", "turned5.png", "plain.jpg", "turned6.jpg"))
def test_the_canvas_is_sent_what_loadimage_hands_on(inputs: Path, name: str) -> None:
    write(inputs, name)
    theirs = nodes.LoadImage().load_image(name)[0][0].numpy() * 255
    sent = np.asarray(Image.open(io.BytesIO(loaded_png(f"{name} [input]"))), float)
    assert sent.shape == theirs.shape
    assert np.abs(sent - theirs).max() <= 0.51


def test_the_canvas_is_sent_loadimages_mask(inputs: Path) -> None:
    write(inputs, "seethrough.png")
    mask = nodes.LoadImage().load_image("seethrough.png")[1][0].numpy() * 255
    sent = np.asarray(Image.open(io.BytesIO(loaded_png("seethrough.png", "mask"))), float)
    assert mask.max() > 100 and np.abs(sent - mask).max() <= 0.51


def test_without_transparency_the_mask_is_empty_and_of_the_pictures_size(inputs: Path) -> None:
    write(inputs, "plain.png")
    sent = np.asarray(Image.open(io.BytesIO(loaded_png("plain.png", "mask"))))
    assert sent.shape == (46, 70) and not sent.any()


@pytest.mark.parametrize("name", ("../secret.png", "/etc/passwd", "absent.png", "", "../../x [output]"))
def test_nothing_outside_of_comfyuis_folders_is_sent(inputs: Path, name: str) -> None:
    (inputs.parent / "secret.png").write_bytes(b"")
    with pytest.raises(ValueError):
        loaded_png(name)
