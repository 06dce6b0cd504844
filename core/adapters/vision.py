"""Vision encoders as the adapters ask for them, and transformers' models behind that.

Convention: pictures are [B, 3, H, W] in [0, 1], of any size; an encoder stretches them to its own square (give a square), bicubic, and
normalises. Layers are counted as transformers counts hidden states: 0 is the embeddings, k the output of layer k, -1 what comes out of
the final norm. A class token is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the colours: CLIP, SigLIP, DINOv2."""


class VisionEncoder(Protocol):
    """What an adapter may ask of an encoder."""

    def embeds(self, picture: Tensor) -> Tensor:
        """[B, E], the picture as one vector: CLIP's projected class token, SigLIP's pooled tokens."""
        ...

    def maps(self, picture: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """[B, n, C] of every layer asked for."""
        ...

    def penultimate(self, picture: Tensor) -> Tensor:
        """[B, n + 1, C], the output of the last layer but one, with its class token, which comes first."""
        ...


def prepared(picture: Tensor, side: int, colours: tuple) -> Tensor:
    """The picture stretched to side x side and normalised."""
    mean, std = (torch.tensor(c, dtype=picture.dtype, device=picture.device).view(3, 1, 1) for c in colours)
    if picture.shape[-2:] != (side, side):
        picture = F.interpolate(picture, size=(side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return (picture - mean) / std


class TransformersVision:
    """A `CLIPVisionModelWithProjection`, `SiglipVisionModel` or `Dinov2Model` of transformers.

    side: the square's side in px; None takes the model's own (DINOv2 interpolates its positions to any).
    """

    def __init__(self, model: Any, side: int | None = None) -> None:
        kind = model.config.model_type
        if kind not in _COLOURS:
            raise ValueError(f"a vision model of the type {kind!r} is not known here: use CLIP, SigLIP or DINOv2")
        self.model, self.kind = model.eval().requires_grad_(False), kind
        self.side = side or model.config.image_size

    @classmethod
    def load(cls, folder: Path, *, side: int | None = None, device: str = "cpu", dtype: torch.dtype = torch.bfloat16) -> TransformersVision:
        """From a folder saved by transformers; nothing is fetched. Raises ValueError when it holds no such model."""
        import transformers

        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} holds no config.json: name the folder of a vision model saved by transformers")
        kind = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        name = {"clip": "CLIPVisionModelWithProjection", "siglip": "SiglipVisionModel"}.get(kind) or _CLASSES.get(kind)
        if name is None:
            raise ValueError(f"{folder} holds a model of the type {kind!r}: use CLIP, SigLIP or DINOv2")
        made = getattr(transformers, name).from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
        return cls(made.to(device), side)

    @torch.no_grad()
    def embeds(self, picture: Tensor) -> Tensor:
        """See VisionEncoder."""
        out = self._run(picture, False)
        return out.image_embeds if self.kind == "clip_vision_model" else out.pooler_output

    @torch.no_grad()
    def maps(self, picture: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """See VisionEncoder."""
        out = self._run(picture, True)
        found = [out.last_hidden_state if layer == -1 else out.hidden_states[layer] for layer in layers]
        return found if self.kind == "siglip_vision_model" else [x[:, 1:] for x in found]

    @torch.no_grad()
    def penultimate(self, picture: Tensor) -> Tensor:
        """See VisionEncoder."""
        return self._run(picture, True).hidden_states[-2]

    def _run(self, picture: Tensor, maps: bool) -> Any:
        given = prepared(picture.to(self.model.device).float(), self.side, _COLOURS[self.kind]).to(self.model.dtype)
        return self.model(pixel_values=given, output_hidden_states=maps)


_COLOURS = {"clip_vision_model": CLIP, "siglip_vision_model": HALF, "dinov2": IMAGENET}
_CLASSES = {"clip_vision_model": "CLIPVisionModelWithProjection", "siglip_vision_model": "SiglipVisionModel", "dinov2": "Dinov2Model"}
