"""Handle points spread their displacement: exactly at the points, the published way in between."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dragfield.core.field import DragField
from dragfield.core.field.geometry import cell_centres
from dragfield.core.field.points import PointMoves
from dragfield.core.field.warp import splat
from dragfield.core.instruction.operations import Drag, PointOperation

SIZE = (40, 32)
PAIRS = (PointOperation((12.25, 10.5), (19.0, 14.0)), PointOperation((30.5, 22.75), (26.0, 27.5)))
MODES = ("idw", "nearest", "latent_warp")


def field_of(*points: PointOperation, editable: np.ndarray | None = None, **options) -> DragField:
    return DragField.from_drag(Drag(SIZE, points=points, editable=editable), **options)


def area(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


def latent_warp_by_hand(size: tuple[int, int], handles, displacements) -> np.ndarray:
    """v [h, w, 2] of the latent warp, cell by cell in index coordinates, for the whole grid as mask."""
    width, height = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    radius = math.hypot(*centre)
    out = np.zeros((height, width, 2))
    for y in range(height):
        for x in range(width):
            cell, total, moved = np.array([x, y], float), 0.0, np.zeros(2)
            for handle, displacement in zip(handles, displacements, strict=True):
                ac = cell - handle
                distance = np.linalg.norm(ac)
                g = ac / distance @ (handle - centre)
                ap = math.sqrt(radius**2 - np.sum((handle - centre) ** 2) + g**2) - g
                weight = 1 / (distance + 1e-4)
                total, moved = total + weight, moved + weight * (1 - distance / ap) * displacement
            out[y, x] = moved / total
    return out


@pytest.mark.parametrize("mode", MODES)
def test_backward_takes_each_target_to_its_handle(mode) -> None:
    moves = PointMoves(SIZE, PAIRS, 6.0, mode)
    for progress in (0.3, 1.0):
        for pair in PAIRS:
            handle, target = torch.tensor(pair.handle).double(), torch.tensor(pair.target).double()
            at = handle + progress * (target - handle)
            pulled, nearest = moves.pull(progress, SIZE, at[None])
            assert torch.allclose(at + pulled[0], handle, atol=1e-2)
            assert PAIRS[int(nearest)] is pair


@pytest.mark.parametrize("mode", MODES)
def test_forward_takes_each_handle_to_its_target(mode) -> None:
    moves = PointMoves(SIZE, PAIRS, 6.0, mode)
    pushed, _ = moves.push(1.0, SIZE, torch.tensor([pair.handle for pair in PAIRS]).double())
    displacements = torch.tensor([p.target for p in PAIRS]).double() - torch.tensor([p.handle for p in PAIRS])
    assert torch.allclose(pushed, displacements, atol=1e-2)


@pytest.mark.parametrize("mode", ["idw", "nearest"])
def test_a_single_pair_shifts(mode) -> None:
    moves = PointMoves(SIZE, PAIRS[:1], 6.0, mode)
    pulled, _ = moves.pull(1.0, SIZE, cell_centres((0, 0, *SIZE)))
    assert torch.allclose(pulled, torch.tensor([-6.75, -3.5]).double().expand_as(pulled))


def test_winner_takes_all_follows_the_nearest_target_alone() -> None:
    moves = PointMoves(SIZE, PAIRS, 6.0, "nearest")
    centres = cell_centres((0, 0, *SIZE))
    pulled, nearest = moves.pull(1.0, SIZE, centres)
    targets = torch.tensor([p.target for p in PAIRS]).double()
    assert torch.equal(nearest, (centres[..., None, :] - targets).norm(dim=-1).argmin(dim=-1))
    displacements = torch.tensor([p.handle for p in PAIRS]).double() - targets
    assert torch.equal(pulled, displacements[nearest])


def test_inverse_distance_weighs_by_inverse_distance() -> None:
    moves = PointMoves(SIZE, PAIRS, 6.0, "idw")
    at = np.array([22.0, 9.0])
    weights = [1 / math.dist(at, p.handle) for p in PAIRS]
    expected = sum(w * np.subtract(p.target, p.handle) for w, p in zip(weights, PAIRS, strict=True)) / sum(weights)
    pushed, _ = moves.push(1.0, SIZE, torch.from_numpy(at)[None])
    assert pushed[0].tolist() == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[:1]])
def test_the_latent_warp_is_the_published_formula(pairs) -> None:
    size = (20, 16)
    handles = [np.array(p.handle) / 2 - 0.5 for p in pairs]
    displacements = [np.subtract(p.target, p.handle) / 2 * 0.15 for p in pairs]
    expected = latent_warp_by_hand(size, handles, displacements)
    # DirectDrag's ratio rho = 0.15 is a progress.
    pushed, _ = PointMoves(SIZE, pairs, 6.0, "latent_warp").push(0.15, size, cell_centres((0, 0, *size)))
    assert np.abs(pushed.numpy() - expected).max() < 1e-6


def test_the_latent_warp_splats_as_published() -> None:
    size = (20, 16)
    field = field_of(*PAIRS, point_mode="latent_warp")
    latent = torch.randn(1, 2, 16, 20)
    expected, taken = torch.zeros_like(latent), set()
    displacements = [np.subtract(p.target, p.handle) / 2 for p in PAIRS]
    moved = latent_warp_by_hand(size, [np.array(p.handle) / 2 - 0.5 for p in PAIRS], displacements)
    for row in range(16):
        for column in range(20):
            x, y = np.round(np.array([column, row]) + moved[row, column]).astype(int)
            if 0 <= x < 20 and 0 <= y < 16 and (x, y) not in taken:
                taken.add((x, y))
                expected[..., y, x] = latent[..., row, column]
    out, filled = splat(latent, field.forward(1.0, size)[0])
    assert torch.equal(out, expected) and int(filled.sum()) == len(taken)


def test_a_handle_on_a_cell_centre_is_no_hole() -> None:
    moves = PointMoves(SIZE, (PointOperation((10.5, 10.5), (15.5, 10.5)),), 6.0, "latent_warp")
    pushed, _ = moves.push(1.0, SIZE, cell_centres((0, 0, *SIZE)))
    assert pushed.isfinite().all()
    assert pushed[10, 10].tolist() == pytest.approx([5.0, 0.0])


def test_the_latent_warp_fades_to_nothing_on_the_circle() -> None:
    moves = PointMoves(SIZE, PAIRS[:1], 6.0, "latent_warp")
    corners = torch.tensor([[0.5, 0.5], [39.5, 0.5], [0.5, 31.5], [39.5, 31.5]]).double()
    pulled, _ = moves.pull(1.0, SIZE, corners)
    assert float(pulled.abs().max()) < 1e-9


def test_fading_vacates_nothing() -> None:
    field = field_of(*PAIRS, point_mode="nearest", point_fading=True)
    assert not field.vacated().any() and field.moved().any()


def test_without_an_area_points_carry_the_disc_around_them() -> None:
    field = field_of(PAIRS[0], point_radius=5.0, point_mode="idw")
    moved = field.moved()
    x, y = PAIRS[0].target
    centres = cell_centres((0, 0, *SIZE))
    distance = (centres - torch.tensor([x, y]).double()).norm(dim=-1)
    assert moved[distance < 4].all() and not moved[distance > 6].any()
    assert field.vacated().any()
    assert field_of(PAIRS[0]).points.radius == 4.0


@pytest.mark.parametrize("pairs", [PAIRS[:1], PAIRS], ids=["one", "several"])
def test_points_alone_bend_their_surroundings_and_tear_nothing_out(pairs) -> None:
    field = field_of(*pairs, point_radius=1.0)
    assert not field.vacated().any()
    for pair in pairs:
        x, y = pair.target
        torch.testing.assert_close(field.backward()[int(y), int(x)], torch.tensor(pair.handle).float(), atol=1.5, rtol=0)
    backward = field.backward()
    # Neighbours stay in their order, along rows and along columns: nothing folds over itself.
    assert (backward[:, 1:, 0] > backward[:, :-1, 0]).all() and (backward[1:, :, 1] > backward[:-1, :, 1]).all()


def test_points_alone_leave_what_is_far_away_where_it_is() -> None:
    size = (96, 72)
    field = DragField.from_drag(Drag(size, points=(PointOperation((20.5, 20.5), (24.5, 20.5)),)), point_radius=3.0)
    far = (cell_centres((0, 0, *size)) - torch.tensor([22.5, 20.5]).double()).norm(dim=-1) > 2 + 4 + 2 * 3 + 1
    assert field.kept()[far].all() and field.moved()[20, 24]


def test_the_editable_area_is_what_points_move_and_may_change() -> None:
    editable = area(6, 6, 30, 26)
    for mode in MODES:
        field = field_of(PAIRS[0], editable=editable, point_mode=mode)
        assert field.moved().any()
        assert not (field.moved() | field.vacated())[~torch.from_numpy(editable)].any()
    gone = field_of(PAIRS[0], editable=editable).vacated()
    assert gone[6:9].sum() > 50 and not gone[20:26, 20:30].any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_samples_of_a_point_surround_where_it_has_got_to(mode, progress) -> None:
    field = field_of(*PAIRS, point_mode=mode, point_radius=5.0)
    assert field.operations == ("point 1", "point 2")
    for op, pair in enumerate(PAIRS):
        target, source = field.samples(op, progress)
        at = torch.tensor(pair.handle) + progress * (torch.tensor(pair.target) - torch.tensor(pair.handle))
        assert float((target - at).norm(dim=1).max()) <= 5.0 and len(target) > 20
        centre = (target - at).norm(dim=1).argmin()
        assert math.dist(source[centre].tolist(), pair.handle) < 1.0
        pulled, _ = field.points.pull(progress, SIZE, target.double())
        assert torch.allclose(source, (target + pulled).float())


def test_a_point_keeps_a_cell_on_the_coarsest_grid() -> None:
    field = field_of(*PAIRS, point_mode="latent_warp", point_radius=1.0)
    for op in (0, 1):
        assert len(field.samples(op, 1.0, (5, 4))[0]) >= 1


def test_a_hundred_points_work() -> None:
    rng = np.random.default_rng(0)
    points = tuple(PointOperation(tuple(p), tuple(p + 3)) for p in rng.uniform(4, 24, (100, 2)))
    assert field_of(*points).moved().any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(point_mode="mesh"), "point_mode = 'mesh' is unknown"),
        (dict(point_radius=0.0), "reaches nothing"),
        (dict(point_radius=math.nan), "reaches nothing"),
    ],
)
def test_impossible_settings_are_refused(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        field_of(*PAIRS, **options)


def test_impossible_points_are_refused() -> None:
    with pytest.raises(ValueError, match="target of a point is .*inf"):
        field_of(PointOperation((3, 3), (math.inf, 3)))
    with pytest.raises(ValueError, match="smaller than one cell"):
        field_of(PAIRS[0], editable=area(3, 3, 4, 4)).moved(1.0, (5, 4))
