"""Points with a picture take along what they belong to: all of it, and no ground."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dragfield.core.field import DragField
from dragfield.core.field.carried import blended
from dragfield.core.field.joined import travelled
from dragfield.core.field.masks import adaptive_gradient_mask
from dragfield.core.field.partway import partway
from dragfield.core.field.selection import select
from dragfield.core.instruction import DragInstruction
from dragfield.core.instruction.operations import Drag, PointOperation
from dragfield.core.picture.preview import preview
from dragfield.core.picture.window import Window, crop_drag

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


def test_what_a_drag_has_selected_goes_without_a_picture_and_the_selection_of_a_node_counts_in_its_place() -> None:
    shirt, figure = np.zeros(SIZE[::-1], bool), scene()[1]
    shirt[40:60, 50:70] = True
    drag = Drag(SIZE, points=(PointOperation((60.5, 50.5), (90.5, 50.5), shirt),))
    own, other = DragField.from_drag(drag), DragField.from_drag(drag, selected=figure)
    assert torch.equal(own.moved(), torch.from_numpy(np.roll(shirt, 30, axis=1)))
    assert torch.equal(own.vacated(), torch.from_numpy(shirt & ~np.roll(shirt, 30, axis=1)))
    assert torch.equal(own.backward(), DragField.from_drag(drag, picture=scene()[0]).backward())
    assert torch.equal(other.moved(), torch.from_numpy(np.roll(figure, 30, axis=1)))


def test_points_with_and_without_a_selection_go_beside_each_other() -> None:
    picture, _ = scene()
    picture[40:80, 110:130] = (200, 40, 40)
    mine = np.zeros(SIZE[::-1], bool)
    mine[40:60, 50:70] = True
    pairs = (PointOperation((60.5, 50.5), (50.5, 50.5), mine), PointOperation((120.5, 60.5), (140.5, 60.5)))
    at = torch.tensor([[60.5, 45.5], [60.5, 70.5], [120.5, 70.5]], dtype=torch.float64)
    for seen in (picture, None):
        went, _ = DragField.from_drag(Drag(SIZE, points=pairs), picture=seen).points.push(1.0, SIZE, at)
        assert float(went[0, 0]) == pytest.approx(-10) and float(went[1].abs().max()) == 0.0 and float(went[2, 0]) > 8


def limb(degrees: float, progress: float = 1.0) -> DragField:
    """A limb from (30, 52) to (130, 68), held at its shoulder and its elbow, the hand turned about the elbow."""
    mask, turn = np.zeros(SIZE[::-1], bool), math.radians(degrees)
    mask[52:68, 30:130] = True
    ends = [((35.5, 55.5),) * 2, ((35.5, 64.5),) * 2, ((80.5, 60.0),) * 2,
            ((125.5, 60.0), (80.5 + 45 * math.cos(turn), 60 + 45 * math.sin(turn)))]  # fmt: skip
    return DragField.from_drag(Drag(SIZE, points=tuple(PointOperation(*pair, mask) for pair in ends)))


@pytest.mark.parametrize("degrees", [15, 40, 65])
def test_a_limb_bends_at_its_pins_which_stay_and_its_lengths_are_kept(degrees: float) -> None:
    field = limb(degrees)
    handles = torch.tensor([p.handle for p in field.points.points], dtype=torch.float64)
    targets = torch.tensor([p.target for p in field.points.points], dtype=torch.float64)
    assert torch.allclose(handles + field.points.push(1.0, SIZE, handles)[0], targets, atol=0.02)

    def gone(x: float, y: float) -> torch.Tensor:
        at = torch.tensor([x, y], dtype=torch.float64)
        return at + field.points.push(1.0, SIZE, at)[0]

    axis = torch.stack([gone(x, 60.0) for x in range(35, 127)])
    assert float((axis[1:] - axis[:-1]).norm(dim=1).sum()) == pytest.approx(91, rel=0.04)
    for x in (45.0, 60.0, 100.0, 115.0):
        assert float((gone(x, 54.0) - gone(x, 66.0)).norm()) == pytest.approx(12, rel=0.03)
    # What is shown where it lands comes from there.
    landed, source = field.moved(), field.backward().double()
    centres = torch.stack(torch.meshgrid(torch.arange(160) + 0.5, torch.arange(120) + 0.5, indexing="xy"), -1).double()
    back = source + field.points.push(1.0, SIZE, source)[0]
    inner = landed & (source[..., 0] > 31) & (source[..., 0] < 129) & (source[..., 1] > 53) & (source[..., 1] < 67)
    assert float((back - centres).norm(dim=-1)[inner].max()) < 0.05
    assert int(landed.sum()) == pytest.approx(1600, rel=0.08)


def test_two_pairs_turn_what_is_selected_and_keep_its_shape() -> None:
    mask = np.zeros(SIZE[::-1], bool)
    mask[50:70, 60:100] = True
    field = DragField.from_drag(Drag(SIZE, points=(PointOperation((70, 60), (80, 50), mask), PointOperation((90, 60), (80, 70), mask))))
    at = torch.tensor([[60.5, 50.5], [99.5, 69.5], [80.0, 60.0]], dtype=torch.float64)
    went = at + field.points.push(1.0, SIZE, at)[0]
    assert torch.allclose(went, torch.tensor([[89.5, 40.5], [70.5, 79.5], [80.0, 60.0]]).double(), atol=1e-3)


def test_each_piece_of_a_selection_goes_with_its_handles_and_one_without_any_with_all() -> None:
    left, right = np.zeros(SIZE[::-1], bool), np.zeros(SIZE[::-1], bool)
    left[20:40, 20:40], right[60:80, 100:120] = True, True
    both = left | right
    go, stay, down = ((30.5, 30.5), (40.5, 30.5)), ((110.5, 70.5),) * 2, ((110.5, 70.5), (110.5, 80.5))

    def moved(*pairs) -> torch.Tensor:
        return DragField.from_drag(Drag(SIZE, points=tuple(PointOperation(*pair, both) for pair in pairs))).moved()

    east, south = (torch.from_numpy(np.roll(part, 10, axis)) for part, axis in ((left, 1), (right, 0)))
    assert torch.equal(moved(go, down), east | south)
    assert torch.equal(moved(go, stay), east)
    assert torch.equal(moved(go), torch.from_numpy(np.roll(both, 10, 1)))


def test_a_part_of_the_picture_and_a_part_of_the_way_carry_what_is_selected() -> None:
    mask = np.zeros((120, 160), bool)
    mask[40:60, 50:70] = True
    drag = Drag(SIZE, points=(PointOperation((60.0, 50.0), (80.0, 50.0), mask), PointOperation((60.0, 55.0), (80.0, 55.0), mask)))
    cut = crop_drag(drag, Window(40, 20, 80, 80, (160, 160)))
    assert cut.points[0].selected is cut.points[1].selected
    assert np.array_equal(cut.points[0].selected, mask[20:100, 40:120].repeat(2, 0).repeat(2, 1))
    half = partway(drag, 0.5)
    assert half.points[0].selected is mask and half.points[0].target == (70.0, 50.0)
    again = DragInstruction.from_drag(drag)
    assert again.version == 2 and len(again.operations) == 1
    assert np.array_equal(again.rasterise(*SIZE).points[0].selected, mask)
    rectangle = adaptive_gradient_mask(drag)
    assert rectangle[mask].all() and rectangle[np.roll(mask, 20, 1)].all()


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
