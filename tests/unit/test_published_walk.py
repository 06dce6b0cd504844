"""DirectDrag as a whole, on a UNet of Stable Diffusion's kind: every step of `published` against a slow literal version, from one state.

The literal version uses nothing of core: it hooks the bare diffusers model, and has its own schedule, warp, mask, windows, tracking,
readout, Adam and attention. Only states are taken from the edit: where each step began. Ends are not compared, they part by chaos: the
published code against itself, with 1e-8 added to its latent, differs by 0.04 to 0.3 there.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dragfield.core.backbones.unet import DiffusersUNet
from dragfield.core.edits import drag_points as module
from dragfield.core.edits.directdrag import PUBLISHED, directdrag
from dragfield.core.instruction.operations import Drag, PointOperation
from dragfield.core.model.backbone import Conditioning
from dragfield.core.model.readout import ReadoutConfig, ReadoutHead
from dragfield.core.progress import RunContext
from dragfield.core.sampling.ddim_inversion import DDIMSettings

sys.path.insert(0, str(Path(__file__).parent))
from test_published_directdrag import literal_mask  # noqa: E402

diffusers = pytest.importorskip("diffusers")

Cell = tuple[int, int]
"""(row, column) of half the picture's size."""


def unet() -> Any:
    torch.manual_seed(0)
    cross, plain = "CrossAttn", ""
    return diffusers.UNet2DConditionModel(
        in_channels=4, out_channels=4, cross_attention_dim=6, norm_num_groups=4, block_out_channels=(8, 8, 16, 16), layers_per_block=2,
        attention_head_dim=2, down_block_types=[f"{kind}DownBlock2D" for kind in (cross, cross, cross, plain)],
        up_block_types=[f"{kind}UpBlock2D" for kind in (plain, cross, cross, cross)],
    )  # fmt: skip


class Blocks:
    """An autoencoder of cells of 8 px, as many as fit."""

    latent_channels, factor = 4, 8

    def encode(self, image: Tensor) -> Tensor:
        small = F.avg_pool2d(image, 8) * 4 - 2
        return torch.cat([small, small[:, :1] * small[:, 1:2]], dim=1)

    def decode(self, z: Tensor) -> Tensor:
        return F.interpolate((z[:, :3] + 2) / 4, scale_factor=8, mode="nearest").clamp(0, 1)


class Literal:
    """The published code, section by section of its description."""

    def __init__(self, model: Any, head: ReadoutHead, text: Tensor, size: tuple[int, int], indices: list, side: int) -> None:
        self.model, self.head, self.text, self.side, (self.width, self.height) = model, head, text, side, size
        self.rows, self.columns = self.height // 2, self.width // 2
        self.latent = (self.height // 8, self.width // 8)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas = torch.cumprod(1 - betas, 0).tolist()
        self.start, self.targets = self.cells(indices)
        self.mask = F.interpolate(torch.from_numpy(literal_mask(indices, *size))[None, None], self.latent, mode="nearest").double()
        self.fixed: list[Tensor] = []

    def cells(self, indices: list[tuple[int, int]]) -> tuple[list[Cell], list[Cell]]:
        placed = []
        for x, y in indices:
            # Width and height mistaken for each other.
            x, y = min(max(x, 12), max(self.height - 13, 12)), min(max(y, 12), max(self.width - 13, 12))
            row, column = round(y / self.height * self.rows), round(x / self.width * self.columns)
            placed.append((min(row, self.rows - 1), min(column, self.columns - 1)))
        return placed[::2], placed[1::2]

    def look(self, z: Tensor, t: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Noise; output of the third up block on the fine grid; what the readout sees."""
        up, hidden = [], []
        hooks = [self.model.up_blocks[2].register_forward_hook(lambda m, i, out: up.append(out))]
        for block in self.model.up_blocks:
            hooks += [res.conv2.register_forward_hook(lambda m, i, out: hidden.append(out)) for res in block.resnets]
        eps = self.model(z, t, self.text.expand(len(z), -1, -1)).sample
        for hook in hooks:
            hook.remove()
        return eps, F.interpolate(up[0], (self.rows, self.columns), mode="bilinear", align_corners=False), hidden

    def step(self, z: Tensor, eps: Tensor, t: int, to: int) -> Tensor:
        a, b = self.alphas[max(t, 0)], self.alphas[max(to, 0)]
        return b**0.5 * (z - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps

    def inverted(self, z: Tensor, at: int, to: int) -> Tensor:
        eps, _, seen = self.look(z, to)
        self.fixed = [f.detach() for f in seen]
        return self.step(z, eps, at, to)

    def warped(self, z: Tensor) -> Tensor:
        rows, columns = self.latent
        middle = np.array([(rows - 1) / 2, (columns - 1) / 2])
        reach = float(np.hypot(*middle))
        out = torch.zeros_like(z)
        taken = set()
        for cell in np.ndindex(rows, columns):
            moves, weights = [], []
            for handle, target in zip(self.start, self.targets, strict=True):
                a, d = np.array(handle) / 4, 0.15 * np.subtract(target, handle) / 4
                ray = np.array(cell) - a
                length = float(np.hypot(*ray))
                if length == 0:
                    share = float("nan")
                else:
                    g = float(ray / length @ (a - middle))
                    share = 1 - length / ((reach**2 - float((a - middle) @ (a - middle)) + g * g) ** 0.5 - g)
                moves.append(share * d)
                weights.append(1 / (length + 1e-4))
            move = sum(w * m for w, m in zip(weights, moves, strict=True)) / sum(weights)
            if np.isnan(move).any():
                continue
            goal = tuple(min(max(round(float(c + m)), 0), n - 1) for c, m, n in zip(cell, move, self.latent, strict=True))
            if goal not in taken:
                taken.add(goal)
                out[..., goal[0], goal[1]] = z[..., cell[0], cell[1]]
        for row, column in np.ndindex(rows, columns):
            if out[0, 0, row, column] != 0:
                continue
            value, total = 0.0, 0.0
            for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
                y, x, far = row + dy, column + dx, 1
                while 0 <= y < rows and 0 <= x < columns and out[0, 0, y, x] == 0:
                    y, x, far = y + dy, x + dx, far + 1
                if 0 <= y < rows and 0 <= x < columns:
                    value, total = value + out[..., y, x] / far, total + 1 / far
            if total:
                out[..., row, column] = value / total
        return out

    def readout(self, seen: list[Tensor], t: int) -> Tensor:
        """Every map resized to the same square before anything else."""
        state, groups, total = self.head.state_dict(), self.head.config.groups, 0.0
        embedding = self.model.time_embedding(self.model.time_proj(torch.tensor([t])).double())
        for k, x in enumerate(seen):
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)

            def conv(name: str, value: Tensor, at: str = f"bottleneck_layers.{k}.") -> Tensor:
                weight = state[f"{at}{name}.weight"]
                value = F.conv2d(value, weight, padding=weight.shape[-1] // 2)
                return F.group_norm(value, groups, state[f"{at}{name}.norm.weight"], state[f"{at}{name}.norm.bias"])

            y = F.relu(conv("conv1", x))
            linear = [state[f"bottleneck_layers.{k}.emb_layers.{part}"] for part in ("weight", "bias")]
            y = F.relu(conv("conv2", y + F.relu(F.linear(embedding, *linear))[..., None, None]))
            total = total + state["mixing_weights"].softmax(0)[k] * F.relu(conv("conv3", y) + conv("shortcut", x))
        return total

    def track(self, features: Tensor, first: Tensor, now: list[Cell]) -> list[Cell]:
        padded, found = F.pad(features[0], (200,) * 4), []
        for (row, column), (row0, column0) in zip(now, self.start, strict=True):
            window = padded[:, 200 + row - 12 : 213 + row, 200 + column - 12 : 213 + column]
            index = int((window - first[0, :, row0, column0][:, None, None]).abs().sum(0).flatten().argmin())
            found.append((row - 12 + index // 25, column - 12 + index % 25))
        return found

    def supervised(self, features: Tensor, first: Tensor, now: list[Cell]) -> Tensor:
        total = torch.zeros(())
        for p, p0, target in zip(now, self.start, self.targets, strict=True):
            distance = float(np.hypot(*np.subtract(target, p)))
            if distance < 2:
                continue
            y, x = np.add(p, np.subtract(target, p) / distance * min(4.0, distance))
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            found = 0.0
            for cy in (y0, y0 + 1):
                for cx in (x0, x0 + 1):
                    found = found + (1 - abs(y - cy)) * (1 - abs(x - cx)) * features[0, :, cy - 4 : cy + 5, cx - 4 : cx + 5]
            total = total + 64 * (found - first[0, :, p0[0] - 4 : p0[0] + 5, p0[1] - 4 : p0[1] + 5]).abs().mean()
        return total

    def drag(self, z: Tensor, original: Tensor, t: int, to: int, now: list[Cell], idle: int) -> Generator[tuple, Tensor]:
        """After every gradient step: latent, handles, idle rounds, whether all have arrived. It goes on from the latent it is sent."""
        with torch.no_grad():
            eps, first, _ = self.look(original, t)
            following, wanted = self.step(original, eps, t, to), self.readout(self.fixed, t)
        scale = float((z.max() - z.min()) ** 2)
        z, mean, square, count = z.clone(), torch.zeros_like(z), torch.zeros_like(z), 0
        for _ in range(10):
            for inner in range(3):
                z.requires_grad_()
                eps, features, seen = self.look(z, t)
                if count == 0:
                    now = self.track(features.detach(), first, now)
                if all(np.hypot(*np.subtract(p, q)) < 2 for p, q in zip(now, self.targets, strict=True)):
                    yield z.detach(), now, idle, True
                    return
                held = ((1 - self.mask) * (self.step(z, eps, t, to) - following).abs()).sum()
                apart = (1 - F.cosine_similarity(self.readout(seen, t), wanted, dim=1)).mean()
                (slope,) = torch.autograd.grad(self.supervised(features, first, now) + 0.1 * held + 350 * scale * apart, z)
                count += 1
                mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
                z = z.detach() - 0.02 * (mean / (1 - 0.9**count)) / ((square / (1 - 0.999**count)).sqrt() + 1e-8)
                if inner == 2:
                    found = self.track(features.detach(), first, now)
                    idle, now = idle + 1 if found == now else 0, found
                z = (yield z, now, idle, False).clone()

    @torch.no_grad()
    def denoised(self, original: Tensor, z: Tensor, t: int, to: int, mutual: bool) -> Tensor:
        """Both side by side; with `mutual`, self-attentions 10 to 15 find the original's keys and values."""
        attentions = [layer.attn1 for block in self.model.up_blocks[2:] for a in block.attentions for layer in a.transformer_blocks]
        assert len(attentions) == 6
        before = [attention.processor for attention in attentions]
        if mutual:
            for attention in attentions:
                attention.set_processor(looks_at_the_first)
        pair = torch.cat([original, z])
        eps, _, _ = self.look(pair, t)
        for attention, processor in zip(attentions, before, strict=True):
            attention.set_processor(processor)
        return self.step(pair, eps, t, to)


def looks_at_the_first(attention: Any, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
    heads = attention.heads
    q, k, v = (layer(hidden).unflatten(-1, (heads, -1)).transpose(1, 2) for layer in (attention.to_q, attention.to_k, attention.to_v))
    weights = (q @ k[:1].transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return attention.to_out[0]((weights @ v[:1]).transpose(1, 2).flatten(2))


def off(found: Tensor, wanted: Tensor, base: Tensor) -> float:
    """By how much two steps from one state differ, relative to their length."""
    return float((found - wanted).norm() / (wanted - base).norm())


def cells_of(places: Any) -> list[Cell]:
    assert all(v % 1 == 0.5 for place in places for v in place)
    return [(int(np.floor(y)), int(np.floor(x))) for x, y in places]


# Size; pixel indices of handle and target in turn; at how many timesteps is dragged; sides of the readout (published: 64).
CASES = {
    "two drags, one from the centre of a latent cell": ((160, 160), [(64, 40), (118, 90), (100, 120), (44, 104)], 2, 16),
    "a wide picture, a target kept from its border": ((192, 128), [(60, 40), (140, 88)], 1, 64),
    "sides that do not divide": ((171, 139), [(52, 60), (118, 76)], 1, 16),
    "there at once": ((160, 160), [(60, 60), (63, 60)], 2, 16),
}


@pytest.mark.parametrize("case", CASES)
def test_every_step_of_the_published_preset_is_the_literal_one(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size, indices, drag_steps, side = CASES[case]
    model, generator = unet().double().eval().requires_grad_(False), torch.Generator().manual_seed(3)
    backbone, cond = DiffusersUNet(model), Conditioning(torch.randn(1, 3, 6, generator=generator).double())
    dims = tuple(res.conv2.out_channels for block in model.up_blocks for res in block.resnets)
    torch.manual_seed(1)
    head = ReadoutHead(ReadoutConfig(dims, projection=32, embedding=backbone.time_embed_dim, groups=2)).double().requires_grad_(False)
    literal = Literal(model, head, cond.txt, size, indices, side)

    begun, reports, dragging = [], [], module.point_drag

    def watched(_: Any, z: Tensor, t: int, handles: Any, mask: Tensor, settings: Any, **more: Any) -> Any:
        begun.append({"t": t, "z": z, "now": cells_of(handles.now), "mask": mask, **more})
        return dragging(_, z, t, handles, mask, settings, **more)

    monkeypatch.setattr(module, "point_drag", watched)
    readout = replace(PUBLISHED.readout, size=(side, side))
    settings = replace(PUBLISHED, inversion=DDIMSettings(steps=10, strength=0.5), drag_steps=drag_steps, readout=readout)
    image = torch.rand(1, 3, size[1], size[0], generator=generator).double()
    pairs = tuple(
        PointOperation(*((x + 0.5, y + 0.5) for x, y in pair)) for pair in zip(indices[::2], indices[1::2], strict=True)
    )
    outcome = directdrag(backbone, Blocks(), image, Drag(size, points=pairs), cond, settings, head=head, run=RunContext(reports.append))
    times, path = outcome.inversion.times, outcome.inversion.path

    with torch.no_grad():
        for i in reversed(range(len(times) - 1)):
            assert off(path[i], literal.inverted(path[i + 1], times[i + 1], times[i]), path[i + 1]) < 1e-9
    assert torch.allclose(begun[0]["mask"].double(), literal.mask[0, 0], atol=1e-6)
    assert torch.equal(begun[0]["z"], literal.warped(path[0])), "the warp"

    drags = [p for p in reports if p.stage == "drag"]
    denoised = [p.z for p in reports if p.stage == "denoise"]
    original, z, over, idle = path[0], begun[0]["z"], False, 0
    for i, (t, to) in enumerate(zip(times, times[1:], strict=False)):
        mutual = over = over or i == drag_steps or idle == 5
        if not over:
            block = begun.pop(0)
            assert block["t"] == t and block["idle"] == idle and off(block["reference"], original, torch.zeros(())) < 1e-9
            walk, z, steps = literal.drag(block["z"], block["reference"], t, to, block["now"], idle), block["z"], 0
            moved, now, idle, over = next(walk)
            while True:
                mine, steps = drags.pop(0).drag, steps + 1
                assert cells_of(mine.handles.now) == now and mine.idle == idle and (mine.ended == "arrived") == over
                if not over:
                    assert off(mine.z, moved, z) < 1e-6
                z = mine.z
                if over or steps == 30:
                    break
                moved, now, idle, over = walk.send(z)
            original = block["reference"]
        original, after = literal.denoised(original, z, t, to, mutual).split(1)
        assert off(denoised[i], after, z) < 1e-9
        z = denoised[i]
    assert not begun and not drags
    picture = F.interpolate(Blocks().decode(z), (size[1], size[0]), mode="bilinear", align_corners=False)
    assert torch.equal(outcome.image, picture)
