"""An inversion as the nodes make it: along the model's own times where it has its own, else core's."""

from __future__ import annotations

import torch
from torch import Tensor

from ..edits.edit import AnyBackbone, AnyInversion, inverted
from ..model.backbone import Autoencoder, Conditioning
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings, invert


@torch.no_grad()
def walked(
    backbone: AnyBackbone, autoencoder: Autoencoder, image: Tensor, cond: Conditioning, settings: InversionSettings, run: RunContext = ALONE
) -> AnyInversion:
    """Invert `image` [1, 3, H, W]. A UNet is inverted by DDIM, as far as FireFlow would have gone."""
    if not hasattr(backbone, "times"):
        return inverted(backbone, autoencoder, image, cond, settings, run=run)[0]
    z0 = autoencoder.encode(image)
    if settings.kv_blocks != "none":
        settings = backbone.remembering(z0, settings, settings.steps + 1)
    return invert(backbone, z0, cond, settings, times=backbone.times(z0, settings.steps), run=run)
