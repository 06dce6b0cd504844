"""LPIPS (Zhang et al. 2018), and the image fidelities that drag papers make of it: IF = 1 - LPIPS.

LPIPS runs AlexNet's convolutions, compares its five maps of unit channels, and weighs the squared differences by its heads. AlexNet's
weights are a file of the user's (torchvision's `alexnet-owt-7be5be79.pth`); the heads, a few kilobytes, come with torchmetrics or lpips.
Both libraries ask torchvision for AlexNet, which is why its twelve layers stand here.

IF has a trap that later papers name: the unchanged picture scores best. It is sound in the background, where no change is right, and
DragFlow's pair tells an object that came (`if_s2t`, higher) from one that stayed (`if_s2s`, lower). All are taken at 224 x 224 px, scaled
bilinearly without antialiasing, so that they are not LPIPS of the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..field.geometry import Motion, cell_centres, transform
from ..field.warp import sample
from ..picture.compose import tensor_of
from .judged import Judged, Operation

SIDE = 224
HEADS = (("torchmetrics", "functional/image/lpips_models/alex.pth"), ("lpips", "weights/v0.1/alex.pth"))
"""Libraries that bring LPIPS's heads along, and where; they are not imported."""
CHANNELS = (64, 192, 384, 256, 256)


class LPIPS(nn.Module):
    """The distance of two pictures [1, 3, H, W] in [-1, 1], by AlexNet, version 0.1. -> a float, 0 for equal pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ParameterList(nn.Parameter(torch.ones(1, channels, 1, 1)) for channels in CHANNELS)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, alexnet: Path, heads: Path | None = None) -> LPIPS:
        """alexnet: a state dict with `features.N.weight` and `.bias`, .pth or .safetensors.  heads: with `linK.model.1.weight`; None: those
        of an installed torchmetrics or lpips.  Raises: ValueError for files that are none of these."""
        made = cls()
        weights = {name: value for name, value in read_state(alexnet).items() if name.startswith("features.")}
        heads = heads or packaged_heads()
        if heads is None:
            raise ValueError("LPIPS's heads are not here; run: pip install torchmetrics, or name their file by --lpips-heads")
        found = read_state(heads)
        try:
            made.features.load_state_dict({name.removeprefix("features."): value for name, value in weights.items()})
            for k, head in enumerate(made.heads):
                head.copy_(found[f"lin{k}.model.1.weight"])
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                f"{alexnet} and {heads} do not make LPIPS ({str(error).splitlines()[0]}); give AlexNet as torchvision saves it, and the "
                "heads of LPIPS for it"
            ) from None
        return made

    @torch.no_grad()
    def forward(self, a: Tensor, b: Tensor) -> float:
        total = 0.0
        for head, one, other in zip(self.heads, self._maps(a), self._maps(b), strict=True):
            total += float((head * (one - other) ** 2).sum(1).mean())
        return total

    def _maps(self, picture: Tensor) -> list[Tensor]:
        x, maps = (picture.to(self.shift) - self.shift) / self.scale, []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps


Distance = Callable[[Tensor, Tensor], float]


def fidelity(edit: Judged, lpips: Distance) -> float:
    """IF: 1 - LPIPS of the whole pictures. Higher is closer to the source, and the unchanged picture has 1."""
    return 1 - lpips(_scaled(_signed(edit.before)), _scaled(_signed(edit.after)))


def background_fidelity(edit: Judged, lpips: Distance) -> float:
    """IF_bg (DragFlow 4.2): outside of the mask; what lies inside is set to mid-grey in both. Higher is better."""
    return 1 - _masked(_signed(edit.before), _signed(edit.after), ~edit.mask, lpips)


def source_to_target(edit: Judged, lpips: Distance) -> float | None:
    """IF_s2t (DragFlow 4.2): where each region should land, the source carried there as published against the result. Higher is better.

    The source is carried from its annotated centroid, bilinearly, with mid-grey beyond its edges. None without regions.
    """
    before, after = _signed(edit.before), _signed(edit.after)
    found = [_masked(carried(before, o.motion), after, o.moved, lpips) for o in _regions(edit)]
    return 1 - fmean(found) if found else None


def source_to_source(edit: Judged, lpips: Distance) -> float | None:
    """IF_s2s (DragFlow 4.2): where each region was, source against result. Lower is better: the place was left. None without regions."""
    before, after = _signed(edit.before), _signed(edit.after)
    found = [_masked(before, after, o.source, lpips) for o in _regions(edit)]
    return 1 - fmean(found) if found else None


def carried(picture: Tensor, motion: Motion) -> Tensor:
    """A picture [1, 3, H, W] moved as a whole, zero beyond its edges."""
    size = picture.shape[-1], picture.shape[-2]
    back = transform(motion.backward(1.0, size), cell_centres((0, 0, *size)))
    return sample(picture, back.float(), padding="zeros")


def _regions(edit: Judged) -> list[Operation]:
    return [operation for operation in edit.operations if operation.motion is not None]


def _masked(a: Tensor, b: Tensor, mask: np.ndarray, lpips: Distance) -> float:
    where = torch.from_numpy(mask)
    return lpips(_scaled(a * where), _scaled(b * where))


def _signed(picture: np.ndarray) -> Tensor:
    return tensor_of(picture) * 2 - 1


def _scaled(picture: Tensor) -> Tensor:
    return F.interpolate(picture, (SIDE, SIDE), mode="bilinear", align_corners=False)


def packaged_heads() -> Path | None:
    """LPIPS's heads in an installed library; None where there is none."""
    for library, place in HEADS:
        spec = find_spec(library)
        if spec is not None and spec.origin is not None and (file := Path(spec.origin).parent / place).is_file():
            return file
    return None


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict, read as data alone."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; give a state dict, .pth or .safetensors")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(f"{path} is no state dict ({type(error).__name__}); give one as .pth or .safetensors") from None
