"""A drag iteration done the published way, for comparison: same loss, same descent, its costs kept.

From the description of the published code (dragflow.md sections 2-4 and 9.3): the whole transformer runs though the taps end
with the double blocks; blocks are recomputed in the backward pass; each tap becomes a full feature map, pixel-shuffled and
enlarged to the cut grid; the loss is a masked mean over that whole map, against reference maps warped whole in every
iteration; keys and values of injected blocks are computed and then overwritten. Left out because it depends on their
machine, not on the method: int8 weights, two GPUs, copies to the host, cache flushes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.backbones.flux import DiffusersFlux, pack
from ..core.model.attention import Entry
from ..core.model.backbone import Conditioning
from ..core.model.taps import BlockKind, default_taps
from ..core.optimise.supervision import cut_shape

RATE = 1000.0


class PublishedDrag:
    """One relocation of one region, iterated as published.

    region: bool [H, W] in picture pixels.  shift: (dx, dy) px.  movable: bool [h, w] of the latent.  entry: captured keys and
    values, text included, which every call is given.  Installs hooks on the model; `close` removes them.
    """

    def __init__(
        self,
        backbone: DiffusersFlux,
        z: Tensor,
        t: float,
        cond: Conditioning,
        region: Tensor,
        shift: tuple[float, float],
        movable: Tensor,
        entry: Entry,
        guidance: float = 3.5,
    ) -> None:
        self.model, self.z, self.t, self.cond, self.guidance = backbone.model, z, t, cond, guidance
        self.movable = movable.expand_as(z)
        self.cut = cut_shape((region.shape[1], region.shape[0]))
        soft = F.interpolate(region[None, None].float(), size=self.cut[::-1], mode="bilinear")
        self.soft = soft.to(z.device)
        self.shift = (shift[0] / region.shape[1], shift[1] / region.shape[0])
        self.model.enable_gradient_checkpointing()
        self._taps: dict[tuple[int, str], Tensor] = {}
        self._hooks = [hook for tap in default_taps(backbone.double_blocks) for hook in self._tap(tap.index, tap.point)]
        for block, (keys, values) in entry.blocks.items():
            self._hooks += self._inject(*block, keys, values)
        with torch.no_grad():
            self.reference = self._features(z).detach()

    def close(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()
        self.model.disable_gradient_checkpointing()

    def iterate(self, z: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """One iteration from z at `progress` in (0, 1]. -> the next z, and the loss before it."""
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            own = self._features(leaf)
            grid = self._grid(progress)
            mask = (F.grid_sample(self.soft, grid, padding_mode="zeros", align_corners=False) > 0.5).float()
            wanted = F.grid_sample(self.reference, grid, padding_mode="border", align_corners=False)
            loss = F.l1_loss(mask * own, mask * wanted)
            (g,) = torch.autograd.grad(loss, leaf)
        return torch.where(self.movable, z - RATE * g, self.z), loss.detach()

    def _features(self, z: Tensor) -> Tensor:
        """[1, channels of all taps, h_c, w_c], float32."""
        tokens, batch, (h, w) = pack(z), z.shape[0], (z.shape[-2] // 2, z.shape[-1] // 2)
        ids = torch.zeros(h, w, 3, device=tokens.device)
        ids[..., 1] = torch.arange(h, device=tokens.device)[:, None]
        ids[..., 2] = torch.arange(w, device=tokens.device)
        distilled = self.model.config.guidance_embeds
        self._taps.clear()
        self.model(
            hidden_states=tokens.to(self.model.dtype),
            encoder_hidden_states=self.cond.txt,
            pooled_projections=self.cond.pooled,
            timestep=torch.full((batch,), self.t, device=tokens.device),
            guidance=torch.full((batch,), self.guidance, device=tokens.device) if distilled else None,
            img_ids=ids.view(-1, 3),
            txt_ids=torch.zeros(self.cond.txt.shape[1], 3, device=tokens.device),
        )
        maps = []
        for tap in self._taps.values():
            feature = tap.float().transpose(1, 2).unflatten(2, (h, w))
            maps.append(F.interpolate(F.pixel_shuffle(feature, 2), size=self.cut[::-1], mode="bilinear"))
        return torch.cat(maps, dim=1)

    def _grid(self, progress: float) -> Tensor:
        back = torch.eye(2, 3, device=self.z.device)
        back[0, 2], back[1, 2] = (-2 * progress * share for share in self.shift)
        return F.affine_grid(back[None], [1, 1, *self.cut[::-1]], align_corners=False)

    def _tap(self, index: int, point: str) -> list[torch.utils.hooks.RemovableHandle]:
        def see(module: nn.Module, args: tuple, output: tuple) -> None:
            # The recomputation in the backward pass comes by here again; the loss has its tensors already.
            self._taps.setdefault((index, point), output[1] if point == "out" else output[0])

        block = self.model.transformer_blocks[index]
        return [(block if point == "out" else block.norm1).register_forward_hook(see)]

    def _inject(
        self, kind: BlockKind, index: int, keys: Tensor, values: Tensor
    ) -> list[torch.utils.hooks.RemovableHandle]:
        blocks = self.model.transformer_blocks if kind == "double" else self.model.single_transformer_blocks

        def overwrite(remembered: Tensor) -> Callable[..., Tensor]:
            return lambda module, args, output: output.copy_(remembered)

        attn = blocks[index].attn
        return [attn.to_k.register_forward_hook(overwrite(keys)), attn.to_v.register_forward_hook(overwrite(values))]
