"""A noise prediction in the place of a flow: the same latents, the same answers, and DragFlow's own code on a UNet."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dragfield.core.backbones.noise_as_flow import NoiseAsFlow, on_unet
from dragfield.core.edit import DragFlowSettings, dragflow
from dragfield.core.field import DragField
from dragfield.core.inversion import InversionSettings, invert, reconstruct
from dragfield.core.operations import Drag, RegionOperation
from dragfield.core.region_drag import RegionDragSettings, region_drag, run_region_drag
from dragfield.core.taps import Tap

sys.path.insert(0, str(Path(__file__).parent))
from point_world import COND, PICTURE, ConvBackbone, latent  # noqa: E402

FEW = RegionDragSettings(transport_steps=3, intensify_steps=3)


class Told(ConvBackbone):
    """Answers with the noise that it was told, and remembers what it saw."""

    def __init__(self, noise: torch.Tensor) -> None:
        super().__init__()
        self.told, self.saw = noise, []

    def noise(self, z, t, cond, *, level=None, kv=None):
        self.saw.append((z, t))
        return self.told


def drag() -> Drag:
    region = np.zeros(PICTURE[::-1], bool)
    region[32:64, 24:56] = True
    return Drag(PICTURE, (RegionOperation(region, "relocation", (72.0, 48.0)),))


@pytest.mark.parametrize("step", [0, 21, 481, 741, 999])
def test_the_velocity_is_noise_minus_picture_where_the_noise_is_known(step: int) -> None:
    z0, noise = latent(1).double(), latent(2).double()
    backbone = Told(noise)
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
    states = list(region_drag(flow, z, 0.6, COND, field, mask, on_unet(FEW, flow)))
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

    flow, image = NoiseAsFlow(ConvBackbone()), torch.rand(1, 3, PICTURE[1], PICTURE[0], generator=torch.Generator().manual_seed(0))
    settings = DragFlowSettings(inversion=InversionSettings(steps=6, skip=2, kv_blocks="none"), kv=False, drag=on_unet(FEW, flow))
    outcome = dragflow(flow, Means(), image, drag(), COND, settings=settings)
    outside = torch.from_numpy(~outcome.mask)
    assert outcome.image.isfinite().all() and torch.equal(outcome.image[..., outside], image[..., outside])
    assert not torch.equal(outcome.image, image)


def test_taps_of_a_transformer_are_refused() -> None:
    flow = NoiseAsFlow(ConvBackbone())
    settings = replace(on_unet(FEW, flow), taps=(Tap("double", 0),))
    with pytest.raises(ValueError, match="is a transformer's"):
        run_region_drag(flow, latent(), 0.5, COND, DragField.from_drag(drag()), None, settings)
