import pytest

from dragfield.core.model.taps import Tap, default_taps, last_tap, parse_tap, resolve_taps


def test_default_taps_of_flux_are_the_published_ones_in_order():
    assert [str(tap) for tap in default_taps(19)] == ["DOUBLE-17-0", "DOUBLE-17-2", "DOUBLE-18-0", "DOUBLE-18-2"]


def test_default_taps_of_a_model_with_one_block_are_in_that_block():
    assert [str(tap) for tap in default_taps(1)] == ["DOUBLE-0-0", "DOUBLE-0-2"]


def test_a_model_without_double_blocks_has_no_default_taps():
    with pytest.raises(ValueError, match="has none"):
        default_taps(0)


@pytest.mark.parametrize("kind", ["double", "single"])
@pytest.mark.parametrize("index", [0, 17, -1])
@pytest.mark.parametrize("point", ["attn_in", "mlp_in", "out"])
def test_every_tap_can_be_written_and_read_back(kind, index, point):
    tap = Tap(kind, index, point)
    assert parse_tap(str(tap)) == tap
    assert parse_tap(str(tap).lower()) == tap


def test_intermediate_is_the_stream_after_all_double_blocks():
    assert resolve_taps([parse_tap("INTERMEDIATE")], 19, 38) == (Tap("double", 18, "out"),)


@pytest.mark.parametrize("name", ["", "DOUBLE-17", "TRIPLE-1-0", "DOUBLE-1-3", "DOUBLE-x-0", "DOUBLE-1-0-0", "FINAL"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="is unknown"):
        parse_tap(name)


def test_unknown_kinds_and_points_are_refused():
    with pytest.raises(ValueError, match="'triple'"):
        Tap("triple", 0)
    with pytest.raises(ValueError, match="'middle'"):
        Tap("double", 0, "middle")


def test_negative_indices_count_from_the_end():
    assert resolve_taps([Tap("double", -1), Tap("single", -38)], 19, 38) == (Tap("double", 18), Tap("single", 0))


@pytest.mark.parametrize("tap", [Tap("double", 19), Tap("double", -20), Tap("single", 38)])
def test_taps_outside_the_model_are_refused(tap):
    with pytest.raises(ValueError, match="outside this model"):
        resolve_taps([tap], 19, 38)


def test_no_taps_are_refused():
    with pytest.raises(ValueError, match="no taps"):
        resolve_taps([], 19, 38)


def test_the_last_tap_is_the_one_the_network_reaches_last():
    assert last_tap([Tap("double", 4, "out"), Tap("double", 5, "attn_in"), Tap("double", 1)]).index == 5
    assert last_tap([Tap("double", 5, "mlp_in"), Tap("double", 5, "attn_in")]).point == "mlp_in"
    assert last_tap([Tap("single", 0, "attn_in"), Tap("double", 18, "out")]).kind == "single"
