"""Warm starts: what moves brings its noise along, what is left gets fresh noise of the same level, the rest keeps its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dragfield.core.edits.warm_start import make_warm_start, warp_latent
from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.picture.evidence import carry

SIZE = (96, 64)


class Blocks:
    """An autoencoder whose latent is the mean of each 8 x 8 block."""

    latent_channels, factor = 3, 8

    def encode(self, image):
        return torch.nn.functional.avg_pool2d(image, 8)

    def decode(self, z):
        return torch.nn.functional.interpolate(z, scale_factor=8)


def field(dx=32.0, dy=8.0):
    """A square of 3 x 3 latent cells, moved by whole cells unless told otherwise."""
    mask = np.zeros(SIZE[::-1], bool)
    mask[16:40, 16:40] = True
    return DragField.from_drag(Drag(SIZE, (RegionOperation(mask, "relocation", (28.0 + dx, 28.0 + dy)),)))


def latent(seed=7, channels=3):
    return torch.randn(1, channels, 8, 12, generator=torch.Generator().manual_seed(seed))


def image():
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(5))


def warm(noise=None, drag=None, **kwargs):
    return make_warm_start(Blocks(), image(), drag or field(), latent() if noise is None else noise, **kwargs)


def test_a_warm_start_is_the_evidence_at_the_end_and_its_noise_at_the_beginning():
    start = warm()
    assert torch.equal(start.at(0.0), start.evidence) and torch.equal(start.at(1.0), start.noise)
    torch.testing.assert_close(start.at(0.3), 0.7 * start.evidence + 0.3 * start.noise)


def test_the_evidence_is_the_encoded_picture_with_the_field_applied():
    picture = image()[0].permute(1, 2, 0).numpy()
    expected = Blocks().encode(torch.from_numpy(carry(picture, field()).image).permute(2, 0, 1)[None])
    torch.testing.assert_close(warm().evidence, expected)


def test_what_moves_brings_its_own_noise():
    noise, start = latent(), warm(latent())
    assert torch.equal(start.noise[..., 3:6, 6:9], noise[..., 2:5, 2:5])
    assert start.moved[3:6, 6:9].all() and start.moved.sum() == 9


def test_only_what_was_left_gets_fresh_noise():
    noise, start = latent(), warm(latent())
    assert start.vacated[2:5, 2:5].all() and start.vacated.sum() == 9
    changed = (start.noise != noise).any(1)[0]
    assert torch.equal(changed, start.moved | start.vacated)
    assert (start.noise[..., start.vacated] != noise[..., start.vacated]).all()


def test_renewing_a_mask_spares_what_moves():
    renew = torch.zeros(8, 12, dtype=torch.bool)
    renew[1:7, 1:10] = True
    noise, start = latent(), warm(latent(), renew=renew)
    changed = (start.noise != noise).any(1)[0]
    assert torch.equal(changed, renew)
    assert torch.equal(start.noise[..., start.moved], warm().noise[..., start.moved])


def test_carried_noise_keeps_its_variance_between_cells_too():
    noise = torch.randn(1, 512, 8, 12, generator=torch.Generator().manual_seed(0))
    carried = make_warm_start(Blocks(), image(), field(dx=27.0, dy=4.0), noise)
    assert carried.noise[..., carried.moved].std().item() == pytest.approx(1, abs=0.03)
    assert carried.noise[..., carried.vacated].std().item() == pytest.approx(1, abs=0.03)


def test_the_seed_decides_about_fresh_noise_and_nothing_else():
    first, again, other = warm(seed=1), warm(seed=1), warm(seed=2)
    assert torch.equal(first.noise, again.noise) and torch.equal(first.evidence, other.evidence)
    assert torch.equal((first.noise != other.noise).any(1)[0], first.vacated)


def test_a_drag_to_where_it_is_starts_from_the_picture_and_its_noise():
    start = warm(latent(), field(0.0, 0.0))
    assert torch.equal(start.noise, latent()) and not start.vacated.any()
    torch.testing.assert_close(start.evidence, Blocks().encode(image()))


def test_the_picture_and_the_noise_given_are_left_alone():
    picture, noise = image(), latent()
    make_warm_start(Blocks(), picture, field(), noise)
    assert torch.equal(picture, image()) and torch.equal(noise, latent())


def test_a_latent_is_carried_in_whole_cells():
    z = latent(channels=4)
    carried = warp_latent(z, 0.8, field())
    assert torch.equal(carried[..., 3:6, 6:9], z[..., 2:5, 2:5])
    kept = field().kept(1.0, (12, 8))
    assert torch.equal(carried[..., kept], z[..., kept])


def test_a_left_place_gets_what_lies_around_it_where_the_picture_is_known():
    layout = field().layout(1.0, (12, 8))
    # Ground that rises to the right.
    z0 = torch.arange(12.0).expand(1, 3, 8, 12).clone()
    z0[..., ~layout.kept] = -50.0
    noise = torch.randn(z0.shape, generator=torch.Generator().manual_seed(3))
    for t in (0.0, 0.4):
        ground = (warp_latent(z0, t, field(), z0=z0, seed=3) - t * noise)[0, 0, 2:5, 2:5] / (1 - t)
        # Nothing of the object is in it, and it rises too.
        assert ground.min() >= 0 and ground.max() <= 11 and (ground.diff(dim=1) > 0.3).all()
    plain = torch.full_like(z0, 2.5)
    plain[..., ~layout.kept] = -50.0
    found = warp_latent(plain, 0.0, field(), z0=plain)[..., layout.vacated]
    torch.testing.assert_close(found, torch.full_like(found, 2.5))


def test_a_left_place_gets_the_mean_of_what_is_kept_and_noise_of_its_level():
    z, layout = 3.0 + latent(channels=256), field().layout(1.0, (12, 8))
    ground = z[..., layout.kept].mean(-1, keepdim=True)
    clean, noisy = (warp_latent(z, t, field())[..., layout.vacated] for t in (0.0, 0.5))
    torch.testing.assert_close(clean, ground.expand_as(clean))
    assert (noisy - ground).std().item() == pytest.approx(0.5, abs=0.03)
    assert not torch.equal(noisy, warp_latent(z, 0.5, field(), seed=1)[..., layout.vacated])
    assert torch.equal(noisy, warp_latent(z, 0.5, field())[..., layout.vacated])
