"""Where an edit can start instead of at the undragged latent: the picture's own latent, already carried along by the field.

Two ways. `warp_latent` works on any latent at any noise level and needs no autoencoder (RegionDrag, FastDrag): cells are carried whole, the
vacated ones get fresh content of the same level. `WarmStart` goes through the picture: it is warped there, to a fraction of a pixel, filled
roughly and encoded again; mixed with noise it gives a state at any time of the flow.

Convention: latents [1, C, h, w] at the field's picture divided by the autoencoder's factor; t in [0, 1], 1 = noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ..field import DragField
from ..field.latent_warp import fill_pure
from ..field.warp import warp
from ..model.backbone import Autoencoder
from ..picture.compose import picture_of, tensor_of
from ..picture.cutout import Edges
from ..picture.evidence import Evidence, FindShadow, carry, clean_plate


@dataclass(frozen=True, eq=False)
class WarmStart:
    """The drag as evidence: what the picture would be if pixels were all that moved.

    evidence: [1, C, h, w], the warped and filled picture's latent.  noise: [1, C, h, w], of unit variance; what moved brings its own.
    moved, vacated: bool [h, w].  picture: the warped picture itself.
    """

    evidence: Tensor
    noise: Tensor
    moved: Tensor
    vacated: Tensor
    picture: Evidence

    def at(self, t: float) -> Tensor:
        """The evidence at time t: (1 - t) evidence + t noise."""
        return (1 - t) * self.evidence + t * self.noise


@torch.no_grad()
def make_warm_start(
    autoencoder: Autoencoder,
    image: Tensor,
    field: DragField,
    noise: Tensor,
    *,
    edges: Edges = "drawn",
    find_shadow: FindShadow | None = None,
    renew: Tensor | None = None,
    seed: int = 0,
) -> WarmStart:
    """Warp the picture by the field, fill what it vacates, encode, and carry the noise along.

    Moved cells are those that what moves fills by more than half.

    image: [1, 3, H, W] in [0, 1].  noise: [1, C, h, w] of the undragged picture, such as `Inversion.noise()`.
    edges, find_shadow: see evidence.py.
    renew: bool [h, w], cells besides the vacated ones whose noise is drawn afresh, from `seed`.
    """
    picture = picture_of(image)
    layout = field.layout(1.0, (noise.shape[-1], noise.shape[-2]))
    evidence = carry(picture, field, edges=edges, find_shadow=find_shadow)
    moved = layout.moved if edges == "drawn" else _cells(evidence.moved, noise) > 0.5
    vacated = (layout.vacated | layout.moved) & ~moved
    warped = tensor_of(evidence.image).to(image)
    moved, vacated = moved.to(noise.device), vacated.to(noise.device)
    fresh = vacated if renew is None else vacated | (renew & ~moved)
    carried = _carried(noise, layout.backward, fresh, seed, field.enlarged(1.0, (noise.shape[-1], noise.shape[-2])))
    return WarmStart(autoencoder.encode(warped), carried, moved, vacated, evidence)


@torch.no_grad()
def emptied(
    autoencoder: Autoencoder, image: Tensor, z: Tensor, t: float, field: DragField, *, find_shadow: FindShadow | None = None, seed: int = 0
) -> Tensor:
    """The undragged latent z at time t with what moves taken out: there, the roughly filled picture's latent and new noise, mixed for t.

    Regions that are stretched stay, and so does what points move. -> [1, C, h, w].
    """
    plate = clean_plate(picture_of(image), field, find_shadow=find_shadow)
    cells = _cells(plate.changed, z) > 0.1
    filled = autoencoder.encode(tensor_of(plate.image).to(image))
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).to(z)
    return torch.where(cells.to(z.device), (1 - t) * filled.to(z) + t * noise, z)


def warp_latent(z: Tensor, t: float, field: DragField, *, z0: Tensor | None = None, progress: float = 1.0, seed: int = 0) -> Tensor:
    """A latent at time t with whole cells carried by the field; vacated ones get ground and noise of the same level.

    z0: the latent of the undragged picture; with it, ground is what lies around, a cell away from what moves (BNNI, see latent_warp.py).
        None: the mean of what is kept.
    progress: how much of the way, in [0, 1].
    Cells are carried by their nearest source, not blended: averaging would take variance from the noise in them. Where a region grows and
    z0 is known, its signal is blended and its noise spread, see `spread_noise`; without z0 whole cells are repeated.
    """
    layout = field.layout(progress, (z.shape[-1], z.shape[-2]))
    carried = warp(z, layout.backward, mode="nearest")
    grown = field.enlarged(progress, (z.shape[-1], z.shape[-2])).to(z.device)
    if z0 is not None and t > 0 and bool(grown.any()):
        signal = z0.to(z)
        noise = spread_noise((z - (1 - t) * signal) / t, layout.backward, grown, seed)
        carried = torch.where(grown, (1 - t) * warp(signal, layout.backward) + t * noise, carried)
    kept, vacated = layout.kept.to(z.device), layout.vacated.to(z.device)
    mean = z[..., kept].mean(-1)[..., None, None] if bool(kept.any()) else z.mean((-2, -1), keepdim=True)
    ground = mean.expand_as(z)
    if z0 is not None:
        still = max_pool2d((~kept).float()[None, None], 3, 1, 1)[0, 0] == 0
        ground = fill_pure((1 - t) * z0.to(z), still, ground)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).to(z)
    return torch.where(vacated, ground + t * noise, carried)


def spread_noise(noise: Tensor, backward: Tensor, cells: Tensor, seed: int) -> Tensor:
    """White noise read at the nearest source of each cell; where k of `cells` read the same one, they share it and stay white.

    Each of the k has n / sqrt(k) of it, and fresh noise less the mean of that over the k: unit variance, nothing in common, and n again
    when they are added up (conditional white noise, as in Chang et al. 2024, How I Warped Your Noise). One cell alone has n itself.

    noise: [1, C, h, w].  backward: [h, w, 2].  cells: bool [h, w].  -> like noise
    """
    height, width = noise.shape[-2:]
    carried = warp(noise, backward, mode="nearest")
    column, row = (backward - 0.5).round().long().unbind(-1)
    source = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).to(noise.device)[cells]
    count = torch.bincount(source, minlength=height * width).to(noise)
    drawn = torch.randn(noise.shape, generator=torch.Generator().manual_seed(seed + 1)).to(noise)[..., cells]
    total = noise.new_zeros(*noise.shape[:2], height * width).index_add(2, source, drawn)
    shared = count[source]
    carried[..., cells] = carried[..., cells] / shared.sqrt() + (drawn - total[..., source] / shared)
    return carried


def _carried(noise: Tensor, backward: Tensor, fresh: Tensor, seed: int, enlarged: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(noise.shape, generator=generator).to(noise)
    return torch.where(fresh, drawn, spread_noise(noise, backward, enlarged.to(noise.device), seed))


def _cells(mask: np.ndarray, z: Tensor) -> Tensor:
    """Share of each cell of z's grid that a mask [H, W] covers. -> float32 [h, w]."""
    return torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(mask)[None].float(), z.shape[-2:])[0]
