"""Reading and writing at positions: exact where the numbers allow it, and the same as torch's own elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import grid_sample

from dragfield.core.field.geometry import Motion, cell_centres, transform
from dragfield.core.field.warp import sample, splat, warp


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 11, 14, generator=torch.Generator().manual_seed(0))


def shifted(dx: float, dy: float, size: tuple[int, int] = (14, 11)) -> torch.Tensor:
    return cell_centres((0, 0, *size)) - torch.tensor([dx, dy], dtype=torch.float64)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_warp_by_a_zero_field_is_the_identity(image, mode, padding) -> None:
    assert torch.equal(warp(image, shifted(0, 0), mode=mode, padding=padding), image)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_a_shift_by_whole_cells_moves_numbers_unchanged(image, mode) -> None:
    moved = warp(image, shifted(3, -2), mode=mode, padding="zeros")
    assert torch.equal(moved[..., :-2, 3:], image[..., 2:, :-3])
    assert not moved[..., :3].any() and not moved[..., -2:, :].any()


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_it_agrees_with_grid_sample(image, mode, padding) -> None:
    motion = Motion((14, 11), shift=(2.3, -1.6), angle=27.0, anchor=(4.0, 6.0))
    backward = transform(motion.backward(1.0, (14, 11)), cell_centres((0, 0, 14, 11)))
    grid = (backward / torch.tensor([14, 11]) * 2 - 1).float().expand(2, -1, -1, -1)
    theirs = grid_sample(image, grid, mode=mode, padding_mode=padding, align_corners=False)
    assert torch.allclose(warp(image, backward, mode=mode, padding=padding), theirs, atol=1e-5)


def test_gradients_equal_finite_differences() -> None:
    picture = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    positions = torch.tensor([[1.3, 2.8], [-0.4, 0.2], [4.9, 3.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda i, p: sample(i, p, padding="zeros"), (picture, positions))


def test_positions_may_have_any_shape(image) -> None:
    points = torch.tensor([[0.5, 0.5], [13.5, 10.5], [7.0, 3.5]])
    read = sample(image, points)
    assert read.shape == (2, 3, 3)
    assert torch.equal(read[..., 0], image[..., 0, 0]) and torch.equal(read[..., 1], image[..., -1, -1])
    assert torch.allclose(read[..., 2], image[..., 3, 6:8].mean(-1))


def test_half_precision_stays_half_precision(image) -> None:
    assert warp(image.half(), shifted(0.5, 0)).dtype == torch.float16


def test_splat_by_the_identity_changes_nothing(image) -> None:
    for collisions in ("first", "mean"):
        out, filled = splat(image, shifted(0, 0), collisions=collisions)
        assert torch.equal(out, image) and filled.all()


def test_splat_forward_and_warp_backward_agree_on_whole_cells(image) -> None:
    out, filled = splat(image, shifted(-2, 1))
    pulled = warp(image, shifted(2, -1), padding="zeros")
    assert torch.equal(out, pulled)
    assert torch.equal(filled, warp(torch.ones_like(image), shifted(2, -1), padding="zeros")[0, 0] > 0)


def test_of_sources_that_meet_the_first_in_reading_order_stays(image) -> None:
    everything_to_one = torch.full((11, 14, 2), 5.5)
    out, filled = splat(image, everything_to_one)
    assert int(filled.sum()) == 1 and torch.equal(out[..., 5, 5], image[..., 0, 0])
    later = torch.zeros(11, 14, dtype=torch.bool)
    later[3, 4] = later[7, 1] = True
    out, _ = splat(image, everything_to_one, source=later)
    assert torch.equal(out[..., 5, 5], image[..., 3, 4])


def test_the_mean_of_what_arrives_is_normalised() -> None:
    constant = torch.full((1, 1, 6, 6), 0.75)
    forward = cell_centres((0, 0, 6, 6)) * 0.5 + 1.3
    out, filled = splat(constant, forward, collisions="mean")
    assert torch.allclose(out[0, 0][filled], torch.tensor(0.75)) and not out[0, 0][~filled].any()
    assert 0 < int(filled.sum()) < 36


def test_what_leaves_the_grid_is_dropped(image) -> None:
    out, filled = splat(image, shifted(-100, 0))
    assert not filled.any() and not out.any()


@pytest.mark.parametrize(
    "call",
    [
        lambda i: sample(i[0], torch.zeros(3, 2)),
        lambda i: sample(i, torch.zeros(3)),
        lambda i: sample(i.to(torch.uint8), torch.zeros(3, 2)),
        lambda i: sample(i, torch.zeros(3, 2), mode="bicubic"),
        lambda i: warp(i, torch.zeros(3, 2)),
        lambda i: splat(i, torch.zeros(4, 4, 2)),
        lambda i: splat(i, torch.zeros(11, 14, 2), collisions="last"),
    ],
)
def test_wrong_shapes_and_words_are_refused(image, call) -> None:
    with pytest.raises(ValueError):
        call(image)
