"""Reading maps tile by tile gives what reading them at once does, for less."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from dragfield.benchmarks.cost import peak_memory
from dragfield.core.optimise.map_reading import by_tokens, distance, make_reader


def maps(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rows_of(feature):
    return feature.flatten(2).transpose(1, 2)


def read(feature, places, grid, **options):
    """[B, N, C] at places [N, 2], as all tiles together have it."""
    reader = make_reader(places, grid, (feature.shape[3], feature.shape[2]), feature.device, **options)
    return torch.cat([tile.read(rows_of(feature), tile.cells) for tile in reader.tiles], dim=1)


def everywhere(width, height):
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def test_reading_at_cell_centres_gives_the_cells():
    feature = maps(2, 3, 4, 5)
    places = torch.tensor([[0.5, 0.5], [4.5, 3.5], [2.5, 1.5]])
    expected = torch.stack([feature[:, :, 0, 0], feature[:, :, 3, 4], feature[:, :, 1, 2]], dim=1)
    assert torch.equal(read(feature, places, (5, 4)), expected)


def test_reading_agrees_with_grid_sample_inside_and_beyond_the_border():
    feature = maps(1, 3, 6, 4)
    places = torch.rand(50, 2, generator=torch.Generator().manual_seed(2)) * torch.tensor([12.0, 16.0]) - 2.0
    grid = places / torch.tensor([8.0, 12.0]) * 2 - 1
    expected = F.grid_sample(feature, grid[None, None], padding_mode="border", align_corners=False)[0, :, 0].T
    torch.testing.assert_close(read(feature, places, (8, 12))[0], expected, atol=1e-5, rtol=1e-5)


def test_reading_every_cut_cell_is_bilinear_upsampling():
    feature = maps(1, 2, 4, 6)
    dense = read(feature, everywhere(24, 16), (24, 16))
    expected = F.interpolate(feature, size=(16, 24), mode="bilinear", align_corners=False)
    torch.testing.assert_close(dense[0].T.reshape(2, 16, 24), expected[0], atol=1e-6, rtol=1e-6)


def test_a_map_that_hangs_over_an_odd_picture_s_edge_is_read_at_the_picture_s_own_places():
    centres = 2.0 * torch.arange(4.0) + 1.0
    places = torch.tensor([[1.0, 1.5], [2.5, 4.0], [6.5, 0.5]])
    across = read(centres.expand(1, 1, 3, 4), places, (7, 5), extent=(3.5, 2.5))[0, :, 0]
    torch.testing.assert_close(across, places[:, 0])


def test_tokens_at_the_rim_of_a_turned_region_turn_with_it():
    turn = torch.tensor([[0.5, -(0.75**0.5)], [0.75**0.5, 0.5]], dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(3.0) + 2.75, torch.arange(2.0) + 3.25, indexing="ij")
    target = torch.stack([x, y], dim=-1).reshape(-1, 2).double()
    source = (target - 4.0) @ turn.T + 4.0
    centres, sources, mass = by_tokens(target, source, (8, 8))
    torch.testing.assert_close(sources, (centres - 4.0) @ turn.T + 4.0)
    assert mass.sum().item() == pytest.approx(len(target)) and (mass > 0).all()


def test_a_single_place_carries_its_tokens_by_its_own_shift():
    target, shift = torch.tensor([[3.25, 4.0]]), torch.tensor([[1.5, -2.0]])
    centres, sources, _ = by_tokens(target, target + shift, (8, 8))
    torch.testing.assert_close(sources, centres + shift.double())


def test_tokens_stand_for_the_places_read_from_them():
    target = torch.tensor([[1.0, 0.5], [1.5, 0.5], [1.75, 1.0]])
    centres, _, mass = by_tokens(target, target, (4, 3))
    expected = {(0.5, 0.5): 0.5, (1.5, 0.5): 0.5 + 1 + 0.375, (2.5, 0.5): 0.125, (1.5, 1.5): 0.375, (2.5, 1.5): 0.125}
    assert dict(zip(map(tuple, centres.tolist()), mass.tolist(), strict=True)) == expected


@pytest.mark.parametrize("tile", [1, 7, 64, 1000])
def test_tiles_read_what_one_matrix_reads(tile):
    feature, places, mass = maps(2, 3, 6, 8, dtype=torch.float64), everywhere(24, 16) + 0.3, torch.rand(384) + 0.1
    whole, tiled = (read(feature, places, (24, 16), mass=mass, tile=t) for t in (384, tile))
    torch.testing.assert_close(tiled, whole)


def test_a_cell_that_nothing_is_read_from_is_not_touched():
    feature = maps(1, 3, 4, 5)
    feature[0, :, 2, 3] = float("nan")
    assert read(feature, everywhere(5, 4)[:13], (5, 4)).isfinite().all()


def apart(own, wanted, places, sources, tile, dtype=torch.float64):
    reader, carry = (make_reader(at.to(dtype), (24, 16), (8, 6), own.device, tile=tile) for at in (places, sources))
    return distance(rows_of(own), reader, rows_of(wanted), carry)


@pytest.mark.parametrize("tile", [5, 64, 1000])
def test_the_distance_and_its_gradient_are_those_of_everything_read_at_once(tile):
    own, wanted, places = maps(2, 3, 6, 8, dtype=torch.float64).requires_grad_(), maps(2, 3, 6, 8, seed=1), everywhere(24, 16)
    sources = places + torch.tensor([1.3, -0.8])
    plain = (read(own, places, (24, 16)) - read(wanted.double(), sources, (24, 16))).abs().sum(dim=(1, 2))
    (expected,) = torch.autograd.grad(plain[0] + 3 * plain[1], own)
    found = apart(own, wanted, places, sources, tile)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-5)
    (slope,) = torch.autograd.grad(found[0] + 3 * found[1], own)
    torch.testing.assert_close(slope, expected, atol=1e-5, rtol=1e-5)


def test_large_regions_take_little_beside_the_map_they_are_read_from():
    # As in a drag of 1024 px: tokens of 16 px, read at cells of 8 px.
    own, wanted, places = maps(1, 256, 64, 64).requires_grad_(), maps(1, 256, 64, 64, seed=1), everywhere(128, 128)

    def work(tile):
        readers = [make_reader(at, (128, 128), (64, 64), own.device, tile=tile) for at in (places, places + 5.0)]
        torch.autograd.grad(distance(rows_of(own), readers[0], rows_of(wanted), readers[1]).sum(), own)

    tiled, whole = (peak_memory(partial(work, tile), own.device) for tile in (256, len(places)))
    taken = own.nbytes
    assert tiled < 12 * taken < 60 * taken < whole
