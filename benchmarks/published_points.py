"""A point drag iteration done the published way, for comparison: same loss, same descent, its costs kept.

From the description of the published code (directdrag.md sections 4, 8 and 12): the weights take gradients too and keep them; the tap's
whole map is enlarged to half the picture's size, and so is the reference's; readout features are resized first, and convolved and
concatenated at the full size; the reference's readout is computed again in every iteration. Left out because it depends on their machine,
not on the method: half precision with a loss scale, copies to the host, cache flushes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.backbones.unet import DiffusersUNet
from ..core.model.backbone import Conditioning
from ..core.model.readout import NormedConv, ReadoutHead
from ..core.optimise.adam import Adam
from ..core.optimise.appearance import ReadoutSettings, readout_distance, time_of
from ..core.optimise.handles import Handles
from ..core.optimise.point_drag_settings import PointDragSettings
from ..core.sampling.ddim import ddim_step
from ..core.sampling.sampler import NoiseSampler


class PublishedPointDrag:
    """Gradient steps at one timestep as published, without the tracking between them. Weights require gradients until `close`."""

    def __init__(
        self, backbone: DiffusersUNet, z: Tensor, t: int, to: int, cond: Conditioning, handles: Handles, mask: Tensor,
        settings: PointDragSettings, head: ReadoutHead | None, readout: ReadoutSettings,
    ) -> None:  # fmt: skip
        self.backbone, self.t, self.to, self.cond, self.handles, self.mask = backbone, t, to, cond, handles, mask
        self.settings, self.head, self.readout = settings, head, readout
        self.probe = NoiseSampler(backbone, cond)
        backbone.model.requires_grad_(True)
        if head is not None:
            head.requires_grad_(True)
        self.leaf = z.detach().clone().requires_grad_()
        self.range = float((z.max() - z.min()) ** 2)
        self.adam = Adam(settings.rate, settings.betas)
        with torch.no_grad():
            self.before, own, self.seen = self._look(z)
            self.reference = self._enlarged(own)

    def close(self) -> None:
        """The weights as they were: frozen, without gradients."""
        for module in (self.backbone.model, self.head):
            if module is not None:
                module.zero_grad(set_to_none=True)
                module.requires_grad_(False)

    def __next__(self) -> Tensor:
        """One gradient step; -> the loss before it."""
        with torch.enable_grad():
            after, own, seen = self._look(self.leaf)
            whole = self._enlarged(own)
            side, radius = 2 * self.settings.radius, self.settings.radius
            loss = torch.zeros((), device=whole.device)
            for start, place, d in zip(self.handles.start, self.handles.now, self.handles.steps(self.settings.longest_step), strict=True):
                wanted = _slice(self.reference, math.floor(start[0]), math.floor(start[1]), radius)
                x, y = place[0] + d[0] - 0.5, place[1] + d[1] - 0.5
                left, top = math.floor(x), math.floor(y)
                fx, fy = x - left, y - top
                near = (1 - fx) * (1 - fy) * _slice(whole, left, top, radius) + fx * (1 - fy) * _slice(whole, left + 1, top, radius)
                near = near + (1 - fx) * fy * _slice(whole, left, top + 1, radius) + fx * fy * _slice(whole, left + 1, top + 1, radius)
                loss = loss + side**2 * (near - wanted.detach()).abs().mean()
            loss = loss + self.settings.mask_weight * ((1 - self.mask) * (after - self.before).abs()).sum()
            if self.head is not None:
                embedding = time_of(self.probe, self.head, self.t, self.readout)
                wanted = resized_first(self.head, self.seen, embedding, self._size()).detach()
                found = resized_first(self.head, seen, embedding, self._size())
                loss = loss + self.readout.weight * self.range * readout_distance(found, wanted, self.readout.distance).sum()
            self.leaf.grad = None
            loss.backward()
        self.leaf = (self.leaf.detach() - self.adam.step(self.leaf.grad)).requires_grad_()
        return loss.detach()

    def _look(self, z: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        taps = self.probe.drag_taps + (self.probe.readout_taps if self.head is not None else ())
        eps, found = self.backbone.noise_and_features(z, self.t, self.cond, taps=taps)
        return ddim_step(z, eps, self.backbone.schedule, self.t, self.to), found[0], found[1:]

    def _enlarged(self, feature: Tensor) -> Tensor:
        width, height = self.handles.grid
        return F.interpolate(feature.float(), (height, width), mode="bilinear", align_corners=False)

    def _size(self) -> tuple[int, int]:
        return self.leaf.shape[-2], self.leaf.shape[-1]


def resized_first(head: ReadoutHead, features: list[Tensor], embedding: Tensor | None, size: tuple[int, int]) -> Tensor:
    """The head as published: all maps resized and concatenated, then every convolution at the full size."""
    whole = torch.cat([F.interpolate(f.float(), size, mode="bilinear", align_corners=False) for f in features], dim=1)
    parts = whole.split([f.shape[1] for f in features], dim=1)
    total = 0.0
    for share, layer, x in zip(head.mixing_weights.softmax(0), head.bottleneck_layers, parts, strict=True):
        y = F.relu(layer.conv1(x))
        if layer.emb_layers is not None:
            y = y + F.relu(layer.emb_layers(embedding))[..., None, None]
        shortcut = layer.shortcut(x) if isinstance(layer.shortcut, NormedConv) else x
        total = total + share * F.relu(layer.conv3(F.relu(layer.conv2(y))) + shortcut)
    return total


def _slice(whole: Tensor, column: int, row: int, radius: int) -> Tensor:
    return whole[:, :, row - radius : row + radius + 1, column - radius : column + radius + 1]
