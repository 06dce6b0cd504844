"""The networks that metrics need, each from a file or folder that the user names, read when first asked for, and the judge that is asked.

Nothing is fetched, and nothing sent without a judge: a metric whose network is not named is not offered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from ..adapters.vision import TransformersVision, VisionEncoder
from .dift import Dift
from .dreamsim import LORA, DreamSim
from .judge import Judge
from .perceptual import LPIPS


@dataclass(frozen=True)
class Backbones:
    """lpips: AlexNet's weights as torchvision saves them; lpips_heads: LPIPS's, None for an installed library's.  clip: folder of a CLIP
    vision model, as transformers saves it, or an encoder with the `side` of its square in px.  dift: folder of a Stable Diffusion model in
    diffusers layout.  dreamsim: the folder that the library of that name fills.  judge: a model on a server.  device: where the others run.
    """

    lpips: Path | None = None
    lpips_heads: Path | None = None
    clip: Path | VisionEncoder | None = None
    dift: Path | None = None
    dreamsim: Path | None = None
    judge: Judge | None = None
    device: str = "cpu"

    def has(self, need: str) -> bool:
        """Whether a need of a metric is met; the empty one always is."""
        return need == "" or getattr(self, need) is not None

    def paths(self) -> dict[str, str]:
        """Files and folders that are there, by name."""
        return {f.name: str(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Path)}

    def names(self) -> dict[str, str]:
        """What decides the values: the paths, and who judges."""
        return self.paths() | ({} if self.judge is None else {"judge": str(self.judge)})

    def check(self) -> None:
        """Raises ValueError for what is named and not there."""
        signs = {"lpips": "", "lpips_heads": "", "clip": "config.json", "dift": "unet/config.json",
                 "dreamsim": f"{LORA}/adapter_config.json"}  # fmt: skip
        for name, path in self.paths().items():
            if not (Path(path) / signs[name]).is_file():
                kind = f"folder with {signs[name]}" if signs[name] else "file"
                raise ValueError(f"--{name.replace('_', '-')} {path} is no {kind}; give another, or leave it out")
        if self.lpips is not None:
            # A few megabytes that are quickly read: better wrong now than after the first edit.
            LPIPS.load(self.lpips, self.lpips_heads)

    def prepare(self, prompts: Iterable[str]) -> None:
        """Have the prompts of samples to come encoded at once."""
        if self.dift is not None and "dift_network" not in vars(self):
            vars(self)["dift_network"] = Dift.load(self.dift, self.device, prompts)

    @cached_property
    def lpips_network(self) -> LPIPS:
        return LPIPS.load(self.lpips, self.lpips_heads).to(self.device)

    @cached_property
    def clip_network(self) -> VisionEncoder:
        import torch

        if not isinstance(self.clip, Path):
            return self.clip
        return TransformersVision.load(self.clip, device=self.device, dtype=torch.float32)

    @cached_property
    def dreamsim_network(self) -> DreamSim:
        return DreamSim.load(self.dreamsim).to(self.device)

    @cached_property
    def dift_network(self) -> Dift:
        return Dift.load(self.dift, self.device)
