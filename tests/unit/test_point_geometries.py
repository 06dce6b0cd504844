"""DirectDrag goes through the geometry of every sample of the public benchmarks without an exception or a NaN."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dragfield.core.edits.directdrag import PUBLISHED, DirectDragSettings, directdrag
from dragfield.core.formats import read
from dragfield.core.model.readout import ReadoutConfig, ReadoutHead
from dragfield.core.picture.working_size import working_size
from dragfield.core.sampling.ddim_inversion import DDIMSettings

sys.path.insert(0, str(Path(__file__).parent))
from point_world import COND, ConvBackbone  # noqa: E402

DATA = Path(os.environ.get("DRAGFIELD_DATA") or Path(__file__).parents[3] / "shared" / "data")
PATTERNS = {"drag100": "drag100/*", "dragbench": "dragbench/*/*"}


class Noise:
    """An autoencoder for which every picture is noise: only its size matters here."""

    latent_channels, factor = 4, 8

    def encode(self, image):
        return torch.randn(1, 4, image.shape[-2] // 8, image.shape[-1] // 8, generator=torch.Generator().manual_seed(0))

    def decode(self, z):
        return torch.nn.functional.interpolate(z[:, :3].sigmoid(), scale_factor=8)


def quick(settings: DirectDragSettings) -> DirectDragSettings:
    drag = replace(settings.drag, rounds=1, steps_per_round=1)
    return replace(settings, inversion=DDIMSettings(2, 1.0), drag=drag, drag_steps=1)


def folders(kind: str) -> list[Path]:
    found = sorted(p for p in DATA.glob(PATTERNS[kind]) if p.is_dir())
    if not found:
        pytest.skip(f"no {kind} in {DATA}: set DRAGFIELD_DATA to a folder that holds it")
    return found


@pytest.mark.parametrize("kind", list(PATTERNS))
def test_every_sample_goes_through(kind) -> None:
    backbone = ConvBackbone(8)
    torch.manual_seed(0)
    head = ReadoutHead(ReadoutConfig((8, 8), projection=8, embedding=8, groups=2))
    published = replace(PUBLISHED, readout=replace(PUBLISHED.readout, size=(16, 16)))
    for number, folder in enumerate(folders(kind)):
        sample = read(folder)
        # In turn at full size as it is, and at half: odd and even latents, rounded and exact.
        settings = quick(published if number % 2 else DirectDragSettings())
        size = working_size(sample.size, 512 if number % 4 < 2 else 256)
        drag = sample.instruction.rasterise(*size)
        outcome = directdrag(backbone, Noise(), torch.zeros(1, 3, size[1], size[0]), drag, COND, settings, head=head)
        assert outcome.image.isfinite().all() and outcome.z.isfinite().all(), sample.name
        assert all(0 <= x <= size[0] and 0 <= y <= size[1] for x, y in outcome.drag.handles.now_px()), sample.name


def test_a_real_unet_goes_through_odd_geometry() -> None:
    diffusers = pytest.importorskip("diffusers")
    from dragfield.core.backbones.unet import DiffusersUNet
    from dragfield.core.instruction.operations import Drag, PointOperation
    from dragfield.core.model.backbone import Conditioning
    from dragfield.core.sampling.sampler import NoiseSampler
    from dragfield.core.training.readout_training import new_head

    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(
        in_channels=4, out_channels=4, cross_attention_dim=6, norm_num_groups=4, block_out_channels=(8, 8), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2,
    )  # fmt: skip
    backbone, cond = DiffusersUNet(model), Conditioning(torch.randn(1, 3, 6))
    head = new_head(NoiseSampler(backbone, cond), projection=16, groups=2)
    for size in ((88, 56), (40, 72), (8, 16)):
        ends = [(0.0, 0.0), (float(size[0]), float(size[1])), (size[0] / 2, size[1] / 2), (5.0, 3.0)]
        drag = Drag(size, points=tuple(PointOperation(a, b) for a, b in zip(ends, ends[1:] + ends[:1], strict=True)))
        picture = torch.zeros(1, 3, size[1], size[0])
        ours = directdrag(backbone, Noise(), picture, drag, cond, quick(DirectDragSettings()), head=head)
        assert ours.image.isfinite().all() and ours.drag is not None
        # The published clamp leaves nothing to drag in the smallest of these pictures.
        settings = replace(PUBLISHED, readout=replace(PUBLISHED.readout, size=(8, 8)))
        assert directdrag(backbone, Noise(), picture, drag, cond, quick(settings), head=head).image.isfinite().all()
