"""The preset `published` does what the published DirectDrag does: each of its rules against a slow literal version, from one state.

Ends are not compared: the published code against itself, with 1e-8 added to its latent, differs by 0.04 to 0.3 there.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dragfield.core.edits import guides as module
from dragfield.core.edits.directdrag import PUBLISHED, DirectDragSettings, directdrag
from dragfield.core.edits.point_edit import points_of
from dragfield.core.instruction.operations import Drag, PointOperation
from dragfield.core.model.readout import ReadoutConfig, ReadoutHead
from dragfield.core.model.unet_taps import default_unet_taps
from dragfield.core.optimise.appearance import read_out, readout_of, seen_at
from dragfield.core.optimise.point_drag import gave_up, point_drag
from dragfield.core.optimise.point_drag_settings import PUBLISHED as PUBLISHED_DRAG
from dragfield.core.optimise.point_drag_settings import PointDragSettings
from dragfield.core.optimise.soft_mask import PUBLISHED as PUBLISHED_MASK
from dragfield.core.optimise.soft_mask import SoftMaskSettings, point_masks
from dragfield.core.optimise.tracking import track
from dragfield.core.sampling.ddim import ddim_step
from dragfield.core.sampling.ddim_inversion import DDIMSettings
from dragfield.core.sampling.sampler import NoiseSampler, sampler_of

sys.path.insert(0, str(Path(__file__).parent))
from point_world import COND, PICTURE, ConvBackbone, latent  # noqa: E402

# --- E1: the mask


def literal_mask(points: list[tuple[int, int]], width: int, height: int) -> np.ndarray:
    """DirectDrag section 6 as released. points: pixel indices (x, y), handle and target in turn. -> [height // 2, width // 2]"""
    rows, columns = height // 2, width // 2
    placed = []
    for x, y in points:
        x, y = min(max(x, 12), max(height - 13, 12)), min(max(y, 12), max(width - 13, 12))  # width and height mistaken for each other
        placed.append((min(max(round(y / height * rows), 0), rows - 1), min(max(round(x / width * columns), 0), columns - 1)))
    drawn = np.zeros((rows, columns), np.float32)
    for (x0, y0), (x1, y1) in zip(placed[::2], placed[1::2], strict=True):  # row and column mistaken for x and y
        n = max(abs(x1 - x0), abs(y1 - y0)) + 1
        for k in range(n):
            a = k / (n - 1) if n > 1 else 0.0
            x, y = round((1 - a) * x0 + a * x1), round((1 - a) * y0 + a * y1)
            if 0 <= y < rows and 0 <= x < columns:
                drawn[y, x] = 1
    blurred = cv2.GaussianBlur(drawn, (121, 121), 30.0)
    return blurred / (blurred.max() + 1e-6)


@pytest.mark.parametrize("size", [(160, 160), (160, 120), (121, 175)])
@pytest.mark.parametrize("seed", range(4))
def test_the_mask_is_drawn_between_clamped_and_rounded_points(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng([*size, seed])
    width, height = size
    indices = [(int(rng.integers(width)), int(rng.integers(height))) for _ in range(4)]
    pairs = [PointOperation(*((x + 0.5, y + 0.5) for x, y in indices[i : i + 2])) for i in (0, 2)]
    drag, shape = Drag(size, points=tuple(pairs)), (height // 8, width // 8)
    found, _ = point_masks(drag, points_of(drag, rounded=True, clamp="transposed"), shape, PUBLISHED_MASK)
    wanted = torch.from_numpy(literal_mask(indices, width, height))[None, None]
    assert torch.allclose(found, F.interpolate(wanted, shape, mode="nearest")[0, 0], atol=1e-6)
    ours, _ = point_masks(drag, points_of(drag), shape, replace(PUBLISHED_MASK, drawn_from="points"))
    assert not torch.allclose(found, ours, atol=1e-3)


# --- E2, tracking, the loss and the steps: a drag block


class Literal:
    """DirectDrag sections 4 and 5: one drag block at one timestep, on whole enlarged maps."""

    def __init__(self, backbone, t: int, to: int, mask: Tensor, reference: Tensor, start, targets, picture) -> None:
        self.backbone, self.t, self.to, self.mask = backbone, t, to, mask
        self.rows, self.columns = picture[1] // 2, picture[0] // 2
        self.start, self.targets = start, targets  # (row, column)
        with torch.no_grad():
            eps, found = self.look(reference)
            self.features, self.next = found, ddim_step(reference, eps, backbone.schedule, t, to)

    def look(self, z: Tensor) -> tuple[Tensor, Tensor]:
        eps, found = self.backbone.noise_and_features(z, self.t, COND, taps=default_unet_taps(self.backbone.up_resnets))
        return eps, torch.cat([F.interpolate(f, (self.rows, self.columns), mode="bilinear", align_corners=False) for f in found], dim=1)

    def track(self, features: Tensor, now):
        padded = F.pad(features[0], (64, 64, 64, 64))  # zeros outside of the map
        found = []
        for (row, column), (row0, column0) in zip(now, self.start, strict=True):
            window = padded[:, 64 + row - 12 : 64 + row + 13, 64 + column - 12 : 64 + column + 13]
            distance = (window - self.features[0, :, row0, column0][:, None, None]).abs().sum(0)
            at = int(distance.flatten().argmin())
            found.append((row - 12 + at // 25, column - 12 + at % 25))
        return found

    def loss(self, features: Tensor, following: Tensor, now) -> Tensor:
        total = 0.1 * ((1 - self.mask) * (following - self.next).abs()).sum()
        for (row, column), (row0, column0), target in zip(now, self.start, self.targets, strict=True):
            displacement = np.subtract(target, (row, column)).astype(float)
            distance = float(np.hypot(*displacement))
            if distance < 2:
                continue
            y, x = np.add((row, column), displacement / distance * min(4.0, distance))
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            patch = 0.0
            for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                share = abs(y0 + 1 - dy - y) * abs(x0 + 1 - dx - x)
                patch = patch + share * features[0, :, y0 + dy - 4 : y0 + dy + 5, x0 + dx - 4 : x0 + dx + 5]
            was = self.features[0, :, row0 - 4 : row0 + 5, column0 - 4 : column0 + 5]
            total = total + 64 * (patch - was).abs().mean()
        return total

    def run(self, z: Tensor, now, idle: int = 0):
        """Yields (z, now, idle) after every gradient step; a last one that has arrived before it."""
        leaf = z.clone().requires_grad_()
        optimiser = torch.optim.Adam([leaf], lr=0.02)
        first = True
        for _ in range(10):
            for inner in range(3):
                eps, features = self.look(leaf)
                following = ddim_step(leaf, eps, self.backbone.schedule, self.t, self.to)
                if first:
                    now, first = self.track(features.detach(), now), False
                if all(np.hypot(*np.subtract(p, t)) < 2 for p, t in zip(now, self.targets, strict=True)):
                    yield leaf.detach().clone(), now, idle
                    return
                optimiser.zero_grad()
                self.loss(features, following, now).backward()
                optimiser.step()
                if inner == 2:
                    found = self.track(features.detach(), now)
                    idle, now = (idle + 1 if found == now else 0), found
                yield leaf.detach().clone(), now, idle


@pytest.mark.parametrize("targets", [[(40, 48)], [(26, 56), (44, 20)]])
def test_a_drag_block_is_the_published_one_in_every_step(targets) -> None:
    backbone, t, to, picture = ConvBackbone(), 741, 721, PICTURE
    rows, columns = picture[1] // 2, picture[0] // 2
    start = [(rows // 2, columns // 3), (rows // 3, columns // 2)][: len(targets)]
    targets = [(min(r, rows - 8), min(c, columns - 8)) for r, c in targets]

    def px(cell):
        return (cell[1] + 0.5) * picture[0] / columns, (cell[0] + 0.5) * picture[1] / rows

    points = tuple(PointOperation(px(a), px(b)) for a, b in zip(start, targets, strict=True))
    drag = Drag(picture, points=points)
    handles = points_of(drag, rounded=False)
    assert [(y - 0.5, x - 0.5) for x, y in handles.start] == start
    z, reference = latent(5), latent(3)
    mask = torch.rand(z.shape[-2:], generator=torch.Generator().manual_seed(2))
    literal = Literal(backbone, t, to, mask, reference, start, targets, picture)
    ours = list(point_drag(sampler_of(backbone, COND), z, t, handles, mask, PUBLISHED_DRAG, reference=reference, t_next=to))
    theirs = list(literal.run(z, start))
    assert len(ours) == len(theirs) == 30
    for mine, (z_theirs, now, idle) in zip(ours, theirs, strict=True):
        assert [(y - 0.5, x - 0.5) for x, y in mine.handles.now] == now and mine.idle == idle
        assert float((mine.z - z_theirs).norm() / (z_theirs - z).norm()) < 1e-5


def test_a_handle_has_arrived_below_two_cells_only() -> None:
    assert [PUBLISHED_DRAG.arrived(d) for d in (1.99, 2.0, 2.01)] == [True, False, False]
    assert [PointDragSettings().arrived(d) for d in (1.99, 2.0, 2.01)] == [True, True, False]
    assert not replace(PUBLISHED_DRAG, arrive_within=None).arrived(0.0)


def test_a_handle_of_little_feature_leaves_the_picture() -> None:
    """Outside there is nothing, which is nearer to almost nothing than anything on the map is."""
    feature, query = torch.full((1, 2, 16, 20), 9.0), [[torch.full((1, 2), 0.1)]]
    place = [(3.5, 8.5)]
    (x, y), = track([feature], query, place, (40, 32), 5, "two_step", outside="zeros")
    assert (x, y) == (-1.5, 3.5), "the first of those outside, row by row"
    (x, _), = track([feature], query, place, (40, 32), 5, "two_step")
    assert x >= 0


# --- E3, E5: when it ends


class Watched(ConvBackbone):
    """Says at which timesteps it was asked with keys and values of another, and may have features that never move."""

    def __init__(self, still: bool = False) -> None:
        super().__init__()
        self.asked, self.still = [], still

    def noise(self, z, t, cond, *, level=None, kv=None):
        if kv is not None:
            self.asked.append(t)
        return super().noise(z, t, cond, kv=kv)


class Blocks:
    """An autoencoder of cells of 8 px; of sides that are no multiples it takes as many as fit."""

    latent_channels, factor = 4, 8

    def encode(self, image):
        small = F.avg_pool2d(image, 8) * 4 - 2
        return torch.cat([small, torch.zeros_like(small[:, :1])], dim=1)

    def decode(self, z):
        return F.interpolate((z[:, :3] + 2) / 4, scale_factor=8, mode="nearest").clamp(0, 1)


FEW = replace(
    PUBLISHED, inversion=DDIMSettings(steps=10, strength=0.5), drag=replace(PUBLISHED_DRAG, rounds=2, steps_per_round=1), drag_steps=3,
    readout=None, warp=None, soft_mask=None, clamp="none",
)  # fmt: skip
ARRIVED = (PointOperation((32.0, 24.0), (35.0, 24.0)),)
"""A way of one and a half cells."""


def edited(backbone, settings: DirectDragSettings, points=ARRIVED, size=PICTURE, **more):
    image = torch.rand(1, 3, size[1], size[0], generator=torch.Generator().manual_seed(0))
    return directdrag(backbone, Blocks(), image, Drag(size, points=points), COND, settings, **more)


def test_on_arrival_the_original_is_looked_at_one_step_later() -> None:
    backbones = {name: Watched() for name in ("next", "at_once")}
    for name, backbone in backbones.items():
        edited(backbone, replace(FEW, mutual_from=name))
    published, ours = (sorted(set(backbones[name].asked), reverse=True) for name in ("next", "at_once"))
    assert published == ours[1:] and len(ours) > 2


def test_idle_rounds_are_counted_over_timesteps_and_end_the_drag_at_exactly_the_count() -> None:
    class State:
        idle = 5

    published = replace(PUBLISHED_DRAG, patience=5)
    assert gave_up(State, published) and not gave_up(None, published)
    State.idle = 6
    assert not gave_up(State, published), "the published test asks for equality"
    assert not gave_up(State, PointDragSettings()), "ours gives up inside of a drag"


@pytest.mark.parametrize(("rounds", "timesteps"), [(5, 1), (4, 2), (6, 3)])
def test_a_drag_that_does_not_move_its_handles_ends_where_the_published_one_does(rounds: int, timesteps: int, monkeypatch) -> None:
    """Handles that are always found where they were: idle after each round. 5 rounds: 5 at the second timestep, over. 4: 8 at the third
    is past it, as is 6 at the second: on to the end. With 4 rounds and a patience of 8 it would end at the third."""
    from dragfield.core.optimise import point_drag as stepping

    monkeypatch.setattr(stepping, "track", lambda maps, queries, places, *more: tuple(places))
    far = (PointOperation((16.0, 24.0), (80.0, 24.0)),)
    patience = 8 if rounds == 4 else 5
    drag = replace(PUBLISHED_DRAG, rounds=rounds, steps_per_round=1, patience=patience)
    outcome = edited(Watched(), replace(FEW, drag=drag), far)
    assert outcome.nfe_backward == rounds * timesteps


# --- E4: the readout


def test_the_fixed_reference_is_read_anew_for_each_timestep(monkeypatch) -> None:
    torch.manual_seed(0)
    head = ReadoutHead(ReadoutConfig((24, 24), projection=16, embedding=8, groups=2))
    calls, term = [], module.appearance_term

    def watched(probe, head, z, t, wanted, settings):
        calls.append((t, wanted))
        return term(probe, head, z, t, wanted, settings)

    monkeypatch.setattr(module, "appearance_term", watched)
    backbone = ConvBackbone()
    settings = replace(FEW, readout=replace(PUBLISHED.readout, size=(12, 12)))
    outcome = edited(backbone, settings, (PointOperation((16.0, 24.0), (80.0, 24.0)),), head=head)
    probe, how = NoiseSampler(backbone, COND), settings.readout
    seen = seen_at(probe, outcome.inversion.path[1], outcome.inversion.times[0])
    assert [t for t, _ in calls] == list(outcome.inversion.times[:3])
    for t, wanted in calls:
        assert torch.equal(wanted, head(seen, probe.embedding(t), (12, 12)))
        assert torch.equal(wanted, read_out(probe, head, seen, t, how))
    first = readout_of(probe, head, outcome.inversion.path[1], outcome.inversion.times[0], how)
    assert torch.equal(calls[0][1], first) and not torch.equal(calls[1][1], first)


# --- sides


def test_sides_that_are_no_multiples_are_floored_and_the_result_is_stretched_back() -> None:
    outcome = edited(ConvBackbone(), FEW, size=(99, 70))
    assert outcome.z.shape[-2:] == (8, 12) and outcome.image.shape == (1, 3, 70, 99)
    decoded = Blocks().decode(outcome.z)
    assert torch.equal(outcome.image, F.interpolate(decoded, (70, 99), mode="bilinear", align_corners=False))
    with pytest.raises(ValueError, match="multiples of 8"):
        edited(ConvBackbone(), replace(FEW, sides="multiples"), size=(99, 70))


def test_the_preset_has_the_published_side_of_every_setting() -> None:
    drag = PUBLISHED.drag
    assert (drag.arrival, drag.outside, drag.patience, drag.patience_at) == ("below", "zeros", 5, "timestep")
    assert (PUBLISHED.mutual_from, PUBLISHED.sides, PUBLISHED.clamp, PUBLISHED.rounded) == ("next", "floor", "transposed", True)
    assert PUBLISHED.soft_mask == SoftMaskSettings(sigma=30.0, transposed=True, nearest=True, drawn_from="handles")
    assert PUBLISHED.readout.reference == "fixed"
