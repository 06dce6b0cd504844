"""Points with a picture take along what they belong to: all of it, and no ground."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dragfield.core.field import DragField
from dragfield.core.field.carried import blended
from dragfield.core.field.joined import travelled
from dragfield.core.field.selection import select
from dragfield.core.instruction.operations import Drag, PointOperation
from dragfield.core.picture.preview import preview

SIZE = (160, 120)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A figure of two colours (shirt and trousers) on a grainy ground, and where it is."""
    rng = np.random.default_rng(3)
    picture = np.clip(np.array([0.45, 0.5, 0.35]) + 0.03 * rng.standard_normal((120, 160, 1)), 0, 1).repeat(1, axis=2)
    figure = np.zeros((120, 160), bool)
    figure[40:80, 50:70] = True
    picture[40:60, 50:70] = (0.9, 0.9, 0.95)
    picture[60:80, 50:70] = (0.1, 0.1, 0.3)
    return (picture * 255).astype(np.uint8), figure


def field_of(*pairs: PointOperation, **options) -> DragField:
    return DragField.from_drag(Drag(SIZE, points=pairs, editable=options.pop("editable", None)), picture=scene()[0], **options)


def test_a_selection_holds_the_whole_object_also_what_looks_like_no_seed() -> None:
    picture, figure = scene()
    soft = select(picture, [(60.0, 50.0)])
    chosen = np.kron(soft > 0.5, np.ones((1, 1), bool))
    rows, columns = (np.arange(n) * m // n for n, m in zip(soft.shape, figure.shape, strict=True))
    truth = figure[rows][:, columns]
    assert (chosen & truth).sum() / (chosen | truth).sum() > 0.75
    assert soft.dtype == np.float32 and 0 <= soft.min() <= soft.max() <= 1


@pytest.mark.parametrize(("seeds", "picture"), [([], np.zeros((8, 8, 3))), ([(1.0, 1.0)], np.zeros((8, 8)))])
def test_a_selection_needs_a_seed_and_a_picture(seeds, picture) -> None:
    with pytest.raises(ValueError, match="give"):
        select(picture, seeds)


def test_one_handle_takes_the_whole_object_and_leaves_the_ground() -> None:
    field = field_of(PointOperation((60.5, 50.5), (90.5, 50.5)))
    at = torch.tensor([[60.5, 50.5], [60.5, 75.0], [52.0, 42.0], [20.0, 100.0], [140.0, 20.0]], dtype=torch.float64)
    went, _ = field.points.push(1.0, SIZE, at)
    assert torch.allclose(went[:3, 0], torch.tensor(30.0).double(), atol=0.5) and float(went[3:].abs().max()) == 0.0
    source = field.backward()
    assert torch.allclose(source[50, 90], torch.tensor([60.5, 50.5]), atol=0.5)
    assert torch.allclose(source[75, 90], torch.tensor([60.5, 75.5]), atol=0.5)


def test_nothing_has_happened_at_the_beginning_and_pixels_far_away_are_kept_bit_for_bit() -> None:
    field = field_of(PointOperation((60.5, 50.5), (90.5, 50.5)))
    picture = scene()[0]
    assert np.array_equal(preview(picture, field, progress=0.0), picture)
    warped = preview(picture, field)
    assert np.array_equal(warped[100:], picture[100:]) and np.array_equal(warped[:, :20], picture[:, :20])


def test_each_handle_arrives_and_a_pair_that_stays_holds_its_place() -> None:
    field = field_of(PointOperation((60.5, 45.5), (70.5, 45.5)), PointOperation((60.5, 75.5), (60.5, 75.5)))
    at = torch.tensor([[60.5, 45.5], [60.5, 75.5]], dtype=torch.float64)
    went, _ = field.points.push(1.0, SIZE, at)
    assert torch.allclose(went, torch.tensor([[10.0, 0.0], [0.0, 0.0]]).double(), atol=0.2)


def test_what_the_user_selected_goes_and_nothing_else() -> None:
    mine = np.zeros(SIZE[::-1], bool)
    mine[40:60, 50:70] = True
    field = field_of(PointOperation((60.5, 50.5), (90.5, 50.5)), selected=mine)
    went, _ = field.points.push(1.0, SIZE, torch.tensor([[55.0, 45.0], [60.5, 70.5]], dtype=torch.float64))
    assert float(went[0, 0]) == pytest.approx(30.0) and float(went[1].abs().max()) == 0.0
    assert bool(field.vacated()[50, 55])


def test_nothing_outside_of_the_editable_area_changes_and_nothing_is_torn_off_at_its_border() -> None:
    editable = np.zeros(SIZE[::-1], bool)
    editable[30:90, 40:120] = True
    field = field_of(PointOperation((60.5, 55.5), (80.5, 55.5)), editable=editable)
    still = DragField.from_drag(Drag(SIZE)).backward()
    moved = (field.backward() - still).abs().amax(dim=-1)
    assert float(moved[~torch.from_numpy(editable)].max()) == 0.0 and float(moved.max()) > 10
    assert float(moved[30, 45:115].max()) < 12.0


def test_two_objects_go_their_own_ways() -> None:
    picture, _ = scene()
    picture[40:80, 110:130] = (200, 40, 40)
    pairs = (PointOperation((60.5, 55.5), (50.5, 55.5)), PointOperation((120.5, 60.5), (140.5, 60.5)))
    field = DragField.from_drag(Drag(SIZE, points=pairs), picture=picture)
    went, _ = field.points.push(1.0, SIZE, torch.tensor([[60.5, 72.5], [120.5, 45.5]], dtype=torch.float64))
    assert float(went[0, 0]) < -7 and float(went[1, 0]) > 15


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the picture is 8x8 but the drag is for 160x120"):
        DragField.from_drag(Drag(SIZE, points=(PointOperation((1.0, 1.0), (5.0, 5.0)),)), picture=np.zeros((8, 8, 3)))


def test_a_named_formula_stays_what_it_is() -> None:
    drag = Drag(SIZE, points=(PointOperation((60.5, 50.5), (90.5, 50.5)),))
    named = DragField.from_drag(drag, picture=scene()[0], point_mode="idw").backward()
    assert torch.equal(named, DragField.from_drag(drag, point_mode="idw").backward())


def test_displacements_blend_by_inverse_squared_distance() -> None:
    origins, displacements = torch.tensor([[0.0, 0.0], [3.0, 0.0]]).double(), torch.tensor([[10.0, 0.0], [0.0, 10.0]]).double()
    mixed = blended(torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double(), origins, displacements)
    assert torch.allclose(mixed[0], torch.tensor([8.0, 2.0]).double(), atol=1e-2)
    assert torch.allclose(mixed[1], torch.tensor([10.0, 0.0]).double(), atol=1e-2)


def test_a_way_around_a_wall_is_as_long_as_it_is() -> None:
    start, price = np.zeros((1, 5), bool), np.ones((1, 5))
    start[0, 0], price[0, 2] = True, 3.0
    assert travelled(start, price, 10.0).tolist() == [[0.0, 1.0, 3.0, 5.0, 6.0]]
    assert np.isinf(travelled(start, price, 4.0)[0, 3:]).all()


def test_a_selection_without_a_handle_is_refused_and_handles_outside_of_the_editable_area_move_it_as_without_a_picture() -> None:
    elsewhere = np.zeros(SIZE[::-1], bool)
    elsewhere[100:110, 100:110] = True
    pair = PointOperation((60.5, 50.5), (90.5, 50.5))
    with pytest.raises(ValueError, match="holds no handle"):
        field_of(pair, selected=elsewhere)
    drag = Drag(SIZE, points=(pair,), editable=elsewhere)
    assert torch.equal(DragField.from_drag(drag, picture=scene()[0]).backward(), DragField.from_drag(drag).backward())
