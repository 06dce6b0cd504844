"""Windows read what an enlarged map would show, and tracking finds what moved, only ever on the picture."""

from __future__ import annotations

import pytest
import torch

from dragfield.core.optimise.tracking import read, track

GRID = (40, 32)


def feature(channels: int = 6, h: int = 8, w: int = 10, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, channels, h, w, generator=torch.Generator().manual_seed(seed))


def enlarged(f: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(f, (GRID[1], GRID[0]), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("reading", ["direct", "two_step"])
def test_on_cell_centres_a_window_is_a_slice_of_the_enlarged_map(reading) -> None:
    f = feature()
    (found,) = read([f], (20.5, 15.5), 4, GRID, reading)
    assert torch.allclose(found[0], enlarged(f)[0, :, 11:20, 16:25].flatten(1), atol=1e-5)


def test_between_centres_two_steps_blend_four_slices_as_published() -> None:
    f, (fx, fy) = feature(), (0.3, 0.7)
    big = enlarged(f)[0]

    def shifted(dx: int, dy: int) -> torch.Tensor:
        return big[:, 11 + dy : 20 + dy, 16 + dx : 25 + dx]

    top = (1 - fx) * shifted(0, 0) + fx * shifted(1, 0)
    expected = (1 - fy) * top + fy * ((1 - fx) * shifted(0, 1) + fx * shifted(1, 1))
    (found,) = read([f], (20.5 + fx, 15.5 + fy), 4, GRID, "two_step")
    assert torch.allclose(found[0], expected.flatten(1), atol=1e-5)


@pytest.mark.parametrize("reading", ["direct", "two_step"])
@pytest.mark.parametrize("place", [(0.0, 0.0), (40.0, 32.0), (39.9, 0.2), (20.0, 0.5)])
def test_windows_over_the_border_repeat_it(reading, place) -> None:
    f = torch.full((1, 3, 8, 10), 2.5)
    (found,) = read([f], place, 12, GRID, reading)
    assert found.shape == (1, 3, 625) and torch.allclose(found, torch.full_like(found, 2.5))


def test_a_handle_is_found_where_its_features_went() -> None:
    f = feature(h=32, w=40)
    moved = f.roll((3, -5), dims=(2, 3))
    query = [f[:, :, 15, 20]]
    assert track([moved], [query], [(20.5, 15.5)], GRID) == ((15.5, 18.5),)


def test_several_maps_vote_together() -> None:
    first, second = feature(h=32, w=40), feature(4, h=16, w=20, seed=1)
    query = [first[:, :, 15, 20], read([second], (20.5, 15.5), 0, GRID)[0][..., 0]]
    assert track([first, second], [query], [(18.5, 12.5)], GRID) == ((20.5, 15.5),)


def test_a_handle_never_leaves_the_picture() -> None:
    # Flat but for a gradient that looks better the further right: the last column is as far as it goes.
    f = torch.arange(40.0).expand(1, 1, 32, 40)
    ((x, y),) = track([f], [[torch.full((1, 1), 99.0)]], [(36.5, 15.5)], GRID)
    assert x == 39.5
    assert y == 3.5  # of equals the first row wins


def test_of_equal_places_the_first_row_major_wins() -> None:
    f = torch.zeros(1, 2, 32, 40)
    assert track([f], [[torch.zeros(1, 2)]], [(20.5, 15.5)], GRID, 3) == ((17.5, 12.5),)


def test_the_gradient_of_a_window_is_that_of_the_enlarged_map() -> None:
    f = feature().requires_grad_()
    (a,) = torch.autograd.grad(read([f], (20.5, 15.5), 4, GRID)[0].square().sum(), f)
    (b,) = torch.autograd.grad(enlarged(f)[:, :, 11:20, 16:25].square().sum(), f)
    assert torch.allclose(a, b, atol=1e-4)


def test_a_map_that_hangs_over_the_picture_s_edge_is_read_at_the_picture_s_own_places() -> None:
    picture = feature(w=10)
    hanging = torch.cat((picture, feature(w=1, seed=1)), dim=-1)
    (plain,), (mapped,) = read([picture], (15.0, 15.0), 8, GRID), read([hanging], (15.0, 15.0), 8, (44, 32))
    assert torch.allclose(mapped, plain, atol=1e-5)
    query = [picture[0, None, :, 3, 4]]
    (found,) = track([hanging], [query], [(14.0, 14.0)], GRID, radius=6, mapped=(44, 32))
    assert found == (18.0, 14.0)


def test_no_handle_is_found_off_the_picture_where_a_map_goes_on() -> None:
    hanging = feature(w=11)
    query = [hanging[0, None, :, 3, 10]]
    (found,) = track([hanging], [query], [(38.0, 14.0)], GRID, radius=8, mapped=(44, 32))
    assert 0 <= found[0] <= GRID[0]
