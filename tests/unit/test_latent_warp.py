"""The latent warp does what the published one does, cell by cell, and what it does not: short drags, handles on cells, holes."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from dragfield.core.field.latent_warp import PUBLISHED, LatentWarpSettings, blend, fill_in_place, fill_pure, latent_warp
from dragfield.core.instruction.operations import PointOperation

PICTURE = (160, 128)
PAIRS = (PointOperation((49.0, 42.0), (126.0, 66.0)), PointOperation((121.5, 91.0), (44.0, 103.0)))


def literal(z: torch.Tensor, points, picture, ratio: float, limit: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The published warp, one cell and one pair after the other, in tensors of two numbers. -> warped, reached."""
    height, width = z.shape[-2:]
    scale = torch.tensor([width / picture[0], height / picture[1]], dtype=torch.float64)
    handles = [torch.tensor(p.handle, dtype=torch.float64) * scale - 0.5 for p in points]
    displacements = [(torch.tensor(p.target, dtype=torch.float64) - torch.tensor(p.handle, dtype=torch.float64)) * scale for p in points]
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    radius = centre.norm()
    out, taken = torch.zeros_like(z), []
    for row in range(height):
        for column in range(width):
            cell = torch.tensor([column, row], dtype=torch.float64)
            total, moved = torch.zeros((), dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
            for handle, displacement in zip(handles, displacements, strict=True):
                ray = cell - handle
                distance = ray.norm()
                fade = torch.ones((), dtype=torch.float64) if limit else torch.tensor(math.nan)
                if distance > 0:
                    along = (ray / distance) @ (handle - centre)
                    fade = 1 - distance / ((radius**2 - (handle - centre).square().sum() + along**2).sqrt() - along)
                weight = 1 / (distance + 1e-4)
                total, moved = total + weight, moved + weight * fade * ratio * displacement
            to = cell + moved / total
            if not bool(to.isfinite().all()):
                continue
            x, y = min(max(round(float(to[0])), 0), width - 1), min(max(round(float(to[1])), 0), height - 1)
            if (x, y) not in taken:
                taken.append((x, y))
                out[..., y, x] = z[..., row, column]
    reached = torch.zeros(height, width, dtype=torch.bool)
    for x, y in taken:
        reached[y, x] = True
    return out, reached


def literal_fill(z: torch.Tensor, known: torch.Tensor, in_place: bool) -> torch.Tensor:
    """Nearest known cell left, right, up and down by walking there."""
    z, seen, start = z.clone(), known.clone(), z.clone()
    height, width = known.shape
    for row in range(height):
        for column in range(width):
            if known[row, column]:
                continue
            total, value = 0.0, 0.0
            for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
                y, x, distance = row + dy, column + dx, 1
                while 0 <= y < height and 0 <= x < width and not (seen if in_place else known)[y, x]:
                    y, x, distance = y + dy, x + dx, distance + 1
                if 0 <= y < height and 0 <= x < width:
                    value, total = value + (z if in_place else start)[..., y, x] / distance, total + 1 / distance
            z[..., row, column] = value / total
            seen[row, column] = True
    return z


def latent(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ratio", [0.15, 0.6, 1.0])
@pytest.mark.parametrize("fill", ["pure", "in_place"])
def test_the_warp_equals_the_literal_one(ratio, fill) -> None:
    z = latent(1, 4, 8, 10)
    expected, reached = literal(z, PAIRS, PICTURE, ratio, True)
    expected = literal_fill(expected, reached, fill == "in_place")
    found = latent_warp(z, PAIRS, PICTURE, LatentWarpSettings(ratio, "rounded", fill=fill))
    assert torch.allclose(found, expected, atol=1e-5) and (ratio < 0.3 or not reached.all())


def test_the_published_preset_loses_the_cell_of_a_handle_in_its_centre() -> None:
    z, points = latent(1, 4, 16, 20), (PointOperation((52.0, 44.0), (92.0, 44.0)),)
    expected, reached = literal(z, points, PICTURE, 0.15, False)
    published = latent_warp(z, points, PICTURE, PUBLISHED)
    ours = latent_warp(z, points, PICTURE, replace(PUBLISHED, limit_at_handle=True))
    assert torch.allclose(published, literal_fill(expected, reached, True), atol=1e-5)
    assert torch.equal(ours[..., 5, 7], z[..., 5, 6]) and not torch.equal(published[..., 5, 7], z[..., 5, 6])


@pytest.mark.parametrize("seed", range(3))
def test_holes_are_filled_as_by_walking_there(seed) -> None:
    z, known = latent(1, 4, 9, 12), torch.rand(9, 12, generator=torch.Generator().manual_seed(seed)) > 0.4
    z = z * known
    assert torch.allclose(fill_pure(z, known, z), literal_fill(z, known, False), atol=1e-6)
    assert torch.allclose(fill_in_place(z, known), literal_fill(z, known, True), atol=1e-6)


def test_a_cell_that_sees_nothing_known_takes_the_alternative() -> None:
    z, known = torch.zeros(1, 1, 3, 3), torch.zeros(3, 3, dtype=torch.bool)
    assert torch.equal(fill_pure(z, known, torch.full_like(z, 5.0)), torch.full_like(z, 5.0))
    assert torch.equal(fill_in_place(z, known), z)


def test_a_short_drag_moves_nothing_when_rounded_and_something_when_interpolated() -> None:
    z, points = latent(1, 4, 16, 20), (PointOperation((50.0, 44.0), (70.0, 44.0)),)
    assert torch.equal(latent_warp(z, points, PICTURE, LatentWarpSettings(0.15, "rounded")), z)
    moved = latent_warp(z, points, PICTURE, LatentWarpSettings(0.15))
    assert (moved - z).abs()[..., 5, 6].max() > 0.05


@pytest.mark.parametrize("motion", ["rounded", "interpolated"])
def test_no_drag_or_no_ratio_changes_nothing(motion) -> None:
    z, still = latent(1, 4, 16, 20), (PointOperation((50.0, 44.0), (50.0, 44.0)),)
    assert torch.equal(latent_warp(z, still, PICTURE, LatentWarpSettings(1.0, motion)), z)
    assert torch.equal(latent_warp(z, PAIRS, PICTURE, LatentWarpSettings(0.0, motion)), z)


def test_interpolated_motion_is_exact_at_the_target() -> None:
    ramp = torch.arange(20.0).expand(1, 1, 16, 20)
    points = (PointOperation((52.0, 60.0), (100.0, 60.0)),)
    moved = latent_warp(ramp, points, PICTURE, LatentWarpSettings(0.5), signal=ramp)
    assert float(moved[0, 0, 7, 9]) == pytest.approx(6.0, abs=1e-3)  # 3 cells = half of 48 px


def test_blending_keeps_the_loudness_of_noise_and_the_signal() -> None:
    z = latent(1, 4, 64, 64)
    source = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy"), dim=-1) + 1.0  # half a cell off
    assert float(blend(z, source).std()) == pytest.approx(1.0, abs=0.05)
    flat = torch.full_like(z, 3.0)
    assert float(blend(z + flat, source, flat).mean()) == pytest.approx(3.0, abs=0.1)
    assert torch.equal(blend(flat, source, flat), flat)


@pytest.mark.parametrize("motion", ["rounded", "interpolated"])
def test_outside_of_an_area_only_what_is_pushed_there_changes(motion) -> None:
    z, area = latent(1, 4, 16, 20), np.zeros((128, 160), bool)
    area[16:112, 16:144] = True
    moved = latent_warp(z, PAIRS, PICTURE, LatentWarpSettings(1.0, motion), area=area)
    assert torch.equal(moved[..., :1, :], z[..., :1, :]) and torch.equal(moved[..., 19], z[..., 19])
    assert not torch.equal(moved, z)


def test_two_hundred_pairs_on_a_wide_picture_stay_finite() -> None:
    generator = np.random.default_rng(0)
    points = tuple(PointOperation(tuple(p), tuple(q)) for p, q in generator.uniform(0, [160, 128], (200, 2, 2)))
    for motion in ("rounded", "interpolated"):
        assert latent_warp(latent(1, 4, 16, 20), points, PICTURE, LatentWarpSettings(1.0, motion)).isfinite().all()


def test_the_vectorised_warp_is_a_hundred_times_faster_than_the_literal_one() -> None:
    z = latent(1, 4, 64, 64)
    points = (*PAIRS, PointOperation((30.0, 100.0), (60.0, 80.0)), PointOperation((80.0, 20.0), (90.0, 50.0)))
    settings = LatentWarpSettings(0.15, "rounded")
    latent_warp(z, points, PICTURE, settings)
    # A hundredth of the literal warp's cells, with the same four pairs, is patience enough: its time per cell only grows with size.
    began = time.perf_counter()
    literal(z[..., :6, :6], points, PICTURE, 0.15, True)
    slow = 64 * 64 / 36 * (time.perf_counter() - began)
    fast = math.inf
    for _ in range(5):
        began = time.perf_counter()
        latent_warp(z, points, PICTURE, settings)
        fast = min(fast, time.perf_counter() - began)
    assert slow > 100 * fast


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(ratio=1.5), "warp ratio is 1.5"),
        (dict(ratio=math.nan), "warp ratio is nan"),
        (dict(motion="smooth"), "unknown"),
        (dict(fill="no"), "unknown"),
    ],
)
def test_impossible_settings_are_refused(settings, words) -> None:
    with pytest.raises(ValueError, match=words):
        LatentWarpSettings(**settings)


def test_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        latent_warp(latent(1, 4, 16, 20), (), PICTURE)
