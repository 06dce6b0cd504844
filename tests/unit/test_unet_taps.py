import pytest

from dragfield.core.model.unet_taps import UNetTap, default_unet_taps, last_unet_tap, readout_taps, resolve_unet_taps

SD15, SDXL = (3, 3, 3, 3), (3, 3, 3)


def test_the_published_tap_of_sd15_is_its_third_up_block():
    assert default_unet_taps(SD15) == (UNetTap("up", 2),)


def test_a_unet_of_one_up_block_is_tapped_there():
    assert default_unet_taps((2,)) == (UNetTap("up", 0),)


@pytest.mark.parametrize(("up_resnets", "count"), [(SD15, 12), (SDXL, 9), ((2, 1), 3)])
def test_a_readout_head_takes_every_decoder_resnet_in_order(up_resnets, count):
    assert readout_taps(up_resnets) == tuple(UNetTap("up_resnet", r) for r in range(count))


def test_negative_indices_count_from_the_end():
    taps = [UNetTap("up", -1), UNetTap("up_resnet", -1), UNetTap("mid", -1)]
    assert resolve_unet_taps(taps, SD15) == (UNetTap("up", 3), UNetTap("up_resnet", 11), UNetTap("mid", 0))


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (UNetTap("mid"), UNetTap("up_resnet", 0)),
        (UNetTap("up_resnet", 2), UNetTap("up", 0)),
        (UNetTap("up", 0), UNetTap("up_resnet", 3)),
        (UNetTap("up_resnet", 10), UNetTap("up_resnet", 11)),
        (UNetTap("up", 2), UNetTap("up", 3)),
    ],
)
def test_the_last_tap_is_the_one_reached_last(earlier, later):
    assert last_unet_tap([earlier, later], SD15) == last_unet_tap([later, earlier], SD15) == later


@pytest.mark.parametrize("tap", [UNetTap("up", 4), UNetTap("up", -5), UNetTap("up_resnet", 12), UNetTap("mid", 1)])
def test_a_block_the_model_lacks_is_refused_with_what_is_allowed(tap):
    with pytest.raises(ValueError, match=f"{tap}.*use -"):
        resolve_unet_taps([tap], SD15)


def test_unknown_kinds_and_no_taps_are_refused():
    with pytest.raises(ValueError, match="'down' is unknown"):
        UNetTap("down", 0)
    with pytest.raises(ValueError, match="no taps"):
        resolve_unet_taps([], SD15)
    with pytest.raises(ValueError, match="no UNet tap"):
        resolve_unet_taps(["up-2"], SD15)
