import pytest
import torch
import torch.nn.functional as F

from dragfield.core.optimise.supervision import RegionLoss, cell_features, cut_shape, feature_rows


class Moves:
    """A field of one rectangle per operation, shifted by progress·(dx, dy); all in fractions of the picture."""

    def __init__(self, *operations, weights=None):
        self.operations = operations
        self._weights = weights or [1 / len(operations)] * len(operations)

    def weights(self):
        return self._weights

    def samples(self, op, progress, size):
        (x0, y0, x1, y1), (dx, dy) = self.operations[op]
        y, x = torch.meshgrid(torch.arange(size[1]) + 0.5, torch.arange(size[0]) + 0.5, indexing="ij")
        shift = progress * torch.tensor([dx * size[0], dy * size[1]])
        source = torch.stack([x, y], dim=-1) - shift
        inside = (source[..., 0] > x0 * size[0]) & (source[..., 0] < x1 * size[0])
        inside &= (source[..., 1] > y0 * size[1]) & (source[..., 1] < y1 * size[1])
        return torch.stack([x, y], dim=-1)[inside], source[inside]


def maps(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_shuffled_rows_are_the_cells_of_pixel_shuffle():
    feature = maps(1, 8, 3, 4)
    rows, size = feature_rows(feature, "shuffled")
    assert size == (8, 6)
    assert torch.equal(rows[0].T.reshape(2, 6, 8), F.pixel_shuffle(feature, 2)[0])


@pytest.mark.parametrize("layout", ["tokens", "shuffled"])
def test_masked_loss_is_the_published_full_map_mean(layout):
    # Shift and region lie on whole cells of the cut grid, where sampling the map once or twice is the same.
    field = Moves(((0.25, 0.25, 0.5, 0.75), (0.25, -0.125)), weights=[0.7])
    own, reference = maps(1, 8, 4, 4, seed=1), maps(1, 8, 4, 4, seed=2)
    cut = (32, 32)

    def full(feature):
        return F.interpolate(F.pixel_shuffle(feature, 2) if layout == "shuffled" else feature, size=cut, mode="bilinear")

    moved = torch.roll(full(reference), shifts=(-4, 8), dims=(2, 3))
    mask = torch.zeros(32, 32)
    mask[4:20, 16:24] = 1
    expected = 0.7 * (mask * (full(own) - moved).abs()).mean()
    loss = RegionLoss(field, [reference], cut, layout)([own], 1.0)
    torch.testing.assert_close(loss[0], expected)


def test_several_taps_are_one_map_of_all_their_channels():
    field = Moves(((0.25, 0.25, 0.75, 0.75), (0.1, 0.0)))
    own, reference = maps(1, 8, 4, 4, seed=1), maps(1, 8, 4, 4, seed=2)
    together = RegionLoss(field, [reference], (8, 8))([own], 1.0)
    apart = RegionLoss(field, list(reference.split(4, dim=1)), (8, 8))(own.split(4, dim=1), 1.0)
    torch.testing.assert_close(together, apart)


def test_operations_count_by_their_weights():
    a, b = ((0.0, 0.0, 0.5, 0.5), (0.25, 0.0)), ((0.5, 0.5, 1.0, 1.0), (0.0, -0.25))
    own, reference = maps(1, 8, 4, 4, seed=1), maps(1, 8, 4, 4, seed=2)
    loss_a, loss_b = (RegionLoss(Moves(op), [reference], (8, 8))([own], 1.0) for op in (a, b))
    both = RegionLoss(Moves(a, b, weights=[0.8, 0.2]), [reference], (8, 8))([own], 1.0)
    torch.testing.assert_close(both, 0.8 * loss_a + 0.2 * loss_b)


def test_loss_is_per_sample():
    field = Moves(((0.25, 0.25, 0.75, 0.75), (0.1, 0.0)))
    own, reference = maps(2, 8, 4, 4, seed=1), maps(2, 8, 4, 4, seed=2)
    both = RegionLoss(field, [reference], (8, 8))([own], 0.5)
    assert both.shape == (2,)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], RegionLoss(field, [reference[i : i + 1]], (8, 8))([own[i : i + 1]], 0.5))


def test_features_that_followed_the_field_cost_nothing():
    field = Moves(((0.0, 0.0, 0.5, 1.0), (0.5, 0.0)))
    reference = maps(1, 8, 4, 4)
    loss = RegionLoss(field, [reference], (4, 4))
    assert loss([torch.roll(reference, 2, dims=3)], 1.0).item() == 0.0
    assert loss([reference], 1.0).item() == loss.undone(1.0).item() > 0.0
    assert loss([reference], 0.0).item() == loss.undone(0.0).item() == 0.0


@pytest.mark.parametrize("layout", ["tokens", "shuffled"])
def test_loss_gradient_equals_finite_differences(layout):
    field = Moves(((0.2, 0.2, 0.6, 0.7), (0.15, 0.1)), ((0.6, 0.6, 0.9, 0.9), (-0.1, 0.0)))
    reference = [maps(1, 4, 3, 4, seed=i, dtype=torch.float64) for i in (1, 2)]
    loss = RegionLoss(field, reference, (9, 7), layout)
    own = [maps(1, 4, 3, 4, seed=i, dtype=torch.float64).requires_grad_() for i in (3, 4)]
    assert torch.autograd.gradcheck(lambda *features: loss(features, 0.7), own, eps=1e-7, atol=1e-6, rtol=1e-6)


def test_reference_features_are_constants():
    reference = maps(1, 8, 4, 4).requires_grad_()
    loss = RegionLoss(Moves(((0.2, 0.2, 0.6, 0.7), (0.15, 0.1))), [reference], (8, 8))
    assert not loss([maps(1, 8, 4, 4, seed=1)], 1.0).requires_grad


def test_half_precision_features_are_compared_in_single_precision():
    field = Moves(((0.2, 0.2, 0.6, 0.7), (0.15, 0.1)))
    own, reference = maps(1, 8, 4, 4, seed=1).bfloat16(), maps(1, 8, 4, 4, seed=2).bfloat16()
    loss = RegionLoss(field, [reference], (8, 8))([own], 1.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, RegionLoss(field, [reference.float()], (8, 8))([own.float()], 1.0))


def tokens_of(z):
    """One map of 8 features per token of 2x2 cells, not linear in where in the token something lies."""
    mix = maps(8, 4 * z.shape[1], seed=9, dtype=z.dtype)
    return torch.einsum("dc,bchw->bdhw", mix, F.pixel_unshuffle(z, 2)).tanh()


def at_cells(z):
    whole = torch.zeros(z.shape[0], 8, *z.shape[-2:], dtype=z.dtype)
    for dy in (0, 1):
        for dx in (0, 1):
            whole[..., dy::2, dx::2] = tokens_of(F.pad(z, (0, dx, 0, dy), mode="replicate")[..., dy:, dx:])
    return whole


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (3, -1), (4, 2)])
def test_content_shifted_by_parts_of_a_token_costs_nothing_against_finer_features(dx, dy):
    z = maps(1, 3, 16, 16)
    field = Moves(((0.3, 0.3, 0.6, 0.65), (dx / 16, dy / 16)))
    shifted = tokens_of(torch.roll(z, (dy, dx), dims=(2, 3)))
    finer = RegionLoss(field, [tokens_of(z)], (16, 16), finer=[at_cells(z)])
    assert finer([shifted], 1.0).item() == pytest.approx(0.0, abs=1e-6)
    if dx % 2 or dy % 2:
        # Read between tokens, the very same content hardly seems to have moved.
        published = RegionLoss(field, [tokens_of(z)], (16, 16))
        assert published([shifted], 1.0) > 0.5 * published.undone(1.0)


def padded(z):
    """z with whole tokens: behind an odd side its own first cells, as backbones pad."""
    return F.pad(z, (0, z.shape[-1] % 2, 0, z.shape[-2] % 2), mode="circular")


@pytest.mark.parametrize("layout", ["tokens", "shuffled"])
def test_an_extent_of_the_whole_map_changes_no_bit(layout):
    field, reference, own = Moves(((0.2, 0.2, 0.6, 0.7), (0.15, 0.1))), maps(1, 8, 4, 6), maps(1, 8, 4, 6, seed=3)
    plain, cropped = (RegionLoss(field, [reference], (12, 8), layout, extent=extent)([own], 1.0) for extent in (None, (6.0, 4.0)))
    assert torch.equal(plain, cropped)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (3, -1), (4, 2)])
def test_content_of_an_odd_latent_shifted_by_cells_costs_nothing_against_finer_features(dx, dy):
    z = maps(1, 3, 15, 17)

    def features(latent):
        return [tokens_of(padded(latent))]

    finer = cell_features(features, z, features(z), 2)
    assert finer[0].shape[-2:] == (15, 17)
    field = Moves(((0.3, 0.3, 0.6, 0.65), (dx / 17, dy / 15)))
    shifted = features(torch.roll(z, (dy, dx), dims=(2, 3)))
    loss = RegionLoss(field, features(z), (17, 15), finer=finer, extent=(8.5, 7.5))
    assert loss(shifted, 1.0).item() == pytest.approx(0.0, abs=1e-6)
    assert loss.undone(0.0).item() == 0.0 < loss.undone(1.0).item()


def test_nothing_moved_costs_exactly_nothing_against_finer_features():
    z = maps(1, 3, 16, 16)
    loss = RegionLoss(Moves(((0.2, 0.3, 0.6, 0.7), (0.2, 0.1))), [tokens_of(z)], (16, 16), finer=[at_cells(z)])
    assert loss.undone(0.0).item() == 0.0 < loss.undone(1.0).item()


def test_gradient_against_finer_features_equals_finite_differences():
    z = maps(1, 3, 8, 8, dtype=torch.float64)
    field = Moves(((0.2, 0.2, 0.6, 0.7), (0.15, 0.1)), ((0.6, 0.6, 0.9, 0.9), (-0.1, 0.0)))
    loss = RegionLoss(field, [tokens_of(z)], (8, 8), finer=[at_cells(z)])
    own = tokens_of(maps(1, 3, 8, 8, seed=3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda feature: loss([feature], 0.7), [own], eps=1e-7, atol=1e-6, rtol=1e-6)


def test_shuffled_rows_have_no_finer_features():
    with pytest.raises(ValueError, match="layout = 'shuffled' cannot read them, use 'tokens'"):
        RegionLoss(Moves(((0.2, 0.2, 0.6, 0.7), (0.1, 0.1))), [maps(1, 8, 4, 4)], (8, 8), "shuffled", [maps(1, 8, 8, 8)])


@pytest.mark.parametrize(
    ("picture", "cut"),
    [((512, 512), (256, 256)), ((768, 768), (256, 256)), ((1024, 1024), (256, 256)), ((528, 592), (264, 296)),
     ((432, 432), (216, 216)), ((496, 448), (248, 224)), ((600, 600), (300, 300)), ((1000, 1000), (333, 333))],
)  # fmt: skip
def test_cut_shapes_are_the_published_ones(picture, cut):
    assert cut_shape(picture) == cut
