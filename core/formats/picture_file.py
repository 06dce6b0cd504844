"""Pictures on disk: one way in and one way out, for the library and the command line.

In: upright by the EXIF orientation, RGB of 8 bits, transparency dropped as ComfyUI's LoadImage drops it, colour profiles not applied (nor
does LoadImage), 16-bit greys scaled rather than cut off. Out: without loss where the format can, else with the least, with the profile and
the EXIF data that came in.

Convention: sizes are (width, height) px of the upright picture, the one that is seen and that drags refer to.

ComfyUI 0.29 reads pictures by PyAV. Where both decode exactly (PNG, TIFF, lossless WebP) the values agree to one level of 255; a JPEG or
WebP with halved chroma differs at coloured edges, since the two spread the chroma differently. A *mirrored* orientation (2, 4, 5 and 7,
which no camera writes) it turns without mirroring; the canvas therefore asks ComfyUI for what it has loaded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ..instruction.checks import picture_size
from ..instruction.guarded_json import InstructionError

SWAPPED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
QUALITY = {
    ".jpg": {"quality": 100, "subsampling": 0}, ".jpeg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True},
}  # fmt: skip
LOSSLESS = (".png", ".webp")


def size_of(path: Path) -> tuple[int, int]:
    """The upright size (width, height) of a picture file. Raises: InstructionError, also for one too large.

    Only the header is read, but for a PNG that might hold its orientation behind the pixels.
    """
    try:
        with Image.open(path) as image:
            size = picture_size(image.size, f"the size of {path.name}")
            # Pillow turns a TIFF by itself and tells the size that results.
            turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in SWAPPED
    except InstructionError:
        raise
    except Image.DecompressionBombError:
        raise InstructionError(f"{path.name} is far larger than any picture worked on; scale it down") from None
    except Exception as error:
        raise InstructionError(f"{path} cannot be read as a picture ({reason(error)}); give a PNG or JPEG") from None
    return (size[1], size[0]) if turned else size


def decode(path: Path) -> Image.Image:
    """The first picture of a file: upright, RGB. Its `info` keeps "icc_profile" and "exif" (orientation taken out) for `save`.

    Raises: InstructionError for what is no picture, too large, damaged, or made of floating point numbers, whose white nobody tells.
    """
    size_of(path)
    try:
        with Image.open(path) as image:
            image.load()
            exif = image.getexif()
            profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
            upright = ImageOps.exif_transpose(image)
        if upright.mode == "F":
            raise InstructionError(f"{path.name} holds floating point numbers, whose white is not told; save it with 8 or 16 bits")
        if upright.mode.startswith("I"):
            upright = Image.fromarray(np.round(np.asarray(upright, np.float64).clip(0, 65535) / 257).astype(np.uint8))
        rgb = upright.convert("RGB")
    except InstructionError:
        raise
    except Exception as error:
        raise InstructionError(f"{path} is damaged ({reason(error)}); save it again") from None
    exif.pop(ExifTags.Base.Orientation, None)
    rgb.info = {name: value for name, value in (("icc_profile", profile), ("exif", exif.tobytes() if exif else None)) if value}
    return rgb


def save(picture: Image.Image, path: Path, like: Image.Image | None = None) -> bool:
    """Write a picture; the format is that of the file's ending. Returns whether it keeps every pixel as it is.

    like: a picture from `decode`, whose colour profile and EXIF data go along. JPEG: quality 100, full chroma. WebP: without loss.
    """
    suffix = path.suffix.lower()
    known = {} if like is None else {name: like.info[name] for name in ("icc_profile", "exif") if name in like.info}
    picture.save(path, **QUALITY.get(suffix, {}), **known)
    return suffix in LOSSLESS


def reason(error: Exception) -> str:
    """Why a file can't be read, in a word or two."""
    return getattr(error, "strerror", None) or type(error).__name__
