"""Editing at another size than the picture's: the sides fit the model, nothing outside the mask is lost on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dragfield.core.picture.working_size import to_picture, to_tensor, working_size


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@given(st.integers(16, 5000), st.integers(16, 5000), st.integers(16, 3000))
def test_sides_become_multiples_of_16_and_never_grow(width: int, height: int, longest: int) -> None:
    fitted = working_size((width, height), longest)
    assert all(side % 16 == 0 and 16 <= side for side in fitted)
    assert max(fitted) <= longest
    assert fitted[0] <= width and fitted[1] <= height


@pytest.mark.parametrize("size", [(256, 256), (1024, 768), (16, 1024)])
def test_a_size_that_fits_stays(size: tuple[int, int]) -> None:
    assert working_size(size, 1024) == size


def test_the_shape_of_the_picture_is_kept_to_within_a_token() -> None:
    width, height = working_size((3000, 2000), 1024)
    assert abs(width / height - 1.5) < 16 / height


@pytest.mark.parametrize(("size", "longest", "words"), [((8, 300), 512, "8 x 300"), ((300, 300), 8, "8 px")])
def test_too_small_is_refused_by_name(size: tuple[int, int], longest: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        working_size(size, longest)


def test_every_byte_survives_the_way_into_a_tensor_and_back() -> None:
    picture = noise(32, 16)
    assert np.array_equal(to_picture(to_tensor(picture, (32, 16)), picture, None), picture)


@pytest.mark.parametrize("size", [(48, 32), (101, 67)])
def test_outside_the_mask_the_picture_is_untouched_at_any_size(size: tuple[int, int]) -> None:
    picture = noise(*size)
    mask = np.zeros((32, 48), bool)
    mask[8:24, 16:32] = True
    back = np.asarray(to_picture(torch.zeros(1, 3, 32, 48), picture, mask))
    changed = (back != np.asarray(picture)).any(-1)
    expected = np.zeros(size[::-1], bool)
    x, y = size[0] / 48, size[1] / 32
    expected[int(8 * y) : int(np.ceil(24 * y)), int(16 * x) : int(np.ceil(32 * x))] = True
    assert changed.sum() > 0.8 * expected.sum()
    assert not (changed & ~expected).any()
    assert (back[changed] == 0).all()


def test_the_published_way_keeps_the_size_and_cuts_fractions_off() -> None:
    assert working_size((1999, 1501), None) == (1984, 1488)
    half = torch.full((1, 3, 16, 16), 0.5)  # 127.5 of 255
    white = Image.new("RGB", (16, 16), "white")
    assert to_picture(half, white, None, truncated=True).getpixel((0, 0)) == (127, 127, 127)
    assert to_picture(half, white, None).getpixel((0, 0)) == (128, 128, 128)
    bicubic = np.asarray(noise(40, 40).resize((32, 32), Image.Resampling.BICUBIC), np.float32) / 255
    assert np.array_equal(to_tensor(noise(40, 40), (32, 32), Image.Resampling.BICUBIC)[0].permute(1, 2, 0).numpy(), bicubic)
