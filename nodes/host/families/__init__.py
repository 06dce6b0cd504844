"""The families of models whose blocks are known, one file each; contract.py says what one tells. Adding one is a file and a line here."""

from __future__ import annotations

from torch import nn

from .contract import Family
from .flux import FLUX
from .kandinsky_5 import KANDINSKY_5
from .krea_2 import KREA_2
from .lumina import LUMINA
from .qwen_image import QWEN_IMAGE
from .sd3 import SD3
from .wan import WAN

FAMILIES: tuple[Family, ...] = (FLUX, QWEN_IMAGE, LUMINA, KREA_2, SD3, WAN, KANDINSKY_5)


def family_of(network: nn.Module | None) -> Family | None:
    """The family of a diffusion model, None for one that is of none."""
    return next((family for family in FAMILIES if family.holds(network)), None)
