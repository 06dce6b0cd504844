"""The encoders that a subject adapter asks for, from what is connected: VAE, CLIP_VISION, or a folder of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
from torch import Tensor

from ...core.adapters.contract import SubjectAdapter
from ...core.adapters.face import FacePlaces, InstalledFaces
from ...core.adapters.vision import IMAGENET, TransformersVision, prepared
from .autoencoder import ComfyAutoencoder
from .models_folder import folder_in_models
from .room import device_with_room_for

TYPES = {"clip": "clip_vision_model", "siglip": "siglip_vision_model", "dinov2": "dinov2"}
WANTED = {
    "clip": "its CLIP (XLabs: CLIP-ViT-L/14; Stable Diffusion: CLIP-ViT-H/14, or bigG/14) to clip_vision",
    "siglip": "SigLIP so400m 384 to clip_vision", "dinov2": "DINOv2-giant to dinov2",
}  # fmt: skip


def encoders_for(
    adapter: SubjectAdapter, *, model: Any = None, vae: Any = None, clip_vision: Any = None, dinov2: Any = None, siglip_folder: str = ""
) -> dict[str, Any]:
    """One encoder for every name that the adapter needs. Raises ValueError, one sentence, when something isn't connected.

    What they give is on ComfyUI's device, so that the adapter reads it there; latents are on the CPU, whose adapter is small.
    """
    device = comfy.model_management.get_torch_device()
    found: dict[str, Any] = {}
    for name in adapter.needs:
        if name == "autoencoder":
            if model is None or vae is None:
                raise ValueError(f"{adapter.kind} reads latents: connect model and vae")
            found[name] = _LatentsOnCpu(vae, model)
        elif name == "face":
            models = Path(folder_paths.models_dir)
            places = FacePlaces(models / "insightface", models / "facexlib", models / "clip_vision")
            found[name] = _Faces(InstalledFaces(places, str(device)), device)
        elif name == "siglip" and "dinov2" not in adapter.needs:
            if not siglip_folder.strip():
                raise ValueError(
                    f"{adapter.kind} needs SigLIP's pooled vector, which ComfyUI's CLIP vision leaves out: name a folder in siglip_folder, "
                    "of SigLIP so400m 384, inside models/clip_vision"
                )
            folder = folder_in_models("clip_vision", siglip_folder)
            found[name] = TransformersVision.load(folder, side=384, device=str(device_with_room_for(folder)))
        else:
            connected = dinov2 if name == "dinov2" else clip_vision
            if connected is None:
                raise ValueError(f"{adapter.kind} needs another encoder: load it with Load CLIP Vision and connect {WANTED[name]}")
            found[name] = ComfyVision(connected, name, device)
    return found


class _LatentsOnCpu(ComfyAutoencoder):
    def encode(self, image: Tensor) -> Tensor:
        return super().encode(image).cpu()


class _Faces:
    """A FaceEncoder (core/adapters/pulid.py) whose results come to a device."""

    def __init__(self, encoder: InstalledFaces, device: torch.device) -> None:
        self._encoder, self._device = encoder, device

    def face(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        vector, layers = self._encoder.face(picture)
        return vector.to(self._device), [x.to(self._device) for x in layers]


class ComfyVision:
    """A CLIP_VISION as a VisionEncoder. name: "clip", "siglip" or "dinov2", which it has to be.  device: of what it gives."""

    def __init__(self, clip_vision: Any, name: str, device: torch.device | str = "cpu") -> None:
        found = getattr(clip_vision, "model_type", None)
        if found != TYPES[name]:
            raise ValueError(f"the CLIP vision model connected as {name} is a {found}: connect a {TYPES[name]} (see the tooltip)")
        self._clip, self._name, self._device = clip_vision, name, device

    @property
    def side(self) -> int:
        """Of the square that it looks at, px."""
        return self._clip.image_size

    def embeds(self, picture: Tensor) -> Tensor:
        """See VisionEncoder."""
        return self._given(self._encoded(picture)["image_embeds"])

    def maps(self, picture: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """See VisionEncoder."""
        if self._name == "dinov2":
            return self._dino(picture, layers)
        out = self._encoded(picture)
        # Layer k of transformers is number k - 1 here: the embeddings aren't counted.
        return [self._given(out["last_hidden_state"] if k == -1 else out["all_hidden_states"][:, k - 1]) for k in layers]

    def penultimate(self, picture: Tensor) -> Tensor:
        """See VisionEncoder."""
        return self._given(self._encoded(picture)["penultimate_hidden_states"])

    def _given(self, x: Tensor) -> Tensor:
        return x.to(self._device, torch.float32, copy=True)

    def _encoded(self, picture: Tensor) -> Any:
        # As ComfyUI's own nodes call it: it is loaded by this, see ComfyAutoencoder.encode.
        with torch.inference_mode():
            return self._clip.encode_image(picture.movedim(1, -1), crop=False)

    def _dino(self, picture: Tensor, layers: Sequence[int]) -> list[Tensor]:
        network, end = self._clip.model, len(self._clip.model.encoder.layer) - 1
        with torch.inference_mode():
            comfy.model_management.load_model_gpu(self._clip.patcher)
            given = prepared(picture.float(), picture.shape[-1], IMAGENET).to(self._clip.load_device, self._clip.dtype)
            inner = [k - 1 for k in layers if k != -1]
            found = dict(zip(inner, network.get_intermediate_layers(given, inner, apply_norm=False), strict=True)) if inner else {}
            if -1 in layers:
                found[-2] = network.get_intermediate_layers(given, [end], apply_norm=True)[0]
        # Each is (patches, class token).
        return [self._given(found[k - 1][0]) for k in layers]
