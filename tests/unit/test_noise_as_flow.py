"""A noise prediction in the place of a flow: the same latents, the same answers, and DragFlow's own code on a UNet."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dragfield.core.edits.dragflow import DragFlowSettings, dragflow
from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.model.taps import Tap
from dragfield.core.optimise.region_drag import RegionDragSettings, region_drag
from dragfield.core.optimise.supervision import RegionLoss
from dragfield.core.sampling.ddim_inversion import DDIMSettings, invert_ddim
from dragfield.core.sampling.inversion import InversionSettings, invert, reconstruct
from dragfield.core.sampling.noise_as_flow import NoiseAsFlow
from dragfield.core.sampling.sampler import FlowSampler

sys.path.insert(0, str(Path(__file__).parent))
from point_world import COND, PICTURE, ConvBackbone, latent  # noqa: E402

FEW = RegionDragSettings(transport_steps=3, intensify_steps=3)


class Recording(ConvBackbone):
    """Answers with the noise that it was told, and remembers what it saw."""

    def __init__(self, noise: torch.Tensor) -> None:
        super().__init__()
        self.given, self.saw = noise, []

    def noise(self, z, t, cond, *, level=None, kv=None):
        self.saw.append((z, t))
        return self.given


def on_flow(settings: RegionDragSettings, flow: NoiseAsFlow) -> RegionDragSettings:
    """As `drag_region` hands them to a UNet."""
    return replace(settings, taps=settings.taps or flow.taps, reference_grid="tokens")


def drag() -> Drag:
    region = np.zeros(PICTURE[::-1], bool)
    region[32:64, 24:56] = True
    return Drag(PICTURE, (RegionOperation(region, "relocation", (72.0, 48.0)),))


@pytest.mark.parametrize("step", [0, 21, 481, 741, 999])
def test_the_velocity_is_noise_minus_picture_where_the_noise_is_known(step: int) -> None:
    z0, noise = latent(1).double(), latent(2).double()
    backbone = Recording(noise)
    a = backbone.schedule.at(step)
    t = math.sqrt(1 - a) / (math.sqrt(a) + math.sqrt(1 - a))
    flow = NoiseAsFlow(backbone)
    v = flow.velocity((1 - t) * z0 + t * noise, t, COND)
    torch.testing.assert_close(v, noise - z0)
    seen, at = backbone.saw[0]
    assert at == step
    torch.testing.assert_close(seen, math.sqrt(a) * z0 + math.sqrt(1 - a) * noise)


def test_the_nearest_timestep_is_told_and_pure_noise_is_refused() -> None:
    flow = NoiseAsFlow(ConvBackbone())
    steps = [flow.timestep(t) for t in np.linspace(0, 0.93, 50)]
    assert steps[0] == 0 and steps == sorted(steps) and steps[-1] > 900
    with pytest.raises(ValueError, match="time 1 has no picture left"):
        flow.timestep(1.0)


def test_an_inversion_comes_back() -> None:
    flow, z0 = NoiseAsFlow(ConvBackbone()), latent()
    inversion = invert(flow, z0, COND, InversionSettings(steps=25, skip=6, kv_blocks="none"))
    back = reconstruct(flow, inversion, COND)[-1]
    assert (back - z0).abs().mean() < 0.1 * z0.abs().mean()


def test_a_region_drag_brings_its_region_nearer_and_keeps_the_background() -> None:
    flow, z = NoiseAsFlow(ConvBackbone()), latent()
    field = DragField.from_drag(drag())
    mask = torch.zeros(12, 16, dtype=torch.bool)
    mask[3:9, 2:12] = True
    states = list(region_drag(FlowSampler(flow, COND), z, 0.6, field, mask, on_flow(FEW, flow)))
    last = states[-1]
    assert float(last.residual) < 0.9 and torch.equal(last.z[..., ~mask], z[..., ~mask])


def test_the_whole_of_dragflow_runs_on_it() -> None:
    class Means:
        latent_channels, factor = 4, 8

        def encode(self, image):
            small = torch.nn.functional.avg_pool2d(image, 8) * 4 - 2
            return torch.cat([small, small.mean(1, keepdim=True)], dim=1)

        def decode(self, z):
            return torch.nn.functional.interpolate((z[:, :3] + 2) / 4, scale_factor=8, mode="nearest").clamp(0, 1)

    backbone, image = ConvBackbone(), torch.rand(1, 3, PICTURE[1], PICTURE[0], generator=torch.Generator().manual_seed(0))
    settings = DragFlowSettings(inversion=InversionSettings(steps=6, skip=2, kv_blocks="none"), kv=False, drag=FEW)
    outcome = dragflow(backbone, Means(), image, drag(), COND, settings=settings)
    outside = torch.from_numpy(~outcome.mask)
    assert outcome.image.isfinite().all() and torch.equal(outcome.image[..., outside], image[..., outside])
    assert not torch.equal(outcome.image, image)


def test_maps_of_half_the_resolution_are_read_at_the_picture_s_own_places() -> None:
    class Halved(ConvBackbone):
        def features(self, z, t, cond, *, taps, kv=None):
            return [torch.nn.functional.avg_pool2d(found, 2) for found in super().features(z, t, cond, taps=taps)]

    flow, z, field = NoiseAsFlow(Halved()), latent(), DragField.from_drag(drag())
    settings = on_flow(replace(FEW, transport_steps=1, intensify_steps=0), flow)
    maps = flow.features(z, 0.6, COND, taps=flow.taps)
    *_, state = region_drag(FlowSampler(flow, COND), z, 0.6, field, None, settings)
    assert torch.allclose(state.loss, RegionLoss(field, maps, (16, 12))(maps, 1.0))


def test_an_inversion_by_ddim_is_one_of_the_flow() -> None:
    backbone, z0 = ConvBackbone(), latent()
    made = invert_ddim(backbone, z0, COND, DDIMSettings(10, 0.5))
    flow, levels = NoiseAsFlow(backbone), [made.level(i) for i in range(len(made.times))]
    path = [made.to_flow(z, i) for i, z in enumerate(made.path)]
    assert levels[-1] == 0.0 and torch.equal(path[-1], z0)
    assert [flow.timestep(t) for t in levels[:-1]] == list(made.times[:-1])
    assert all(torch.allclose(made.from_flow(z, i), made.path[i]) for i, z in enumerate(path))
    # The mixture that it is at each time: the noise comes out the same either way.
    t = levels[0]
    assert torch.allclose(made.noise(), (path[0] - (1 - t) * z0) / t, atol=1e-5)
    assert made.sigma(0) == pytest.approx(t / (1 - t))


def test_taps_of_a_transformer_are_refused() -> None:
    flow = NoiseAsFlow(ConvBackbone())
    settings = replace(on_flow(FEW, flow), taps=(Tap("double", 0),))
    with pytest.raises(ValueError, match="is a transformer's"):
        list(region_drag(FlowSampler(flow, COND), latent(), 0.5, DragField.from_drag(drag()), None, settings))
