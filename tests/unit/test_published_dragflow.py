"""The preset `published` computes what the published DragFlow computes, step by step.

Twice: against numbers of the published code itself, where they are at hand, and against a slow literal version written down here.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dragfield.core.edits.dragflow import PUBLISHED, DragFlowSettings, dragflow
from dragfield.core.edits.edit import Edit
from dragfield.core.field import FieldSettings
from dragfield.core.formats import red_bench
from dragfield.core.instruction.operations import Drag, RegionOperation
from dragfield.core.model.backbone import Conditioning
from dragfield.core.optimise.published_regions import PublishedRegions
from dragfield.core.optimise.supervision import cut_shape
from dragfield.core.progress import Progress, RunContext
from dragfield.core.sampling.inversion import InversionSettings

GOLDEN = Path(os.environ.get("DRAGFIELD_DATA") or Path(__file__).parents[3] / "shared" / "data") / "golden_dragflow"
CASES = ("r1_deform", "r2_trans", "r3_rot", "r4_two", "r5_odd")
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="DRAGFIELD_DATA names no folder with golden_dragflow")


class Latents:
    """An autoencoder whose only picture has the latent that it is given."""

    factor = 8

    def __init__(self, z0: Tensor) -> None:
        self.z0 = z0

    def encode(self, image: Tensor) -> Tensor:
        return self.z0

    def decode(self, z: Tensor) -> Tensor:
        return torch.zeros(1, 3, 8 * z.shape[-2], 8 * z.shape[-1])


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


# --- against the published code's own numbers


@pytest.fixture(scope="module")
def published_model():
    from diffusers import FluxTransformer2DModel
    from safetensors.torch import load_file

    from dragfield.core.backbones.flux import DiffusersFlux

    config = json.loads((GOLDEN / CASES[0] / "golden.json").read_text())["config"]
    model = FluxTransformer2DModel(**config)
    model.load_state_dict({name: weight.float() for name, weight in load_file(GOLDEN / "transformer.safetensors").items()})
    return DiffusersFlux(model)


@golden
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_the_published_codes(case: str, published_model) -> None:
    """Up to one sign: in r2_trans, at iteration 8, one of 27,264 differences is 4e-7 (of 0.4) and has the other sign in the published run.

    With that sign exchanged z after 10 iterations agrees to 5e-7. Which difference is so small depends on the processor: on another one
    r2_trans is joined by r5_odd (8e-5 after 10). From there on both go their own way, as the published code does when 1e-6 is added to its
    z0 (3e-4 to 4e-3 in the end).
    """
    from safetensors.torch import load_file

    saved, wanted = json.loads((GOLDEN / case / "golden.json").read_text()), load_file(GOLDEN / case / "golden.safetensors")
    states = []

    def report(at: Progress) -> None:
        if at.stage == "drag":
            states.append((at.drag.z, float(at.drag.loss)))

    prompts = [Conditioning(wanted[f"txt_{name}"], wanted[f"pooled_{name}"]) for name in ("source", "target")]
    width, height = saved["size"]
    edit = dragflow(
        published_model, Latents(wanted["z0"]), torch.zeros(1, 3, height, width), red_bench.read(GOLDEN / case).drag(), *prompts,
        PUBLISHED, run=RunContext(report),
    )  # fmt: skip
    assert off(edit.inversion.z, wanted["z_inverted"]) < 1e-6
    for iteration in (1, 2, 10):
        bound = 3e-4 if iteration == 10 else 1e-5
        assert off(states[iteration - 1][0], wanted[f"z_after_{iteration:02d}"]) < bound, iteration
    for (_, loss), theirs in zip(states[:10], saved["loss"], strict=False):
        assert abs(loss - theirs) <= 1e-4 * theirs
    inside = wanted["latent_mask"].bool().expand_as(edit.z)
    effect = (wanted["final_edit"] - wanted["final_reconstruction"])[inside]
    assert float((edit.z - wanted["final_edit"])[inside].norm() / effect.norm()) < 0.01


@golden
@pytest.mark.parametrize("case", CASES)
def test_every_cell_counts_that_the_published_code_counts(case: str) -> None:
    """Those on exactly one half too, about which float32 decides."""
    from safetensors.torch import load_file

    wanted, size = load_file(GOLDEN / case / "golden.safetensors"), tuple(json.loads((GOLDEN / case / "golden.json").read_text())["size"])
    regions = PublishedRegions(red_bench.read(GOLDEN / case).drag(), cut_shape(size))
    for name in (name for name in wanted if name.startswith("region_")):
        op, step = int(name[9]), int(name[-2:])
        assert torch.equal(regions.cells(op, step / 50), wanted[name] > 0), name
        assert float((regions.grid(op, step / 50) - wanted[name.replace("region", "source_grid")]).abs().max()) < 1e-6


# --- against a literal version


RAW, WORKING = (99, 70), (96, 64)
FEW = replace(
    PUBLISHED, kv=False, inversion=InversionSettings(steps=6, skip=2, kv_blocks="none"),
    drag=replace(PUBLISHED.drag, transport_steps=4, intensify_steps=2),
)  # fmt: skip


def drag() -> Drag:
    """A region turned and one shifted, on a picture whose sides are no multiples of 16."""
    turned, shifted = np.zeros((2, RAW[1], RAW[0]), bool)
    turned[10:31, 12:37] = True
    shifted[40:59, 50:75] = True
    return Drag(
        RAW,
        (
            RegionOperation(turned, "rotation", (45.5, 31.5), anchor=(22.5, 44.5)),
            RegionOperation(shifted, "relocation", (71.5, 38.5)),
        ),
    )


def literal(backbone, z0: Tensor, drag: Drag, source: Conditioning, target: Conditioning) -> tuple[list[Tensor], list[float], Tensor]:
    """DragFlow as its facts are written down, with whole maps and no cleverness. -> latents and losses of the drag, the edited latent."""
    h, w = z0.shape[-2:]
    mu = 0.5 + (h * w // 4 - 256) * 0.65 / (4096 - 256)
    times = [1 / (1 + (1 / u - 1) / math.exp(mu)) if u else 0.0 for u in (1 - i / 6 for i in range(7))][2:]

    def fireflow(z: Tensor, path: list[float], prompt: Conditioning, guidance: float, blend=None) -> Tensor:
        v = backbone.velocity(z, path[0], prompt, guidance=guidance)
        for i, (a, b) in enumerate(zip(path, path[1:], strict=False)):
            v = backbone.velocity(z + (b - a) / 2 * v, (a + b) / 2, prompt, guidance=guidance)
            z = z + (b - a) * v
            z = z if blend is None else blend(z, i)
        return z

    def enlarged(latent: Tensor) -> Tensor:
        found = backbone.features(latent, times[0], target, taps=taps, guidance=3.5)
        maps = [F.pixel_shuffle(f, 2) for f in found]
        return torch.cat([F.interpolate(m, (cut[1], cut[0]), mode="bilinear", align_corners=False) for m in maps], dim=1)

    from dragfield.core.model.taps import default_taps

    taps, cut = default_taps(backbone.double_blocks), (WORKING[0] // 2, WORKING[1] // 2)
    z = start = fireflow(z0, times[::-1], source, 1.0)
    softened, thetas = [], []
    for operation in drag.regions:
        soft = F.interpolate(torch.from_numpy(operation.mask).float()[None, None], (cut[1], cut[0]), mode="bilinear", align_corners=False)
        rows, columns = (soft[0, 0] > 0.5).nonzero(as_tuple=True)
        begin = torch.stack([columns.double().mean(), rows.double().mean()]).round()

        def placed(point):
            return torch.tensor([(point[k] - 0.5) / RAW[k] * cut[k] for k in (0, 1)], dtype=torch.float64).round()

        goal = placed(operation.target)
        softened.append(soft)
        if operation.task == "rotation":
            anchor = placed(operation.anchor)
            (sx, sy), (gx, gy) = (begin - anchor).tolist(), (goal - anchor).tolist()
            angle = (math.degrees(math.atan2(gy, gx)) - math.degrees(math.atan2(sy, sx)) + 180) % 360 - 180
            thetas.append(("turn", angle, anchor))
        else:
            thetas.append(("shift", goal - begin, None))

    def grid(op: int, progress: float) -> Tensor:
        kind, much, anchor = thetas[op]
        rows, columns = torch.meshgrid(torch.arange(cut[1]).double(), torch.arange(cut[0]).double(), indexing="ij")
        if kind == "shift":
            x, y = columns - progress * much[0], rows - progress * much[1]
        else:
            c, s = math.cos(-math.radians(progress * much)), math.sin(-math.radians(progress * much))
            dx, dy = columns - anchor[0], rows - anchor[1]
            x, y = anchor[0] + c * dx - s * dy, anchor[1] + s * dx + c * dy
        return torch.stack([(2 * x + 1) / cut[0] - 1, (2 * y + 1) / cut[1] - 1], dim=-1).float()[None]

    areas = [operation.mask.sum() / operation.mask.size for operation in drag.regions]
    raw = [min(5.0, max(1.0, 1 + 0.5 / (area + 0.1))) for area in areas]
    from dragfield.core.field.masks import adaptive_gradient_mask

    open_cells = torch.from_numpy(adaptive_gradient_mask(drag)).float()[None, None]
    open_cells = F.interpolate(open_cells, (h, w), mode="bilinear", align_corners=False) > 0.5
    background = start + (times[1] - times[0]) / 2 * backbone.velocity(start, times[0], target, guidance=3.5)
    reference, latents, losses = enlarged(start).detach(), [], []
    for progress in (0.25, 0.5, 0.75, 1.0, 1.0, 1.0):
        leaf = z.clone().requires_grad_()
        with torch.enable_grad():
            now, loss = enlarged(leaf), 0.0
            for op, weight in enumerate(raw):
                at = grid(op, progress)
                inside = (F.grid_sample(softened[op], at, padding_mode="zeros", align_corners=False) > 0.5).float()
                carried = F.grid_sample(reference, at, padding_mode="border", align_corners=False)
                loss = loss + weight / sum(raw) * (inside * now - inside * carried).abs().mean()
            (slope,) = torch.autograd.grad(loss, leaf)
        z = torch.where(open_cells, z - 1000.0 * slope, background)
        latents.append(z)
        losses.append(float(loss))
    kept, v_kept = [], backbone.velocity(start, times[0], target, guidance=1.0)
    z_kept = start
    for a, b in zip(times, times[1:], strict=False):
        v_kept = backbone.velocity(z_kept + (b - a) / 2 * v_kept, (a + b) / 2, target, guidance=1.0)
        z_kept = z_kept + (b - a) * v_kept
        kept.append(z_kept)
    return latents, losses, fireflow(z, times, target, 3.5, lambda moved, i: torch.where(open_cells, moved, kept[i]))


def run(tiny, settings: DragFlowSettings) -> tuple[list[Tensor], list[float], Edit]:
    states = []

    def report(at: Progress) -> None:
        if at.stage == "drag":
            states.append(at.drag)

    z0 = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(3))
    what = Latents(z0), torch.zeros(1, 3, 64, 96), drag(), tiny.source, tiny.target, settings
    edit = dragflow(tiny.backbone, *what, run=RunContext(report))
    return [state.z for state in states], [float(state.loss) for state in states], edit


def test_the_preset_is_the_literal_method(tiny) -> None:
    latents, losses, edit = run(tiny, FEW)
    with torch.no_grad():
        wanted = literal(tiny.backbone, edit.inversion.z0, drag(), tiny.source, tiny.target)
    assert losses == pytest.approx(wanted[1], rel=1e-5)
    for iteration, (found, theirs) in enumerate(zip(latents, wanted[0], strict=True), start=1):
        assert off(found, theirs) < 1e-5, iteration
    assert off(edit.z, wanted[2]) < 1e-4


@pytest.mark.parametrize(
    "name, change",
    [
        ("rounding", {"rounding": "exact"}),
        ("reading", {"drag": replace(FEW.drag, reading="direct")}),
        ("background", {"drag": replace(FEW.drag, background="same_t")}),
        ("reconstruction", {"recon_path": "inversion"}),
        ("prompt of the reconstruction", {"recon_prompt": "source"}),
    ],
)
def test_each_setting_is_needed_for_that(tiny, name: str, change: dict) -> None:
    """A setting that changed nothing would make the comparison above say nothing about it."""
    _, _, published = run(tiny, FEW)
    _, _, other = run(tiny, replace(FEW, **change))
    assert off(other.z, published.z) > 1e-3


def test_ties_fall_as_float32_lets_them() -> None:
    """A region of an odd width, halved: a cell of its edge is half in it. Exactly, such a cell is out; float32 now and then takes it in."""
    mask = np.zeros((128, 128), bool)
    mask[31:64, 29:62] = True
    regions = PublishedRegions(Drag((128, 128), (RegionOperation(mask, "relocation", (79.5, 50.5)),)), (64, 64))
    counts = {int(regions.cells(0, k / 50).sum()) for k in range(1, 51)}
    assert len(counts) > 1


def test_what_does_not_go_together_is_refused_in_one_sentence(tiny) -> None:
    with pytest.raises(ValueError, match="drags regions, and this drag has points"):
        from dragfield.core.instruction.operations import PointOperation

        PublishedRegions(Drag(RAW, points=(PointOperation((10.0, 10.0), (20.0, 20.0)),)), (48, 32))
    for more in ({"scale": (-1, 1)}, {"angle": 20.0}, {"copy": True}):
        with pytest.raises(ValueError, match="scales, mirrors or copies one, or turns it on its way"):
            PublishedRegions(replace(drag(), regions=(replace(drag().regions[0], **more),)), (48, 32))
    for change, sentence in (
        ({"masks_at": "working"}, "drawn on 99 x 70 px and the working picture has 96 x 64"),
        ({"paste_back": True}, "paste_back needs the drag in the working picture's pixels"),
        ({"field": FieldSettings(deformation="stretch")}, "rigid regions alone"),
    ):
        with pytest.raises(ValueError, match=sentence):
            run(tiny, replace(FEW, **change))
