"""DirectDrag as a whole: it moves what is dragged, leaves what is masked, costs what it says, and stops when told."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dragfield.core.demo.directdrag_settings import DIRECTDRAG
from dragfield.core.edits.directdrag import BASELINE, PUBLISHED, DirectDragSettings, FlowPointSettings, ablation, directdrag
from dragfield.core.edits.point_edit import carried, on_tokens, points_of
from dragfield.core.field.latent_warp import LatentWarpSettings
from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.model.readout import ReadoutConfig, ReadoutHead
from dragfield.core.optimise.motion import reference_patches
from dragfield.core.optimise.point_drag_settings import PointDragSettings
from dragfield.core.optimise.soft_mask import SoftMaskSettings, point_masks
from dragfield.core.progress import Interrupted, RunContext
from dragfield.core.sampling.ddim_inversion import DDIMSettings, invert_ddim
from dragfield.core.sampling.inversion import InversionSettings

sys.path.insert(0, str(Path(__file__).parent))
from point_world import COND, PICTURE, RIGHT, ConvBackbone  # noqa: E402

STEPS = DDIMSettings(steps=10, strength=0.5)
DRAG = PointDragSettings(rounds=2, steps_per_round=2, rate=0.1)


class Blocks:
    """An autoencoder that keeps the mean of 8x8 px in three channels, and nothing in the fourth."""

    latent_channels, factor = 4, 8

    def encode(self, image):
        small = torch.nn.functional.avg_pool2d(image, 8) * 4 - 2
        return torch.cat([small, torch.zeros_like(small[:, :1])], dim=1)

    def decode(self, z):
        return torch.nn.functional.interpolate((z[:, :3] + 2) / 4, scale_factor=8, mode="nearest").clamp(0, 1)


class AttentiveConv(ConvBackbone):
    """Asks its K/V session, and lets what it is told show: the second sample is drawn towards the first."""

    def noise(self, z, t, cond, *, level=None, kv=None):
        eps = super().noise(z, t, cond)
        if kv is None:
            return eps
        keys, _ = kv.begin(float(t)).keys_values(("self", 1), z.flatten(2).mT, lambda h: (h, h), 0)
        return eps - 0.1 * (keys.mT.view_as(z) - z)


def picture(seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, PICTURE[1], PICTURE[0], generator=torch.Generator().manual_seed(seed))


def few(settings: DirectDragSettings = ablation()["directdrag"], **changes) -> DirectDragSettings:  # noqa: B008
    drag = replace(settings.drag, rounds=2, steps_per_round=2, rate=0.1)
    return replace(settings, inversion=STEPS, drag=drag, drag_steps=2, **changes)


def head(channels: int = 24) -> ReadoutHead:
    torch.manual_seed(0)
    return ReadoutHead(ReadoutConfig((channels, channels), projection=16, embedding=8, groups=2))


def edit(settings, points=RIGHT, backbone=None, drag=None, **kwargs):
    drag = drag or Drag(PICTURE, points=points)
    return directdrag(backbone or AttentiveConv(), Blocks(), picture(), drag, COND, settings, **kwargs)


@pytest.mark.parametrize("name", list(ablation()))
def test_every_row_of_the_ablation_moves_its_handle(name) -> None:
    outcome = edit(few(ablation()[name]), head=head())
    assert outcome.drag.distances[0] < 32.0 and outcome.image.isfinite().all()
    assert not torch.equal(outcome.image, picture())


def test_the_published_preset_runs_as_a_whole() -> None:
    outcome = edit(few(PUBLISHED, readout=replace(PUBLISHED.readout, size=(12, 12))), head=head())
    assert outcome.image.shape == (1, 3, 96, 128) and outcome.image.isfinite().all() and outcome.drag.step > 0


def test_what_the_mask_closes_is_the_picture_bit_for_bit() -> None:
    settings = few(soft_mask=SoftMaskSettings(sigma=6.0))
    outcome = edit(settings)
    outside = ~outcome.mask
    assert 0.2 < outside.mean() < 0.95
    assert torch.equal(outcome.image[..., torch.from_numpy(outside)], picture()[..., torch.from_numpy(outside)])


def test_pins_and_the_editable_area_are_kept() -> None:
    pin = np.zeros(PICTURE[::-1], bool)
    pin[:, 64:] = True
    editable = np.zeros(PICTURE[::-1], bool)
    editable[8:80, 8:120] = True
    drag = Drag(PICTURE, (RegionOperation(pin, "pin"),), RIGHT, editable=editable)
    outcome = edit(few(), drag=drag)
    assert not (outcome.mask & (pin | ~editable)).any()
    assert torch.equal(outcome.image[..., 64:], picture()[..., 64:])


def test_a_drag_to_where_it_is_gives_the_picture_back() -> None:
    outcome = edit(few(), (PointOperation((50.0, 50.0), (50.0, 50.0)),))
    assert torch.equal(outcome.image, picture()) and outcome.drag is None


def test_passes_are_counted_as_they_happen() -> None:
    for settings in (few(), few(BASELINE), few(PUBLISHED, readout=None)):
        backbone = ConvBackbone()
        samples = []
        plain = backbone.noise
        backbone.noise = lambda z, *a, plain=plain, samples=samples, **k: samples.append(len(z)) or plain(z, *a)
        outcome = edit(replace(settings, mutual=False), backbone=backbone, head=head())
        looks = sum(name != "noise" for name, *_ in backbone.calls)
        assert outcome.nfe_forward == sum(samples) + looks


def test_an_inversion_serves_several_edits_and_another_is_refused() -> None:
    first = edit(few())
    again = edit(few(), inversion=first.inversion)
    assert torch.equal(first.image, again.image) and again.nfe_forward == first.nfe_forward - first.inversion.nfe
    other = invert_ddim(ConvBackbone(), Blocks().encode(picture()), COND, DDIMSettings(steps=5, strength=0.5))
    with pytest.raises(ValueError, match="invert again"):
        edit(few(), inversion=other)


def test_mutual_attention_draws_the_edit_towards_the_original() -> None:
    with_it, without = edit(few()), edit(few(mutual=False))
    original = with_it.inversion.z0
    assert (with_it.z - original).abs().mean() < (without.z - original).abs().mean()


def test_it_reports_and_stops() -> None:
    seen = []
    edit(few(), run=RunContext(seen.append))
    assert [p.stage for p in seen[:5]] == ["invert"] * 5 and {p.stage for p in seen} == {"invert", "drag", "denoise"}
    assert [p.done for p in seen if p.stage == "drag"] == list(range(1, 9)) and all(p.done <= p.total for p in seen)
    count = iter(range(100))
    with pytest.raises(Interrupted):
        edit(few(), run=RunContext(should_stop=lambda: next(count) > 8))


@pytest.mark.parametrize(
    ("drag", "words"),
    [
        (Drag(PICTURE), "at least one pair"),
        (Drag(PICTURE, points=(PointOperation((500.0, 3.0), (5.0, 5.0)),)), "off the picture"),
        (Drag((64, 64), points=(PointOperation((5.0, 3.0), (5.0, 5.0)),)), "rasterise it"),
        (Drag(PICTURE, (RegionOperation(np.ones(PICTURE[::-1], bool), "relocation", (5.0, 5.0)),), RIGHT), "moves points only"),
        (Drag(PICTURE, points=RIGHT, editable=np.zeros(PICTURE[::-1], bool)), "nothing of the picture may change"),
    ],
)
def test_impossible_drags_are_refused_before_any_pass(drag, words) -> None:
    backbone = ConvBackbone()
    with pytest.raises(ValueError, match=words):
        edit(few(), drag=drag, backbone=backbone)
    assert backbone.calls == []


def test_more_steps_than_the_inversion_walks_are_refused_before_any_pass() -> None:
    backbone = AttentiveConv()
    edit(replace(few(), drag_steps=STEPS.walked), backbone=backbone)
    backbone.calls.clear()
    with pytest.raises(ValueError, match="no dragging at 6 steps where the inversion walks 5: use drag_steps of at most 5"):
        edit(replace(few(), drag_steps=STEPS.walked + 1), backbone=backbone)
    assert backbone.calls == []


def test_a_picture_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        directdrag(ConvBackbone(), Blocks(), torch.rand(1, 3, 30, 40), Drag((40, 30), points=(PointOperation((1, 1), (9, 9)),)), COND)


def test_the_soft_mask_is_open_on_the_drag_and_transposed_only_if_asked() -> None:
    drag = Drag(PICTURE, points=(PointOperation((20.0, 12.0), (110.0, 12.0)),))
    right, support = point_masks(drag, points_of(drag), (12, 16), SoftMaskSettings(sigma=4.0))
    wrong, _ = point_masks(drag, points_of(drag), (12, 16), SoftMaskSettings(sigma=4.0, transposed=True))
    assert right[1, 4:12].min() > 0.8 and right[8:].max() < 0.05 and support[12, 64] and not support[90, 64]
    assert wrong[3:9, 1].min() > 0.8 and wrong[1, 6:].max() < 0.05
    assert point_masks(drag, points_of(drag), (12, 16), None)[0] is None


def test_the_latent_is_carried_where_the_mask_is_open_enough_and_nowhere_else() -> None:
    z, mask = Blocks().encode(picture()), torch.linspace(0, 1, 16).expand(12, 16)
    handles = points_of(Drag(PICTURE, points=RIGHT))
    whole = carried(z, handles, LatentWarpSettings(ratio=0.5))
    part = carried(z, handles, LatentWarpSettings(ratio=0.5), mask, 0.5)
    assert torch.equal(part[..., 8:], whole[..., 8:]) and torch.equal(part[..., :8], z[..., :8]) and not torch.equal(whole, z)


def test_what_the_demo_models_are_given_runs_on_them() -> None:
    small = replace(DIRECTDRAG.drag, radius=2)
    carried_there = edit(few(replace(DIRECTDRAG, drag=small)), head=head())
    assert carried_there.drag.ended == "arrived" and carried_there.nfe_backward < 8 and carried_there.image.isfinite().all()
    whole = edit(few(replace(DIRECTDRAG, drag=replace(small, arrive_within=None))), head=head())
    assert whole.drag.ended == "" and whole.nfe_backward == 8 and whole.image.isfinite().all()


def test_the_transformer_takes_the_same_parts(tiny) -> None:
    drag = Drag((96, 64), points=(PointOperation((30.0, 30.0), (62.0, 34.0)),))
    settings = FlowPointSettings(inversion=InversionSettings(steps=4, skip=1), drag=replace(DRAG, mask_on="latent"), drag_steps=2)
    torch.manual_seed(0)
    guide = ReadoutHead(ReadoutConfig((tiny.backbone.width,) * 4, projection=16, embedding=256, groups=2))
    before = tiny.backbone.passes
    outcome = directdrag(*tiny.models, tiny.image, drag, tiny.source, settings, head=guide)
    assert outcome.image.isfinite().all() and outcome.nfe_forward == tiny.backbone.passes - before and outcome.drag.step > 0
    outside = torch.from_numpy(~outcome.mask)
    assert torch.equal(outcome.image[..., outside], tiny.image[..., outside])


def test_handles_on_an_odd_latent_read_what_they_read_on_its_whole_tokens() -> None:
    points = (PointOperation((30.0, 28.0), (62.0, 30.0)), PointOperation((84.0, 52.0), (80.0, 40.0)))
    odd = on_tokens(points_of(Drag((88, 56), points=points)), (7, 11), 2)
    whole = points_of(Drag((96, 64), points=points))
    maps = [torch.randn(1, 5, 4, 6, generator=torch.Generator().manual_seed(0))]
    for found, wanted in zip(reference_patches(maps, odd, 3), reference_patches(maps, whole, 3), strict=True):
        assert torch.allclose(found[0], wanted[0], atol=1e-6)
    even = points_of(Drag((96, 64), points=points))
    assert on_tokens(even, (8, 12), 2).mapped == even.grid


@pytest.mark.parametrize("size", [(88, 56), (96, 56)])
def test_the_transformer_takes_an_odd_picture(tiny, size) -> None:
    drag = Drag(size, points=(PointOperation((30.0, 30.0), (62.0, 34.0)),))
    settings = FlowPointSettings(inversion=InversionSettings(steps=3, skip=1), drag=replace(DRAG, mask_on="latent"), drag_steps=1)
    image = tiny.image[..., : size[1], : size[0]]
    outcome = directdrag(*tiny.models, image, drag, tiny.source, settings)
    outside = torch.from_numpy(~outcome.mask)
    assert outcome.image.shape == image.shape and outcome.image.isfinite().all() and not torch.equal(outcome.image, image)
    assert torch.equal(outcome.image[..., outside], image[..., outside])
